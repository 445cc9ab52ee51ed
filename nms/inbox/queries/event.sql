-- name: insert_events(ids, endpoints, keys, digests, types, items, content_types, headers, bodies)
-- One statement, one commit for all that came meanwhile; what it gives back is new.
with given as (
    select *
    from unnest(
        :ids::uuid[], :endpoints::text[], :keys::bytea[], :digests::bytea[], :types::text[], :items::integer[],
        :content_types::text[], :headers::bytea[], :bodies::bytea[]
    ) with ordinality as g (id, endpoint, key, digest, type, item, content_type, headers, body, place)
),
fresh as (
    insert into inbox.receipt (endpoint, key, event_id, digest)
    select g.endpoint, g.key, g.id, g.digest from given g
    on conflict (endpoint, key) do nothing
    returning event_id
),
begun as materialized (
    select inbox.begin_storing()
),
stored as (
    insert into inbox.event (id, endpoint, type, key, item, content_type, headers, body, number)
    select o.id, o.endpoint, o.type, o.key, o.item, o.content_type, o.headers, o.body, nextval('inbox.event_number')
    from (
        select g.*
        from given g join fresh f on f.event_id = g.id cross join begun
        order by g.place
    ) as o
)
select event_id from fresh;

-- name: list_receipts(endpoints, keys)
select r.endpoint, r.key, r.event_id, r.digest
from inbox.receipt r
join unnest(:endpoints::text[], :keys::bytea[]) as g (endpoint, key) on g.endpoint = r.endpoint and g.key = r.key;

-- name: insert_days(ahead)$
select inbox.make_days(:ahead::integer);

-- name: delete_days(kept)$
select inbox.drop_days(make_interval(secs => :kept::double precision));

-- name: delete_old_receipts(kept, size)!
-- Whole days only: a receipt is never gone before its event.
delete from inbox.receipt
where (endpoint, key) in (
    select r.endpoint, r.key
    from inbox.receipt r
    where r.received_at
        < date_trunc('day', now() - make_interval(secs => :kept::double precision), 'UTC')
    order by r.received_at
    limit :size
    for update skip locked
);

-- name: list_events(endpoint, type, since, before, size)
-- Ids begin with the time, so their index is the order in which events came.
select e.id, e.endpoint, e.type, e.item, e.content_type, octet_length(e.body) as bytes, e.received_at
from inbox.event e
where (:endpoint::text is null or e.endpoint = :endpoint)
    and (:type::text is null or e.type = :type)
    and (:since::timestamptz is null or e.received_at >= :since)
    and (:before::uuid is null or e.id < :before)
order by e.id desc
limit :size;

-- name: get_event(id)^
select e.id, e.endpoint, e.type, e.item, e.content_type, octet_length(e.body) as bytes, e.received_at, e.headers, e.body
from inbox.event e
where e.id = :id;

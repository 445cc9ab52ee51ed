-- name: insert_events(ids, endpoints, keys, digests, types, items, content_types, headers, bodies)
-- One statement, one commit for all that came meanwhile; what it gives back is new. Whoever stores takes keys in the
-- same order, so that two who have the same ones never wait for each other; numbers are in the order of arrival.
with given as (
    select *
    from unnest(
        :ids::uuid[], :endpoints::text[], :keys::bytea[], :digests::bytea[], :types::text[], :items::integer[],
        :content_types::text[], :headers::bytea[], :bodies::bytea[]
    ) with ordinality as g (id, endpoint, key, digest, type, item, content_type, headers, body, place)
),
fresh as (
    insert into inbox.receipt (endpoint, key, event_id, digest)
    select g.endpoint, g.key, g.id, g.digest from given g order by g.key, g.endpoint, g.place
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

-- name: insert_requests(ids, endpoints, methods, urls, headers, bodies, times)!
insert into inbox.request (id, endpoint, method, url, headers, body, arrived_at)
select g.id, g.endpoint, g.method, g.url, g.headers, g.body, to_timestamp(g.arrived)
from unnest(
    :ids::uuid[], :endpoints::text[], :methods::text[], :urls::text[], :headers::bytea[], :bodies::bytea[],
    :times::double precision[]
) as g (id, endpoint, method, url, headers, body, arrived);

-- name: get_request(id)^
select
    r.id, r.endpoint, r.method, r.url, r.headers, r.body, r.received_at,
    extract(epoch from r.arrived_at)::double precision as arrived
from inbox.request r
where r.id = :id;

-- name: delete_old_requests(kept, size)!
-- Whole days only: a request is never gone before its events.
delete from inbox.request
where id in (
    select r.id
    from inbox.request r
    where r.received_at
        < date_trunc('day', now() - make_interval(secs => :kept::double precision), 'UTC')
    order by r.received_at
    limit :size
    for update skip locked
);

-- name: insert_days(ahead)$
select inbox.make_days(:ahead::integer);

-- name: delete_day(kept)$
select inbox.drop_day(make_interval(secs => :kept::double precision));

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

-- name: list_events(endpoint, type, keys, since, until, status, before, size)
-- The newest first, by indexes; a status is a bound of the numbers. Keys are looked up at each endpoint: the tree of
-- receipts is asked once for the next one.
with recursive named as (
    select coalesce(:endpoint::text, (select min(r.endpoint) from inbox.receipt r)) as endpoint
    where :keys::bytea[] is not null
    union all
    select (select min(r.endpoint) from inbox.receipt r where r.endpoint > n.endpoint)
    from named n
    where n.endpoint is not null and :endpoint::text is null
),
bounds as materialized (
    select
        greatest(inbox.number_before(:since::timestamptz), case when :status::text = 'waiting' then c.sent end) as low,
        least(
            :before::bigint - 1, inbox.number_behind(:until::timestamptz), case when :status = 'sent' then c.sent end
        ) as high,
        c.sent
    from (select (select r.number from inbox.relay r where r.name = 'rabbitmq') as sent) as c
)
select e.number, e.id, e.endpoint, e.type, e.item, e.content_type, octet_length(e.body) as bytes, e.received_at,
    e.number <= b.sent as sent
from bounds b
cross join lateral (
    select f.*
    from inbox.page_events(:endpoint, :type::text, :since, :until, b.low, b.high, :size::integer) f
    where :keys::bytea[] is null
    union all
    select k.*
    from named n
    join inbox.receipt r on r.endpoint = n.endpoint and r.key = any(:keys)
    cross join lateral (select i.* from inbox.event i where i.id = r.event_id limit 1) as k
    where (:type is null or k.type = :type) and k.number > b.low and k.number <= b.high
        and (:since is null or k.received_at >= :since) and (:until is null or k.received_at < :until)
) as e
order by e.number desc
limit :size;

-- name: get_event(id)^
select e.number, e.id, e.endpoint, e.type, e.item, e.content_type, octet_length(e.body) as bytes, e.received_at,
    inbox.headers_of(e.headers) as headers, inbox.request_of(e.headers) as request, e.body,
    e.number <= (select r.number from inbox.relay r where r.name = 'rabbitmq') as sent
from inbox.event e
where e.id = :id;

-- name: upsert_kept(endpoints, keeps, grace)$
-- Notes what is declared, and gives the longest time that anything is kept for: an endpoint that is missed counts for
-- some seconds more. Null where there is none.
with declared as (
    select * from unnest(:endpoints::text[], :keeps::double precision[]) as d (endpoint, keep)
),
missed as (
    select k.*
    from inbox.kept k
    where k.endpoint <> all (:endpoints::text[])
        and coalesce(k.missed_at, now()) >= now() - make_interval(secs => :grace::double precision)
),
noted as (
    insert into inbox.kept (endpoint, keep, missed_at)
    select d.endpoint, d.keep, null from declared d
    union all
    select m.endpoint, m.keep, coalesce(m.missed_at, now()) from missed m
    order by 1
    on conflict (endpoint) do update set keep = excluded.keep, missed_at = excluded.missed_at
)
select max(b.keep) from (select d.keep from declared d union all select m.keep from missed m) as b;

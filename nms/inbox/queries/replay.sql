-- name: get_last_number()$
-- Whatever was acknowledged has no greater one.
select last_value - (not is_called)::integer from inbox.event_number;

-- name: get_sent_number()$
select coalesce((select r.number from inbox.relay r where r.name = 'rabbitmq'), 0);

-- name: get_receipt_of(endpoint)$
select exists (select from inbox.receipt r where r.endpoint = :endpoint);

-- name: count_matching(endpoint, type, ids, since, until, after, upto, size)^
select count(*) as count, max(f.number) as last
from inbox.find_events(
    :endpoint, :type, :ids::uuid[], :since::timestamptz, :until::timestamptz, :after, :upto, :size
) f;

-- name: list_matching(endpoint, type, ids, since, until, after, upto, size, bytes)
-- With `bytes` their bodies too, no more once they have so many; each is looked up by itself.
select m.number, m.id, m.received_at, m.body
from (
    select f.number, f.id, f.received_at, b.body,
        sum(octet_length(b.body)) over (order by f.number) - octet_length(b.body) as bytes_before
    from inbox.find_events(
        :endpoint, :type, :ids::uuid[], :since::timestamptz, :until::timestamptz, :after, :upto, :size
    ) f
    left join lateral (
        select e.body
        from inbox.event e
        where :bytes::bigint is not null and e.id = f.id and e.received_at = f.received_at
        limit 1
    ) as b on true
) as m
where m.bytes_before is null or m.bytes_before < :bytes::bigint
order by m.number;

-- name: get_begun()$
-- Before numbers are taken: readers wait for what stands behind this mark.
select inbox.begin_storing();

-- name: insert_again(run, endpoint, ids, times)!
insert into inbox.again (number, endpoint, event_id, received_at, run)
select nextval('inbox.event_number'), :endpoint, o.id, o.received_at, :run
from (
    select g.id, g.received_at
    from unnest(:ids::uuid[], :times::timestamptz[]) with ordinality as g (id, received_at, place)
    order by g.place
) as o;

-- name: delete_old_again(kept, size)!
-- Those of events that are dropped with their days.
delete from inbox.again
where (endpoint, number) in (
    select a.endpoint, a.number
    from inbox.again a
    where a.received_at
        < date_trunc('day', now() - make_interval(secs => :kept::double precision), 'UTC')
    order by a.received_at
    limit :size
    for update skip locked
);

-- name: get_settled()$
-- A statement of its own: what is read up to there must be read by a later one.
select inbox.settled();

-- name: list_events(endpoints, after, upto, size, bytes)
-- Of bodies only so many bytes: their lengths are known without reading them.
select w.number, w.id, w.endpoint, w.type, w.item, w.content_type, w.headers, w.body, w.received_at, w.run
from (
    select r.*, sum(octet_length(r.body)) over (order by r.number) - octet_length(r.body) as ahead
    from inbox.read_events(:endpoints::text[], :after::bigint, :upto::bigint, :size::integer) as r
) as w
where w.ahead < :bytes::bigint
order by w.number;

-- name: get_place(endpoints, event, arrived)^
select inbox.newest_number() as newest, p.found, p.lost, p.aged
from inbox.find_place(:endpoints::text[], :event::uuid, :arrived::timestamptz) as p;

-- name: get_newest(upto)^
select n.number, n.id, n.received_at from inbox.newest_event(:upto::bigint) as n;

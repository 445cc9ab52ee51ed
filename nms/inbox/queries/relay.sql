-- name: claim_relay()$
-- One process at a time relays: the others find the row locked.
select number from inbox.relay where name = 'rabbitmq' for no key update skip locked;

-- name: update_relay(number)!
update inbox.relay set number = :number where name = 'rabbitmq';

-- name: claim_mark()$
-- Processes that start together look for the mark one after the other, else each would send everything anew.
select pg_advisory_xact_lock(hashtextextended('inbox.relay', 0))::text;

-- name: get_settled()$
-- A statement of its own: what is read by its answer must be seen later.
select inbox.settled();

-- name: list_unsent(after, upto, size, most)
-- The next events of all endpoints, also of those that nobody declares any more. Bodies are read up to so many bytes.
select f.number, f.id, f.endpoint, f.type, f.item, f.content_type, f.key, f.body, f.received_at, f.run
from (
    select e.*, sum(octet_length(e.body)) over (order by e.number) - octet_length(e.body) as bytes_before
    from inbox.read_all_events(:after, :upto, :size) e
) as f
where f.bytes_before < :most
order by f.number;

-- name: get_relay_lag()$
select greatest(inbox.settled() - number, 0) from inbox.relay where name = 'rabbitmq';

-- name: get_dropped()$
-- Up to which number events of any endpoint were dropped for their age.
select coalesce(max(number), 0) from inbox.dropped;

-- name: up#
-- The newest number that was given out; it goes back only where the database is restored. `inbox.settled` may go back for
-- a moment, where one that stores was put to sleep between reading the number for its mark and leaving the mark.
create function inbox.newest_number() returns bigint language sql volatile as $body$
select last_value - (not is_called)::integer from inbox.event_number
$body$;

-- name: down#
drop function inbox.newest_number();

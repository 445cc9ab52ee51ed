-- name: up#
-- When all requests that were booked so far will be through, per rate budget. Unlogged: it may vanish, and a booking
-- waits for no disk.
create unlogged table common.bucket (
    name text primary key,
    free_at timestamptz not null
) with (fillfactor = 50);

-- name: down#
drop table common.bucket;

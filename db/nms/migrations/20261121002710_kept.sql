-- name: up#
-- How many seconds each endpoint keeps, and since when it is missed: one that was taken out keeps its events a while.
create table inbox.kept (
    endpoint text primary key,
    keep double precision not null,
    missed_at timestamptz
);

-- name: down#
drop table inbox.kept;

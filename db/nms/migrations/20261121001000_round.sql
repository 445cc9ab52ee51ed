-- name: up#
-- Rounds that somebody asked for are numbered: `asked` is the newest, `rounded` the newest that a round has served
-- which began after it and whose end is durable at the target.
alter table sync.pipeline
    add column asked bigint not null default 0,
    add column rounded bigint not null default 0;

-- name: down#
alter table sync.pipeline drop column rounded, drop column asked;

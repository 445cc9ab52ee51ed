-- name: up#
-- Where pipelines stand whose target cannot keep it: queues and topics.
create table sync.position (
    pipeline text primary key,
    position jsonb not null,
    updated_at timestamptz not null default now()
);

-- name: down#
drop table sync.position;

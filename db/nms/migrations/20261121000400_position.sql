-- name: up#
-- Where pipelines stand whose target cannot keep it: queues and topics.
create table sync.position (
    pipeline text primary key,
    position jsonb not null,
    updated_at timestamptz not null default now()
);

-- That the source retains much log for it.
alter table sync.pipeline add column alarm jsonb;

-- name: down#
alter table sync.pipeline drop column alarm;
drop table sync.position;

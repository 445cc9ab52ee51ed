-- name: up#
-- A plan that somebody wants to have carried out later, as it was told; `changes` holds documents, null ones are removed.
create table cfg.plan (
    id uuid primary key default gen_random_uuid(),
    base bigint not null check (base >= 0),
    created_at timestamptz not null default clock_timestamp(),
    author text not null check (author <> ''),
    message text not null default '',
    changes jsonb not null,
    told jsonb not null,
    applied_at timestamptz,
    revision bigint references cfg.revision (id),
    constraint plan_applied_check check (revision is null or applied_at is not null)
);
create index plan_created_idx on cfg.plan (created_at);

-- name: down#
drop table cfg.plan;

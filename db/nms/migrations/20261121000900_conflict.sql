-- name: up#
-- Records that both sides of a two-way pipeline changed: what either had, and what came of it.
create table sync.conflict (
    id bigint generated always as identity primary key,
    pipeline text not null,
    dataset text not null,
    key text[] not null,
    kind text not null,
    policy text not null,
    state text not null check (state in ('open', 'settling', 'settled')),
    outcome text not null,
    fields text[] not null,
    revision bigint not null,
    digest text not null,
    base jsonb,
    source jsonb,
    target jsonb,
    take jsonb,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- What is decided again after a crash is the same conflict.
    unique (pipeline, dataset, key, revision, digest)
);

-- One record waits once; what comes meanwhile is folded into it.
create unique index conflict_waiting_idx on sync.conflict (pipeline, dataset, key) where state <> 'settled';

create index conflict_newest_idx on sync.conflict (pipeline, id desc);

-- name: down#
drop table sync.conflict;

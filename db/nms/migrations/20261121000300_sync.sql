-- name: up#
create schema sync;

-- One row a pipeline: what is wanted, where it stands. `documents` is what it was last started with, so that a
-- pipeline whose documents are gone can still give back its slot.
create table sync.pipeline (
    name text primary key,
    revision bigint not null,
    checksum text not null,
    documents jsonb not null,
    wanted text not null default 'running' check (wanted in ('running', 'paused', 'removed')),
    generation bigint not null default 1,
    phase text not null default 'waiting'
        check (phase in ('waiting', 'opening', 'copying', 'streaming', 'retrying', 'halted', 'paused', 'removing')),
    position jsonb,
    status jsonb not null default '{}',
    problem jsonb,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- Changes that the target refused and those of the same key that came behind. `place` is where in its source's log
-- the batch stood: what is beyond the target's position was never passed over there and is held again.
create table sync.quarantine (
    id bigint generated always as identity primary key,
    pipeline text not null,
    generation bigint not null,
    dataset text not null,
    key text not null,
    place bigint not null,
    op text not null,
    change jsonb not null,
    problem jsonb not null,
    state text not null default 'held' check (state in ('held', 'replaying', 'replayed', 'dropping', 'dropped')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index quarantine_open_idx on sync.quarantine (pipeline, dataset, key, id)
    where state in ('held', 'replaying', 'dropping');

create function sync.tell_pipeline() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_pipeline', new.name || ' ' || new.wanted);
    return null;
end
$body$;

create trigger pipeline_tell after insert or update of wanted, generation on sync.pipeline
    for each row execute function sync.tell_pipeline();

-- name: down#
drop schema sync cascade;

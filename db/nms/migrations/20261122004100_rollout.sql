-- name: up#
-- Who runs which revision. A process tells it every few seconds; a row that was not seen for longer is of one that is gone.
create table common.rollout (
    id uuid primary key,
    role text not null,
    host text not null,
    pid integer not null,
    started_at timestamptz not null default now(),
    revision bigint,
    taken_at timestamptz,
    seen_at timestamptz not null default now()
) with (fillfactor = 50);

-- The newest revision that the pipelines follow.
create table sync.adopted (
    one boolean primary key default true check (one),
    revision bigint not null
);

create function sync.tell_adopted() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_adopted', new.revision::text);
    return null;
end
$body$;

create trigger adopted_tell after insert or update on sync.adopted for each row execute function sync.tell_adopted();

-- name: down#
drop table sync.adopted;
drop function sync.tell_adopted();
drop table common.rollout;

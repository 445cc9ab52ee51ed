-- name: up#
create schema common;

-- One sequence for all runs: a later run of a subject always outranks every earlier one.
create sequence common.run_epoch;

create table common.run (
    id bigint generated always as identity primary key,
    kind text not null check (kind <> ''),
    subject text not null check (subject <> ''),
    place smallint not null default 0 check (place in (0, 1)),
    state text not null default 'queued' check (
        state in ('queued', 'running', 'retrying', 'cancelling', 'succeeded', 'failed', 'cancelled')
    ),
    payload jsonb not null default '{}',
    progress jsonb,
    checkpoint jsonb,
    epoch bigint not null default 0,
    worker text,
    attempts integer not null default 0,
    problem jsonb,
    due_at timestamptz not null default now(),
    leased_until timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    claimed_at timestamptz,
    ended_at timestamptz,
    constraint run_lease_check check ((state in ('running', 'cancelling')) = (leased_until is not null)),
    constraint run_worker_check check (leased_until is null or worker is not null),
    constraint run_ended_check check ((state in ('succeeded', 'failed', 'cancelled')) = (ended_at is not null))
) with (fillfactor = 70);

-- Only live runs stand in these indexes, so that history costs a claim nothing.
create index run_waiting_idx on common.run (kind, due_at) where state in ('queued', 'retrying');
create index run_leased_idx on common.run (kind) where state in ('running', 'cancelling');
create unique index run_place_key on common.run (kind, subject, place)
    where state in ('queued', 'running', 'retrying', 'cancelling');
create unique index run_alone_key on common.run (kind, subject) where state in ('running', 'cancelling');
create index run_subject_idx on common.run (kind, subject, id);
create index run_state_idx on common.run (state, id);
create index run_ended_idx on common.run (ended_at) where state in ('succeeded', 'failed', 'cancelled');

create function common.check_run() returns trigger language plpgsql as $body$
begin
    if tg_op = 'INSERT' then
        if new.state <> 'queued' or new.epoch <> 0 then
            raise exception 'a run starts as queued with epoch 0, not as %', new.state
                using errcode = 'check_violation', constraint = 'run_transition_check';
        end if;
        return new;
    end if;
    if new.epoch < old.epoch then
        raise exception 'the epoch of run % cannot fall from % to %', old.id, old.epoch, new.epoch
            using errcode = 'check_violation', constraint = 'run_epoch_check';
    end if;
    if new.state = 'running' and old.state <> 'running' and new.epoch <= old.epoch then
        raise exception 'a claim of run % must raise its epoch %', old.id, old.epoch
            using errcode = 'check_violation', constraint = 'run_epoch_check';
    end if;
    if new.state <> old.state and (old.state, new.state) not in (
        ('queued', 'running'), ('queued', 'cancelled'),
        ('running', 'succeeded'), ('running', 'failed'), ('running', 'retrying'),
        ('running', 'cancelling'), ('running', 'queued'),
        ('retrying', 'running'), ('retrying', 'queued'), ('retrying', 'cancelled'),
        ('cancelling', 'cancelled'), ('cancelling', 'succeeded'), ('cancelling', 'failed'),
        ('failed', 'queued'), ('cancelled', 'queued')
    ) then
        raise exception 'run % cannot go from % to %', old.id, old.state, new.state
            using errcode = 'check_violation', constraint = 'run_transition_check';
    end if;
    return new;
end
$body$;

create function common.tell_run() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_run', new.state || ' ' || new.id || ' ' || new.kind);
    return null;
end
$body$;

create trigger run_check before insert or update on common.run for each row execute function common.check_run();
create trigger run_tell_insert after insert on common.run for each row execute function common.tell_run();
create trigger run_tell_update after update of state on common.run
    for each row when (old.state is distinct from new.state) execute function common.tell_run();

create table common.schedule (
    name text primary key,
    kind text not null,
    subject text not null,
    payload jsonb not null default '{}',
    cron text,
    every interval check (every > interval '0'),
    zone text not null default 'UTC',
    missed text not null default 'once' check (missed in ('once', 'skip')),
    next_at timestamptz not null,
    last_at timestamptz,
    constraint schedule_rhythm_check check ((cron is null) <> (every is null))
);
create index schedule_next_idx on common.schedule (next_at);

create table common.outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null unique default gen_random_uuid(),
    type text not null check (type <> ''),
    version integer not null default 1,
    key text not null,
    payload jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    position bigint unique
) with (fillfactor = 80);
create index outbox_unstamped_idx on common.outbox (id) where position is null;
create sequence common.outbox_position owned by common.outbox.position;

-- Gives committed events their place in the log. One stamper at a time: positions become visible in order, so that
-- a cursor never passes an event by, and what was put after another's commit always stands behind it.
create function common.stamp_outbox(size integer) returns bigint language plpgsql as $body$
declare
    stamped bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('common.outbox_position', 0));
    with fresh as materialized (
        select id from common.outbox where position is null order by id limit size
    ), placed as materialized (
        select ordered.id, nextval('common.outbox_position') as position
        from (select id from fresh order by id) as ordered
    ), done as (
        update common.outbox as o set position = placed.position from placed where o.id = placed.id returning 1
    )
    select count(*) into stamped from done;
    return stamped;
end
$body$;

create function common.tell_outbox() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_outbox', '');
    return null;
end
$body$;

create trigger outbox_tell after insert on common.outbox
    for each statement execute function common.tell_outbox();

create table common.subscriber (
    name text primary key,
    position bigint not null default 0,
    tries integer not null default 0,
    updated_at timestamptz not null default now()
);

create table common.seen (
    subscriber text not null,
    event_id uuid not null,
    seen_at timestamptz not null default now(),
    primary key (subscriber, event_id)
);
create index seen_at_idx on common.seen (seen_at);

create table common.dead_letter (
    id bigint generated always as identity primary key,
    subscriber text not null,
    event_id uuid not null,
    event jsonb not null,
    problem jsonb not null,
    created_at timestamptz not null default now(),
    unique (subscriber, event_id)
);

-- name: down#
drop schema common cascade;

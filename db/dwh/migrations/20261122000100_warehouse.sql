-- name: up#
create schema warehouse;
-- One table per entity, made by the warehouse as the documents say.
create schema entity;

-- One order over all records and deletions. Without a cache: what a session takes is behind what it read before.
create sequence warehouse.sequence;

-- What is built of each entity. `document` is what is served, `wanted` what the configuration says; they differ while
-- the table is being changed, and where that needs a plan.
create table warehouse.entity (
    name text primary key check (name ~ '^[a-z][a-z0-9_]{0,38}$'),
    document jsonb,
    revision bigint not null default 0,
    wanted jsonb not null,
    wanted_revision bigint not null,
    state text not null check (state in ('building', 'ready', 'halted', 'hidden')),
    problem jsonb,
    updated_at timestamptz not null default now(),
    constraint entity_problem_check check ((state = 'halted') = (problem is not null)),
    constraint entity_ready_check check (state <> 'ready' or document is not null)
);

create function warehouse.tell_entity() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_entity', coalesce(new.name, old.name));
    return null;
end
$body$;
create trigger entity_tell after insert or update or delete on warehouse.entity
    for each row execute function warehouse.tell_entity();

-- The newest deletion of each key, as the path has it. One that was written again since has a record behind it.
create table warehouse.tombstone (
    entity text not null,
    key text not null,
    sequence bigint not null,
    source text not null,
    external_id text,
    origin text,
    deleted_at timestamptz not null,
    primary key (entity, key)
);
create unique index tombstone_sequence_key on warehouse.tombstone (sequence);

-- Before each statement that writes records: leaves a mark, until the end of the transaction, that sequences behind
-- this one are under way; and wakes whoever reads. Once per transaction, which may have any number of statements.
create function warehouse.begin_writing() returns trigger language plpgsql as $body$
declare
    mine text := pg_current_xact_id()::text;
begin
    if current_setting('warehouse.marked', true) is distinct from mine then
        perform pg_advisory_xact_lock_shared(
            1852666743, ((last_value - (not is_called)::integer) & 2147483647)::integer
        ) from warehouse.sequence;
        perform pg_notify('nms_warehouse', '');
        -- Rolled back together with the mark where a savepoint is.
        perform set_config('warehouse.marked', mine, true);
    end if;
    return null;
end
$body$;

-- Up to this sequence everything is written or never will be. What is read by it must be read by a later statement.
create function warehouse.settled() returns bigint language plpgsql volatile as $body$
declare
    last bigint;
    behind integer;
begin
    -- Before the locks are looked at: whoever has none by then takes sequences behind this one.
    select last_value - (not is_called)::integer into last from warehouse.sequence;
    -- Marks have 31 bits; each is less than 2^30 away from the last one.
    select max(((last & 2147483647) - l.objid::bigint + 3221225472) % 2147483648 - 1073741824) into behind
    from pg_locks l
    where l.locktype = 'advisory' and l.classid = 1852666743 and l.objsubid = 2
        and l.database = (select d.oid from pg_database d where d.datname = current_database());
    return last - greatest(coalesce(behind, 0), 0);
end
$body$;

-- One part of a key as a path has it: percent-encoded but for unreserved characters (RFC 3986, 2.3).
create function warehouse.encode_part(part text) returns text language plpgsql immutable strict parallel safe as $body$
begin
    if part ~ '^[A-Za-z0-9._~-]*$' then
        return part;
    end if;
    return (
        select string_agg(
            case
                when letter ~ '^[A-Za-z0-9._~-]$' then letter
                else upper(regexp_replace(encode(convert_to(letter, 'UTF8'), 'hex'), '(..)', '%\1', 'g'))
            end, '' order by place
        )
        from regexp_split_to_table(part, '') with ordinality as letters (letter, place)
    );
end
$body$;

-- name: down#
drop schema entity cascade;
drop schema warehouse cascade;

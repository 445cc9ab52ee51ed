-- name: up#
create schema inbox;

-- Which event a key of an endpoint belongs to. Apart from the events, since a unique index over daily partitions would
-- not see the duplicate of yesterday's event.
create table inbox.receipt (
    endpoint text not null,
    key bytea not null check (octet_length(key) between 1 and 64),
    event_id uuid not null,
    digest bytea not null check (octet_length(digest) = 32),
    received_at timestamptz not null default now(),
    primary key (endpoint, key)
);
-- Not brin: the room of what was deleted is used again, and soon every range of blocks would hold every age.
create index receipt_age_idx on inbox.receipt (received_at);

-- The requests as they came. A day is dropped as a whole when it is older than any endpoint keeps.
create table inbox.event (
    id uuid not null,
    endpoint text not null,
    type text not null,
    key bytea not null,
    item integer not null default 0,
    content_type text not null,
    headers bytea not null,
    body bytea not null,
    received_at timestamptz not null default now(),
    primary key (id, received_at)
) partition by range (received_at);
create table inbox.event_rest partition of inbox.event default;

-- Makes the partitions of today (UTC) and of the days ahead, and of every day that the default partition has rows of.
create function inbox.make_days(ahead integer) returns integer
language plpgsql set timezone = 'UTC' set lock_timeout = '5s' as $body$
declare
    day date;
    name text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('inbox.day', 0));
    for day in
        select current_date + n from generate_series(0, ahead) as n
        union
        select distinct e.received_at::date from inbox.event_rest e
        order by 1
    loop
        name := 'event_' || to_char(day, 'YYYYMMDD');
        continue when to_regclass('inbox.' || name) is not null;
        -- Whoever comes waits here. A row on its way to the default partition would be refused; a reader that had
        -- looked up the partitions before would find the moved rows in none of them.
        lock table inbox.event in access exclusive mode;
        execute format('create table inbox.%I (like inbox.event including all)', name);
        execute format(
            'with moved as (delete from inbox.event_rest where received_at >= %L and received_at < %L returning *) '
            'insert into inbox.%I select * from moved', day, day + 1, name
        );
        execute format(
            'alter table inbox.event attach partition inbox.%I for values from (%L) to (%L)', name, day, day + 1
        );
        made := made + 1;
    end loop;
    return made;
end
$body$;

-- Drops the days that ended so long ago.
create function inbox.drop_days(kept interval) returns integer
language plpgsql set timezone = 'UTC' set lock_timeout = '5s' as $body$
declare
    name text;
    dropped integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('inbox.day', 0));
    for name in
        select c.relname
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'inbox.event'::regclass
            and c.relname ~ '^event_[0-9]{8}$'
            and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= now() - kept
        order by 1
    loop
        execute format('drop table inbox.%I', name);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$body$;

-- name: down#
drop schema inbox cascade;

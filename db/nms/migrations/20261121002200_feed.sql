-- name: up#
-- The place of an event among all. Without a cache: what a session takes is always behind what it read before.
create sequence inbox.event_number;
alter table inbox.event add column number bigint not null default nextval('inbox.event_number');
create index event_feed_idx on inbox.event (endpoint, number);

-- Events that somebody asked to have passed on once more: under a new number, with their own ids.
create table inbox.again (
    number bigint not null default nextval('inbox.event_number'),
    endpoint text not null,
    event_id uuid not null,
    received_at timestamptz not null,
    run bigint not null,
    primary key (endpoint, number)
);

-- To be called in the statement that stores, before it takes numbers: leaves a mark, until the end of the
-- transaction, that numbers behind this one are under way; and wakes whoever reads.
create function inbox.begin_storing() returns boolean language plpgsql as $body$
begin
    perform pg_advisory_xact_lock_shared(1852666729, ((last_value - (not is_called)::integer) & 2147483647)::integer)
    from inbox.event_number;
    perform pg_notify('nms_inbox', '');
    return true;
end
$body$;

-- Up to this number everything is stored or never will be. What is read by it must be read by a later statement.
-- A horizon of transaction ids would wait for every open transaction of the cluster; this waits for storing ones only.
create function inbox.settled() returns bigint language plpgsql volatile as $body$
declare
    last bigint;
    behind integer;
begin
    -- Before the locks are looked at: whoever has none by then takes numbers behind this one.
    select last_value - (not is_called)::integer into last from inbox.event_number;
    -- Marks have 31 bits; each is less than 2^30 numbers away from the last one.
    select max(((last & 2147483647) - l.objid::bigint + 3221225472) % 2147483648 - 1073741824) into behind
    from pg_locks l
    where l.locktype = 'advisory' and l.classid = 1852666729 and l.objsubid = 2
        and l.database = (select d.oid from pg_database d where d.datname = current_database());
    return last - greatest(coalesce(behind, 0), 0);
end
$body$;

-- What connectors and the relay read: the next events of some endpoints behind a number, in order; `run` is that of a
-- replay. Volatile, so that what it selects is seen later than what is settled.
create function inbox.read_events(endpoints text[], after bigint, upto bigint, size integer)
returns table (
    number bigint, id uuid, endpoint text, type text, item integer, content_type text, key bytea, headers bytea,
    body bytea, received_at timestamptz, run bigint
)
language plpgsql volatile as $body$
begin
    return query
    select n.number, e.id, e.endpoint, e.type, e.item, e.content_type, e.key, e.headers, e.body, e.received_at, n.run
    from (
        select found.*
        from unnest(endpoints) as wanted (endpoint)
        cross join lateral (
            (
                select f.number, f.id, f.received_at, null::bigint as run
                from inbox.event f
                where f.endpoint = wanted.endpoint and f.number > after and f.number <= upto
                order by f.number
                limit size
            )
            union all
            (
                select a.number, a.event_id, a.received_at, a.run
                from inbox.again a
                where a.endpoint = wanted.endpoint and a.number > after and a.number <= upto
                order by a.number
                limit size
            )
        ) as found
        order by found.number
        limit size
    ) as n
    join inbox.event e on e.id = n.id and e.received_at = n.received_at
    order by n.number;
end
$body$;

-- name: down#
drop function inbox.read_events(text[], bigint, bigint, integer);
drop function inbox.settled();
drop function inbox.begin_storing();
drop table inbox.again;
alter table inbox.event drop column number;
drop sequence inbox.event_number;

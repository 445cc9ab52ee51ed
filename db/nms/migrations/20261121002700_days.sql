-- name: up#
-- Takes tables for the transaction alone. Whoever comes waits behind one that waits for them, so it is not asked for
-- before all who held them at the first look are gone (a dump holds them for hours), and then for a moment only.
create function inbox.take_tables(tables regclass[]) returns void
language plpgsql set lock_timeout = '200ms' as $body$
declare
    holders text[];
    one regclass;
begin
    for attempt in 1..50 loop
        holders := array(
            select l.virtualtransaction
            from pg_locks l
            where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
                and l.database = (select d.oid from pg_database d where d.datname = current_database())
                and l.relation = any (tables::oid[])
                and (holders is null or l.virtualtransaction = any (holders))
        );
        if holders = '{}' then
            begin
                foreach one in array tables loop
                    execute format('lock table only %s in access exclusive mode', one);
                end loop;
                return;
            exception when lock_not_available then
                holders := null;
            end;
        else
            perform pg_sleep(0.05);
        end if;
    end loop;
    raise lock_not_available using message = 'somebody holds the tables of the inbox';
end
$body$;

-- The greatest number of each endpoint in a day: a few blocks for each, however many events the day has.
create function inbox.list_newest(day regclass) returns table (endpoint text, number bigint)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $body$
begin
    return query execute format(
        'with recursive known (endpoint) as ('
        '(select d.endpoint from %1$s d order by d.endpoint limit 1) '
        'union all '
        'select (select d.endpoint from %1$s d where d.endpoint > k.endpoint order by d.endpoint limit 1) '
        'from known k where k.endpoint is not null) '
        'select k.endpoint, (select max(d.number) from %1$s d where d.endpoint = k.endpoint) '
        'from known k where k.endpoint is not null',
        day
    );
end
$body$;

-- Makes the partitions of today (UTC) and of the days ahead, and of every day that the default partition has rows of.
create or replace function inbox.make_days(ahead integer) returns integer
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
        -- A row on its way to the default partition would be refused; a reader that had looked up the partitions
        -- before would find the moved rows in none of them.
        perform inbox.take_tables(array['inbox.event', 'inbox.event_rest']::regclass[]);
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

-- Drops the oldest day that ended so long ago, and notes up to which number; tells whether there was one. Days that go
-- in one transaction would each hold up whoever stores until the last is gone.
drop function inbox.drop_days(interval);
create function inbox.drop_day(kept interval) returns boolean
language plpgsql set timezone = 'UTC' set lock_timeout = '5s' as $body$
declare
    day regclass;
begin
    perform pg_advisory_xact_lock(hashtextextended('inbox.day', 0));
    select c.oid::regclass into day
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'inbox.event'::regclass
        and c.relname ~ '^event_[0-9]{8}$'
        and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= now() - kept
    order by c.relname
    limit 1;
    if day is null then
        return false;
    end if;
    insert into inbox.dropped (endpoint, number)
    select n.endpoint, n.number from inbox.list_newest(day) as n
    on conflict (endpoint) do update set number = greatest(dropped.number, excluded.number);
    perform inbox.take_tables(array['inbox.event', 'inbox.event_rest', day]::regclass[]);
    execute format('drop table %s', day);
    return true;
end
$body$;

-- name: down#
drop function inbox.drop_day(interval);
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
        execute format(
            'insert into inbox.dropped (endpoint, number) select endpoint, max(number) from inbox.%I group by endpoint '
            'on conflict (endpoint) do update set number = greatest(dropped.number, excluded.number)', name
        );
        execute format('drop table inbox.%I', name);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$body$;
create or replace function inbox.make_days(ahead integer) returns integer
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
drop function inbox.list_newest(regclass);
drop function inbox.take_tables(regclass[]);

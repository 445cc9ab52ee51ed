-- name: up#
-- Up to which number events of an endpoint were dropped for their age, for whoever has not read them yet.
create table inbox.dropped (
    endpoint text primary key,
    number bigint not null
);

-- Drops the days that ended so long ago, and notes up to which number.
create or replace function inbox.drop_days(kept interval) returns integer
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

-- What a reader asks of the place where it stands, after it has read on from there: the number that the event has with
-- which it began (null: it is not there), and up to which number events were dropped, of these endpoints and of all.
create function inbox.find_place(endpoints text[], event uuid, arrived timestamptz)
returns table (found bigint, lost bigint, aged bigint)
language sql volatile as $body$
select
    (select e.number from inbox.event e where e.id = event and e.received_at = arrived),
    (select coalesce(max(d.number), 0) from inbox.dropped d where d.endpoint = any(endpoints)),
    (select coalesce(max(d.number), 0) from inbox.dropped d)
$body$;

-- The newest event of all endpoints up to a number: where a reader that has nothing to do may stand.
create function inbox.newest_event(upto bigint)
returns table (number bigint, id uuid, received_at timestamptz)
language sql volatile as $body$
with recursive known (endpoint) as (
    select min(r.endpoint) from inbox.receipt r
    union all
    select (select min(r.endpoint) from inbox.receipt r where r.endpoint > k.endpoint)
    from known k
    where k.endpoint is not null
)
select n.number, n.id, n.received_at
from known k
cross join lateral (
    select e.number, e.id, e.received_at
    from inbox.event e
    where e.endpoint = k.endpoint and e.number <= upto
    order by e.number desc
    limit 1
) as n
order by n.number desc
limit 1
$body$;

-- name: down#
create or replace function inbox.drop_days(kept interval) returns integer
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
drop function inbox.newest_event(bigint);
drop function inbox.find_place(text[], uuid, timestamptz);
drop table inbox.dropped;

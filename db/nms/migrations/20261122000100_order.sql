-- name: up#
-- In order over all endpoints, and of each: two indexes serve both, also where a type is asked for, which is compared
-- within the index. One more column costs less than one more index: each is written with every event.
create index event_order_idx on inbox.event (number, type);
create index event_place_idx on inbox.event (endpoint, number, type);
drop index inbox.event_feed_idx;
drop index inbox.event_type_idx;
create index again_order_idx on inbox.again (number);

-- As before. Endpoint and number are compared as a pair, which only the index that begins with them can serve, whatever
-- is known of the table: the one by number alone would walk past everything that came to other endpoints.
create or replace function inbox.read_events(endpoints text[], after bigint, upto bigint, size integer)
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
                where (f.endpoint, f.number) > (wanted.endpoint, after)
                    and (f.endpoint, f.number) <= (wanted.endpoint, upto)
                order by f.endpoint, f.number
                limit size
            )
            union all
            (
                select a.number, a.event_id, a.received_at, a.run
                from inbox.again a
                where (a.endpoint, a.number) > (wanted.endpoint, after)
                    and (a.endpoint, a.number) <= (wanted.endpoint, upto)
                    and exists (
                        select from inbox.event k where k.id = a.event_id and k.received_at = a.received_at
                    )
                order by a.endpoint, a.number
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

-- The next events of all endpoints behind a number, also of those that nobody declares any more.
create function inbox.read_all_events(after bigint, upto bigint, size integer)
returns table (
    number bigint, id uuid, endpoint text, type text, item integer, content_type text, key bytea, headers bytea,
    body bytea, received_at timestamptz, run bigint
)
language plpgsql volatile
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
begin
    return query
    (
        select f.number, f.id, f.endpoint, f.type, f.item, f.content_type, f.key, f.headers, f.body, f.received_at,
            null::bigint
        from inbox.event f
        where f.number > after and f.number <= upto
        order by f.number
        limit size
    )
    union all
    (
        select a.number, e.id, e.endpoint, e.type, e.item, e.content_type, e.key, e.headers, e.body, e.received_at,
            a.run
        from inbox.again a
        join inbox.event e on e.id = a.event_id and e.received_at = a.received_at
        where a.number > after and a.number <= upto
        order by a.number
        limit size
    )
    order by 1
    limit size;
end
$body$;

-- As before, by pairs.
create or replace function inbox.find_events(
    of_endpoint text, of_type text, ids uuid[], since timestamptz, until timestamptz, after bigint, upto bigint,
    size integer
) returns table (number bigint, id uuid, received_at timestamptz)
language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
declare
    low bigint := greatest(after, case when since is not null then inbox.number_before(since) end);
    high bigint := least(upto, case when until is not null then inbox.number_behind(until) end);
begin
    if ids is not null then
        return query
        select e.number, e.id, e.received_at
        from unnest(ids) as wanted (id)
        cross join lateral (select i.* from inbox.event i where i.id = wanted.id limit 1) as e
        where e.endpoint = of_endpoint and (of_type is null or e.type = of_type)
            and e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number
        limit size;
    elsif of_type is not null then
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where (e.endpoint, e.number) > (of_endpoint, low) and (e.endpoint, e.number) <= (of_endpoint, high)
            and e.type = of_type
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.endpoint, e.number
        limit size;
    else
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where (e.endpoint, e.number) > (of_endpoint, low) and (e.endpoint, e.number) <= (of_endpoint, high)
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.endpoint, e.number
        limit size;
    end if;
end
$body$;

-- As before, by pairs; of all endpoints where none is given.
create or replace function inbox.page_events(
    of_endpoint text, of_type text, since timestamptz, until timestamptz, low bigint, high bigint, size integer
) returns setof inbox.event
language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
begin
    if of_endpoint is null and of_type is null then
        return query
        select e.*
        from inbox.event e
        where e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number desc
        limit size;
    elsif of_endpoint is null then
        return query
        select e.*
        from inbox.event e
        where e.number > low and e.number <= high and e.type = of_type
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number desc
        limit size;
    elsif of_type is null then
        return query
        select e.*
        from inbox.event e
        where (e.endpoint, e.number) > (of_endpoint, low) and (e.endpoint, e.number) <= (of_endpoint, high)
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.endpoint desc, e.number desc
        limit size;
    else
        return query
        select e.*
        from inbox.event e
        where (e.endpoint, e.number) > (of_endpoint, low) and (e.endpoint, e.number) <= (of_endpoint, high)
            and e.type = of_type
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.endpoint desc, e.number desc
        limit size;
    end if;
end
$body$;

-- As before, by one index.
create or replace function inbox.newest_event(upto bigint)
returns table (number bigint, id uuid, received_at timestamptz)
language sql volatile
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
select e.number, e.id, e.received_at from inbox.event e where e.number <= upto order by e.number desc limit 1
$body$;

-- name: down#
-- The newest event of all endpoints up to a number: where a reader that has nothing to do may stand.
create or replace function inbox.newest_event(upto bigint)
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

-- Events of an endpoint, the newest first: with low < number <= high, of one type or of any, received at `since` or
-- later and before `until`; by the same rules.
create or replace function inbox.page_events(
    of_endpoint text, of_type text, since timestamptz, until timestamptz, low bigint, high bigint, size integer
) returns setof inbox.event
language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
begin
    if of_type is not null then
        return query
        select e.*
        from inbox.event e
        where e.endpoint = of_endpoint and e.type = of_type and e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number desc
        limit size;
    else
        return query
        select e.*
        from inbox.event e
        where e.endpoint = of_endpoint and e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number desc
        limit size;
    end if;
end
$body$;

-- The next events of an endpoint, in order: with after < number <= upto, of one type or of any, of these ids or of all,
-- received at `since` or later and before `until`. An index gives each branch its order, whatever the table holds:
-- bounds that are not known when it is planned seem to leave so little that sorting it is cheap. Times are compared so
-- that their index is not taken instead; a span of them is one of numbers already.
create or replace function inbox.find_events(
    of_endpoint text, of_type text, ids uuid[], since timestamptz, until timestamptz, after bigint, upto bigint,
    size integer
) returns table (number bigint, id uuid, received_at timestamptz)
language plpgsql stable
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
declare
    low bigint := greatest(after, case when since is not null then inbox.number_before(since) end);
    high bigint := least(upto, case when until is not null then inbox.number_behind(until) end);
begin
    if ids is not null then
        return query
        select e.number, e.id, e.received_at
        from unnest(ids) as wanted (id)
        cross join lateral (select i.* from inbox.event i where i.id = wanted.id limit 1) as e
        where e.endpoint = of_endpoint and (of_type is null or e.type = of_type)
            and e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number
        limit size;
    elsif of_type is not null then
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where e.endpoint = of_endpoint and e.type = of_type
            and e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number
        limit size;
    else
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where e.endpoint = of_endpoint
            and e.number > low and e.number <= high
            and (e.received_at >= since) is not false and (e.received_at < until) is not false
        order by e.number
        limit size;
    end if;
end
$body$;

drop function inbox.read_all_events(bigint, bigint, integer);
-- As before, but what was asked for once more and is kept no longer does not take the place of what is behind it.
create or replace function inbox.read_events(endpoints text[], after bigint, upto bigint, size integer)
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
                    and exists (
                        select from inbox.event k where k.id = a.event_id and k.received_at = a.received_at
                    )
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

drop index inbox.again_order_idx;
create index event_feed_idx on inbox.event (endpoint, number);
create index event_type_idx on inbox.event (endpoint, type, number);
drop index inbox.event_place_idx;
drop index inbox.event_order_idx;

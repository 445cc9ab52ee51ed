-- name: up#
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

-- Events of an endpoint, the newest first: with low < number <= high, of one type or of any, received at `since` or
-- later and before `until`; by the same rules.
create function inbox.page_events(
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

-- name: down#
drop function inbox.page_events(text, text, timestamptz, timestamptz, bigint, bigint, integer);
-- The next events of an endpoint, in order: with after < number <= upto, of one type or of any, of these ids or of all,
-- received at `since` or later and before `until`. An index gives each branch its order, whatever the table holds.
create or replace function inbox.find_events(
    of_endpoint text, of_type text, ids uuid[], since timestamptz, until timestamptz, after bigint, upto bigint,
    size integer
) returns table (number bigint, id uuid, received_at timestamptz)
language plpgsql stable as $body$
declare
    low bigint := greatest(after, case when since is not null then inbox.number_before(since) end);
    high bigint := least(upto, case when until is not null then inbox.number_behind(until) end);
    first timestamptz := coalesce(since, '-infinity');
    last timestamptz := coalesce(until, 'infinity');
begin
    if ids is not null then
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where e.id = any (ids) and e.endpoint = of_endpoint and (of_type is null or e.type = of_type)
            and e.number > low and e.number <= high and e.received_at >= first and e.received_at < last
        order by e.number
        limit size;
    elsif of_type is not null then
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where e.endpoint = of_endpoint and e.type = of_type
            and e.number > low and e.number <= high and e.received_at >= first and e.received_at < last
        order by e.endpoint, e.type, e.number
        limit size;
    else
        return query
        select e.number, e.id, e.received_at
        from inbox.event e
        where e.endpoint = of_endpoint
            and e.number > low and e.number <= high and e.received_at >= first and e.received_at < last
        order by e.endpoint, e.number
        limit size;
    end if;
end
$body$;

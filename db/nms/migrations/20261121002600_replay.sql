-- name: up#
-- Events of one type, in order of their numbers, and where in the numbers a time is.
create index event_type_idx on inbox.event (endpoint, type, number);
create index event_time_idx on inbox.event (received_at);
-- What is gone for its age, found by it.
create index again_age_idx on inbox.again (received_at);

-- A number that every event received at this time or later is behind. Numbers are not in order of time: an event is
-- received when its transaction begins and gets its number before it ends, within 60 seconds (the limit of our
-- statements); ten minutes are more than clocks of two servers differ.
create function inbox.number_before(at timestamptz) returns bigint language sql stable as $body$
    select coalesce(
        (
            select e.number from inbox.event e
            where e.received_at < at - interval '10 minutes'
            order by e.received_at desc limit 1
        ),
        0
    )
$body$;

-- A number that every event received before this time is before.
create function inbox.number_behind(at timestamptz) returns bigint language sql stable as $body$
    select coalesce(
        (
            select e.number from inbox.event e
            where e.received_at >= at + interval '10 minutes'
            order by e.received_at limit 1
        ),
        9223372036854775807
    )
$body$;

-- The next events of an endpoint, in order: with after < number <= upto, of one type or of any, of these ids or of all,
-- received at `since` or later and before `until`. An index gives each branch its order, whatever the table holds.
create function inbox.find_events(
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

-- name: down#
drop function inbox.find_events(text, text, uuid[], timestamptz, timestamptz, bigint, bigint, integer);
drop function inbox.number_behind(timestamptz);
drop function inbox.number_before(timestamptz);
drop index inbox.again_age_idx;
drop index inbox.event_time_idx;
drop index inbox.event_type_idx;

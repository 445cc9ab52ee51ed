-- name: up#
-- Requests that brought lists, as they came; once, however many events each brought. Their events have a zero and the
-- id of the request in the place of headers, which never begin so: an event that came alone costs nothing for it.
create table inbox.request (
    id uuid primary key,
    endpoint text not null,
    method text not null,
    -- As it was signed; values of its query and secrets are hidden.
    url text not null,
    headers bytea not null,
    body bytea not null,
    -- By the clock of the process that took it, with which times that are signed are compared.
    arrived_at timestamptz not null,
    received_at timestamptz not null default now()
);
create index request_age_idx on inbox.request (received_at);

-- The request that an event came with as one of a list; null for one that came alone.
create function inbox.request_of(told bytea) returns uuid language sql immutable as $body$
select case
    when octet_length(told) = 17 and substring(told for 1) = '\x00' then encode(substring(told from 2), 'hex')::uuid
end
$body$;

-- The headers of an event, those of its request where it came with a list.
create function inbox.headers_of(told bytea) returns bytea language sql stable as $body$
select case
    when inbox.request_of(told) is null then told
    else coalesce((select r.headers from inbox.request r where r.id = inbox.request_of(told)), '')
end
$body$;

-- As before, with the headers of the request; the function is called for those alone that may have one.
create or replace function inbox.read_events(endpoints text[], after bigint, upto bigint, size integer)
returns table (
    number bigint, id uuid, endpoint text, type text, item integer, content_type text, key bytea, headers bytea,
    body bytea, received_at timestamptz, run bigint
)
language plpgsql volatile as $body$
begin
    return query
    select n.number, e.id, e.endpoint, e.type, e.item, e.content_type, e.key,
        case when octet_length(e.headers) = 17 then inbox.headers_of(e.headers) else e.headers end, e.body,
        e.received_at, n.run
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

-- As before, without headers, which are no part of what is passed on.
drop function inbox.read_all_events(bigint, bigint, integer);
create function inbox.read_all_events(after bigint, upto bigint, size integer)
returns table (
    number bigint, id uuid, endpoint text, type text, item integer, content_type text, key bytea, body bytea,
    received_at timestamptz, run bigint
)
language plpgsql volatile
set enable_sort = off set enable_seqscan = off set enable_bitmapscan = off as $body$
begin
    return query
    (
        select f.number, f.id, f.endpoint, f.type, f.item, f.content_type, f.key, f.body, f.received_at, null::bigint
        from inbox.event f
        where f.number > after and f.number <= upto
        order by f.number
        limit size
    )
    union all
    (
        select a.number, e.id, e.endpoint, e.type, e.item, e.content_type, e.key, e.body, e.received_at, a.run
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

-- name: down#
update inbox.event set headers = inbox.headers_of(headers) where inbox.request_of(headers) is not null;
drop function inbox.read_all_events(bigint, bigint, integer);
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

drop function inbox.headers_of(bytea);
drop function inbox.request_of(bytea);
drop table inbox.request;

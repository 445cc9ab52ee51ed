-- name: up#
-- How far events were passed on to RabbitMQ. It is restored together with them, so it keeps no event's id.
create table inbox.relay (
    name text primary key,
    number bigint not null default 0
);
insert into inbox.relay (name) values ('rabbitmq');

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

-- name: down#
drop table inbox.relay;
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

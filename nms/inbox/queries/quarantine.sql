-- name: claim_quarantine()$
-- One writer at a time, so that the bounds hold over all processes.
select pg_advisory_xact_lock(hashtextextended('inbox.quarantine', 0));

-- name: insert_quarantined(ids, facts, headers, sealed, bodies)!
insert into inbox.quarantine (
    id, endpoint, standing, status, code, reason, detail, method, url, size, remote, received_at, headers, sealed, body
)
select
    g.id, f.endpoint, f.standing, f.status, f.code, f.reason, f.detail, f.method, f.url, f.size, f.remote,
    to_timestamp(f.arrived), g.headers, g.sealed, g.body
from unnest(:ids::uuid[], :facts::text[], :headers::bytea[], :sealed::bytea[], :bodies::bytea[])
    with ordinality as g (id, facts, headers, sealed, body, place)
cross join jsonb_to_record(g.facts::jsonb) as f (
    endpoint text, standing text, status integer, code text, reason text, detail text, method text, url text,
    size integer, remote text, arrived double precision
)
order by g.place
on conflict (id) do nothing;

-- name: delete_beyond(endpoint, standing, most, bytes)!
-- The newest stay.
delete from inbox.quarantine
where number in (
    select r.number
    from (
        select q.number, row_number() over newest as place, sum(q.size) over newest as bytes
        from inbox.quarantine q
        where q.endpoint = :endpoint and q.standing = :standing
        window newest as (order by q.number desc)
    ) as r
    where r.place > :most or r.bytes > :bytes
);

-- name: delete_aged_quarantine(age)!
delete from inbox.quarantine where received_at < now() - make_interval(secs => :age::double precision);

-- name: delete_aged_counts(age)!
delete from inbox.quarantine_count where last_at < now() - make_interval(secs => :age::double precision);

-- name: upsert_quarantine_count(endpoint, standing, came, lost)!
insert into inbox.quarantine_count as c (endpoint, standing, came, lost)
values (:endpoint, :standing, :came, :lost)
on conflict (endpoint, standing) do update
set came = c.came + excluded.came, lost = c.lost + excluded.lost, last_at = now();

-- name: list_quarantine_counts(endpoint, standing, size)
select c.endpoint, c.standing, c.came, c.lost, c.last_at, h.held, h.bytes
from inbox.quarantine_count c
cross join lateral (
    select count(*) as held, coalesce(sum(q.size), 0)::bigint as bytes
    from inbox.quarantine q
    where q.endpoint = c.endpoint and q.standing = c.standing
) as h
where :endpoint::text is null or (c.endpoint, c.standing) > (:endpoint, :standing::text)
order by c.endpoint, c.standing
limit :size;

-- name: claim_reuse(endpoint, key, pause, most)$
-- True where it may be told that this id came with another body: it was not for a while, nor were many others.
insert into inbox.reuse as r (endpoint, key)
select :endpoint, :key
where (
    select count(*)
    from inbox.reuse o
    where o.endpoint = :endpoint and o.told_at > now() - make_interval(secs => :pause::double precision)
) < :most::bigint
on conflict (endpoint, key) do update set told_at = now()
where r.told_at <= now() - make_interval(secs => :pause::double precision)
returning true;

-- name: delete_aged_reuse(age)!
delete from inbox.reuse where told_at <= now() - make_interval(secs => :age::double precision);

-- name: list_quarantined(endpoint, code, since, before, size)
select
    q.number, q.id, q.endpoint, q.standing, q.status, q.code, q.reason, q.detail, q.method, q.url,
    octet_length(q.body) as bytes, q.remote, q.received_at
from inbox.quarantine q
where (:endpoint::text is null or q.endpoint = :endpoint)
    and (:code::text is null or q.code = :code or q.reason = :code)
    and (:since::timestamptz is null or q.received_at >= :since)
    and (:before::bigint is null or q.number < :before)
order by q.number desc
limit :size;

-- name: list_quarantined_ids(endpoint, code, since, after, size)
select q.number, q.id
from inbox.quarantine q
where q.endpoint = :endpoint
    and (:code::text is null or q.code = :code or q.reason = :code)
    and (:since::timestamptz is null or q.received_at >= :since)
    and (:after::bigint is null or q.number > :after)
order by q.number
limit :size;

-- name: get_quarantined(id)^
select
    q.number, q.id, q.endpoint, q.standing, q.status, q.code, q.reason, q.detail, q.method, q.url,
    octet_length(q.body) as bytes, q.remote, q.received_at, q.headers, q.body, q.sealed
from inbox.quarantine q
where q.id = :id;

-- name: claim_quarantined(id)$
select q.id from inbox.quarantine q where q.id = :id for update;

-- name: delete_quarantined(id)!
delete from inbox.quarantine where id = :id;

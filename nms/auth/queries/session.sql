-- name: insert_session(id, account_id, seed_hash, scope, address, agent, idle, absolute)^
insert into auth.session (id, account_id, seed_hash, scope, address, agent, idle_until, expires_at)
select :id::uuid, a.id, :seed_hash::bytea, :scope::text, :address::text, :agent::text,
    now() + least(:idle::interval, :absolute::interval), now() + :absolute::interval
from auth.account a
where a.id = :account_id
returning id as session_id, account_id, scope, expires_at,
    (select a.revision from auth.account a where a.id = account_id) as revision,
    array(select distinct unnest(r.scopes) from auth.account_role h
     join auth.role r on r.name = h.role where h.account_id = session.account_id) as scopes;

-- name: update_session_generation(id, seed_hash, generation, idle)^
-- One statement a refresh. A generation ahead of ours was issued before a restore, and is as good as ours. Rotations
-- are kept while the newest is in the longest window there is (300 s); more than 64 in that time is no client's habit.
update auth.session s
set generation = :generation::bigint + 1,
    rotations = case when s.generation = :generation and s.rotations[1] > now() - interval '300 s'
        then array_prepend(now(), s.rotations[1:63]) else array[now()] end,
    used_at = now(), idle_until = least(now() + :idle::interval, s.expires_at)
from auth.account a
where s.id = :id and s.seed_hash = :seed_hash and s.generation <= :generation and s.ended_at is null
    and s.idle_until > now() and s.expires_at > now() and a.id = s.account_id and not a.disabled
returning s.id as session_id, s.account_id, s.scope, s.expires_at, a.revision,
    array(select distinct unnest(r.scopes) from auth.account_role h
     join auth.role r on r.name = h.role where h.account_id = a.id) as scopes;

-- name: get_session_standing(id, seed_hash)^
select s.id as session_id, s.account_id, s.scope, s.expires_at, a.revision, s.generation, s.rotations,
    clock_timestamp() as now,
    s.ended_at is null and s.idle_until > now() and s.expires_at > now() and not a.disabled as alive,
    array(select distinct unnest(r.scopes) from auth.account_role h
     join auth.role r on r.name = h.role where h.account_id = a.id) as scopes
from auth.session s join auth.account a on a.id = s.account_id
where s.id = :id and s.seed_hash = :seed_hash;

-- name: mark_session_ended(id, reason)$
-- The account whose session it was, once.
update auth.session set ended_at = now(), end_reason = :reason where id = :id and ended_at is null
returning account_id;

-- name: list_surplus_sessions(account_id, keep)
select id from auth.session
where account_id = :account_id and ended_at is null and idle_until > now() and expires_at > now()
order by used_at desc, id
offset :keep;

-- name: mark_account_sessions_ended(account_id, reason, but)
-- Those that are good, and those whose last access token may still be.
update auth.session set ended_at = now(), end_reason = :reason
where account_id = :account_id and ended_at is null and id is distinct from :but::uuid
    and (idle_until > now() and expires_at > now() or used_at > now() - interval '2 hours')
returning id;

-- name: list_account_sessions(account_id, after_created, after_id, size)
select id, address, agent, created_at, used_at, idle_until, expires_at
from auth.session
where account_id = :account_id and ended_at is null and idle_until > now() and expires_at > now()
    and (:after_created::timestamptz is null or (created_at, id) < (:after_created, :after_id::uuid))
order by created_at desc, id desc
limit :size;

-- name: get_own_session(id, account_id)$
select id from auth.session where id = :id and account_id = :account_id and ended_at is null;

-- name: purge_sessions(days, size)!
-- Ended, or expired, so many days ago.
delete from auth.session where id in (
    select id from auth.session
    where least(ended_at, idle_until, expires_at) < now() - make_interval(days => :days::integer)
    limit :size for update skip locked
);

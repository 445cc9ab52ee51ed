-- name: upsert_claim(seed, seconds)!
-- While no account holds admin: one that has expired is renewed, any other stays.
insert into auth.claim as c (seed, expires_at)
select :seed::bytea, now() + make_interval(secs => :seconds::float8)
where not exists (select from auth.account_role where role = 'admin')
on conflict (one) do update
set seed = excluded.seed, created_at = now(), expires_at = excluded.expires_at, told_at = null
where c.expires_at <= now();

-- name: get_claim()^
select seed, expires_at from auth.claim
where expires_at > now() and not exists (select from auth.account_role where role = 'admin');

-- name: mark_claim_told(seconds)!
-- By one of the processes that start within so many seconds.
update auth.claim set told_at = now()
where told_at is null or told_at < now() - make_interval(secs => :seconds::float8);

-- name: delete_claim()!
delete from auth.claim;

-- name: list_service_tokens(revoked, after_name, after_id, size)
select t.id, t.name, t.description, t.scopes, t.created_by, t.created_at, t.expires_at, t.revoked_at,
    coalesce((
        select jsonb_agg(jsonb_build_object(
            'hint', s.hint, 'created_at', s.created_at, 'good_until', s.good_until, 'last_used_at', s.last_used_at
        ) order by s.created_at desc) from auth.service_secret s where s.service_token_id = t.id
    ), '[]') as secrets
from auth.service_token t
where (t.revoked_at is not null) = :revoked::boolean
    and (:after_name::text is null or (t.name, t.id) > (:after_name, :after_id::uuid))
order by t.name, t.id
limit :size;

-- name: get_service_token(id)^
select t.id, t.name, t.description, t.scopes, t.created_by, t.created_at, t.expires_at, t.revoked_at,
    coalesce((
        select jsonb_agg(jsonb_build_object(
            'hint', s.hint, 'created_at', s.created_at, 'good_until', s.good_until, 'last_used_at', s.last_used_at
        ) order by s.created_at desc) from auth.service_secret s where s.service_token_id = t.id
    ), '[]') as secrets
from auth.service_token t
where t.id = :id;

-- name: lock_service_token(id)$
-- Whether it is good.
select revoked_at is null and coalesce(expires_at > now(), true) from auth.service_token where id = :id for update;

-- name: insert_service_token(name, description, scopes, created_by, expires_at, ttl)^
insert into auth.service_token (name, description, scopes, created_by, expires_at)
select :name::text, :description::text, :scopes::text[], :created_by::text,
    coalesce(:expires_at::timestamptz, now() + make_interval(secs => :ttl::float8))
on conflict (name) where revoked_at is null do nothing
returning id, coalesce(expires_at > now(), true) as ahead;

-- name: insert_service_secret(id, hash, hint)!
insert into auth.service_secret (service_token_id, hash, hint) values (:id, :hash, :hint);

-- name: update_service_secrets(id, overlap)!
update auth.service_secret set good_until = now() + make_interval(secs => :overlap::float8)
where service_token_id = :id and (good_until is null or good_until > now() + make_interval(secs => :overlap::float8));

-- name: mark_service_token_revoked(id)!
update auth.service_token set revoked_at = now() where id = :id and revoked_at is null;

-- name: purge_service_tokens(days, size)!
delete from auth.service_token where id in (
    select id from auth.service_token where revoked_at < now() - make_interval(days => :days::integer)
    limit :size for update skip locked
);

-- name: purge_service_secrets(days, size)!
-- Never the last one: the token stays in sight with it.
delete from auth.service_secret where hash in (
    select s.hash from auth.service_secret s
    where s.good_until < now() - make_interval(days => :days::integer)
        and exists (select from auth.service_secret o where o.service_token_id = s.service_token_id
                    and o.created_at > s.created_at)
    limit :size for update skip locked
);

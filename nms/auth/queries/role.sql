-- name: list_roles(after, size)
select name, description, scopes, built_in, created_at, updated_at from auth.role
where name > coalesce(:after::text, '')
order by name
limit :size;

-- name: get_role(name)^
select name, description, scopes, built_in, created_at, updated_at from auth.role where name = :name;

-- name: list_granted_scopes(names)
-- Whoever changes one of these roles comes before or after, so that no account keeps scopes that nobody took from it.
select name, scopes from auth.role where name = any(:names::text[]) order by name for share;

-- name: lock_role(name)$
select name from auth.role where name = :name for no key update;

-- name: insert_role(name, description, scopes)!
insert into auth.role (name, description, scopes) values (:name, :description, :scopes)
on conflict (name) do nothing;

-- name: update_role(name, description, scopes)!
update auth.role set description = :description, scopes = :scopes, updated_at = now() where name = :name;

-- name: delete_role(name)!
-- Not one that is held: those who hold it would lose scopes unseen.
delete from auth.role where name = :name and not exists (select from auth.account_role h where h.role = :name);

-- name: count_active_holders(name)$
select count(*) from auth.account_role h join auth.account a on a.id = h.account_id
where h.role = :name and not a.disabled;

-- name: get_longest_scope(name)$
-- Characters of the scopes of the account that has most of them, of those who hold the role.
select max(length(held.scopes)) from (
    select string_agg(distinct g.scope, ' ') as scopes
    from auth.account_role h join auth.role r on r.name = h.role cross join unnest(r.scopes) as g (scope)
    where h.account_id in (select o.account_id from auth.account_role o where o.role = :name)
    group by h.account_id
) as held;

-- name: insert_holder_revocations(name, seconds)!
-- Their access tokens say what the role was: all of them are refused, and a refresh gives others.
with holders as (
    select a.id from auth.account a join auth.account_role h on h.account_id = a.id and h.role = :name
    order by a.id for no key update of a
), raised as (
    update auth.account a set revision = a.revision + 1, updated_at = now() from holders where a.id = holders.id
    returning a.id, a.revision
)
insert into auth.revocation (kind, subject, revision, expires_at)
select 'account', id::text, revision, now() + make_interval(secs => :seconds) from raised;

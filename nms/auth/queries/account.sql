-- name: get_account_login(email_key)^
select id, email, password, disabled, revision from auth.account where email_key = :email_key;

-- name: mark_account_used(id, password)!
-- Comes first when a session is opened: it waits for whoever changes the account, and keeps him out until the commit,
-- so that a change of the password or a closed account finds every session that it has to end.
update auth.account set last_login_at = now() where id = :id and password = :password and not disabled;

-- name: update_account_hash(id, known, password)!
-- The same password under newer parameters: nothing of the account changes. One that was set meanwhile stays.
update auth.account set password = :password where id = :id and password = :known;

-- name: list_accounts(email_key, role, disabled, after_created, after_id, size)
-- The page begins at a key whatever the plan: the first one is behind the beginning of time.
select a.id, a.email, a.name, a.disabled, a.revision, a.created_at, a.updated_at, a.password_changed_at,
    a.last_login_at, array(select h.role from auth.account_role h where h.account_id = a.id order by h.role) as roles
from auth.account a
where (a.created_at, a.id) > (
        coalesce(:after_created::timestamptz, '-infinity'),
        coalesce(:after_id::uuid, '00000000-0000-0000-0000-000000000000')
    )
    and (:email_key::text is null or a.email_key = :email_key)
    and (:role::text is null
        or exists (select from auth.account_role h where h.account_id = a.id and h.role = :role))
    and (:disabled::boolean is null or a.disabled = :disabled)
order by a.created_at, a.id
limit :size;

-- name: get_account(id, email_key)^
-- By one of the two.
select a.id, a.email, a.name, a.disabled, a.revision, a.created_at, a.updated_at, a.password_changed_at,
    a.last_login_at, array(select h.role from auth.account_role h where h.account_id = a.id order by h.role) as roles
from auth.account a
where a.id = :id::uuid or a.email_key = :email_key::text;

-- name: get_account_secret(id)^
select email, email_key, password from auth.account where id = :id;

-- name: lock_account(id)$
-- Sessions may be opened meanwhile; what changes the account waits.
select id from auth.account where id = :id for no key update;

-- name: list_account_scopes(id)$
select coalesce(array_agg(distinct g.scope), '{}')
from auth.account_role h join auth.role r on r.name = h.role cross join unnest(r.scopes) as g (scope)
where h.account_id = :id;

-- name: insert_account(email, email_key, name, password)$
insert into auth.account (email, email_key, name, password) values (:email, :email_key, :name, :password)
on conflict (email_key) do nothing
returning id;

-- name: update_account(id, name, disabled, password)$
-- What is null stays; the new revision.
update auth.account set
    name = coalesce(:name, name), disabled = coalesce(:disabled, disabled), password = coalesce(:password, password),
    password_changed_at = case when :password is null then password_changed_at else now() end,
    revision = revision + 1, updated_at = now()
where id = :id
returning revision;

-- name: delete_account(id)!
delete from auth.account where id = :id;

-- name: delete_account_roles(account_id, roles)!
-- All but these.
delete from auth.account_role where account_id = :account_id and role <> all(:roles::text[]);

-- name: insert_account_roles(account_id, roles)!
insert into auth.account_role (account_id, role) select :account_id, role from unnest(:roles::text[]) as given (role)
on conflict do nothing;

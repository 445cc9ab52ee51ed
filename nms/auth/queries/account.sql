-- name: get_account_login(email_key)^
select id, email, password, disabled, revision from auth.account where email_key = :email_key;

-- name: mark_account_used(id)!
update auth.account set last_login_at = now() where id = :id;

-- name: update_account_hash(id, password)!
-- The same password under newer parameters: nothing of the account changes.
update auth.account set password = :password where id = :id;

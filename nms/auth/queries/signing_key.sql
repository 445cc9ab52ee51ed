-- name: lock_signing_keys()!
lock table auth.signing_key in share row exclusive mode;

-- name: get_signing_key()^
select kid, sealed_key from auth.signing_key where verifies_until is null;

-- name: list_verification_keys()
select kid, algorithm, public_key, created_at, verifies_until from auth.signing_key
where verifies_until is null or verifies_until > now()
order by created_at desc;

-- name: insert_signing_key(kid, public_key, sealed_key)!
insert into auth.signing_key (kid, algorithm, public_key, sealed_key)
values (:kid, 'EdDSA', :public_key, :sealed_key)
on conflict do nothing;

-- name: mark_signing_keys_replaced(seconds)
update auth.signing_key set verifies_until = now() + make_interval(secs => :seconds)
where verifies_until is null
returning kid;

-- name: mark_signing_keys_given_up()
update auth.signing_key set verifies_until = now()
where verifies_until is null or verifies_until > now()
returning kid;

-- name: delete_signing_keys()!
-- A month behind their last token, nobody asks for them.
delete from auth.signing_key where verifies_until < now() - interval '30 days';

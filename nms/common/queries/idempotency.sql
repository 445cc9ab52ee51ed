-- name: claim_answer(caller, key, digest)^
-- Waits for whoever has the key until the end of the transaction; gives a row to whoever may act under it.
insert into common.idempotency (caller, key, digest)
values (:caller, :key, :digest)
on conflict (caller, key) do update set digest = excluded.digest, status = null, created_at = now()
where idempotency.created_at < now() - interval '24 h'
returning true as mine;

-- name: get_answer(caller, key)^
select digest, status, headers, body from common.idempotency where caller = :caller and key = :key;

-- name: update_answer(caller, key, status, headers, body)!
update common.idempotency set status = :status, headers = :headers, body = :body where caller = :caller and key = :key;

-- name: purge_answers(size)!
-- Whoever keeps one more takes some away that are over, so that nobody else has to.
delete from common.idempotency
where (caller, key) in (
    select caller, key from common.idempotency where created_at < now() - interval '24 h'
    order by created_at limit :size for update skip locked
);

-- name: list_stale_keys(key_id, after, size)
-- What is sealed with another key than this, from a place on; `about` is what it was sealed for.
select k.kid as id, format('auth.signing_key %s', k.kid) as about, k.sealed_key as sealed
from auth.signing_key as k
where encode(substr(k.sealed_key, 2, 8), 'hex') <> :key_id and (:after::text is null or k.kid > :after)
order by k.kid
limit :size;

-- name: update_stale_keys(ids, befores, afters)!
update auth.signing_key as k set sealed_key = fresh.after
from unnest(:ids::text[], :befores::bytea[], :afters::bytea[]) as fresh (id, before, after)
where k.kid = fresh.id and k.sealed_key = fresh.before;

-- name: list_stale_secrets(key_id, after, size)
-- What is sealed with another key than this, from a place on; `about` is what it was sealed for.
select
    s.name as id,
    array_to_string(array[format('data key of cfg.secret %s %s', s.name, s.version)] || s.origins, chr(10)) as about,
    s.wrapped as sealed
from cfg.secret as s
where s.key_id <> :key_id and (:after::text is null or s.name > :after)
order by s.name
limit :size;

-- name: update_stale_secrets(ids, befores, afters)!
-- One that was set anew meanwhile is left alone.
update cfg.secret as s set wrapped = fresh.after
from unnest(:ids::text[], :befores::bytea[], :afters::bytea[]) as fresh (id, before, after)
where s.name = fresh.id and s.wrapped = fresh.before;

-- name: list_stale_tokens(key_id, after, size)
select t.line as id, format('token %s %s', t.system, t.line) as about, t.sealed
from sync.token as t
where encode(substr(t.sealed, 2, 8), 'hex') <> :key_id and (:after::text is null or t.line > :after)
order by t.line, t.system
limit :size;

-- name: update_stale_tokens(ids, befores, afters)!
update sync.token as t set sealed = fresh.after
from unnest(:ids::text[], :befores::bytea[], :afters::bytea[]) as fresh (id, before, after)
where t.line = fresh.id and t.sealed = fresh.before;

-- name: list_stale_quarantined(key_id, after, size)
select q.id::text as id, format('inbox.quarantine %s', q.id) as about, q.sealed
from inbox.quarantine as q
where encode(substr(q.sealed, 2, 8), 'hex') <> :key_id and (:after::text is null or q.id > :after::uuid)
order by q.id
limit :size;

-- name: update_stale_quarantined(ids, befores, afters)!
update inbox.quarantine as q set sealed = fresh.after
from unnest(:ids::text[], :befores::bytea[], :afters::bytea[]) as fresh (id, before, after)
where q.id = fresh.id::uuid and q.sealed = fresh.before;

-- name: lock_token(system)$
-- Until the transaction ends; a process that stands still keeps it, one that is gone does not.
select pg_try_advisory_xact_lock(hashtextextended('sync.token ' || :system, 0));

-- name: get_token(system, line)^
select sealed, renewing from sync.token where system = :system and line = :line;

-- name: upsert_token(system, line, sealed, renewing)!
insert into sync.token as t (system, line, sealed, renewing)
values (:system, :line, :sealed, :renewing)
on conflict (system, line) do update
set sealed = excluded.sealed, renewing = excluded.renewing, updated_at = now();

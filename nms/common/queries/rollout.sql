-- name: upsert_rollout(id, role, host, pid, revision)!
insert into common.rollout as r (id, role, host, pid, revision, taken_at)
values (:id, :role, :host, :pid, :revision, case when :revision::bigint is not null then now() end)
on conflict (id) do update set
    seen_at = now(),
    revision = excluded.revision,
    taken_at = case when r.revision is distinct from excluded.revision then now() else r.taken_at end;

-- name: delete_rollout(id)!
delete from common.rollout where id = :id;

-- name: purge_rollouts(older)!
-- Processes that were killed told nothing at their end.
delete from common.rollout where seen_at < now() - make_interval(secs => :older);

-- name: list_rollouts(after_role, after_id, gone, kept, size)
select r.id, r.role, r.host, r.pid, r.started_at, r.revision, r.taken_at, r.seen_at, newest.revision as newest,
    case when r.seen_at < now() - make_interval(secs => :gone) then 'gone'
        when r.revision is null then 'starting'
        when r.revision < newest.revision then 'behind'
        else 'current' end as state
from common.rollout as r cross join cfg.current_revision as newest
where r.seen_at >= now() - make_interval(secs => :kept)
  and (:after_role::text is null or (r.role, r.id) > (:after_role, :after_id::uuid))
order by r.role, r.id
limit :size;

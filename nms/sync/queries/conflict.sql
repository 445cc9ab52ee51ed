-- name: insert_conflicts(entries)!
insert into sync.conflict (pipeline, dataset, key, kind, policy, state, outcome, fields, revision, digest, base, source, target)
select pipeline, dataset, key, kind, policy, 'settled', outcome, fields, revision, digest, base, source, target
from jsonb_populate_recordset(null::sync.conflict, :entries)
on conflict (pipeline, dataset, key, revision, digest) do nothing;

-- name: upsert_waiting(entries)!
-- Whoever decides sees what both sides have now; what was asked for before that stands.
insert into sync.conflict as c (pipeline, dataset, key, kind, policy, state, outcome, fields, revision, digest, base, source, target)
select pipeline, dataset, key, kind, policy, 'open', outcome, fields, revision, digest, base, source, target
from jsonb_populate_recordset(null::sync.conflict, :entries)
on conflict (pipeline, dataset, key) where state <> 'settled' do update
set kind = excluded.kind, fields = excluded.fields, digest = excluded.digest, source = excluded.source, target = excluded.target,
    updated_at = now()
where c.digest <> excluded.digest;

-- name: list_conflicts(pipeline, state, before, size)
select id, pipeline, dataset, key, kind, policy, state, outcome, fields, base, source, target, take, created_at, updated_at
from sync.conflict
where (:pipeline::text is null or pipeline = :pipeline) and (:state::text is null or state = :state)
    and (:before::bigint is null or id < :before)
order by id desc
limit :size;

-- name: get_conflict(id)^
select id, pipeline, dataset, key, kind, policy, state, outcome, fields, base, source, target, take, created_at, updated_at
from sync.conflict
where id = :id;

-- name: mark_settling(id, take)^
update sync.conflict set state = 'settling', take = :take, updated_at = now()
where id = :id and state <> 'settled'
returning id, pipeline, dataset, key, kind, policy, state, outcome, fields, base, source, target, take, created_at, updated_at;

-- name: list_waiting(pipeline)
select dataset, key, take from sync.conflict where pipeline = :pipeline and state <> 'settled' order by id;

-- name: mark_conflicts_settled(pipeline, dataset, keys)!
update sync.conflict as c
set state = 'settled', outcome = case when c.take is null then 'agreed' else 'decided' end, updated_at = now()
from jsonb_array_elements(:keys) as k (key)
where c.pipeline = :pipeline and c.dataset = :dataset and c.state <> 'settled'
    and c.key = array(select jsonb_array_elements_text(k.key));

-- name: delete_conflicts(pipeline)!
delete from sync.conflict where pipeline = :pipeline;

-- name: upsert_pipeline(name, revision, checksum, documents)^
-- A pipeline that was removed and comes back starts a new generation: its slot is gone. Changed documents end a halt.
insert into sync.pipeline as p (name, revision, checksum, documents)
values (:name, :revision, :checksum, :documents)
on conflict (name) do update set
    revision = excluded.revision,
    checksum = excluded.checksum,
    documents = excluded.documents,
    wanted = case when p.wanted = 'removed' then 'running' else p.wanted end,
    generation = p.generation + (p.wanted = 'removed')::int,
    problem = null,
    updated_at = now()
returning name, revision, wanted, generation, phase, position, status, problem, alarm, created_at, updated_at;

-- name: get_pipeline(name)^
select name, revision, wanted, generation, phase, position, status, problem, alarm, created_at, updated_at
from sync.pipeline
where name = :name;

-- name: get_pipeline_documents(name)$
select documents from sync.pipeline where name = :name;

-- name: list_pipelines(after, size)
select name, revision, wanted, generation, phase, position, status, problem, alarm, created_at, updated_at
from sync.pipeline
where name > :after
order by name
limit :size;

-- name: mark_adopted(revision)!
insert into sync.adopted as a (revision) values (:revision)
on conflict (one) do update set revision = excluded.revision where a.revision <> excluded.revision;

-- name: get_adopted()$
select revision from sync.adopted;

-- name: claim_adoption()$
-- One at a time: the older of two sets of documents must not be written last.
select pg_advisory_xact_lock(hashtext('sync.adopt'))::text;

-- name: get_clock()$
select now();

-- name: list_checksums()
select name, checksum, wanted from sync.pipeline;

-- name: update_wanted(name, wanted)^
-- A halt is over as soon as somebody decides.
update sync.pipeline
set wanted = :wanted, phase = case when :wanted = 'paused' then 'paused' else phase end,
    problem = case when :wanted = 'running' then null else problem end, updated_at = now()
where name = :name and wanted <> 'removed'
returning name, revision, wanted, generation, phase, position, status, problem, alarm, created_at, updated_at;

-- name: update_generation(name)^
-- What is copied anew is asked for, too: a pipeline that works on demand begins at once.
update sync.pipeline
set generation = generation + 1, asked = asked + 1, wanted = 'running', problem = null, updated_at = now()
where name = :name and wanted <> 'removed'
returning name, revision, wanted, generation, phase, position, status, problem, alarm, created_at, updated_at;

-- name: mark_removed(name)^
update sync.pipeline
set wanted = 'removed', phase = 'removing', updated_at = now()
where name = :name and wanted <> 'removed'
returning name, revision, wanted, generation, phase, position, status, problem, alarm, created_at, updated_at;

-- name: update_status(name, phase, position, status, problem, rounded)$
-- Of a pipeline that somebody paused or removed meanwhile a worker on its way out tells no phase. Gives the newest ask.
update sync.pipeline
set phase = case wanted when 'running' then :phase else phase end,
    problem = case wanted when 'running' then :problem::jsonb else problem end,
    position = coalesce(:position::jsonb, position), status = :status::jsonb,
    rounded = greatest(rounded, :rounded::bigint), updated_at = now()
where name = :name
returning asked;

-- name: get_capture(name)$
select documents #>> '{pipeline,capture}' from sync.pipeline where name = :name and wanted <> 'removed';

-- name: claim_round(name)!
-- A round is asked for: whoever asks at the same time waits, and so does the run that reads the number.
update sync.pipeline set asked = asked + 1
where name = :name and wanted <> 'removed';

-- name: get_asked(name)$
select asked from sync.pipeline where name = :name and wanted <> 'removed' for share;

-- name: get_round(name)^
select asked, rounded from sync.pipeline where name = :name;

-- name: mark_withdrawn(name, number)$
-- Nobody waits for the round any more. Gives whether rounds of this pipeline begin on demand only; none: it was served.
update sync.pipeline set rounded = :number
where name = :name and rounded < :number
returning coalesce((documents #>> '{pipeline,on_demand}')::boolean, false);

-- name: claim_guard()$
select pg_try_advisory_xact_lock(hashtext('sync.guard'));

-- name: list_guarded()
-- Those with a slot: at the source, or where a pipeline goes both ways, at its target.
select name, generation, documents, alarm from sync.pipeline
where wanted <> 'removed' and case documents #>> '{pipeline,direction}'
    when 'two-way' then documents #>> '{pipeline,back}' = 'log'
    else documents #>> '{pipeline,capture}' = 'log' and documents #>> '{source,type}' in ('postgres', 'warehouse')
end;

-- name: claim_guarded(name, generation)^
-- Holds a resync and a removal back; none where another generation, so another slot, has begun.
select coalesce(problem ->> 'code' = 'slot-released', false) as told
from sync.pipeline
where name = :name and generation = :generation and wanted <> 'removed'
for update;

-- name: update_alarm(name, alarm)!
update sync.pipeline set alarm = :alarm::jsonb where name = :name;

-- name: mark_released(name, problem)!
update sync.pipeline
set phase = case wanted when 'running' then 'halted' else phase end, problem = :problem, alarm = null, updated_at = now()
where name = :name;

-- name: delete_pipeline(name)!
delete from sync.pipeline where name = :name and wanted = 'removed';

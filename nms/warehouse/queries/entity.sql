-- name: lock_adoption()
-- Two workers that follow the documents at once would each see what the other has not done yet.
select pg_advisory_xact_lock(hashtextextended('warehouse.entity', 0));

-- name: get_entity(name)^
select name, document, revision, wanted, wanted_revision, state, problem, form, updated_at
from warehouse.entity
where name = :name;

-- name: list_entities()
select name, document, revision, wanted, wanted_revision, state, problem, form, updated_at
from warehouse.entity
order by name;

-- name: lock_building(name)$
-- Who builds it tells how that ended, and ends the run, after whoever holds this.
select name from warehouse.entity where name = :name and state = 'building' for no key update;

-- name: list_entity_page(after, size)
select name, document, revision, wanted, wanted_revision, state, problem, form, updated_at
from warehouse.entity
where :after::text is null or name > :after
order by name
limit :size;

-- name: upsert_wanted(name, wanted, revision)!
-- Not by a worker that read its documents earlier than another one.
insert into warehouse.entity as e (name, wanted, wanted_revision, state)
values (:name, :wanted, :revision, 'building')
on conflict (name) do update
set wanted = excluded.wanted, wanted_revision = excluded.wanted_revision, state = 'building', problem = null,
    updated_at = now()
where e.wanted_revision <= excluded.wanted_revision;

-- name: mark_altering(name)!
-- From here until it is built nobody knows what its triggers write: another document makes them anew.
update warehouse.entity set form = null where name = :name;

-- name: mark_built(name, document, revision, form)!
-- What was wanted meanwhile is for the next run.
update warehouse.entity
set document = :document, revision = :revision, form = :form, updated_at = now(),
    state = case when wanted_revision = :revision then 'ready' else state end,
    problem = case when wanted_revision = :revision then null else problem end
where name = :name and state <> 'hidden';

-- name: mark_halted(name, revision, problem)!
update warehouse.entity set state = 'halted', problem = :problem, updated_at = now()
where name = :name and wanted_revision = :revision and state <> 'hidden';

-- name: mark_hidden(name, revision)!
update warehouse.entity set state = 'hidden', problem = null, updated_at = now()
where name = :name and wanted_revision <= :revision;

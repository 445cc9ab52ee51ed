-- name: get_entity(name)^
select name, document, revision, wanted, wanted_revision, state, problem, updated_at
from warehouse.entity
where name = :name;

-- name: list_entities()
select name, document, revision, wanted, wanted_revision, state, problem, updated_at
from warehouse.entity
order by name;

-- name: upsert_wanted(name, wanted, revision)!
insert into warehouse.entity (name, wanted, wanted_revision, state)
values (:name, :wanted, :revision, 'building')
on conflict (name) do update
set wanted = excluded.wanted, wanted_revision = excluded.wanted_revision, state = 'building', problem = null,
    updated_at = now();

-- name: mark_built(name, document, revision)!
-- What was wanted meanwhile is for the next run.
update warehouse.entity
set document = :document, revision = :revision, updated_at = now(), problem = null,
    state = case when wanted_revision = :revision then 'ready' else state end
where name = :name and state <> 'hidden';

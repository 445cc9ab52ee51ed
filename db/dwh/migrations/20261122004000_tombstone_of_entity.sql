-- name: up#
-- The newest deletion of an entity is asked for with each list. Whoever clears old ones keeps the newest of each entity:
-- by it a list that somebody holds is known to be the list of now.
create index tombstone_entity_idx on warehouse.tombstone (entity, sequence);

-- name: down#
drop index warehouse.tombstone_entity_idx;

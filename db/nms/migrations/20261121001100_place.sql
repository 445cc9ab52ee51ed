-- name: up#
-- Where a record is: the key that it has at one place of a remote is another record's elsewhere.
alter table sync.record add column place text not null default '';
alter table sync.record drop constraint record_pkey, add primary key (pipeline, dataset, place, key);

-- name: down#
delete from sync.record as c using sync.record as newer
where c.pipeline = newer.pipeline and c.dataset = newer.dataset and c.key = newer.key
    and (c.updated_at, c.place) < (newer.updated_at, newer.place);
alter table sync.record drop constraint record_pkey, add primary key (pipeline, dataset, key);
alter table sync.record drop column place;

-- name: get_row_estimate(entity)$
-- Of the planner's statistics; null where the table was never looked at.
select nullif(c.reltuples, -1)::bigint
from pg_class c
where c.oid = to_regclass(format('entity.%I', :entity::text));

-- name: insert_export(run, entity, format, compression, author, keep)!
insert into warehouse.export (run, entity, format, compression, author, expires_at)
values (:run, :entity, :format, :compression, :author, now() + make_interval(secs => :keep::double precision));

-- name: update_exported(run, host, file, rows, sequence, sha256, content_sha256, size, keep)!
update warehouse.export
set host = :host, file = :file, rows = :rows, sequence = :sequence, sha256 = :sha256,
    content_sha256 = :content_sha256, size = :size,
    expires_at = now() + make_interval(secs => :keep::double precision)
where run = :run;

-- name: get_export(run)^
select e.run as id, e.entity, e.format, e.compression, r.payload -> 'query' as query, e.author, r.state, r.progress,
    r.problem, e.host, e.file, e.rows, e.sequence, e.sha256, e.content_sha256, e.size, e.created_at, r.ended_at,
    e.expires_at
from warehouse.export e
join common.run r on r.id = e.run
where e.run = :run;

-- name: list_exports(entities, entity, before, size)
select e.run as id, e.entity, e.format, e.compression, r.payload -> 'query' as query, e.author, r.state, r.progress,
    r.problem, e.host, e.file, e.rows, e.sequence, e.sha256, e.content_sha256, e.size, e.created_at, r.ended_at,
    e.expires_at
from warehouse.export e
join common.run r on r.id = e.run
where (:entities::text[] is null or e.entity = any (:entities::text[]))
  and (:entity::text is null or e.entity = :entity)
  and (:before::bigint is null or e.run < :before)
order by e.run desc
limit :size;

-- name: delete_export(run)!
delete from warehouse.export where run = :run;

-- name: delete_expired_exports()!
-- One that is still being written is kept, however long that takes.
delete from warehouse.export e
where e.expires_at < now()
  and not exists (
      select from common.run r
      where r.id = e.run and r.state in ('queued', 'running', 'retrying', 'cancelling')
  );

-- name: list_wanted_files(runs)
-- The names of files that are kept, and the claims under which one may be being written.
select e.run, e.file, r.epoch, r.state in ('running', 'cancelling') as writing
from warehouse.export e
left join common.run r on r.id = e.run
where e.run = any (:runs::bigint[]);

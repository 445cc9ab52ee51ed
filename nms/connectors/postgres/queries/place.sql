-- name: upsert_position(pipeline, source_system)^
-- Raises the fence and tells where the target stands; epochs live here, so a restored own database cannot fall behind.
insert into nms.position as p (pipeline, epoch, source_system)
values (:pipeline, 1, :source_system)
on conflict (pipeline) do update set epoch = p.epoch + 1, updated_at = now()
returning epoch, position::text as position, source_system, layouts::text as layouts;

-- name: get_position(pipeline)^
select epoch, position::text as position, source_system, layouts::text as layouts, updated_at from nms.position where pipeline = :pipeline;

-- name: update_position(pipeline, epoch, position, source_system)!
update nms.position
set position = :position::text::jsonb, source_system = :source_system, updated_at = now()
where pipeline = :pipeline and epoch = :epoch;

-- name: update_tables(pipeline, epoch, position, source_system, layouts)!
-- The position together with what is kept of the tables there.
update nms.position
set position = :position::text::jsonb, source_system = :source_system, layouts = :layouts::text::jsonb, updated_at = now()
where pipeline = :pipeline and epoch = :epoch;

-- name: delete_position(pipeline)!
delete from nms.position where pipeline = :pipeline;

-- name: claim_sessions(prefix, own)
-- Ends the sessions of workers that lost the pipeline, here and not in another database of the same server.
select pg_terminate_backend(pid) as ended
from pg_stat_activity
where left(application_name, length(:prefix)) = :prefix and left(application_name, length(:own)) <> :own and datname = current_database()
    and usename = current_user and pid <> pg_backend_pid();

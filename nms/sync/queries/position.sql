-- name: get_position(pipeline)$
select position from sync.position where pipeline = :pipeline;

-- name: upsert_position(pipeline, position)!
insert into sync.position as p (pipeline, position) values (:pipeline, :position)
on conflict (pipeline) do update set position = excluded.position, updated_at = now();

-- name: delete_position(pipeline)!
delete from sync.position where pipeline = :pipeline;

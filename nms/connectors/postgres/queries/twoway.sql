-- name: get_base()$
-- What keeps the last synced state, or null.
select to_regclass('nms.base')::text;

-- name: delete_base(pipeline)!
delete from nms.base where pipeline = :pipeline;

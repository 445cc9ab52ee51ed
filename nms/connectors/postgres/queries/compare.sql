-- name: update_sort_memory(size)$
select set_config('work_mem', :size, false);

-- name: get_hash_probe()$
-- Servers with one answer hash one text to one number: the bytes of the text and of numbers count.
select current_setting('server_encoding') || hashtextextended('nms', 0)::text;

-- name: list_updatable(oid, columns)
-- Which of these columns the login may update.
select a.attname::text as name
from pg_attribute a
where a.attrelid = :oid::bigint::oid and a.attname::text = any(:columns::text[])
    and has_column_privilege(a.attrelid, a.attnum, 'update');

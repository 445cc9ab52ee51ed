-- name: get_table(name)^
-- What stands: columns as `format_type` spells their types, the key in its order, indexes and whether they are whole.
select
    (
        select jsonb_agg(jsonb_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'required', a.attnotnull,
            'plain', a.attcollation in (0, '"C"'::regcollation)
        ) order by a.attnum)
        from pg_attribute as a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ) as columns,
    (
        select coalesce(jsonb_agg(a.attname order by k.place), '[]')
        from pg_index as i
        cross join unnest(i.indkey::smallint[]) with ordinality as k (attnum, place)
        join pg_attribute as a on a.attrelid = c.oid and a.attnum = k.attnum
        where i.indrelid = c.oid and i.indisprimary
    ) as key,
    (
        select coalesce(jsonb_object_agg(n.relname, i.indisvalid), '{}')
        from pg_index as i join pg_class as n on n.oid = i.indexrelid
        where i.indrelid = c.oid
    ) as indexes,
    greatest(c.reltuples, 0)::float8 as rows
from pg_class as c
where c.oid = to_regclass(format('entity.%I', :name::text)) and c.relkind = 'r';

-- name: get_last_sequence()$
select last_value - (not is_called)::integer from warehouse.sequence;

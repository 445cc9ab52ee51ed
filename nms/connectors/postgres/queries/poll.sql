-- name: get_stand()^
-- Which server this is, on which timeline, and what is visible now: a position of another one means nothing here.
select
    (select system_identifier::text from pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
        as server,
    pg_current_snapshot()::text as snapshot;

-- name: get_round(since)^
-- The snapshot that the whole round reads in, and how old (in transactions) what is new may be: above `newest`, up to
-- `oldest`. Within one transaction ages are counted from one place.
select
    pg_current_snapshot()::text as snapshot,
    extract(epoch from clock_timestamp())::float8 as at,
    age(:since::text::xid8::xid) as oldest,
    age(pg_snapshot_xmax(pg_current_snapshot())::xid) as newest;

-- name: list_members(oids)
-- The partitions of tables that have any, and the tables themselves.
select root.oid::bigint as root, array_agg(t.relid::oid::bigint order by t.relid) as members
from unnest(:oids::bigint[]::oid[]) as root (oid)
cross join lateral pg_partition_tree(root.oid) t
group by root.oid;

-- name: list_heirs(oids)
-- The tables that inherit from another one and are no partitions.
select c.oid::bigint as relation
from pg_class c
where c.oid = any(:oids::bigint[]::oid[]) and not c.relispartition
    and exists (select from pg_inherits i where i.inhrelid = c.oid);

-- name: list_followed(pipeline, oids)
-- The tables whose changes are noted for a pipeline; `mark` changes when the triggers are made anew or the table gets a
-- parent, `lacking` counts partitions without triggers.
select
    r.relation::bigint as relation,
    r.key,
    r.horizon::text as horizon,
    root.triggers,
    root.mark || case when exists (select from pg_inherits i where i.inhrelid = r.relation) then ' heir' else '' end
        as mark,
    leaf.lacking
from nms.reader r
cross join lateral (
    select count(*) as triggers, coalesce(string_agg(t.oid::text, ',' order by t.oid), '') as mark
    from pg_trigger t
    where t.tgrelid = r.relation and t.tgenabled in ('O', 'A')
        and t.tgname in ('nms_insert', 'nms_update', 'nms_delete', 'nms_truncate')
) as root
cross join lateral (
    select count(*) as lacking
    from pg_partition_tree(r.relation) m
    where m.relid <> r.relation and 4 > (
        select count(*) from pg_trigger t
        where t.tgrelid = m.relid and t.tgenabled in ('O', 'A')
            and t.tgname in ('nms_insert', 'nms_update', 'nms_delete', 'nms_truncate')
    )
) as leaf
where r.pipeline = :pipeline and r.relation = any(:oids::bigint[]::oid[]);

-- name: count_noted(relations, horizon, snapshot)^
-- How many keys were noted that a snapshot did not see, and how often the tables were emptied.
select
    count(*) filter (where c.key is not null) as keys,
    count(*) filter (where c.key is null) as emptied
from nms.change c
where c.relation = any(:relations::bigint[]::oid[]) and c.xid >= :horizon::text::xid8
    and not pg_visible_in_snapshot(c.xid, :snapshot::text::pg_snapshot);

-- name: mark_confirmed(pipeline, horizon)$
select nms.confirm(:pipeline, :horizon::text::xid8)::text;

-- name: delete_reader(pipeline)$
select nms.forget(:pipeline)::text;

-- name: count_readers(pipeline)$
select count(*) from nms.reader where pipeline = :pipeline;

-- name: update_lock_wait(wait)$
select set_config('lock_timeout', :wait, true);

-- name: get_change_log()^
-- What is there of the change log of a source, and whether this login may use it (see changes.sql).
select
    c.oid is not null and r.oid is not null and f.oid is not null as there,
    coalesce(
        has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
        and has_table_privilege(r.oid, 'select') and has_function_privilege(f.oid, 'execute')
        and has_function_privilege(g.oid, 'execute'), false
    ) as usable
from (select) as one
left join pg_namespace n on n.nspname = 'nms'
left join pg_class c on c.relnamespace = n.oid and c.relname = 'change' and c.relkind = 'r'
left join pg_class r on r.relnamespace = n.oid and r.relname = 'reader' and r.relkind = 'r'
left join pg_proc f on f.pronamespace = n.oid and f.proname = 'confirm'
left join pg_proc g on g.pronamespace = n.oid and g.proname = 'forget';

-- name: list_feeders(oids)
-- Of the columns of tables: the default's text, and whether a row trigger before updates could fill one.
select
    a.attrelid::bigint as table_oid,
    a.attname::text as name,
    coalesce(pg_get_expr(d.adbin, d.adrelid), '') as filler,
    exists (
        select from pg_trigger t
        where t.tgrelid = a.attrelid and not t.tgisinternal and t.tgenabled in ('O', 'A')
            and t.tgtype::int & 1 = 1 and t.tgtype::int & 2 = 2 and t.tgtype::int & 16 = 16
    ) as touched,
    exists (
        select from pg_index i where i.indrelid = a.attrelid and i.indisvalid and i.indpred is null
            and i.indkey[0] = a.attnum
    ) as indexed
from pg_attribute a
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = any(:oids::bigint[]::oid[]) and a.attnum > 0 and not a.attisdropped;

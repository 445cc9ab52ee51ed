-- name: list_tables(names)
-- A name that stands for no table gives no row; the caller tells which one. Names are looked up in the catalog, not
-- by to_regclass, which raises where the login may not use the schema.
select
    wanted.name,
    c.oid::bigint as oid,
    n.nspname as schema,
    c.relname as relation,
    c.relkind::text as kind,
    c.relreplident::text as identity,
    greatest(c.reltuples, 0)::bigint as estimate,
    pg_total_relation_size(c.oid) as bytes,
    has_table_privilege(c.oid, 'select') as can_select,
    has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
        and has_table_privilege(c.oid, 'delete') as can_write,
    pg_has_role(c.relowner, 'usage') as owned,
    exists (
        select from pg_constraint f
        where f.contype = 'f' and f.confrelid = c.oid and f.confdeltype in ('c', 'n', 'd')
    ) as acts,
    c.reltoastrelid <> 0 or exists (
        select from pg_partition_tree(c.oid) t join pg_class p on p.oid = t.relid where p.reltoastrelid <> 0
    ) as toasts,
    exists (
        select from pg_constraint f
        where c.oid in (f.conrelid, f.confrelid) and f.condeferrable and not f.condeferred
    ) as defers
from unnest(:names::text[]) as wanted (name)
cross join lateral parse_ident(wanted.name) as part (names)
join pg_namespace n on n.nspname = part.names[1]
join pg_class c on c.relnamespace = n.oid and c.relname = part.names[2]
where c.relkind in ('r', 'p');

-- name: list_columns(oids)
-- `wire` names what a value's binary form is made of, from the outside in, and `portable` says that another server
-- reads it alike: no object ids that only this server gave out (10000 and up), and none of its catalog (`reg...`).
-- No server receives an empty tsquery, oidvector or int2vector. An interval has infinities since 17, which older servers take for numbers.
-- `held` looks through domains.
with recursive listed as (
    select a.* from pg_attribute a
    where a.attrelid = any(:oids::bigint[]::oid[]) and a.attnum > 0 and not a.attisdropped
),
link (root, depth, oid, typmod) as (
    select distinct listed.atttypid, 0, listed.atttypid, -1 from listed
    union all
    select
        link.root,
        link.depth + 1,
        case when t.typtype = 'd' then t.typbasetype when t.typtype in ('r', 'm') then r.rngsubtype else t.typelem end,
        case when t.typtype = 'd' and link.typmod = -1 then t.typtypmod else link.typmod end
    from link
    join pg_type t on t.oid = link.oid
    left join pg_range r on t.oid in (r.rngtypid, r.rngmultitypid)
    where t.typtype in ('d', 'r', 'm') or (t.typelem <> 0 and t.typlen = -1)
),
kind as (
    select
        link.root,
        string_agg(
            case
                when t.typtype = 'd' then ''
                when t.typtype in ('r', 'm', 'e') then t.typtype::text || ' '
                when t.typelem <> 0 and t.typlen = -1 then 'a '
                when t.typname = 'interval' and current_setting('server_version_num')::int >= 170000 then 'interval 17'
                else format_type(t.oid, -1)
            end, '' order by link.depth
        ) as wire,
        bool_and(
            t.typsend <> 0 and t.typreceive <> 0 and t.typtype <> 'c'
            and not (
                t.typnamespace = 'pg_catalog'::regnamespace
                and (t.typname like 'reg%' or t.typname in ('tsquery', 'oidvector', 'int2vector'))
            )
            and not (t.typelem >= 10000 and t.typlen = -1)
        ) as portable,
        bool_or(
            t.typtype = 'c' or (t.typtype = 'b' and t.oid >= 10000 and t.typelem = 0)
            or t.typname in ('numeric', 'float4', 'float8', 'interval', 'bpchar', 'jsonb')
        ) as inexact
    from link
    join pg_type t on t.oid = link.oid
    group by link.root
),
held as (
    select distinct on (link.root) link.root, link.oid, link.typmod
    from link
    join pg_type t on t.oid = link.oid
    where t.typtype <> 'd'
    order by link.root, link.depth
)
select
    listed.attrelid::bigint as table_oid,
    listed.attname as name,
    listed.atttypid::bigint as oid,
    format_type(listed.atttypid, -1) as type,
    format_type(listed.atttypid, listed.atttypmod) as full_type,
    case when held.oid = listed.atttypid then format_type(listed.atttypid, listed.atttypmod)
        else format_type(held.oid, held.typmod) end as held,
    listed.attnotnull as required,
    listed.atthasdef as has_default,
    listed.attgenerated <> '' as generated,
    listed.attidentity::text as identity,
    coalesce(l.collname not in ('C', 'POSIX'), false) as collated,
    kind.portable,
    kind.wire,
    enum.oid is not null as is_enum,
    coalesce(not l.collisdeterministic, false) as loose,
    listed.attstorage <> 'p' as outlying,
    kind.inexact or coalesce(not l.collisdeterministic, false) as inexact,
    listed.attnum::int as number,
    listed.atttypmod as modifier,
    (listed.attmissingval::text::text[])[1] as missing
from listed
join kind on kind.root = listed.atttypid
join held on held.root = listed.atttypid
left join pg_type enum on enum.oid = held.oid and enum.typtype = 'e'
left join pg_collation l on l.oid = listed.attcollation
order by listed.attrelid, listed.attnum;

-- name: list_keys(oids)
-- Every unique index that rows can be told apart by: valid, immediate, not partial, on plain columns.
select
    i.indrelid::bigint as table_oid,
    i.indisprimary as primary_key,
    i.indisreplident as identity_key,
    array_agg(a.attname::text order by k.place) as columns,
    bool_and(a.attnotnull) as required
from pg_index i
cross join lateral unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = any(:oids::bigint[]::oid[])
    and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
    and k.place <= i.indnkeyatts
group by i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident
order by i.indisprimary desc, i.indisreplident desc, i.indexrelid;

-- name: list_references(oids)
select conrelid::bigint as child, confrelid::bigint as parent, conname::text as name, condeferrable as deferrable
from pg_constraint
where contype = 'f' and conrelid = any(:oids::bigint[]::oid[]) and confrelid = any(:oids::bigint[]::oid[]);

-- name: get_server()^
select
    current_setting('server_version_num')::int as version,
    current_setting('wal_level') as wal_level,
    current_setting('max_replication_slots')::int as max_slots,
    current_setting('max_wal_senders')::int as max_senders,
    (select count(*) from pg_replication_slots)::int as slots,
    pg_is_in_recovery() as standby,
    current_database()::text as database,
    current_user::text as login,
    current_setting('server_encoding') as encoding,
    has_database_privilege(current_database(), 'create') as can_create,
    (
        select r.rolreplication or r.rolsuper
            or exists (select from pg_roles g where g.rolname = 'rds_replication' and pg_has_role(r.oid, g.oid, 'usage'))
        from pg_roles r where r.rolname = current_user
    ) as can_replicate,
    (select rolsuper from pg_roles where rolname = current_user) as superuser,
    (select system_identifier::text from pg_control_system()) as system_identifier;

-- name: get_place()^
-- Where the server stands: its identity and the end of its log.
select
    (select system_identifier::text from pg_control_system()) as system_identifier,
    pg_current_wal_lsn()::text as lsn;

-- name: get_limits()^
-- What a server allows; `slot_keep` (bytes) and `slot_idle` (seconds) are null where nothing limits a slot.
select
    (select s.setting::bigint * 1048576 from pg_settings s where s.name = 'max_slot_wal_keep_size' and s.setting <> '-1')
        as slot_keep,
    (select s.setting::bigint from pg_settings s where s.name = 'idle_replication_slot_timeout' and s.setting <> '0')
        as slot_idle,
    (select count(*) from pg_stat_replication)::int as senders,
    current_setting('default_transaction_read_only') = 'on' as read_only,
    has_database_privilege(current_database(), 'temporary') as can_stage;

-- name: list_obstacles(oids)
-- What may stand in the way of reading or writing a table, beside its columns.
select
    c.oid::bigint as oid,
    c.relpersistence = 'u' as unlogged,
    row_security_active(c.oid) as row_security,
    has_schema_privilege(c.relnamespace, 'usage') as schema_usable,
    has_table_privilege(c.oid, 'truncate') as can_truncate,
    pg_get_userbyid(c.relowner)::text as owner,
    array(
        select t.tgname::text from pg_trigger t
        where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled in ('O', 'A') order by t.tgname
    ) as triggers,
    array(
        select f.conname::text from pg_constraint f
        where f.contype = 'f' and f.conrelid = c.oid and f.conparentid = 0 and f.confrelid <> c.oid
            and not f.confrelid = any(:oids::bigint[]::oid[])
        order by f.conname
    ) as outer_references
from pg_class c
where c.oid = any(:oids::bigint[]::oid[]);

-- name: list_bonds(oids)
-- Foreign keys among these tables, in themselves too; `deferred` says that they are checked at the commit.
select c.conrelid::bigint as child, c.confrelid::bigint as parent, c.conname::text as name, c.condeferred as deferred
from pg_constraint c
where c.contype = 'f' and c.conparentid = 0
    and c.conrelid = any(:oids::bigint[]::oid[]) and c.confrelid = any(:oids::bigint[]::oid[])
order by c.conname;

-- name: list_kinds(names)
-- What stands under names that are no tables.
select wanted.name, c.relkind::text as kind
from unnest(:names::text[]) as wanted (name)
cross join lateral parse_ident(wanted.name) as part (names)
join pg_namespace n on n.nspname = part.names[1]
join pg_class c on c.relnamespace = n.oid and c.relname = part.names[2]
where c.relkind not in ('r', 'p');

-- name: list_sizes(oids)
-- Rows as the server last counted them, and bytes, of tables with their partitions.
select
    root.oid::bigint as oid,
    sum(greatest(c.reltuples, 0))::bigint as rows,
    sum(pg_total_relation_size(c.oid))::bigint as bytes,
    bool_and(c.reltuples >= 0 or c.relkind = 'p') as counted
from unnest(:oids::bigint[]::oid[]) as root (oid)
join lateral (select root.oid union select t.relid from pg_partition_tree(root.oid) t) as member (oid) on true
join pg_class c on c.oid = member.oid
group by root.oid;

-- name: get_preparation()^
-- Whether the schema `nms` of a target is there, fits, and may be used by this login (see prepare.sql).
select
    n.oid is not null as schema_there,
    coalesce(has_schema_privilege(n.oid, 'usage'), false) as schema_usable,
    (
        select count(*) from pg_attribute a
        where a.attrelid = t.oid and not a.attisdropped
            and a.attname in ('pipeline', 'epoch', 'position', 'source_system', 'layouts', 'updated_at')
    ) = 6 as table_there,
    coalesce(
        has_table_privilege(t.oid, 'select') and has_table_privilege(t.oid, 'insert')
        and has_table_privilege(t.oid, 'update') and has_table_privilege(t.oid, 'delete'), false
    ) as table_usable,
    f.oid is not null as function_there,
    coalesce(has_function_privilege(f.oid, 'execute'), false) as function_usable
from (select) as one
left join pg_namespace n on n.nspname = 'nms'
left join pg_class t on t.relnamespace = n.oid and t.relname = 'position' and t.relkind = 'r'
left join pg_proc f on f.pronamespace = n.oid and f.proname = 'advance'
    and oidvectortypes(f.proargtypes) = 'text, bigint, jsonb';

-- name: lock_mark(mark)$
-- An advisory lock that only sessions of the same database of the same server can see.
select pg_try_advisory_lock(:mark);

-- name: count_marks(mark)$
select count(*) from pg_locks l
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and (l.classid::bigint << 32 | l.objid::bigint) = :mark and l.pid <> pg_backend_pid();

-- name: delete_mark(mark)$
select pg_advisory_unlock(:mark);

-- name: list_types(oids, modifiers)
-- Types that no column has any more, as a column of them is described; a type that is gone gives no row.
select
    wanted.oid,
    wanted.modifier,
    format_type(t.oid, -1) as type,
    format_type(t.oid, wanted.modifier) as full_type,
    t.oid < 10000 and t.typsend <> 0 and not t.typname like 'reg%' as portable
from unnest(:oids::bigint[], :modifiers::int[]) as wanted (oid, modifier)
join pg_type t on t.oid = wanted.oid::oid;

-- name: list_own_types(names)
-- Object ids of the types that stand under these names, as format_type gives them.
select wanted.name, to_regtype(wanted.name)::oid::bigint as oid
from unnest(:names::text[]) as wanted (name)
where to_regtype(wanted.name) is not null;

-- name: list_sent(oid)
-- The columns of a table that the log sends, as it does.
select a.attname as name, a.atttypid::bigint as oid, a.atttypmod as modifier
from pg_attribute a
where a.attrelid = :oid::bigint::oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum;

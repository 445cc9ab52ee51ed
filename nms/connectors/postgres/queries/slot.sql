-- name: get_slot(name)^
-- `invalid` since 13 by wal_status; unreserved is still readable. Names are unique in a server: one of another database
-- or plugin is a stranger's, not `own`.
select
    slot_name::text as name,
    active,
    active_pid,
    plugin::text as plugin,
    database::text as database,
    coalesce(database = current_database() and plugin = 'pgoutput', false) as own,
    wal_status as status,
    restart_lsn::text as restart,
    confirmed_flush_lsn::text as confirmed,
    (pg_current_wal_lsn() - restart_lsn)::bigint as retained,
    (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint as behind
from pg_replication_slots
where slot_name = :name;

-- name: list_published_tables(name)
select schemaname::text as schema, tablename::text as relation
from pg_publication_tables
where pubname = :name;

-- name: list_publications(names)
select pubname::text as name, pg_has_role(pubowner, 'usage') as owned from pg_publication where pubname = any(:names::text[]);

-- name: claim_slot_reader(name)
-- Ends whoever reads the slot: only the holder of the lease gets here, so it is a worker that lost it.
select pg_terminate_backend(active_pid) as ended
from pg_replication_slots
where slot_name = :name and active and database = current_database() and plugin = 'pgoutput';

-- name: delete_slot(name)
select pg_drop_replication_slot(slot_name)
from pg_replication_slots
where slot_name = :name and database = current_database() and plugin = 'pgoutput';

-- name: insert_slot(name)^
select lsn::text as lsn from pg_create_logical_replication_slot(:name, 'pgoutput');

-- name: insert_message(prefix, content)$
select pg_logical_emit_message(true, :prefix, :content::text)::text;

-- name: list_running()$
-- Transactions in progress now, by the 64-bit ids that snapshots use.
select array(select pg_snapshot_xip(pg_current_snapshot()))::text[];

-- name: count_running(xids)$
-- How many of these transactions have not ended yet.
select count(*) from unnest(:xids::text[]) as x (xid)
where not pg_visible_in_snapshot(x.xid::xid8, pg_current_snapshot());

-- name: get_snapshot()$
select pg_current_snapshot()::text;

-- name: list_retained(names)
-- A slot that was invalidated retains nothing any more.
select slot_name::text as name, greatest(pg_current_wal_lsn() - restart_lsn, 0)::bigint as retained
from pg_replication_slots
where slot_name = any(:names::text[]) and database = current_database() and plugin = 'pgoutput'
    and restart_lsn is not null and wal_status <> 'lost';

-- name: get_table_name(oid)^
-- Under which name a table stands now.
select n.nspname::text as schema, c.relname::text as relation
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.oid = :oid::bigint::oid;

-- name: list_nameless(oids)
-- Tables whose rows the log cannot name any more: while they are published, the server refuses their updates.
select c.oid::bigint as oid
from pg_class c
where c.oid = any(:oids::bigint[]::oid[]) and (
    c.relreplident = 'n'
    or (
        c.relreplident = 'd'
        and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid)
    )
    or (
        c.relreplident = 'i'
        and not exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident and i.indisvalid)
    )
);

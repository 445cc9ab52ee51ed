-- name: update_setting(name, value)$
-- A setting of this session, by which a script takes values that must not stand in its text.
select set_config(:name, :value, false);

-- name: get_log_end()$
select (pg_current_wal_lsn() - '0/0')::bigint;

-- name: list_slots(prefix)
-- Bytes of log from the beginning of time, so that they compare as numbers.
select slot_name::text as name, active, (confirmed_flush_lsn - '0/0')::bigint as confirmed
from pg_replication_slots
where left(slot_name, length(:prefix)) = :prefix;

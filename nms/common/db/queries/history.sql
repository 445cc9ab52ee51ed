-- The history table is aiosqlembic's own, so that this tool can go on where we stopped and we where it did.

-- name: get_history_exists()$
select to_regclass('aiosqlembic.aiosqlembic') is not null;

-- name: get_checksum_exists()$
select exists (
    select 1 from pg_attribute
    where attrelid = to_regclass('aiosqlembic.aiosqlembic') and attname = 'checksum' and not attisdropped
);

-- name: list_applied()
-- The newest row of a version tells whether it is applied; rows of aiosqlembic have no checksum.
select version_id, tstamp, checksum
from (
    select distinct on (version_id) version_id, tstamp, is_applied, to_jsonb(h) ->> 'checksum' as checksum
    from aiosqlembic.aiosqlembic h
    where version_id > 0
    order by version_id, id desc
) newest
where is_applied
order by version_id;

-- name: insert_applied(version, checksum)!
insert into aiosqlembic.aiosqlembic (version_id, is_applied, checksum) values (:version, true, :checksum);

-- name: delete_applied(version)!
delete from aiosqlembic.aiosqlembic where version_id = :version;

-- name: update_order(version)!
-- aiosqlembic takes the row with the highest id for the current version: newer versions are written again after a late one.
with newer as (
    delete from aiosqlembic.aiosqlembic where version_id > :version
    returning id, version_id, is_applied, tstamp, checksum
)
insert into aiosqlembic.aiosqlembic (version_id, is_applied, tstamp, checksum)
select version_id, is_applied, tstamp, checksum from newer order by version_id, id;

-- name: update_checksum(version, checksum)!
update aiosqlembic.aiosqlembic set checksum = :checksum where version_id = :version and checksum is null;

-- name: claim_migration(key)$
select pg_try_advisory_lock(:key::bigint);

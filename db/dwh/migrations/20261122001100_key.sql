-- name: up#
-- Takes a number for a record of an entity that comes without its key.
create function warehouse.take_key(entity text) returns bigint language plpgsql as $body$
declare
    -- No entity has a point in its name.
    numbers text := format('warehouse.%I', entity || '.key');
begin
    if to_regclass(numbers) is null then
        perform pg_advisory_xact_lock(hashtextextended('warehouse.key', 0));
        execute format('create sequence if not exists %s', numbers);
    end if;
    return nextval(numbers::regclass);
end
$body$;

-- Goes on behind the greatest key that records came with.
create function warehouse.skip_keys(entity text, field text) returns void language plpgsql as $body$
declare
    greatest_key bigint;
begin
    execute format('select max(%I) from entity.%I', field, entity) into greatest_key;
    perform setval(format('warehouse.%I', entity || '.key')::regclass, greatest(greatest_key, 1));
end
$body$;

-- name: down#
drop function warehouse.skip_keys(text, text);
drop function warehouse.take_key(text);

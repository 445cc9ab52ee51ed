-- name: up#
-- Goes on behind the greatest key that records came with; never back, where others have taken numbers meanwhile.
create or replace function warehouse.skip_keys(entity text, field text) returns void language plpgsql as $body$
declare
    greatest_key bigint;
    last bigint;
begin
    execute format('select max(%I) from entity.%I', field, entity) into greatest_key;
    execute format('select last_value from warehouse.%I', entity || '.key') into last;
    if greatest_key > last then
        perform setval(format('warehouse.%I', entity || '.key')::regclass, greatest_key);
    end if;
end
$body$;

-- name: down#
create or replace function warehouse.skip_keys(entity text, field text) returns void language plpgsql as $body$
declare
    greatest_key bigint;
begin
    execute format('select max(%I) from entity.%I', field, entity) into greatest_key;
    perform setval(format('warehouse.%I', entity || '.key')::regclass, greatest(greatest_key, 1));
end
$body$;

-- name: take_key(entity)$
select warehouse.take_key(:entity);

-- name: mark_keys(entity, field)
select warehouse.skip_keys(:entity, :field);

-- name: get_begun(milliseconds)$
select set_config('lock_timeout', :milliseconds::text, true);

-- name: get_tide()^
select warehouse.settled() as settled, last_value - (not is_called)::integer as newest from warehouse.sequence;

-- name: get_pulse()$
-- The smallest round trip through parser and executor.
select 1;

-- name: get_settled()$
select warehouse.settled();

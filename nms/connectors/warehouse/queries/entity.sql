-- name: list_entities(names)
-- What the warehouse publishes of its entities: `document` is what is built of each.
select name, document, state, problem from warehouse.entity where name = any(:names::text[]);

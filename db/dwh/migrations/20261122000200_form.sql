-- name: up#
-- What the triggers of a table were made of: another one is made anew, and the JSON of its records written again.
alter table warehouse.entity add column form text;

-- name: down#
alter table warehouse.entity drop column form;

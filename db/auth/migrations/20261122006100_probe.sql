-- name: up#
-- Whoever declares systems may look whether they answer.
update auth.role set scopes = array_append(scopes, 'systems:probe')
where built_in and name = 'operator' and not 'systems:probe' = any (scopes);

-- name: down#
update auth.role set scopes = array_remove(scopes, 'systems:probe') where built_in and name = 'operator';

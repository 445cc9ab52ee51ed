-- name: up#
-- Whoever declares systems may give them their secrets; nobody may read one.
update auth.role set scopes = array_append(scopes, 'secrets:write')
where built_in and name = 'operator' and not 'secrets:write' = any (scopes);

-- name: down#
update auth.role set scopes = array_remove(scopes, 'secrets:write') where built_in and name = 'operator';

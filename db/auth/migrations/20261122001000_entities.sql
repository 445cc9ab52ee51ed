-- name: up#
-- Whoever sees what moves sees what is kept of it.
update auth.role set scopes = array_append(scopes, 'entities:read')
where built_in and name in ('operator', 'viewer') and not 'entities:read' = any (scopes);
update auth.role set scopes = array_append(scopes, 'entities:write')
where built_in and name = 'operator' and not 'entities:write' = any (scopes);

-- name: down#
update auth.role set scopes = array_remove(array_remove(scopes, 'entities:read'), 'entities:write')
where built_in and name in ('operator', 'viewer');

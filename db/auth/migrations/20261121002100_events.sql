-- name: up#
-- Whoever may look at what moves may look at what came.
update auth.role set scopes = array_append(scopes, 'events:read') where built_in and name in ('operator', 'viewer');

-- name: down#
update auth.role set scopes = array_remove(scopes, 'events:read') where built_in and name in ('operator', 'viewer');

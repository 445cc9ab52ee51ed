-- name: up#
-- Whoever may settle what a target refused may settle what the inbox refused.
update auth.role set scopes = array_append(scopes, 'events:write')
where built_in and name = 'operator' and not 'events:write' = any (scopes);

-- name: down#
update auth.role set scopes = array_remove(scopes, 'events:write') where built_in and name = 'operator';

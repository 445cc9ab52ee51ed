-- name: list_secrets(after, size)
select name, version, state, origins, changed_at, author from cfg.secret
where state <> 'removed' and (:after::text is null or name > :after)
order by name
limit :size;

-- name: get_secret(name)^
select name, version, state, origins, changed_at, author from cfg.secret where name = :name;

-- name: list_documents_with_secrets()
-- Whether the text is a reference is told by what parses the document.
select kind, name, revision, body from cfg.current_document where body::text like '%secret://%' order by kind, name;

-- name: upsert_secret(name, version, wrapped, sealed, origins, author)!
insert into cfg.secret as s (name, version, state, wrapped, sealed, origins, author)
values (:name, :version, 'set', :wrapped, :sealed, :origins, :author)
on conflict (name) do update
set version = excluded.version, state = excluded.state, wrapped = excluded.wrapped, sealed = excluded.sealed,
    origins = excluded.origins, author = excluded.author, changed_at = clock_timestamp();

-- name: update_cleared_secret(name, state, author)!
update cfg.secret
set version = version + 1, state = :state, wrapped = null, sealed = null, origins = '{}', author = :author,
    changed_at = clock_timestamp()
where name = :name;

-- name: lock_secret(name)^
-- Against who seals it anew meanwhile.
select version, wrapped, origins from cfg.secret where name = :name for update;

-- name: update_origins(name, origins, wrapped)!
update cfg.secret set origins = :origins, wrapped = :wrapped where name = :name;

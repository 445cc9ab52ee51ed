-- name: lock_revisions()!
-- One writer at a time, so that revisions become visible in the order of their numbers.
lock table cfg.revision in share row exclusive mode;

-- name: get_current_revision()$
select revision from cfg.current_revision;

-- name: get_head()^
-- The newest revision, nulls where there is none, and what else a writer asks before he begins.
select r.id, r.created_at, r.xmin::text as writer, s.has_secrets,
    (select count(*) from cfg.document as d where d.revision = r.id) as size
from (select exists (select from cfg.secret where state <> 'removed') as has_secrets) as s
left join cfg.revision as r on r.id = (select revision from cfg.current_revision);

-- name: get_mark(id)^
select r.id, r.created_at, r.xmin::text as writer,
    (select count(*) from cfg.document as d where d.revision = r.id) as size
from cfg.revision as r
where r.id = :id;

-- name: insert_revision(author, message, kinds, names, bodies, checksums)
-- A body that is null marks the document as deleted. What was stored comes back, since jsonb has its own order of keys.
with made as (
    insert into cfg.revision (author, message) values (:author, :message) returning id, created_at, xmin::text as writer
), stored as (
    insert into cfg.document (revision, kind, name, body, checksum, deleted)
    select made.id, kind, name, body, checksum, body is null
    from made,
        unnest(:kinds::text[], :names::text[], :bodies::jsonb[], :checksums::text[])
            as fresh (kind, name, body, checksum)
    returning kind, name, body
)
select made.id, made.created_at, made.writer, count(stored.kind) over () as size, stored.kind, stored.name, stored.body
from made left join stored on true;

-- name: get_revision(id)^
select id, created_at, author, message from cfg.revision where id = :id;

-- name: list_revisions(before, size)
select id, created_at, author, message from cfg.revision
where :before::bigint is null or id < :before
order by id desc
limit :size;

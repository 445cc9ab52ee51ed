-- name: lock_revisions()!
-- One writer at a time, so that revisions become visible in the order of their numbers.
lock table cfg.revision in share row exclusive mode;

-- name: get_current_revision()$
select revision from cfg.current_revision;

-- name: insert_revision(author, message)$
insert into cfg.revision (author, message) values (:author, :message) returning id;

-- name: get_revision(id)^
select id, created_at, author, message from cfg.revision where id = :id;

-- name: list_revisions(before, size)
select id, created_at, author, message from cfg.revision
where :before::bigint is null or id < :before
order by id desc
limit :size;

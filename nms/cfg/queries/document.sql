-- name: list_current_documents(kind, name)
select kind, name, revision, body from cfg.current_document
where (:kind::text is null or kind = :kind) and (:name::text is null or name = :name)
order by kind, name;

-- name: list_document_page(kind, after_kind, after_name, size)
select kind, name, revision, body from cfg.current_document
where (:kind::text is null or kind = :kind)
  and (:after_kind::text is null or (kind, name) > (:after_kind, :after_name::text))
order by kind, name
limit :size;

-- name: get_current_document(kind, name)^
select kind, name, revision, body from cfg.current_document where kind = :kind and name = :name;

-- name: list_documents_of(revision)
-- What one revision changed, with what stood there before it.
select d.kind, d.name, d.body, earlier.body as body_before
from cfg.document as d
left join lateral (
    select e.body from cfg.document as e
    where e.kind = d.kind and e.name = d.name and e.revision < d.revision
    order by e.revision desc
    limit 1
) as earlier on true
where d.revision = :revision
order by d.kind, d.name;

-- name: insert_documents(revision, kinds, names, bodies, checksums)!
-- A body that is null marks the document as deleted.
insert into cfg.document (revision, kind, name, body, checksum, deleted)
select :revision, kind, name, body, checksum, body is null
from unnest(:kinds::text[], :names::text[], :bodies::jsonb[], :checksums::text[]) as fresh (kind, name, body, checksum);

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
select kind, name, revision, body, (select revision from cfg.current_revision) as newest from cfg.current_document
where kind = :kind and name = :name;

-- name: list_documents_between(low, high)
-- What any revision after `low` up to `high` touched, as it stood at both; a body is null where it was not there.
select touched.kind, touched.name, earlier.body as body_low, later.body as body_high
from (
    select distinct kind, name from cfg.document where revision > :low and revision <= :high
) as touched
left join lateral (
    select d.body from cfg.document as d
    where d.kind = touched.kind and d.name = touched.name and d.revision <= :low
    order by d.revision desc
    limit 1
) as earlier on true
left join lateral (
    select d.body from cfg.document as d
    where d.kind = touched.kind and d.name = touched.name and d.revision <= :high
    order by d.revision desc
    limit 1
) as later on true
order by touched.kind, touched.name;

-- name: list_notices(revision, after_kind, after_name, upto, kind, name, size)
-- What revisions did to documents, from this place of the first one on.
select d.revision, d.kind, d.name, d.body,
    case when d.deleted then 'remove' when coalesce(earlier.deleted, true) then 'add' else 'change' end as action
from cfg.document as d
left join lateral (
    select e.deleted from cfg.document as e
    where e.kind = d.kind and e.name = d.name and e.revision < d.revision
    order by e.revision desc
    limit 1
) as earlier on true
where d.revision between :revision and :upto
  and (d.revision, d.kind, d.name) > (:revision, :after_kind::text, :after_name::text)
  and (:kind::text is null or d.kind = :kind) and (:name::text is null or d.name = :name)
order by d.revision, d.kind, d.name
limit :size;

-- name: get_revision()$
select r.revision from cfg.current_revision as r;

-- name: list_configuration()
-- One statement, so that the revision and its documents are of one moment.
select r.revision, d.kind, d.name, d.body
from cfg.current_revision as r
left join cfg.current_document as d on true
order by d.kind desc, d.name;

-- name: list_sealed_secrets()
-- As they are stored: only what uses one opens it.
select name, version, wrapped, sealed, origins from cfg.secret where state <> 'removed';

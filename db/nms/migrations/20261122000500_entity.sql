-- name: up#
-- Names of entities are paths and tables: `_` stands in them, and no `-`.
alter table cfg.document drop constraint document_name_check;
alter table cfg.document add constraint document_name_check check (
    case kind
        when 'entity' then name ~ '^[a-z][a-z0-9_]{0,38}$'
        else name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'
    end
);

-- name: down#
alter table cfg.document drop constraint document_name_check;
alter table cfg.document add constraint document_name_check check (name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$');

-- name: up#
-- A cell of a CSV (RFC 4180): quoted where it must be, and where it begins with `#` or has no characters, so that it
-- is neither the closing line nor nothing. What a spreadsheet would take for a formula has an apostrophe before it.
create function warehouse.csv_text(value text) returns text immutable parallel safe language sql
return case
    when value is null then ''
    when value !~ '^[-=+@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]|["#,\r\n]|^\s|\s$|^$' then value
    else '"' || case when value ~ '^[-=+@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]' then '''' else '' end
        || replace(value, '"', '""') || '"'
end;

-- Exports that were ordered as runs; `run` is the id in common.run, which forgets runs before this forgets files.
create table warehouse.export (
    run bigint primary key,
    entity text not null,
    format text not null,
    compression text not null,
    author text not null,
    host text,
    file text,
    rows bigint,
    sequence bigint,
    sha256 text,
    content_sha256 text,
    size bigint,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index export_entity_idx on warehouse.export (entity, run);
create index export_expires_idx on warehouse.export (expires_at);

-- name: down#
drop table warehouse.export;
drop function warehouse.csv_text(text);

-- name: up#
create schema cfg;

create table cfg.revision (
    id bigint generated always as identity primary key,
    created_at timestamptz not null default clock_timestamp(),
    author text not null check (author <> ''),
    message text not null default ''
);

-- A document as of the revision that changed it; the newest row of a name counts, `deleted` ends it.
create table cfg.document (
    kind text not null check (kind ~ '^[a-z]+$'),
    name text not null check (name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'),
    revision bigint not null references cfg.revision (id),
    body jsonb,
    checksum text,
    deleted boolean not null default false,
    primary key (kind, name, revision),
    constraint document_body_check check (
        deleted = (body is null) and deleted = (checksum is null)
        and (deleted or (body ->> 'kind' = kind and body ->> 'name' = name))
    )
);
create index document_revision_idx on cfg.document (revision);

-- What other rooms read: the names and columns of these two views are a promise.
create view cfg.current_document as
select newest.kind, newest.name, newest.revision, newest.body, newest.checksum
from (
    select distinct on (kind, name) kind, name, revision, body, checksum, deleted
    from cfg.document
    order by kind, name, revision desc
) as newest
where not newest.deleted;

create view cfg.current_revision as
select coalesce(max(id), 0) as revision from cfg.revision;

create function cfg.refuse_rewrite() returns trigger language plpgsql as $body$
begin
    raise exception 'revisions are history: % of % is refused', lower(tg_op), tg_table_name
        using errcode = 'check_violation', constraint = 'revision_history_check';
end
$body$;

create trigger revision_history before update or delete on cfg.revision
    for each row execute function cfg.refuse_rewrite();
create trigger document_history before update or delete on cfg.document
    for each row execute function cfg.refuse_rewrite();

create function cfg.tell_revision() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_cfg', new.id::text);
    return null;
end
$body$;

create trigger revision_tell after insert on cfg.revision for each row execute function cfg.tell_revision();

-- name: down#
drop schema cfg cascade;

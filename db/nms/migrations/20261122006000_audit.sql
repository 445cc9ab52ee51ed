-- name: up#
-- Who did or tried what to what is declared; `reason` is in the words of whoever did it, `request` finds the log lines.
create table cfg.audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    action text not null check (action ~ '^[a-z-]+\.[a-z-]+$'),
    outcome text not null default 'done' check (outcome in ('done', 'refused')),
    actor text not null check (actor <> ''),
    address text not null default '',
    request text not null default '',
    subject text not null default '',
    revision bigint references cfg.revision (id),
    reason text not null default '',
    facts jsonb not null default '{}'
);
create index audit_at_idx on cfg.audit (at, id);
create index audit_actor_idx on cfg.audit (actor, at, id);
create index audit_subject_idx on cfg.audit (subject, at, id);
create index audit_action_idx on cfg.audit (action, at, id);
create index audit_revision_idx on cfg.audit (revision) where revision is not null;

create function cfg.keep_audit() returns trigger language plpgsql as $body$
begin
    raise exception 'the audit is only added to' using errcode = 'restrict_violation';
end
$body$;
create trigger audit_keep_rows before update or delete on cfg.audit for each row execute function cfg.keep_audit();
create trigger audit_keep_table before truncate on cfg.audit for each statement execute function cfg.keep_audit();
-- A session that plays a replica would pass other triggers by.
alter table cfg.audit enable always trigger audit_keep_rows;
alter table cfg.audit enable always trigger audit_keep_table;

-- name: down#
drop table cfg.audit;
drop function cfg.keep_audit();

-- name: up#
-- Secrets that documents name as `secret://NAME`: sealed with a data key of each version, which is sealed with the key of
-- the installation. A row stays when its secret is removed, so that a version never comes twice.
create table cfg.secret (
    name text primary key check (name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'),
    version integer not null check (version > 0),
    state text not null check (state in ('set', 'dropped', 'removed')),
    wrapped bytea,
    sealed bytea,
    key_id text generated always as (encode(substr(wrapped, 2, 8), 'hex')) stored,
    origins text[] not null default '{}',
    changed_at timestamptz not null default clock_timestamp(),
    author text not null check (author <> ''),
    constraint secret_value_check check ((state = 'set') = (sealed is not null) and (sealed is null) = (wrapped is null))
);

create function cfg.tell_secret() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_cfg', (select revision::text from cfg.current_revision));
    return null;
end
$body$;

create trigger secret_tell after insert or update of version on cfg.secret
    for each row execute function cfg.tell_secret();

-- name: down#
drop table cfg.secret;
drop function cfg.tell_secret();

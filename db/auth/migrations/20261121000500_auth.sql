-- name: up#
create schema auth;

-- A role is a set of grants: noun:verb, noun:verb:instance, noun:* or *.
create table auth.role (
    name text primary key check (name ~ '^[a-z][a-z0-9-]{0,39}$'),
    description text not null default '',
    scopes text[] not null,
    built_in boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- `email` is what was given, `email_key` the one normal form that is compared. `revision` goes up with every change,
-- and a token carries the one it was made under: a revocation tells which is the first that is good.
create table auth.account (
    id uuid primary key default gen_random_uuid(),
    email text not null,
    email_key text not null unique,
    name text not null default '',
    password text not null,
    disabled boolean not null default false,
    revision bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    password_changed_at timestamptz not null default now(),
    last_login_at timestamptz
);
create index account_page_idx on auth.account (created_at, id);

create table auth.account_role (
    account_id uuid not null references auth.account on delete cascade,
    role text not null references auth.role on update cascade,
    primary key (account_id, role)
);
create index account_role_role_idx on auth.account_role (role);

-- One row a session. A refresh token carries the seed, the generation and their signature; here stands only the
-- seed's hash. `rotations` are the times of the last rotations, the newest first: how long ago a generation was used.
create table auth.session (
    id uuid primary key,
    account_id uuid not null references auth.account on delete cascade,
    seed_hash bytea not null,
    generation bigint not null default 0,
    rotations timestamptz[] not null default '{}',
    scope text,
    address text not null default '',
    agent text not null default '',
    created_at timestamptz not null default now(),
    used_at timestamptz not null default now(),
    idle_until timestamptz not null,
    expires_at timestamptz not null,
    ended_at timestamptz,
    end_reason text
);
create index session_account_idx on auth.session (account_id, created_at desc, id) where ended_at is null;
create index session_expired_idx on auth.session (expires_at);

-- What is no longer good before it expires. `xid` is the transaction that wrote it: a reader takes what the snapshot
-- of its last look did not show, so that a late commit is never missed and nobody waits for a horizon.
create table auth.revocation (
    id bigint generated always as identity primary key,
    kind text not null check (kind in ('token', 'session', 'account', 'service-token', 'key')),
    subject text not null,
    revision bigint,
    xid xid8 not null default pg_current_xact_id(),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index revocation_xid_idx on auth.revocation (xid);
create index revocation_expires_idx on auth.revocation (expires_at);

-- Private keys stand here sealed with SECRETS_KEY. The newest that is not given up signs; `verifies_until` is null
-- for it, and for an earlier one the time when the last token of it has expired.
create table auth.signing_key (
    kid text primary key,
    algorithm text not null check (algorithm in ('EdDSA')),
    public_key bytea not null,
    sealed_key bytea not null,
    created_at timestamptz not null default now(),
    verifies_until timestamptz
);
create unique index signing_key_current_idx on auth.signing_key ((true)) where verifies_until is null;

-- A machine's token; while it is rotated its earlier secrets are good, too. Only hashes of secrets stand here.
create table auth.service_token (
    id uuid primary key default gen_random_uuid(),
    name text not null check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    description text not null default '',
    scopes text[] not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
create unique index service_token_name_idx on auth.service_token (name) where revoked_at is null;
create table auth.service_secret (
    hash bytea primary key,
    service_token_id uuid not null references auth.service_token on delete cascade,
    hint text not null,
    created_at timestamptz not null default now(),
    good_until timestamptz,
    last_used_at timestamptz
);
create index service_secret_token_idx on auth.service_secret (service_token_id, created_at);

-- Attempts to log in, counted before the password is looked at. `key` is the keyed hash of a network, of an account's
-- normal form, or of both. `forgiven_at` is when all its attempts will be forgiven; how far it lies ahead tells how
-- many are not yet. Until `held_until`, which the last attempt set `held_for` seconds ahead, the next one is let through
-- by lot. `refused` are those that were not; `admitted` is what became of the last one.
create table auth.throttle (
    key bytea primary key,
    attempts bigint not null,
    refused bigint not null default 0,
    forgiven_at timestamptz not null,
    held_until timestamptz not null,
    held_for float8 not null default 0,
    admitted boolean not null
);

-- Counts one attempt and says whether it is let through; if not, for how many seconds the next one may have to wait and
-- how many were refused since the key was last quiet. `delays` are seconds by the number of attempts that are not forgiven:
-- after `forgiving` seconds of quiet all are. The chance to be let through is the time since the attempt before, as a
-- part of the delay: however many come, one in a delay gets through in the mean, and each has its share. `lot` is
-- even between 0 and 1. What a key before this one refused (`open` is false) is counted and holds nobody up.
create function auth.count_attempt(
    given bytea, forgiving float8, delays float8[], open boolean, lot float8,
    out admitted boolean, out seconds float8, out refused bigint
) language plpgsql as $body$
declare
    one record;
    step float8 := forgiving / cardinality(delays);
    moment timestamptz;
    ahead float8;
begin
    admitted := open;
    seconds := 0;
    refused := 0;
    if given is null then
        return;
    end if;
    insert into auth.throttle as t (key, attempts, forgiven_at, held_until, admitted)
    values (given, 1, '-infinity', '-infinity', open)
    on conflict (key) do update set
        attempts = case when greatest(t.forgiven_at, t.held_until) <= clock_timestamp() then 1 else t.attempts + 1 end,
        refused = case when greatest(t.forgiven_at, t.held_until) <= clock_timestamp() then 0 else t.refused end
    returning t.forgiven_at, t.held_until, t.held_for, t.refused into one;
    if not open then
        return;
    end if;
    -- Read while the row is locked: attempts come one after the other in time, too.
    moment := clock_timestamp();
    ahead := extract(epoch from greatest(one.held_until, moment) - moment)::float8;
    admitted := ahead <= 0 or lot * one.held_for < one.held_for - ahead;
    ahead := extract(epoch from greatest(one.forgiven_at, moment) - moment)::float8 + step;
    ahead := least(ahead, forgiving);
    one.held_for := delays[round(ahead / step)::integer];
    if not admitted then
        seconds := one.held_for;
        one.refused := one.refused + 1;
        refused := one.refused;
    end if;
    update auth.throttle as t set
        forgiven_at = moment + make_interval(secs => ahead),
        held_until = moment + make_interval(secs => one.held_for),
        held_for = one.held_for,
        refused = one.refused,
        admitted = count_attempt.admitted
    where t.key = given;
end
$body$;

-- Where an account has logged in from: there nobody else's guesses hold it up.
create table auth.known_address (
    account_id uuid not null references auth.account on delete cascade,
    network text not null,
    used_at timestamptz not null default now(),
    primary key (account_id, network)
);

create table auth.audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    action text not null check (action ~ '^[a-z-]+\.[a-z-]+$'),
    outcome text not null default 'done' check (outcome in ('done', 'refused')),
    actor text not null,
    subject text not null default '',
    address text not null default '',
    facts jsonb not null default '{}'
);
create index audit_at_idx on auth.audit (at, id);
create index audit_actor_idx on auth.audit (actor, at, id);
create index audit_subject_idx on auth.audit (subject, at, id);
create index audit_action_idx on auth.audit (action, at, id);

create function auth.keep_audit() returns trigger language plpgsql as $body$
begin
    raise exception 'the audit is only added to' using errcode = 'restrict_violation';
end
$body$;
create trigger audit_keep_rows before update or delete on auth.audit for each row execute function auth.keep_audit();
create trigger audit_keep_table before truncate on auth.audit for each statement execute function auth.keep_audit();

-- The first administrator claims the house with a link; its token is computed from the seed, so that every process
-- that prints it prints the same one. The row goes when the link is used.
create table auth.claim (
    one boolean primary key default true check (one),
    seed bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    told_at timestamptz
);

-- What every role may read of auth: the keys that verify, what is revoked, whom a service token speaks for.
create schema trust;

create view trust.verification_key as
select kid, algorithm, public_key, verifies_until from auth.signing_key
where verifies_until is null or verifies_until > now();

create view trust.revocation as
select kind, subject, revision, xid, expires_at from auth.revocation where expires_at > now();

create view trust.service_token as
select s.hash, t.id, t.name, t.scopes, least(t.expires_at, s.good_until) as expires_at
from auth.service_secret s join auth.service_token t on t.id = s.service_token_id
where t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
    and (s.good_until is null or s.good_until > now());

-- Roles read the views with logins of their own, and this is the one thing that they write.
create function trust.mark_used(hashes bytea[], seen timestamptz[]) returns void
language sql security definer set search_path = pg_catalog as $body$
    update auth.service_secret s set last_used_at = used.seen
    from (select hash, least(max(seen), now()) as seen from unnest(hashes, seen) as given (hash, seen) group by hash) as used
    where s.hash = used.hash and (s.last_used_at is null or s.last_used_at < used.seen)
$body$;

-- Who may connect may read that much: the login nms_trust may nothing else.
grant usage on schema trust to public;
grant select on all tables in schema trust to public;

create function auth.tell_trust() returns trigger language plpgsql as $body$
begin
    perform pg_notify('nms_trust', tg_table_name);
    return null;
end
$body$;
create trigger revocation_tell after insert on auth.revocation
    for each statement execute function auth.tell_trust();
create trigger signing_key_tell after insert or update or delete on auth.signing_key
    for each statement execute function auth.tell_trust();

insert into auth.role (name, description, scopes, built_in) values
    ('admin', 'May do everything.', '{*}', true),
    ('operator', 'Reads everything that moves, and moves it: pipelines, runs, quarantine, documents.',
     '{config:read,config:write,pipelines:read,pipelines:write,quarantine:read,quarantine:write,tasks:read,tasks:write,me:read,me:write}',
     true),
    ('viewer', 'Reads what moves and how it is set up.',
     '{config:read,pipelines:read,quarantine:read,tasks:read,me:read,me:write}', true);

-- name: down#
drop schema trust cascade;
drop schema auth cascade;

-- name: up#
-- Requests that were refused, to look at and to verify again; bounded by number, bytes and age.
create table inbox.quarantine (
    number bigint generated always as identity primary key,
    id uuid not null unique,
    endpoint text not null,
    -- Bounded apart: `believed` were verified, `signed` bore the form of the scheme, `bare` did not even that.
    standing text not null check (standing in ('believed', 'signed', 'bare')),
    status integer not null,
    code text not null,
    reason text not null,
    detail text not null,
    method text not null,
    -- With credentials hidden, in the headers too; what is hidden stands in `sealed`, which is null without a key.
    url text not null,
    headers bytea not null,
    sealed bytea,
    -- Null: not kept.
    body bytea,
    size integer not null,
    remote text,
    received_at timestamptz not null
);
create index quarantine_bound_idx on inbox.quarantine (endpoint, standing, number) include (size);
create index quarantine_age_idx on inbox.quarantine (received_at);

-- How many were refused, and how many of them are lost to a bound.
create table inbox.quarantine_count (
    endpoint text not null,
    standing text not null,
    came bigint not null,
    lost bigint not null,
    last_at timestamptz not null default now(),
    primary key (endpoint, standing)
);

-- Ids of which was told not long ago that they came with another body.
create table inbox.reuse (
    endpoint text not null,
    key bytea not null,
    told_at timestamptz not null default now(),
    primary key (endpoint, key)
);

-- name: down#
drop table inbox.reuse;
drop table inbox.quarantine_count;
drop table inbox.quarantine;

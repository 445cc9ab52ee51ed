-- name: up#
create schema inbox;

-- Which event a key of an endpoint belongs to. Apart from the events, since a unique index over daily partitions would
-- not see the duplicate of yesterday's event.
create table inbox.receipt (
    endpoint text not null,
    key bytea not null check (octet_length(key) between 1 and 64),
    event_id uuid not null,
    digest bytea not null check (octet_length(digest) = 32),
    received_at timestamptz not null default now(),
    primary key (endpoint, key)
);
create index receipt_age_idx on inbox.receipt using brin (received_at);

-- The requests as they came. A day is dropped as a whole when it is older than any endpoint keeps.
create table inbox.event (
    id uuid not null,
    endpoint text not null,
    type text not null,
    key bytea not null,
    item integer not null default 0,
    content_type text not null,
    headers bytea not null,
    body bytea not null,
    received_at timestamptz not null default now(),
    primary key (id, received_at)
) partition by range (received_at);
create table inbox.event_rest partition of inbox.event default;

-- name: down#
drop schema inbox cascade;

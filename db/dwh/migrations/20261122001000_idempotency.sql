-- name: up#
-- What requests with an Idempotency-Key were answered.
create table common.idempotency (
    caller text not null,
    key text not null,
    digest bytea not null check (octet_length(digest) = 32),
    status integer,
    headers jsonb,
    body text,
    created_at timestamptz not null default now(),
    primary key (caller, key)
);
create index idempotency_age_idx on common.idempotency (created_at);

-- name: down#
drop table common.idempotency;

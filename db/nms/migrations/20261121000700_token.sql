-- name: up#
-- The newest refresh token of a system whose remote rotates them, sealed; `line` names the reference that it grew from,
-- `renewing` says that it was shown to the remote and no answer is written yet.
create table sync.token (
    system text not null,
    line text not null,
    sealed bytea not null,
    renewing boolean not null,
    updated_at timestamptz not null default now(),
    primary key (system, line)
);

-- name: down#
drop table sync.token;

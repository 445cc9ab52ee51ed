-- name: insert_revocation(kind, subject, revision, seconds)!
insert into auth.revocation (kind, subject, revision, expires_at)
values (:kind, :subject, :revision, now() + make_interval(secs => :seconds));

-- name: insert_session_revocations(subjects, seconds)!
insert into auth.revocation (kind, subject, expires_at)
select 'session', subject, now() + make_interval(secs => :seconds) from unnest(:subjects::text[]) as given (subject);

-- name: list_revocations(xid, id, size)
-- Whatever the snapshot that `xid` was the horizon of did not show is at or behind it; some that it did is told again.
select id, kind, subject, revision, expires_at, xid::text as xid
from auth.revocation
where (xid, id) > (:xid::text::xid8, :id::bigint) and expires_at > now()
order by xid, id
limit :size;

-- name: get_horizon()$
select pg_snapshot_xmin(pg_current_snapshot())::text as horizon;

-- name: purge_revocations(size)!
delete from auth.revocation where id in (
    select id from auth.revocation where expires_at < now() limit :size for update skip locked
);

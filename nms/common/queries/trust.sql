-- name: list_verification_keys()
select kid, algorithm, public_key from trust.verification_key;

-- name: list_revocations(since)
-- What the snapshot of the last look (its xmin is `since`) did not show, so that a late commit is never missed; there
-- is always one row, since it brings the horizon of this look.
select look.horizon, r.kind, r.subject, r.revision, extract(epoch from r.expires_at)::double precision as expires_at
from (select pg_snapshot_xmin(pg_current_snapshot())::text as horizon) as look
left join trust.revocation as r on r.xid >= :since::text::xid8;

-- name: list_service_tokens(hashes)
select hash, id::text as id, name, scopes, extract(epoch from expires_at)::double precision as expires_at
from trust.service_token
where hash = any(:hashes::bytea[]);

-- name: mark_services_used(hashes, ages)$
-- Each was used so many seconds ago.
select trust.mark_used(:hashes::bytea[], array(
    select now() - make_interval(secs => used.age)
    from unnest(:ages::double precision[]) with ordinality as used (age, place)
    order by used.place
));

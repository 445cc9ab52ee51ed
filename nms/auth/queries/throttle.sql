-- name: count_attempts(email_key, network, keys, lots, forgiving, site_delays, network_delays, pair_delays, account_delays)^
-- Each key waits for the one before it, so that statements lock in one order: site, network, both pairs, account.
select n.admitted and p.admitted and (l.admitted and a.admitted or exists (
        select from auth.known_address k join auth.account u on u.id = k.account_id
        where u.email_key = :email_key and k.network = :network
    )) as admitted,
    case when n.admitted then 0 else greatest(s.seconds, n.seconds, 1) end as network_seconds,
    s.refused + n.refused as network_refused
from auth.count_attempt((:keys::bytea[])[1], :forgiving, :site_delays, true, (:lots::float8[])[1]) as s
cross join lateral auth.count_attempt(
    (:keys::bytea[])[2], :forgiving, :network_delays, s.admitted, (:lots::float8[])[2]
) as n
cross join lateral auth.count_attempt(
    (:keys::bytea[])[3], :forgiving, :pair_delays, n.admitted, (:lots::float8[])[3]
) as l
cross join lateral auth.count_attempt(
    (:keys::bytea[])[4], :forgiving, :pair_delays, n.admitted and l.admitted is not null, (:lots::float8[])[4]
) as p
cross join lateral auth.count_attempt(
    (:keys::bytea[])[5], :forgiving, :account_delays, l.admitted and p.admitted, (:lots::float8[])[5]
) as a;

-- name: update_forgiven(key, step)!
-- Takes one attempt back: a good one holds nobody else of the network up.
update auth.throttle set
    attempts = greatest(attempts - 1, 0), forgiven_at = forgiven_at - make_interval(secs => :step::float8)
where key = :key;

-- name: delete_attempts(key)!
delete from auth.throttle where key = :key;

-- name: purge_throttle(size)!
delete from auth.throttle where key in (
    select key from auth.throttle where greatest(forgiven_at, held_until) < now() limit :size for update skip locked
);

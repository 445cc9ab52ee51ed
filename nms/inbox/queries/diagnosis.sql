-- name: get_standing()^
-- Days are those of UTC.
select
    exists (select from inbox.receipt) as is_used,
    to_regclass('inbox.event_' || to_char((now() at time zone 'UTC')::date + 1, 'YYYYMMDD')) is not null as has_tomorrow,
    extract(epoch from now() - (select min(r.received_at) from inbox.receipt r))::double precision as oldest_receipt;

-- name: get_kept(grace)$
select max(k.keep)
from inbox.kept k
where coalesce(k.missed_at, now()) >= now() - make_interval(secs => :grace::double precision);

-- name: get_unsent_age(upto)$
-- Of the event that waits longest for RabbitMQ, in seconds; what a replay passes on once more waits behind a newer number.
select extract(epoch from now() - e.received_at)::double precision
from inbox.event e
where e.number > (select r.number from inbox.relay r where r.name = 'rabbitmq') and e.number <= :upto
order by e.number
limit 1;

-- name: get_unread_age(endpoints, after, upto)$
-- Of the event of some endpoints that waits longest behind a number, in seconds.
select max(extract(epoch from now() - f.received_at))::double precision
from unnest(:endpoints::text[]) as wanted (endpoint)
cross join lateral (
    select e.received_at
    from inbox.event e
    where (e.endpoint, e.number) > (wanted.endpoint, :after::bigint)
        and (e.endpoint, e.number) <= (wanted.endpoint, :upto::bigint)
    order by e.endpoint, e.number
    limit 1
) as f;

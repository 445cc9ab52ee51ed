-- name: insert_mock_subscriptions(first, last)!
-- Every hundredth has attributes of some kilobytes that do not compress: values that the log leaves out when an
-- update does not touch them.
insert into public.subscription (email, status, plan, started_at, changed_at, ends_at, attributes)
select
    format('%s.%s.%s@%s', person.given, person.family, n, person.host),
    (array['active', 'active', 'active', 'trial', 'paused', 'cancelled'])[1 + n % 6],
    (array['basic', 'basic', 'team', 'business'])[1 + n % 4],
    moment.started,
    moment.started + n % 90 * interval '1 day',
    case when n % 6 = 5 then moment.started + interval '1 year' end,
    jsonb_build_object('seats', 1 + n % 40, 'newsletter', n % 3 = 0, 'note', case when n % 100 = 0 then extra.text end)
from generate_series(:first::bigint, :last::bigint) as n
cross join lateral (
    select
        (array['anna', 'ben', 'chloe', 'daniel', 'emma', 'felix', 'grace', 'hugo', 'ines', 'jonas', 'klara', 'liam'])
            [1 + n % 12] as given,
        (array['adler', 'becker', 'costa', 'dubois', 'evans', 'fischer', 'garcia', 'huber', 'ito', 'jensen', 'kaya'])
            [1 + n % 11] as family,
        (array['example.org', 'example.com', 'example.net'])[1 + n % 3] as host
) as person
cross join lateral (select timestamptz '2024-01-01 08:00+00' + n % 100000 * interval '7 minutes' as started) as moment
cross join lateral (
    select case when n % 100 = 0 then (select string_agg(md5(n || ':' || k), '') from generate_series(1, 120) k) end as text
) as extra
on conflict (email) do nothing;

-- name: update_statistics()!
-- So that the planner and the progress bars know how many rows there are.
analyze public.subscription;

-- name: list_emails()
select email from public.subscription order by email;

-- name: insert_subscriptions(emails, plan)!
insert into public.subscription (email, status, plan, started_at, changed_at, attributes)
select email, 'trial', :plan, clock_timestamp(), clock_timestamp(), jsonb_build_object('seats', 1)
from unnest(:emails::text[]) as email;

-- name: update_statuses(emails, status)!
update public.subscription set status = :status, changed_at = clock_timestamp() where email = any(:emails::text[]);

-- name: update_email(old, new)!
update public.subscription set email = :new, changed_at = clock_timestamp() where email = :old;

-- name: delete_subscriptions(emails)!
delete from public.subscription where email = any(:emails::text[]);

-- name: update_some_inactive(salt, share)!
-- Others on each side, so that they are apart; always the same ones.
update public.subscription set status = 'inactive', changed_at = clock_timestamp()
where abs(hashtextextended(email, :salt) % 100) < :share;

-- name: list_inactive_emails()
select email from public.subscription where status = 'inactive';

-- name: list_some_emails(count)
-- The same ones on both sides.
select email from public.subscription order by hashtextextended(email, 7) limit :count;

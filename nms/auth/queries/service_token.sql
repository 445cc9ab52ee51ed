-- name: purge_service_secrets(days, size)!
-- Never the last one: the token stays in sight with it.
delete from auth.service_secret where hash in (
    select s.hash from auth.service_secret s
    where s.good_until < now() - make_interval(days => :days::integer)
        and exists (select from auth.service_secret o where o.service_token_id = s.service_token_id
                    and o.created_at > s.created_at)
    limit :size for update skip locked
);

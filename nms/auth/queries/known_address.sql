-- name: upsert_known_address(account_id, network)!
insert into auth.known_address (account_id, network) values (:account_id, :network)
on conflict (account_id, network) do update set used_at = now()
where known_address.used_at < now() - interval '1 hour';

-- name: purge_known_addresses(days, size)!
delete from auth.known_address where (account_id, network) in (
    select account_id, network from auth.known_address
    where used_at < now() - make_interval(days => :days::integer) limit :size for update skip locked
);

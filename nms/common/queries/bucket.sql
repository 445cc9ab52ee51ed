-- name: claim_tokens(name, span, depth, ahead)^
-- The same steps as `Bucket.book`, by the database clock after the row is locked.
with booked as (
    insert into common.bucket as b (name, free_at)
    values (:name, clock_timestamp() + make_interval(secs => :span::double precision))
    on conflict (name) do update
    set free_at = greatest(b.free_at, clock_timestamp()) + make_interval(secs => :span::double precision)
    where greatest(b.free_at, clock_timestamp()) + make_interval(
        secs => :span::double precision - :depth::double precision - :ahead::double precision
    ) <= clock_timestamp()
    returning free_at
), told as (
    select true as granted, free_at from booked
    union all
    select false, greatest(free_at, clock_timestamp()) + make_interval(secs => :span::double precision)
    from common.bucket
    where name = :name and not exists (select from booked)
)
select granted,
       greatest(0, extract(epoch from free_at - clock_timestamp())::double precision - :depth::double precision) as wait
from told;

-- name: upsert_hold(name, seconds)!
insert into common.bucket as b (name, free_at)
values (:name, clock_timestamp() + make_interval(secs => :seconds::double precision))
on conflict (name) do update
set free_at = greatest(b.free_at, clock_timestamp() + make_interval(secs => :seconds::double precision));

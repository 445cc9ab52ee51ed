-- name: insert_run(kind, subject, place, payload, due_at)^
insert into common.run (kind, subject, place, payload, due_at)
values (:kind, :subject, :place, :payload, coalesce(:due_at, now()))
on conflict (kind, subject, place) where state in ('queued', 'running', 'retrying', 'cancelling') do nothing
returning *;

-- name: list_live_runs(kind, subject)
select * from common.run
where kind = :kind and subject = :subject and state in ('queued', 'running', 'retrying', 'cancelling')
order by id;

-- name: get_run(id)^
select * from common.run where id = :id;

-- name: list_runs(kind, subject, state, sight, before, size)
-- `kinds` of the sight has an array of subjects, or null for all of them; what it does not name is as `others` says.
select * from common.run
where (:kind::text is null or kind = :kind)
  and (:subject::text is null or subject = :subject)
  and (:state::text is null or state = :state)
  and case jsonb_typeof(:sight::jsonb -> 'kinds' -> kind)
      when 'array' then :sight::jsonb -> 'kinds' -> kind ? subject
      when 'null' then true
      else (:sight::jsonb -> 'others')::boolean
  end
  and (:before::bigint is null or id < :before)
order by id desc
limit :size;

-- name: claim_runs(kinds, worker, held, size, lease)
-- A run waits while another of its subject runs or stands before it; rows another worker looks at are skipped.
with waiting as (
    select candidate.id, candidate.due_at
    from unnest(:kinds::text[]) as wanted (kind)
    cross join lateral (
        select r.id, r.due_at
        from common.run as r
        where r.kind = wanted.kind and r.state in ('queued', 'retrying') and r.due_at <= now()
          and r.id <> all (:held::bigint[])
          and not exists (
              select from common.run as o
              where o.kind = r.kind and o.subject = r.subject and o.id <> r.id
                and o.state in ('queued', 'running', 'retrying', 'cancelling')
                and (o.id < r.id or o.state in ('running', 'cancelling'))
          )
        order by r.due_at
        limit :size
        for update of r skip locked
    ) as candidate
), dead as (
    select r.id, r.leased_until as due_at
    from common.run as r
    where r.kind = any (:kinds::text[]) and r.state = 'running' and r.leased_until < now()
      and r.id <> all (:held::bigint[])
    order by r.leased_until
    limit :size
    for update of r skip locked
), chosen as (
    select id from (select * from dead union all select * from waiting) as candidates order by due_at limit :size
)
update common.run as r
set state = 'running', worker = :worker, epoch = nextval('common.run_epoch'), attempts = r.attempts + 1,
    leased_until = now() + make_interval(secs => :lease), claimed_at = now(),
    started_at = coalesce(r.started_at, now())
from chosen
where r.id = chosen.id
returning r.*;

-- name: mark_dead_cancelled(kinds, held)!
-- Nobody is left to hear the cancel, so that it is done.
update common.run
set state = 'cancelled', leased_until = null, ended_at = now()
where id in (
    select id from common.run
    where kind = any (:kinds::text[]) and state = 'cancelling' and leased_until < now() and id <> all (:held::bigint[])
    for update skip locked
);

-- name: renew_leases(ids, epochs, lease)
-- A row that a handler's own transaction holds is skipped, so that one slow transaction keeps no neighbour waiting.
with held as (
    select r.id
    from common.run as r
    join unnest(:ids::bigint[], :epochs::bigint[]) as mine (id, epoch) on r.id = mine.id and r.epoch = mine.epoch
    where r.state in ('running', 'cancelling')
    for no key update of r skip locked
), renewed as (
    update common.run as r set leased_until = now() + make_interval(secs => :lease)
    from held where r.id = held.id
    returning r.id
)
select r.id, r.epoch, r.state, exists (select from renewed where renewed.id = r.id) as renewed
from common.run as r
where r.id = any (:ids::bigint[]);

-- name: list_cancelling(ids)
select id, epoch from common.run where id = any (:ids::bigint[]) and state = 'cancelling';

-- name: update_report(id, epoch, progress, checkpoint)$
update common.run
set progress = coalesce(:progress::jsonb, progress), checkpoint = coalesce(:checkpoint::jsonb, checkpoint)
where id = :id and epoch = :epoch and state in ('running', 'cancelling')
returning state;

-- name: get_fence(id, epoch)$
-- Blocks a take-over until the caller's transaction ends, but not a renewal of the lease.
select state from common.run
where id = :id and epoch = :epoch and state in ('running', 'cancelling')
for key share;

-- name: update_ended(id, epoch, state, problem)$
update common.run
set state = :state, problem = :problem, leased_until = null, ended_at = now()
where id = :id and epoch = :epoch and state in ('running', 'cancelling')
returning state;

-- name: update_retrying(id, epoch, problem, delay)$
-- After five good minutes the count of attempts starts again, so that old trouble does not slow a new retry.
update common.run
set state = case state when 'cancelling' then 'cancelled' else 'retrying' end,
    ended_at = case state when 'cancelling' then now() end,
    attempts = case when now() - claimed_at > interval '5 min' then 1 else attempts end,
    problem = :problem, leased_until = null, due_at = now() + make_interval(secs => :delay)
where id = :id and epoch = :epoch and state in ('running', 'cancelling')
returning state;

-- name: update_released(id, epoch)$
-- A run given back did not fail: the attempt does not count, and it is due at once.
update common.run
set state = case state when 'cancelling' then 'cancelled' else 'queued' end,
    ended_at = case state when 'cancelling' then now() end,
    attempts = attempts - 1, leased_until = null, due_at = now()
where id = :id and epoch = :epoch and state in ('running', 'cancelling')
returning state;

-- name: update_cancelling(id)^
update common.run
set state = case state when 'running' then 'cancelling' else 'cancelled' end,
    ended_at = case state when 'running' then null else now() end
where id = :id and state in ('queued', 'retrying', 'running')
returning *;

-- name: update_queued(id)^
-- A waiting retry is hurried; an ended run is queued again unless its subject has another live one.
update common.run as r
set state = 'queued', place = case r.state when 'retrying' then r.place else 0 end, attempts = 0, due_at = now(),
    ended_at = null
where r.id = :id and r.state in ('retrying', 'failed', 'cancelled')
  and not exists (
      select from common.run as o
      where o.kind = r.kind and o.subject = r.subject and o.id <> r.id and r.state <> 'retrying'
        and o.state in ('queued', 'running', 'retrying', 'cancelling')
  )
returning *;

-- name: delete_ended_runs(age, size)!
delete from common.run
where id in (
    select id from common.run
    where state in ('succeeded', 'failed', 'cancelled') and ended_at < now() - make_interval(secs => :age)
    order by ended_at limit :size
);

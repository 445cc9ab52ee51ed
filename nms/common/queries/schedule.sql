-- name: upsert_schedule(name, kind, subject, payload, cron, every, zone, missed, next_at)!
-- The rhythm starts anew only when it is another one, so that applying a schedule again moves nothing.
insert into common.schedule as s (name, kind, subject, payload, cron, every, zone, missed, next_at)
values (:name, :kind, :subject, :payload, :cron, :every, :zone, :missed, :next_at)
on conflict (name) do update
set kind = excluded.kind, subject = excluded.subject, payload = excluded.payload, missed = excluded.missed,
    cron = excluded.cron, every = excluded.every, zone = excluded.zone,
    next_at = case
        when (s.cron, s.every, s.zone) is distinct from (excluded.cron, excluded.every, excluded.zone)
        then excluded.next_at else s.next_at
    end;

-- name: delete_schedule(name)!
delete from common.schedule where name = :name;

-- name: list_schedules()
select name, kind, subject, payload, cron, every, zone, missed, next_at, last_at from common.schedule order by name;

-- name: get_time()$
select clock_timestamp();

-- name: claim_due_schedules(kinds)
select name, kind, subject, payload, cron, every, zone, missed, next_at, now() as now
from common.schedule
where next_at <= now() and kind = any (:kinds::text[])
order by next_at
for update skip locked;

-- name: count_due_schedules(kinds)$
select count(*) from common.schedule where next_at <= now() and kind = any (:kinds::text[]);

-- name: update_schedule_next(name, next_at)!
update common.schedule set next_at = :next_at, last_at = now() where name = :name;

-- name: insert_outbox(type, version, key, payload)$
insert into common.outbox (type, version, key, payload)
values (:type, :version, :key, :payload)
returning event_id;

-- name: stamp_outbox(size)$
select common.stamp_outbox(:size);

-- name: insert_subscriber(name, from_start)!
-- A new subscriber hears what comes from now on, or everything that is still kept.
insert into common.subscriber (name, position)
select :name, case when :from_start::boolean then 0 else coalesce(max(position), 0) end from common.outbox
on conflict (name) do nothing;

-- name: claim_subscriber(name)$
-- One reader at a time works for a subscriber: the others find the row locked.
select position from common.subscriber where name = :name for no key update skip locked;

-- name: list_outbox(position, types, size)
-- A type that ends in `.*` stands for all below it.
select position, event_id, type, version, key, payload, created_at
from common.outbox
where position > :position
  and exists (
      select from unnest(:types::text[]) as wanted (type)
      where wanted.type in ('*', outbox.type)
         or (wanted.type like '%.*' and starts_with(outbox.type, left(wanted.type, -1)))
  )
order by position
limit :size;

-- name: get_outbox_end()$
select coalesce(max(position), 0) from common.outbox;

-- name: update_subscriber(name, position)!
update common.subscriber set position = greatest(position, :position), tries = 0, updated_at = now()
where name = :name and (position < :position or tries > 0);

-- name: update_tries(name)$
-- Counted in a transaction of its own, so that a handler that ends its process leaves a trace.
update common.subscriber set tries = tries + 1
where name = (select name from common.subscriber where name = :name for no key update skip locked)
returning tries;

-- name: get_subscriber(name)$
select position from common.subscriber where name = :name;

-- name: update_rewound(name)!
update common.subscriber set position = 0, updated_at = now() where name = :name;

-- name: count_outbox_lag(name)$
-- Events that a subscriber has not read yet, stamped or not.
select count(*) from common.outbox as o
where o.position is null or o.position > coalesce((select position from common.subscriber where name = :name), 0);

-- name: delete_outbox(age, size)!
-- Nothing goes that a subscriber has still to read.
delete from common.outbox
where id in (
    select id from common.outbox
    where position <= (select coalesce(min(position), 9223372036854775807) from common.subscriber)
      and created_at < now() - make_interval(secs => :age)
    order by position limit :size
);

-- name: insert_seen(subscriber, event_id)!
insert into common.seen (subscriber, event_id) values (:subscriber, :event_id) on conflict do nothing;

-- name: delete_seen(age, size)!
delete from common.seen
where (subscriber, event_id) in (
    select subscriber, event_id from common.seen
    where seen_at < now() - make_interval(secs => :age) order by seen_at limit :size
);

-- name: insert_dead_letter(subscriber, event_id, event, problem)!
insert into common.dead_letter (subscriber, event_id, event, problem)
values (:subscriber, :event_id, :event, :problem)
on conflict (subscriber, event_id) do update set problem = excluded.problem;

-- name: list_dead_letters(subscriber, size)
select id, subscriber, event_id, event, problem, created_at from common.dead_letter
where subscriber = :subscriber order by id limit :size;

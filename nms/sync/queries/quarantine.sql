-- name: insert_quarantined(pipeline, generation, dataset, key, place, op, change, problem, once)!
-- With `once` a follower that is equal to what is held last of its key says nothing new: rounds bring it again and again,
-- also between the wish for a replay and the replay.
insert into sync.quarantine (pipeline, generation, dataset, key, place, op, change, problem)
select :pipeline, :generation, :dataset, :key, :place, :op, :change, :problem
where not :once::boolean or :change::jsonb is distinct from (
    select change from sync.quarantine
    where pipeline = :pipeline and dataset = :dataset and key = :key and op <> 'message'
        and state in ('held', 'replaying')
    order by id desc
    limit 1
);

-- name: insert_held_message(pipeline, generation, dataset, key, place, change, problem)!
-- A message that comes again is held once.
insert into sync.quarantine (pipeline, generation, dataset, key, place, op, change, problem)
select :pipeline, :generation, :dataset, :key, :place, 'message', :change, :problem
where not exists (
    select from sync.quarantine
    where pipeline = :pipeline and dataset = :dataset and key = :key and op = 'message'
        and state in ('held', 'replaying', 'dropping')
);

-- name: list_held_keys(pipeline)
-- Frames, not what people read, tell keys apart; changes of a keyless dataset stand alone, messages have none.
select distinct dataset, change ->> 'key' as key
from sync.quarantine
where pipeline = :pipeline and op <> 'message' and state in ('held', 'replaying', 'dropping');

-- name: list_quarantine(pipeline, state, before, size)
select id, pipeline, dataset, key, op, change, problem, place, state, created_at, updated_at
from sync.quarantine
where pipeline = :pipeline and (:state::text is null or state = :state) and (:before::bigint is null or id < :before)
order by id desc
limit :size;

-- name: count_held(pipeline)$
select count(*) from sync.quarantine where pipeline = :pipeline and state in ('held', 'replaying', 'dropping');

-- name: mark_asked(pipeline, dataset, key, state)!
-- A key is replayed or dropped as a whole, with the keys its record had or got by moves: the order is what counts.
with recursive held as (
    select id, dataset, nullif(change ->> 'key', '') as frame, change ->> 'old_key' as old_frame,
        (:dataset::text is null or dataset = :dataset) and (:key::text is null or key = :key) as chosen
    from sync.quarantine
    where pipeline = :pipeline and state = 'held'
), connected (dataset, frame) as (
    select h.dataset, f.frame
    from held as h cross join lateral (values (h.frame), (h.old_frame)) as f (frame)
    where :key::text is not null and h.chosen and f.frame is not null
    union
    select h.dataset, f.frame
    from connected as c
    join held as h on h.dataset = c.dataset and c.frame in (h.frame, h.old_frame)
    cross join lateral (values (h.frame), (h.old_frame)) as f (frame)
    where f.frame is not null
)
update sync.quarantine as q
set state = :state, updated_at = now()
from held as h
where q.id = h.id and q.state = 'held' and (h.chosen or exists (
    select from connected as c where c.dataset = h.dataset and c.frame in (h.frame, h.old_frame)
));

-- name: list_asked(pipeline)
select id, dataset, key, op, change, state
from sync.quarantine
where pipeline = :pipeline and state in ('replaying', 'dropping')
order by id;

-- name: mark_settled(ids, state)!
update sync.quarantine set state = :state, updated_at = now() where id = any(:ids::bigint[]);

-- name: mark_held_again(ids, problem)!
-- Only what still waits: a worker that has lost the pipeline must not bring back what its successor replayed.
update sync.quarantine
set state = 'held', problem = :problem, updated_at = now()
where id = any(:ids::bigint[]) and state = 'replaying';

-- name: delete_unwritten(pipeline, place)!
-- Held for a batch that the target never committed: it comes again, and so do they, whatever was asked meanwhile.
-- A message stays: its queue may not have it any more, and one that comes again is held once.
delete from sync.quarantine
where pipeline = :pipeline and op <> 'message' and state in ('held', 'replaying', 'dropping') and place > :place;

-- name: mark_superseded(pipeline, generation)!
-- A new generation copies every record anew; what an older one held is history. Messages never come again.
update sync.quarantine
set state = 'dropped', updated_at = now()
where pipeline = :pipeline and generation < :generation and op <> 'message'
    and state in ('held', 'replaying', 'dropping');

-- name: mark_truncated(pipeline, dataset)!
update sync.quarantine
set state = 'dropped', updated_at = now()
where pipeline = :pipeline and dataset = :dataset and state in ('held', 'replaying', 'dropping');

-- name: delete_quarantine(pipeline)!
delete from sync.quarantine where pipeline = :pipeline;

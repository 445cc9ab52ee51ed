-- name: list_known(pipeline, identities)
-- A refused one may be sent again: it comes again only where it was not held after all.
select identity, state from sync.change
where pipeline = :pipeline and identity = any(:identities::text[]) and state <> 'refused';

-- name: insert_changes(pipeline, generation, rows)!
-- Written before anything is sent; one that was refused and comes again is the same change.
insert into sync.change as c
    (pipeline, generation, dataset, key, op, identity, state, folded_into, plan, committed_at)
select :pipeline, :generation, r.dataset, r.key, r.op, r.identity, r.state, r.folded_into, r.plan,
    to_timestamp(r.committed)
from jsonb_to_recordset(:rows::jsonb) as r (
    dataset text, key text, op text, identity text, state text, folded_into text, plan text, committed double precision
)
on conflict (pipeline, identity) do update set
    state = excluded.state, folded_into = excluded.folded_into, plan = excluded.plan, detail = null;

-- name: mark_changes(pipeline, rows)!
-- What became of those that were sent, and with them of those that were folded into them.
update sync.change as c
set state = case when c.identity = r.identity or r.state in ('refused', 'unresolved') then r.state else 'saved' end,
    plan = null,
    method = case when c.identity = r.identity then r.method end,
    path = case when c.identity = r.identity then r.path end,
    idempotency_key = case when c.identity = r.identity then r.idempotency_key end,
    body = case when c.identity = r.identity then r.body end,
    status = case when c.identity = r.identity then r.status end,
    answer = case when c.identity = r.identity then r.answer end,
    detail = r.detail,
    attempts = case when c.identity = r.identity then c.attempts + r.attempts else 0 end,
    answered_at = now()
from jsonb_to_recordset(:rows::jsonb) as r (
    identity text, state text, method text, path text, idempotency_key text, body text, status integer, answer text,
    detail text, attempts integer
)
where c.pipeline = :pipeline and c.state in ('sending', 'folding')
    and coalesce(c.folded_into, c.identity) = r.identity;

-- name: delete_unsent(pipeline, identities)!
-- Begun and certainly not sent, or sent without effect: they come again with their batch.
delete from sync.change
where pipeline = :pipeline and state in ('sending', 'folding')
    and (identity = any(:identities::text[]) or folded_into = any(:identities::text[]));

-- name: list_unanswered(pipeline)
select dataset, key, op, identity, plan, folded_into
from sync.change
where pipeline = :pipeline and state in ('sending', 'folding')
order by id;

-- name: list_forbidden(pipeline, dataset, method)
-- Of the newest changes only, for the archive is long. No look-up is kept that was answered well, so for GET any will do.
with recent as (
    select dataset, state, method, status, path, body, answered_at from sync.change
    where pipeline = :pipeline order by id desc limit 1000
)
select distinct
    path || case when method = 'POST' then encode(sha256(convert_to(coalesce(body, ''), 'UTF8')), 'hex') else '' end
    as mark
from recent
where dataset = :dataset and method = :method and state = 'refused' and status in (403, 405)
    and answered_at > coalesce(
        (
            select max(answered_at) from recent
            where dataset = :dataset and status between 200 and 299 and (method = :method or :method = 'GET')
        ),
        '-infinity'
    );

-- name: list_change_counts(pipeline)
select state, changes from sync.change_count where pipeline = :pipeline;

-- name: upsert_records(pipeline, rows)!
insert into sync.record as c (pipeline, dataset, place, key, remote, base, tag)
select :pipeline, r.dataset, r.place, r.key, r.remote, r.base, r.tag
from jsonb_to_recordset(:rows::jsonb) as r (dataset text, place text, key text, remote text, base text, tag text)
on conflict (pipeline, dataset, place, key) do update set
    remote = excluded.remote, base = excluded.base, tag = excluded.tag, updated_at = now();

-- name: delete_records(pipeline, rows)!
delete from sync.record as c
using jsonb_to_recordset(:rows::jsonb) as r (dataset text, place text, key text)
where c.pipeline = :pipeline and c.dataset = r.dataset and c.place = r.place and c.key = r.key;

-- name: list_records(pipeline, dataset, place, keys)
select key, remote, base, tag from sync.record
where pipeline = :pipeline and dataset = :dataset and place = :place and key = any(:keys::text[]);

-- name: list_keys_elsewhere(pipeline, dataset, place, keys)
select distinct key from sync.record
where pipeline = :pipeline and dataset = :dataset and place <> :place and key = any(:keys::text[]);

-- name: list_changes(pipeline, dataset, key, state, since, until, text, before, size)
-- A text is looked for in what the indexes leave over, the newest first.
select id, pipeline, generation, dataset, key, op, identity, state, folded_into, method, path, idempotency_key, body,
    status, answer, detail, attempts, committed_at, captured_at, answered_at
from sync.change
where pipeline = :pipeline
    and (:dataset::text is null or dataset = :dataset)
    and (:key::text is null or key = :key)
    and (:state::text is null or state = :state)
    and (:since::timestamptz is null or captured_at >= :since)
    and (:until::timestamptz is null or captured_at < :until)
    and (:text::text is null or position(lower(:text) in lower(key || ' ' || coalesce(body, ''))) > 0)
    and (:before::bigint is null or id < :before)
order by id desc
limit :size;

-- name: get_change(pipeline, id)^
select id, pipeline, generation, dataset, key, op, identity, state, folded_into, method, path, idempotency_key, body,
    status, answer, detail, attempts, committed_at, captured_at, answered_at
from sync.change
where pipeline = :pipeline and id = :id;

-- name: delete_old_changes(age, size)!
-- Settled ones only: one without an answer may have had its effect, and that must not be forgotten.
delete from sync.change
where id in (
    select id from sync.change
    where answered_at < now() - make_interval(secs => :age)
    order by answered_at limit :size for update skip locked
);

-- name: delete_changes(pipeline)!
delete from sync.change where pipeline = :pipeline;

-- name: delete_change_counts(pipeline)!
delete from sync.change_count where pipeline = :pipeline;

-- name: delete_all_records(pipeline)!
delete from sync.record where pipeline = :pipeline;

-- name: list_known(pipeline, identities)
-- A refused one may be sent again: it comes again only where it was not held after all.
select identity, state from sync.change
where pipeline = :pipeline and identity = any(:identities::text[]) and state <> 'refused';

-- name: insert_changes(pipeline, generation, rows)!
-- Written before anything is sent; one that was refused and comes again is the same change.
insert into sync.change as c
    (pipeline, generation, dataset, key, op, identity, state, folded_into, plan, idempotency_key, committed_at)
select :pipeline, :generation, r.dataset, r.key, r.op, r.identity, r.state, r.folded_into, r.plan, r.idempotency_key,
    to_timestamp(r.committed)
from jsonb_to_recordset(:rows::jsonb) as r (
    dataset text, key text, op text, identity text, state text, folded_into text, plan text, idempotency_key text,
    committed double precision
)
on conflict (pipeline, identity) do update set
    state = excluded.state, folded_into = excluded.folded_into, plan = excluded.plan, detail = null,
    idempotency_key = excluded.idempotency_key;

-- name: mark_changes(pipeline, rows)!
-- What became of those that were sent, and with them of those that were folded into them.
update sync.change as c
set state = case when c.identity = r.identity then r.state when r.state in ('refused', 'unresolved') then r.state else 'saved' end,
    plan = null,
    method = case when c.identity = r.identity then r.method end,
    path = case when c.identity = r.identity then r.path end,
    body = case when c.identity = r.identity then r.body end,
    status = case when c.identity = r.identity then r.status end,
    answer = case when c.identity = r.identity then r.answer end,
    detail = r.detail,
    attempts = case when c.identity = r.identity then c.attempts + r.attempts else 0 end,
    answered_at = now()
from jsonb_to_recordset(:rows::jsonb) as r (
    identity text, state text, method text, path text, body text, status integer, answer text, detail text,
    attempts integer
)
where c.pipeline = :pipeline and c.state in ('sending', 'folding')
    and (c.identity = r.identity or c.folded_into = r.identity);

-- name: delete_unsent(pipeline, identities)!
-- Begun and certainly not sent, or sent without effect: they come again with their batch.
delete from sync.change
where pipeline = :pipeline and state in ('sending', 'folding')
    and (identity = any(:identities::text[]) or folded_into = any(:identities::text[]));

-- name: list_unanswered(pipeline)
select dataset, key, op, identity, plan, idempotency_key, folded_into
from sync.change
where pipeline = :pipeline and state in ('sending', 'folding')
order by id;

-- name: list_change_counts(pipeline)
select state, changes from sync.change_count where pipeline = :pipeline;

-- name: upsert_records(pipeline, rows)!
insert into sync.record as c (pipeline, dataset, key, remote, base, tag)
select :pipeline, r.dataset, r.key, r.remote, r.base, r.tag
from jsonb_to_recordset(:rows::jsonb) as r (dataset text, key text, remote text, base text, tag text)
on conflict (pipeline, dataset, key) do update set
    remote = excluded.remote, base = excluded.base, tag = excluded.tag, updated_at = now();

-- name: delete_records(pipeline, rows)!
delete from sync.record as c
using jsonb_to_recordset(:rows::jsonb) as r (dataset text, key text)
where c.pipeline = :pipeline and c.dataset = r.dataset and c.key = r.key;

-- name: list_records(pipeline, dataset, keys)
select key, remote, base, tag from sync.record
where pipeline = :pipeline and dataset = :dataset and key = any(:keys::text[]);

-- name: delete_changes(pipeline)!
delete from sync.change where pipeline = :pipeline;

-- name: delete_change_counts(pipeline)!
delete from sync.change_count where pipeline = :pipeline;

-- name: delete_all_records(pipeline)!
delete from sync.record where pipeline = :pipeline;

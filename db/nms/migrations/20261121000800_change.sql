-- name: up#
-- Changes on their way to a remote that has no transactions, written before they are sent; answered ones stay as
-- archive until they are purged. `identity` names a change for ever, however batches are cut. `plan` is what is to be
-- done, until the remote has answered: a change that is found `sending` after a crash may have had its effect.
create table sync.change (
    id bigint generated always as identity primary key,
    pipeline text not null,
    generation bigint not null,
    dataset text not null,
    key text not null,
    op text not null check (op in ('insert', 'update', 'delete', 'truncate')),
    identity text not null,
    state text not null check (state in ('sending', 'folding', 'sent', 'saved', 'unkept', 'refused', 'unresolved')),
    folded_into text,
    plan text,
    method text,
    path text,
    idempotency_key text,
    body text,
    status integer,
    answer text,
    detail text,
    attempts integer not null default 0,
    committed_at timestamptz,
    captured_at timestamptz not null default now(),
    answered_at timestamptz,
    unique (pipeline, identity)
);
create index change_list_idx on sync.change (pipeline, id);
create index change_key_idx on sync.change (pipeline, dataset, key, id);
create index change_open_idx on sync.change (pipeline, id) where state in ('sending', 'folding');
create index change_age_idx on sync.change (answered_at);

-- How many changes a pipeline has had, by state; what is purged stays counted.
create table sync.change_count (
    pipeline text not null,
    state text not null,
    changes bigint not null,
    primary key (pipeline, state)
);

-- What is known of records at the remote: the key they have there, what was last written or read, its ETag.
create table sync.record (
    pipeline text not null,
    dataset text not null,
    key text not null,
    remote text not null,
    base text,
    tag text,
    updated_at timestamptz not null default now(),
    primary key (pipeline, dataset, key)
);

create function sync.count_new_changes() returns trigger language plpgsql as $body$
begin
    insert into sync.change_count as c (pipeline, state, changes)
    select pipeline, state, count(*) from new_rows group by pipeline, state order by pipeline, state
    on conflict (pipeline, state) do update set changes = c.changes + excluded.changes;
    return null;
end
$body$;

create function sync.count_moved_changes() returns trigger language plpgsql as $body$
begin
    insert into sync.change_count as c (pipeline, state, changes)
    select pipeline, state, sum(one) from (
        select pipeline, state, 1 as one from new_rows
        union all
        select pipeline, state, -1 from old_rows
    ) as moved
    group by pipeline, state having sum(one) <> 0 order by pipeline, state
    on conflict (pipeline, state) do update set changes = c.changes + excluded.changes;
    return null;
end
$body$;

create function sync.count_withdrawn_changes() returns trigger language plpgsql as $body$
begin
    update sync.change_count as c set changes = c.changes - gone.number
    from (
        select pipeline, state, count(*) as number from old_rows where state in ('sending', 'folding') group by 1, 2
    ) as gone
    where c.pipeline = gone.pipeline and c.state = gone.state;
    return null;
end
$body$;

create trigger change_new after insert on sync.change
    referencing new table as new_rows for each statement execute function sync.count_new_changes();
create trigger change_moved after update on sync.change
    referencing old table as old_rows new table as new_rows
    for each statement execute function sync.count_moved_changes();
create trigger change_withdrawn after delete on sync.change
    referencing old table as old_rows for each statement execute function sync.count_withdrawn_changes();

-- name: down#
drop table sync.record;
drop table sync.change_count;
drop table sync.change;
drop function sync.count_withdrawn_changes();
drop function sync.count_moved_changes();
drop function sync.count_new_changes();

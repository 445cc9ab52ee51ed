create schema if not exists nms;

create table if not exists nms.change (
    xid xid8 not null default pg_current_xact_id(),
    relation oid not null,
    key text[]
);

create index if not exists change_xid on nms.change (xid);

create table if not exists nms.reader (
    pipeline text not null,
    relation oid not null,
    key text[] not null,
    horizon xid8 not null default pg_snapshot_xmin(pg_current_snapshot()),
    primary key (pipeline, relation)
);

-- Notes the keys of what one statement changed. Columns are named by their numbers, so that renaming one never makes
-- a statement of the application fail; texts are the same whatever the writer's settings.
create or replace function nms.record() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 3
set bytea_output = 'hex' set lc_monetary = 'C'
as $$
declare
    fields text;
    rows_of text;
begin
    if tg_op = 'TRUNCATE' then
        insert into nms.change (relation) values (tg_relid);
        return null;
    end if;
    select string_agg(format('format(%L, %I)', '%s', a.attname), ', ' order by k.place) into fields
    from unnest(tg_argv) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = tg_relid and a.attnum = k.number::smallint and not a.attisdropped;
    rows_of := case tg_op
        when 'INSERT' then 'select array[%1$s] from new_rows'
        when 'DELETE' then 'select array[%1$s] from old_rows'
        else 'select array[%1$s] from new_rows union select array[%1$s] from old_rows'
    end;
    execute format('insert into nms.change (relation, key) select $1, k from (' || rows_of || ') as r (k)', fields)
    using tg_relid;
    return null;
end
$$;

-- Run by the owner of the table: notes what changes in it and its partitions from now on, for one pipeline.
create or replace function nms.follow(of_pipeline text, of_table regclass, of_key text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    member regclass;
    numbers text;
    action text;
begin
    if exists (select from pg_class c where c.oid = of_table and c.relispartition) then
        raise exception '% is a partition: follow the table that it belongs to', of_table;
    end if;
    if exists (select from nms.reader r where r.relation = of_table and r.pipeline <> of_pipeline and r.key <> of_key) then
        raise exception '% is followed by other key columns already', of_table;
    end if;
    for member in select of_table union select t.relid from pg_partition_tree(of_table) t loop
        select string_agg(quote_literal(a.attnum), ', ' order by k.place) into numbers
        from unnest(of_key) with ordinality as k (name, place)
        join pg_attribute a on a.attrelid = member and a.attname = k.name and not a.attisdropped;
        foreach action in array array['insert', 'update', 'delete', 'truncate'] loop
            execute format(
                'create or replace trigger nms_%1$s after %1$s on %2$s %3$s for each statement execute function nms.record(%4$s)',
                action, member,
                case action
                    when 'insert' then 'referencing new table as new_rows'
                    when 'update' then 'referencing old table as old_rows new table as new_rows'
                    when 'delete' then 'referencing old table as old_rows'
                    else ''
                end, numbers
            );
            -- Always: what a session with session_replication_role = replica writes is a change too.
            execute format('alter table only %s enable always trigger nms_%s', member, action);
        end loop;
    end loop;
    insert into nms.reader (pipeline, relation, key) values (of_pipeline, of_table, of_key)
    on conflict (pipeline, relation) do update set key = excluded.key;
end
$$;

-- What is durable at a pipeline's target need not be kept for it; run by the pipeline's login.
create or replace function nms.confirm(of_pipeline text, of_horizon xid8) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    update nms.reader set horizon = of_horizon where pipeline = of_pipeline and horizon < of_horizon;
    delete from nms.change where xid < (select horizon from nms.reader order by horizon limit 1);
$$;

-- Removes the triggers that only this pipeline needs; run by the pipeline's login, with the rights of the functions' owner.
create or replace function nms.forget(of_pipeline text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    member regclass;
    action text;
begin
    for member in
        select coalesce(t.relid, c.oid::regclass)
        from nms.reader r
        join pg_class c on c.oid = r.relation
        left join lateral pg_partition_tree(c.oid) t on true
        where r.pipeline = of_pipeline
            and not exists (select from nms.reader o where o.relation = r.relation and o.pipeline <> of_pipeline)
    loop
        foreach action in array array['insert', 'update', 'delete', 'truncate'] loop
            execute format('drop trigger if exists nms_%s on %s', action, member);
        end loop;
    end loop;
    delete from nms.reader where pipeline = of_pipeline;
    if not exists (select from nms.reader) then
        delete from nms.change;
    end if;
end
$$;

revoke all on function nms.confirm(text, xid8), nms.forget(text) from public;

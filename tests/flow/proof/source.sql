-- The truth: what each source transaction wrote, kept by triggers inside that very transaction, so that a commit
-- whose answer was lost with the server is resolved by recovery. Not part of the pipeline.
create schema proof;
create table proof.committed (
    txid bigint primary key, writer int not null, n bigint not null, kind text not null,
    at timestamptz not null default clock_timestamp());
create table proof.written (
    txid bigint not null, tablename text not null, key text not null, op "char" not null, version bigint not null);
create table proof.version (
    tablename text not null, key text not null, version bigint not null, primary key (tablename, key));

-- The row lock is held until commit: versions of a key are given out in commit order.
create function proof.bump(tablename text, key text) returns bigint language sql as $$
    insert into proof.version as v values (tablename, key, 1)
    on conflict on constraint version_pkey do update set version = v.version + 1 returning v.version
$$;

create function proof.begin_transaction(txid bigint, kind text) returns void language sql as $$
    select set_config('proof.txid', txid::text, true);
    insert into proof.committed (txid, writer, n, kind) values (txid, txid / 1000000000, txid % 1000000000, kind);
$$;

create function proof.txid() returns bigint language sql stable as $$
    select coalesce(nullif(current_setting('proof.txid', true), '')::bigint, 0)
$$;

do $outer$
declare
    t record;
begin
    for t in select * from (values
        ('account', '{R}.id::text'), ('line', '{R}.account || ''/'' || {R}.n'), ('subscription', '{R}.email'),
        ('event_log', '{R}.id::text'), ('bulk', '{R}.id::text'), ('scratch', '{R}.id::text')) as x (name, key)
    loop
        execute format($f$
            create function proof.stamp_%1$s() returns trigger language plpgsql as $body$
            begin
                if tg_op = 'DELETE' then
                    insert into proof.written values (proof.txid(), %1$L, %2$s, 'D', proof.bump(%1$L, %2$s));
                    return old;
                end if;
                if tg_op = 'UPDATE' and %2$s <> %3$s then
                    insert into proof.written values (proof.txid(), %1$L, %2$s, 'D', proof.bump(%1$L, %2$s));
                end if;
                new.txid := proof.txid();
                new.version := proof.bump(%1$L, %3$s);
                return new;
            end $body$;
            create function proof.log_%1$s() returns trigger language plpgsql as $body$
            begin
                insert into proof.written values (new.txid, %1$L, %3$s, substr(tg_op, 1, 1)::"char", new.version);
                return null;
            end $body$;
            create trigger stamp before insert or update or delete on %1$I for each row execute function proof.stamp_%1$s();
            create trigger log after insert or update on %1$I for each row execute function proof.log_%1$s();
        $f$, t.name, replace(t.key, '{R}', 'old'), replace(t.key, '{R}', 'new'));
    end loop;
end $outer$;

create function proof.log_truncate() returns trigger language plpgsql as $$
begin
    insert into proof.written
    select proof.txid(), 'scratch', id::text, 'D', proof.bump('scratch', id::text) from scratch order by id;
    return null;
end $$;
create trigger log_truncate before truncate on scratch for each statement execute function proof.log_truncate();

create publication proof for table account, line, subscription, event_log, bulk, scratch;

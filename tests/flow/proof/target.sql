-- What took effect: triggers write one row per effect inside the target's own transaction, so only what
-- committed is here. They fire always, whatever session_replication_role the writer uses.
create schema proof;
create table proof.effect (
    seq bigserial primary key, target_xid bigint not null default pg_current_xact_id()::text::bigint,
    tablename text not null, op "char" not null, key text, old_key text, old_version bigint, new_version bigint,
    same boolean, txid bigint);
create table proof.mark (
    name text primary key, seq bigint not null, at timestamptz not null default clock_timestamp());

do $outer$
declare
    t record;
begin
    for t in select * from (values
        ('account', '{R}.id::text'), ('line', '{R}.account || ''/'' || {R}.n'), ('subscription', '{R}.email'),
        ('event_log', '{R}.id::text'), ('bulk', '{R}.id::text'), ('scratch', '{R}.id::text')) as x (name, key)
    loop
        execute format($f$
            create function proof.log_%1$s() returns trigger language plpgsql as $body$
            begin
                if tg_op = 'INSERT' then
                    insert into proof.effect (tablename, op, key, new_version, txid)
                    values (%1$L, 'I', %3$s, new.version, new.txid);
                elsif tg_op = 'UPDATE' then
                    insert into proof.effect (tablename, op, key, old_key, old_version, new_version, same, txid)
                    values (%1$L, 'U', %3$s, %2$s, old.version, new.version,
                            case when old.version = new.version then old is not distinct from new end, new.txid);
                elsif tg_op = 'DELETE' then
                    insert into proof.effect (tablename, op, key, old_version, txid)
                    values (%1$L, 'D', %2$s, old.version, old.txid);
                else
                    insert into proof.effect (tablename, op) values (%1$L, 'T');
                end if;
                return null;
            end $body$;
            create trigger effect_row after insert or update or delete on %1$I
                for each row execute function proof.log_%1$s();
            create trigger effect_truncate after truncate on %1$I
                for each statement execute function proof.log_%1$s();
            alter table %1$I enable always trigger effect_row;
            alter table %1$I enable always trigger effect_truncate;
        $f$, t.name, replace(t.key, '{R}', 'old'), replace(t.key, '{R}', 'new'));
    end loop;
end $outer$;

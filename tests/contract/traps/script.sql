-- Traps: each begins with its name; a blank line ends a request. `--: second` is sent by a second session, `--: target`
-- goes to the target, `--: both` to the target and then the source, `--: copy` copies that many rows into a table, and
-- `--: stop` lets the pipeline run for a moment.

-- trap: values too big for a row, untouched and touched
insert into toasted select n, n, repeat('b' || n, 2000), repeat('h' || n, 2000) from generate_series(1, 6) n on conflict do nothing;

update toasted set n = n + 100 where id <= 4;

update toasted set big = repeat('new', 1500) where id = 2; update toasted set huge = 'short' where id = 3;

begin; update toasted set n = 0 where id = 1; update toasted set big = 'now short' where id = 1; update toasted set n = 5 where id = 1; update toasted set huge = repeat('again', 900) where id = 1; commit;

update toasted set big = null where id = 4; update toasted set n = n where id = 4;

-- trap: keys of rows with big values change
insert into toasted select n, n, repeat('k' || n, 2000), repeat('m' || n, 2000) from generate_series(100, 110) n;

update toasted set id = id + 1000 where id between 100 and 105;

begin; update toasted set n = -1 where id = 1100; update toasted set id = 2100 where id = 1100; update toasted set id = 3100, n = -2 where id = 2100; commit;

begin; update toasted set id = 5000 where id = 106; insert into toasted (id, big) values (106, 'another'); delete from toasted where id = 107; update toasted set id = 107 where id = 108; commit;

-- trap: chains of key changes
insert into plain select n, 'chain', n from generate_series(1000, 1019) n;

do $$ begin for link in 1000..1019 loop update plain set id = link - 1 where id = link; end loop; end $$;

begin; update plain set id = -999 where id = 999; update plain set id = 999 where id = 1018; update plain set id = 1018 where id = -999; update plain set id = id + 20000 where id between 1000 and 1005; delete from plain where id = 21000; update plain set id = 21000 where id = 21005; commit;

update plain set id = -id where id between 1006 and 1010; update plain set id = -id where id between -1010 and -1006;

-- trap: keys swap in one statement
insert into keyed values (1, 'x', 'first', repeat('1', 3000)), (2, 'y', 'second', repeat('2', 3000));

with gone as (delete from keyed where a in (1, 2) returning *) insert into keyed select 3 - a, b, v, big from gone order by a;

update keyed set b = case b when 'x' then 'y' else 'x' end, v = v || '!' where a in (1, 2);

update keyed set a = a + 10, b = upper(b) where a in (1, 2); update keyed set a = a - 10, big = 'b' where a in (11, 12);

-- trap: a key is deleted and comes back
insert into plain values (2000, 'was'), (2001, 'was');

begin; delete from plain where id = 2000; insert into plain values (2000, 'is'); commit;

begin; delete from plain where id = 2001; insert into plain values (2001, 'is'); delete from plain where id = 2001; insert into plain values (2001, 'is again'); update plain set n = 7 where id = 2001; commit;

begin; insert into plain values (2002, 'short life'); delete from plain where id = 2002; commit;

-- trap: truncate with restart identity and cascade
insert into parent (v) select 'p' from generate_series(1, 5); insert into child (parent_id, v) select id, 'c' from parent; insert into grandchild select id, id from child on conflict do nothing;

truncate parent restart identity cascade;

insert into parent (v) values ('after'); insert into child (parent_id, v) select id, 'after' from parent; insert into grandchild select id, id from child;

begin; insert into parent (v) values ('lost'); truncate parent, child, grandchild restart identity; insert into parent (v) values ('kept'); insert into child (parent_id, v) select id, 'kept' from parent; commit;

begin; truncate parent cascade; rollback;

-- trap: several tables truncated at once
insert into nameless select 'n', n from generate_series(1, 20) n; insert into taken values (500, 500, 'x') on conflict do nothing;

truncate nameless, taken, tree, left_ring, right_ring;

insert into nameless values ('after', 1), ('after', 1); insert into taken values (501, 501, 'after');

begin; insert into nameless values ('lost', 2); truncate nameless; insert into nameless values ('kept', 2); truncate only whole, coded; commit;

-- trap: sub-transactions, some of them rolled back
begin; insert into plain values (3000, 'kept'); savepoint a; insert into plain values (3001, 'lost'); update plain set v = 'lost' where id = 3000; rollback to a; insert into plain values (3001, 'kept'); savepoint b; delete from plain where id = 3000; savepoint c; insert into plain values (3002, 'lost'); rollback to b; release a; insert into plain values (3003, 'kept'); commit;

begin; savepoint a; insert into plain values (3010, 'kept'); release a; savepoint a; update plain set id = 3011 where id = 3010; savepoint b; update plain set id = 3012 where id = 3011; rollback to b; commit;

-- trap: streamed sub-transactions, some of them rolled back
begin; insert into plain select n, repeat('s', 100) from generate_series(40000, 40800) n; savepoint a; update plain set v = 'lost' where id between 40000 and 40800; delete from plain where id < 40100 and id >= 40000; rollback to a; savepoint b; update plain set n = 1 where id between 40000 and 40400; savepoint c; insert into plain select n, repeat('s', 100) from generate_series(41000, 41800) n; rollback to c; insert into plain select n, repeat('t', 100) from generate_series(41000, 41300) n; commit;

begin; insert into plain select n, repeat('s', 100) from generate_series(42000, 42800) n; truncate coded; insert into coded values (1, 'only if', 'rolled back'); rollback;

begin; savepoint a; truncate nameless; insert into nameless select 'lost', n from generate_series(1, 1500) n; rollback to a; insert into nameless select 'kept', n from generate_series(1, 1500) n; commit;

-- trap: two streamed transactions at a time
begin; insert into plain select n, repeat('1', 100) from generate_series(50000, 50900) n;

--: second
begin; insert into plain select n, repeat('2', 100) from generate_series(51000, 51900) n; update toasted set n = 77;

--: stop

savepoint a; update plain set v = 'lost' where id between 50000 and 50900;

--: second
insert into plain select n, repeat('2', 100) from generate_series(52000, 52900) n; commit;

rollback to a; update plain set n = 2 where id between 51000 and 51900; insert into plain select n, repeat('1', 100) from generate_series(53000, 53900) n; commit;

-- trap: rollbacks
begin; insert into plain values (6000, 'lost'); rollback;

begin; delete from plain; delete from toasted; rollback;

-- trap: a column becomes wider
insert into plain (id, code, amount) values (7000, '1234567890', 123456.78);

--: both
alter table plain alter code type varchar(40), alter amount type numeric(14, 4);

insert into plain (id, code, amount) values (7001, '12345678901234567890', 12345678.1234); update plain set code = code || 'x' where id = 7000;

-- trap: a column comes and goes
insert into whole values (100, 'before', repeat('x', 3000));

begin; alter table whole add passer int default 5; insert into whole (id, v, passer) values (101, 'within', 6); update whole set v = 'changed' where id = 100; commit;

update whole set passer = 9; insert into whole (id, passer) values (102, 1);

alter table whole drop passer; insert into whole values (103, 'after', null); update whole set id = id + 1000 where id = 100;

-- trap: tables are written anew
vacuum full plain

update plain set n = n + 1 where id % 7 = 0;

cluster keyed using keyed_pkey

begin; insert into plain values (8000, 'before'); alter table plain alter n type int using n + 0; update plain set v = 'after' where id = 8000; commit;

alter table toasted alter big set storage extended; update toasted set n = n + 1;

alter table toasted alter big set storage external; reindex table toasted; analyze toasted;

-- trap: the replica identity changes
insert into plain values (9000, 'a'), (9001, 'b'), (9002, 'c');

alter table plain replica identity full; update plain set v = 'full' where id = 9000; delete from plain where id = 9001; update plain set id = 9003 where id = 9002;

begin; update plain set v = 'still full' where id = 9003; alter table plain replica identity default; update plain set v = 'default' where id = 9000; commit;

alter table plain replica identity using index plain_pkey; update plain set id = 9004 where id = 9003;

alter table plain replica identity default;

-- trap: two phases
begin; insert into plain values (10000, 'two phases'); update toasted set n = 1; prepare transaction '{name}_a';

begin; insert into plain values (10001, 'never'); prepare transaction '{name}_b';

insert into plain values (10002, 'between');

--: stop

rollback prepared '{name}_b';

begin; insert into nameless select 'two phases', n from generate_series(1, 2000) n; savepoint a; insert into plain values (10003, 'lost'); rollback to a; prepare transaction '{name}_c';

commit prepared '{name}_a';

insert into plain values (10004, 'between');

commit prepared '{name}_c';

-- trap: constraints checked at the commit
begin; insert into late values (1, 10, 1), (2, 20, 2); insert into landlord values (1), (2); commit;

update late set u = case u when 10 then 20 else 10 end where id in (1, 2);

begin; update late set u = 30 where id = 1; insert into late values (3, 30, 3); update late set u = 31 where id = 1; insert into landlord values (3); commit;

begin; delete from landlord where id = 3; update late set owner = null where id = 3; commit;

begin; insert into left_ring values (1, 1); insert into right_ring values (1, 1); commit;

begin; delete from left_ring where id = 1; delete from right_ring where id = 1; insert into right_ring values (1, 2); insert into left_ring values (2, 1); commit;

-- trap: unique values swap by a third
insert into taken values (1, 1, 'one'), (2, 2, 'two') on conflict do nothing;

begin; update taken set u = -1 where id = 1; update taken set u = 1 where id = 2; update taken set u = 2 where id = 1; commit;

begin; delete from taken where id = 1; update taken set id = 1 where id = 2; insert into taken values (2, 2, 'new'); commit;

-- trap: rows refer to rows of their table
begin; insert into tree values (3, 2, 'leaf'), (2, 1, 'branch'), (1, null, 'root'); commit;

begin; update tree set parent_id = null where id = 3; delete from tree where id = 2; insert into tree values (2, 3, 'turned'); commit;

begin; update tree set id = 100 where id = 3; update tree set parent_id = 100 where id = 2; commit;

-- trap: references act by themselves
insert into parent values (100100, 'p'), (100101, 'q'), (100102, 'r'); insert into child values (100100, 100100, 'c'), (100101, 100101, 'd'), (100102, 100102, 'e'); insert into grandchild values (100100, 100100), (100101, 100101), (100102, 100102);

update parent set id = 100200 where id = 100100; update child set id = 100200 where id = 100100;

delete from parent where id = 100101;

begin; delete from parent where id = 100102; insert into parent values (100102, 'again'); insert into child values (100102, 100102, 'again'); update grandchild set child_id = 100102 where id = 100102; commit;

-- trap: updates without a change
update plain set v = v; update toasted set n = n; update keyed set a = a, b = b;

-- trap: inserts on conflict
insert into plain values (11000, 'first') on conflict do nothing;

insert into plain values (11000, 'second'), (11001, 'new') on conflict (id) do update set v = excluded.v, n = plain.n + 1;

insert into plain values (11000, 'third') on conflict do nothing;

-- trap: merge
insert into plain values (12000, 'stays'), (12001, 'goes'), (12002, 'changes');

merge into plain t using (values (12001, null), (12002, 'changed'), (12003, 'new')) s (id, v) on t.id = s.id when matched and s.v is null then delete when matched then update set v = s.v, id = t.id + 1000 when not matched then insert (id, v) values (s.id, s.v);

-- trap: copy
--: copy
plain (id, v) 14000 400

--: copy
nameless (n, v) 1 300

-- trap: rows move between partitions
insert into spread values (1, 'n', 'a'), (2, 's', 'b'), (3, 'x', 'c'), (4, 't', 'd');

update spread set region = 's' where id = 1; update spread set region = 'n', v = 'moved' where id = 2; update spread set region = 't', id = 30 where id = 3;

begin; update spread set region = 'y' where id = 4; update spread set region = 'n' where id = 4; delete from spread where region = 's'; commit;

insert into spread_s values (5, 's', 'straight into a partition');

-- trap: sequences
select nextval('counter') from generate_series(1, 100); alter sequence counter restart with 5;

insert into parent (v) values ('counted') on conflict do nothing;

-- trap: large objects beside
begin; select lo_from_bytea(0, decode(repeat('ab', 100000), 'hex')); insert into plain values (15000, 'beside a large object'); commit;

-- trap: temporary and unlogged tables beside
begin; create temp table short on commit drop as select n from generate_series(1, 2000) n; update short set n = n + 1; insert into plain values (16000, 'beside'); insert into passing values (1, 'x') on conflict do nothing; insert into beside values (1, 'x') on conflict do nothing; delete from passing; commit;

begin; insert into beside select n, 'x' from generate_series(10, 3000) n on conflict do nothing; insert into plain values (16001, 'beside many'); truncate beside; commit;

-- trap: ten thousand savepoints
do $$ begin for n in 1..10000 loop begin insert into plain values (100000 + n, 'savepoint'); if n % 3 = 0 then raise exception 'undo'; end if; exception when raise_exception then null; end; end loop; end $$;

delete from plain where id > 100000 and id % 5 <> 0;

-- trap: transaction ids far apart
begin; insert into plain values (17000, 'early');

--: second
do $$ begin for n in 1..5000 loop begin perform pg_current_xact_id(); exception when others then null; end; end loop; end $$;

--: second
insert into plain values (17001, 'between');

--: stop

savepoint a; insert into plain values (17002, 'late'); commit;

-- trap: a whole row is the identity
insert into whole values (1, 'a', repeat('w', 3000)), (2, 'b', repeat('x', 3000)), (3, null, null);

update whole set v = 'changed' where id = 1; update whole set id = 20 where id = 2; delete from whole where id = 3;

begin; update whole set id = 21 where id = 20; update whole set big = 'short', id = 22 where id = 21; commit;

-- trap: an index is the identity
insert into coded values (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z') on conflict do nothing;

update coded set id = id + 1; update coded set code = 'aa' where code = 'a'; delete from coded where code = 'b'; update coded set v = null where code = 'c';

-- trap: everything goes and comes
begin; create temp table kept on commit drop as select * from keyed; delete from keyed; insert into keyed select * from kept; commit;

begin; delete from toasted where id < 100; insert into toasted select n, n, repeat('z' || n, 1500), null from generate_series(1, 6) n; update toasted set n = n + 1 where id < 100; commit;

-- trap: a table first told of in a savepoint that is rolled back
begin; insert into nameless select 'fill', n from generate_series(1, 1500) n; savepoint a; insert into rare select n, repeat('r', 100) from generate_series(1, 900) n; rollback to a; insert into rare select n, 'kept' from generate_series(1, 900) n; commit;

-- trap: a table altered in a savepoint that is rolled back
begin; insert into nameless select 'fill', n from generate_series(1, 1500) n; savepoint a; alter table scarce add passer int default 3; insert into scarce select n, repeat('r', 100) from generate_series(1, 900) n; rollback to a; insert into scarce select n, 'kept' from generate_series(1, 900) n; savepoint b; alter table scarce drop v; insert into scarce select n from generate_series(1001, 2900) n; rollback to b; insert into scarce select n, 'kept' from generate_series(1001, 1900) n; commit;

begin; insert into scarce values (1, 'lost') on conflict do nothing; alter table scarce rename v to w; insert into scarce (id, w) select n, 'lost' from generate_series(3000, 4500) n; rollback;

update scarce set v = 'updated' where id = 5;

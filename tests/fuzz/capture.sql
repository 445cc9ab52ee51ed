insert into a values (1, 'one', 1.50, '2026-01-01 00:00+00', repeat('x', 2100), '{a,"b c",null}'), (2, null, null, null, null, null);
update a set v = 'two' where id = 1;
update a set id = 3 where id = 1;
update a set big = 'small', id = 1 where id = 3;
insert into b values (1, 'ä', '\x00ff'), (2, '', null);
update b set y = 'o', v = '' where x = 1;
delete from b where x = 2;
insert into c values ('00000000-0000-0000-0000-00000000000f', '{"a": [1, null]}', 'NaN');
update c set f = -0.0;
update c set id = '00000000-0000-0000-0000-0000000000ff', j = null;
delete from c;
begin; insert into a (id) values (10); savepoint s; insert into a (id) values (11); rollback to s; insert into a (id) values (12); commit;
begin; insert into a (id) values (20); rollback;
insert into d select n, 1 from generate_series(1, 3) n;
truncate b, c;
truncate a restart identity cascade;
select pg_logical_emit_message(true, 'nms.heartbeat', 'x:1');
select pg_logical_emit_message(false, 'other', 'plain');
begin;
insert into a (id, v) values (30, 'left');
--2
begin;
--2
insert into b values (30, 'right', null);
insert into a (id, v) values (31, 'left');
savepoint s;
insert into a (id, v) values (32, 'undone');
--2
update b set v = 'x' where x = 30;
rollback to s;
insert into b values (31, 'left', '\x01');
--2
commit;
commit;
begin;
insert into a (id, v) values (40, 'undone');
truncate b;
rollback;
begin;
insert into a (id, v) values (50, 'before');
alter table a add w int default 7;
insert into a (id, w) values (51, 8);
commit;
update a set w = 9 where id = 50;
alter table a drop w;
create type mood as enum ('sad', 'happy');
alter table d add m mood;
insert into d (id, m) values (9, 'sad');
insert into a select n, repeat(md5(n::text), 3) from generate_series(100, 130) n;
delete from a

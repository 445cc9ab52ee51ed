-- name: up#
-- Writers hold the lock of cfg.revision, so the next number is known; an identity would leave a gap behind each
-- transaction that is rolled back.
create function cfg.next_revision() returns bigint language sql volatile as $body$
    select coalesce(max(id), 0) + 1 from cfg.revision
$body$;

alter table cfg.revision alter column id drop identity;
alter table cfg.revision alter column id set default cfg.next_revision();

-- Which row of cfg.document stands, so that reading what is current costs nothing of what once was.
create table cfg.standing (
    kind text not null,
    name text not null,
    revision bigint not null,
    primary key (kind, name),
    foreign key (kind, name, revision) references cfg.document (kind, name, revision)
) with (fillfactor = 70);

insert into cfg.standing (kind, name, revision)
select newest.kind, newest.name, newest.revision
from (
    select distinct on (kind, name) kind, name, revision, deleted
    from cfg.document
    order by kind, name, revision desc
) as newest
where not newest.deleted;

create function cfg.keep_standing() returns trigger language plpgsql as $body$
begin
    if new.deleted then
        delete from cfg.standing where kind = new.kind and name = new.name;
    else
        insert into cfg.standing (kind, name, revision) values (new.kind, new.name, new.revision)
        on conflict (kind, name) do update set revision = excluded.revision;
    end if;
    return null;
end
$body$;

create trigger document_stand after insert on cfg.document for each row execute function cfg.keep_standing();

create or replace view cfg.current_document as
select d.kind, d.name, d.revision, d.body, d.checksum
from cfg.standing as s
join cfg.document as d on d.kind = s.kind and d.name = s.name and d.revision = s.revision;

-- name: down#
create or replace view cfg.current_document as
select newest.kind, newest.name, newest.revision, newest.body, newest.checksum
from (
    select distinct on (kind, name) kind, name, revision, body, checksum, deleted
    from cfg.document
    order by kind, name, revision desc
) as newest
where not newest.deleted;
drop table cfg.standing cascade;
drop trigger document_stand on cfg.document;
drop function cfg.keep_standing();
alter table cfg.revision alter column id drop default;
alter table cfg.revision alter column id add generated always as identity;
select setval(pg_get_serial_sequence('cfg.revision', 'id'), (select coalesce(max(id), 0) + 1 from cfg.revision), false);
drop function cfg.next_revision();

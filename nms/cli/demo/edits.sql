-- Six posts appear of which one does not last, ten comments on a new one; others are changed and deleted.
insert into public.posts select 100 + n, n, 'Written in the table', 'number ' || n from generate_series(1, 6) n;
insert into public.comments
select 500 + n, 101, 'comment ' || n, 'reader@example.com', 'on a post of the table' from generate_series(1, 10) n;
update public.posts set title = 'Changed: ' || title where id between 1 and 20;
update public.posts set body = 'changed a second time' where id between 1 and 5;
update public.comments set name = upper(name) where post_id between 1 and 5;
delete from public.posts where id = 106;
delete from public.comments where id between 251 and 260;
delete from public.posts where id in (98, 99, 100);

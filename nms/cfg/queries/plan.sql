-- name: insert_plan(base, author, message, changes, told)^
insert into cfg.plan (base, author, message, changes, told) values (:base, :author, :message, :changes, :told)
returning id, base, created_at, author, message, changes, told, applied_at, revision;

-- name: get_plan(id, days)^
select id, base, created_at, author, message, changes, told, applied_at, revision from cfg.plan
where id = :id and created_at >= now() - make_interval(days => :days);

-- name: mark_plan_applied(id, revision)!
update cfg.plan set applied_at = clock_timestamp(), revision = :revision where id = :id;

-- name: purge_plans(days)!
delete from cfg.plan where created_at < now() - make_interval(days => :days);

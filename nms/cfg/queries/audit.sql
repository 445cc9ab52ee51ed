-- name: insert_audit(action, outcome, actor, address, request, subject, revision, reason, facts)!
insert into cfg.audit (action, outcome, actor, address, request, subject, revision, reason, facts)
values (:action, :outcome, :actor, :address, :request, :subject, :revision, :reason, :facts);

-- name: list_audit(action, outcome, actor, subject, revision, since, until, after_at, after_id, size)
select id, at, action, outcome, actor, address, request, subject, revision, reason, facts from cfg.audit
where (:action::text is null or action = :action)
    and (:outcome::text is null or outcome = :outcome)
    and (:actor::text is null or actor = :actor)
    and (:subject::text is null or subject = :subject)
    and (:revision::bigint is null or revision = :revision)
    and (:since::timestamptz is null or at >= :since)
    and (:until::timestamptz is null or at < :until)
    and (:after_at::timestamptz is null or (at, id) < (:after_at, :after_id::bigint))
order by at desc, id desc
limit :size;

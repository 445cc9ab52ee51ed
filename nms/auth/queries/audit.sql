-- name: insert_audit(action, outcome, actor, subject, address, facts)!
insert into auth.audit (action, outcome, actor, subject, address, facts)
values (:action, :outcome, :actor, :subject, :address, :facts);

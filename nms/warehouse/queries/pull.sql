-- name: list_rounded(source)
-- The pipelines that bring a source into the warehouse, and whether they work in rounds.
select name, has_rounds, wanted, phase, problem from sync.rounded
where source = :source and target_type = 'warehouse'
order by name;

-- name: claim_round(pipeline)$
select sync.ask_round(:pipeline);

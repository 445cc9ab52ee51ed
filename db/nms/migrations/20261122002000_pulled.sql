-- name: up#
-- Published to other rooms: the pipelines whose rounds can be asked for.
create view sync.rounded as
select
    name, documents #>> '{pipeline,source}' as source, documents #>> '{target,type}' as target_type,
    documents #>> '{pipeline,capture}' in ('poll', 'compare', 'pull') as has_rounds, wanted, phase, problem
from sync.pipeline
where wanted <> 'removed';

-- Asks for a round of a pipeline that begins after now, in the caller's transaction, which orders the run of kind
-- `round` that follows it. None where the pipeline is not there.
create function sync.ask_round(of_pipeline text) returns bigint language sql volatile as $body$
update sync.pipeline set asked = asked + 1
where name = of_pipeline and wanted <> 'removed'
returning asked
$body$;

-- name: down#
drop function sync.ask_round(text);
drop view sync.rounded;

create schema if not exists nms;

create table if not exists nms.position (
    pipeline text primary key,
    epoch bigint not null,
    position jsonb,
    source_system text not null,
    layouts jsonb not null default '{}',
    updated_at timestamptz not null default now()
);

-- A table that an older NMS made.
alter table nms.position add column if not exists layouts jsonb not null default '{}';

create or replace function nms.advance(of_pipeline text, of_epoch bigint, new_position jsonb) returns void
language plpgsql as $$
begin
    update nms.position set position = new_position, updated_at = now()
    where pipeline = of_pipeline and epoch = of_epoch;
    if not found then
        raise exception 'pipeline % has gone to another worker', of_pipeline using errcode = 'NM001';
    end if;
end
$$;

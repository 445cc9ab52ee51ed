create table if not exists public.subscription (
    email text primary key,
    status text not null,
    plan text not null,
    started_at timestamptz not null,
    changed_at timestamptz not null,
    ends_at timestamptz,
    attributes jsonb not null
);

create table public.arrived (event uuid primary key, webhook bigint not null);
create table public.customer (id bigint primary key, webhook bigint not null, event uuid not null);
create table public.history (
    place bigint generated always as identity primary key,
    tablename text not null,
    id bigint not null,
    event uuid not null
);
create function public.note_arrived() returns trigger language plpgsql as $$
begin
    insert into public.history (tablename, id, event) values ('arrived', new.webhook, new.event);
    return null;
end
$$;
create function public.note_customer() returns trigger language plpgsql as $$
begin
    insert into public.history (tablename, id, event) values ('customer', new.id, new.event);
    return null;
end
$$;
create trigger note after insert or update on public.arrived for each row execute function public.note_arrived();
create trigger note after insert or update on public.customer for each row execute function public.note_customer();

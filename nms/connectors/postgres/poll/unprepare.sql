-- Removes what changes.sql made, once no pipeline reads it; the schema stays while anything else is in it.
do $$
begin
    if to_regclass('nms.reader') is null or exists (select from nms.reader) then
        return;
    end if;
    drop function if exists nms.forget(text), nms.confirm(text, xid8), nms.follow(text, regclass, text[]), nms.record();
    drop table if exists nms.change, nms.reader;
    if not exists (select from pg_class c where c.relnamespace = 'nms'::regnamespace)
        and not exists (select from pg_proc p where p.pronamespace = 'nms'::regnamespace) then
        drop schema nms;
    end if;
end
$$;

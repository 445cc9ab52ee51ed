-- Run once by the superuser. `shop` is the company's own application and owns its tables; NMS has a login of its own for
-- each system, with the rights it needs there (docs/how-to/connect-postgres.md) and no others.
do $$
begin
    execute format('create role shop login password %L', current_setting('demo.shop'));
    execute format('create role nms_reader login replication password %L', current_setting('demo.nms_reader'));
    execute format('create role nms_writer login password %L', current_setting('demo.nms_writer'));
end
$$;

grant shop to nms_reader;
alter database billing owner to shop;
alter database crm owner to shop;
grant connect, create on database billing to nms_reader;
grant connect, create on database crm to nms_writer;

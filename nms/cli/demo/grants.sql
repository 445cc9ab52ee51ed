grant select, insert, update, delete, truncate on all tables in schema public to nms_writer;

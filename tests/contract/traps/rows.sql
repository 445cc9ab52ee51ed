-- What was there before the pipeline: of the traps only those that take whole tables reach it.
insert into plain select n, 'before', n from generate_series(200000, 200700) n;
insert into toasted select n, n, repeat('b' || n, 1000), repeat('h' || n, 1000) from generate_series(200000, 200060) n;
insert into keyed select n, 'k' || n % 3, 'before', repeat('k' || n, 800) from generate_series(200000, 200200) n;
insert into parent select n, 'before' from generate_series(200000, 200100) n;
insert into child select n, n, 'before' from generate_series(200000, 200100) n;
insert into grandchild select n, n from generate_series(200000, 200100) n;
insert into tree select n, null, 'before' from generate_series(200000, 200050) n;
insert into landlord select n from generate_series(200000, 200050) n;
insert into late select n, n, n from generate_series(200000, 200050) n;
insert into taken select n, n, 'before' from generate_series(200000, 200100) n;
insert into spread select n, substr('nstx', n % 4 + 1, 1), 'before' from generate_series(200000, 200300) n;
insert into whole select n, 'before', repeat('w', 3000) from generate_series(200000, 200050) n;
insert into coded select n, 'c' || n, 'before' from generate_series(200000, 200100) n;
insert into nameless select 'before', n from generate_series(1, 400) n;
insert into rare select n, 'before' from generate_series(200000, 200100) n;

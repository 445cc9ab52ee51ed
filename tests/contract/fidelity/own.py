"""Types that users make: enums, domains, composites, ranges, arrays of them, and types of extensions."""

from tests.contract.fidelity.columns import column

TYPES = """
create type mood as enum ('sad', 'ok', 'happy', '', ' x ', 'it''s', 'a,b', '"', '\\', '(', '{}', 'NULL', 'Ω');
create type "An ""Odd"" Type" as enum ('a', 'B');
create domain small as integer check (value < 100);
create domain smaller as small check (value < 10);
create domain words as text collate "C" check (value <> 'forbidden');
create domain money_like as numeric(10, 2);
create domain numbers as integer[] check (array_length(value, 1) < 4);
create domain many_smalls as small[];
create domain mood_domain as mood;
create domain place as regclass;
create domain stamp as timestamptz(3);
create domain document as jsonb;
create type pair as (a integer, b text);
create type mixed as (n numeric(6, 2), m mood, "Odd Name" timestamptz, d smaller, list text[]);
create type deep as (p pair, ps pair[], m mixed, r int4range);
create type empty_type as ();
create domain pair_domain as pair;
create type float_range as range (subtype = float8, subtype_diff = float8mi);
create type text_range as range (subtype = text, collation = "C");
create type mood_range as range (subtype = mood);
create type small_range as range (subtype = small);
create type pair_range as range (subtype = pair);
create type inet_range as range (subtype = inet, multirange_type_name = inets);
create domain span as int4range;
create table mood_row (id integer, m mood);
create table "An ""Odd"" Table" (id integer);
"""
OWN = (
    column("mood", "sad", "happy", "", " x ", "it's", "a,b", '"', "\\", "(", "{}", "NULL", "Ω"),
    column('"An ""Odd"" Type"', "a", "B"),
    column("small", "99", "-2147483648"),
    column("smaller", "9", "-1"),
    column("words", "", "Ω", "a b"),
    column("money_like", "1.10", "99999999.99", "NaN"),
    column("mood_domain", "sad", "Ω"),
    column("stamp", "2026-01-01 00:00:00.001+00", "infinity"),
    column("document", '{"a":  1}', "null"),
    column("numbers", "{1,NULL,3}", "[0:1]={1,2}", "{}"),
    column("place", "pg_class", "public.mood_row", "-", portable=False),
    column("span", "[1,5)", "empty"),
    column("float_range", "[-0,Infinity]", "empty", "(NaN,)", "[4.9406564584124654e-324,0.1)"),
    column("text_range", '["a b","c,d")', '["(",")"]', "empty", "(,)"),
    column("mood_range", "[sad,happy)", '(,"it\'s"]', "empty"),
    column("small_range", "[1,99)", "empty"),
    column("inet_range", "[10.0.0.0/8,::1]", "empty"),
    column("inets", "{[10.0.0.1,10.0.0.5),[::1,::5]}", "{}"),
    column("float_multirange", "{[1,2),(3,Infinity]}", "{}"),
    column("mood_multirange", "{[sad,ok)}", "{}"),
    column("pair", "(1,a)", "(,)", '(-1,"")', '(2,"it""s (a,b) \\\\")', "(3,NULL)", portable=False),
    column("pair_domain", "(1,a)", "(,)", portable=False),
    column(
        "mixed",
        '(1.10,happy,"2026-01-01 00:00:00+00",9,"{a,NULL,""b,c""}")',
        "(,,,,)",
        '(NaN,"",infinity,-1,{})',
        portable=False,
    ),
    column(
        "deep",
        '("(1,a)","{""(2,b)"",NULL}","(1.10,sad,,,)","[1,5)")',
        "(,,,)",
        '("(,)",{},"(,,,,)",empty)',
        portable=False,
    ),
    column("empty_type", "()", portable=False),
    column("mood_row", "(1,sad)", "(,)", portable=False),
    column("pair_range", '["(1,a)","(2,b)")', "empty", portable=False),
    column("mood[]", '{sad,"",NULL,"NULL","a,b","\\"","{}"}', "{}", "[0:0]={ok}", portable=False),
    column("mood_domain[]", "{sad,NULL}", "{}", portable=False),
    column("small[]", "{1,99,NULL}", "{}", portable=False),
    column("many_smalls", "{1,99,NULL}", "{}", portable=False),
    column("numbers[]", '{"{1,2}",NULL}', "{}", portable=False),
    column("words[]", '{"",NULL,Ω}', "{}", portable=False),
    column("pair[]", '{"(1,a)",NULL,"(,)"}', "{}", '[2:3]={"(1,a)","(2,\\"b c\\")"}', portable=False),
    column("deep[]", '{"(\\"(1,a)\\",,,)"}', "{}", portable=False),
    column("float_range[]", '{"[1,2)",NULL,empty}', "{}", portable=False),
    column("mood_range[]", '{"[sad,ok)",NULL}', "{}", portable=False),
    column("inets[]", '{"{[10.0.0.1,10.0.0.5)}",NULL}', "{}", portable=False),
    column("information_schema.sql_identifier", "x", ""),
    column("information_schema.yes_or_no", "YES", "NO"),
    column("information_schema.sql_identifier[]", "{a,NULL}", portable=False),
)
EXTENSIONS = (
    column("citext", "Ab", "aB", "", needs="citext"),
    column("citext[]", "{Ab,NULL}", portable=False, needs="citext"),
    column("hstore", '"a"=>"1", "b"=>NULL, ""=>"\\""', "", needs="hstore"),
    column("ltree", "Top.Science.Astronomy", "", needs="ltree"),
    column("lquery", "Top.*{1,2}.A*@%", needs="ltree"),
    column("cube", "(1,2),(3,4)", "(0)", portable=False, needs="cube"),
    column("seg", "1.5 .. 2.50", "<7", portable=False, needs="seg"),
    column("isbn13", "978-0-393-04002-9", portable=False, needs="isn"),
    column("query_int", "1&(2|!3)", portable=False, needs="intarray"),
    column("vector(3)", "[1,-0,0.1]", "[1e-38,3.4e38,16777216]", needs="vector"),
    column("sparsevec(5)", "{1:1.5,3:-2}/5", needs="vector"),
)

"""Stories of tables: names, partitions, parents and children, generated columns, triggers, very wide ones."""

from nms.common.flow import DatasetSpec
from tests.contract.fidelity.story import Story

LONG, WIDE = "ü" * 31 + "x", 1600
ODD = "a\"b'c.d\\e%s$1{} \t:x"
NAMES = ('"{0}"."{0}"', '"Sch ema"."Tab ""le"""', 'public."select"', "public.excluded", "public.t", "public.s",
         'public."Ω.ω"', "public.nms_stage_0")  # fmt: skip
COLUMNS = ("nms_op", "excluded", "t", "s", "ctid_", "k", "part", "rows", "digest", LONG, ODD, "Select", "oid", "data")


def quote(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


SCHEMAS = f'create schema {quote(LONG)}; create schema "Sch ema";'
TABLES = (*(name.format(LONG) for name in NAMES), f"public.{quote(ODD)}")
LISTED = ", ".join(f"{quote(name)} text" for name in COLUMNS)
ALL = ", ".join(quote(name) for name in COLUMNS)
VALUES = ", ".join(["n::text"] * len(COLUMNS))
ROWS = f"""("i d", {ALL}) select n, {VALUES} from generate_series"""
NAMED = Story(
    "odd names",
    SCHEMAS
    + "".join(f'create table {table} ("i d" int, {LISTED}, primary key ("i d", excluded));' for table in TABLES),
    TABLES,
    "".join(f"insert into {table} {ROWS}(1, 3) n;" for table in TABLES),
    (
        "".join(f"insert into {table} {ROWS}(4, 6) n;" for table in TABLES),
        "".join(
            f"""update {table} set nms_op = 'x', {quote(ODD)} = null where "i d" < 3;
            update {table} set excluded = 'y' where "i d" = 4;"""
            for table in TABLES
        ),
        "".join(
            f"""delete from {table} where "i d" in (2, 4); insert into {table} ("i d", excluded) values (2, '2');"""
            for table in TABLES
        ),
        f"truncate {', '.join(TABLES)}",
    ),
)
PARTITIONED = Story(
    "partitions",
    """
    create table p (region text, id int, v text, primary key (region, id)) partition by list (region);
    create table p_a partition of p for values in ('a');
    create table p_b partition of p for values in ('b') partition by range (id);
    create table p_b1 partition of p_b for values from (0) to (100);
    create table p_b2 (v text, gone int, id int not null, region text not null, primary key (region, id));
    alter table p_b2 drop column gone;
    alter table p_b attach partition p_b2 for values from (100) to (200);
    create table one (id int primary key, v text) partition by hash (id);
    create table one_0 partition of one for values with (modulus 2, remainder 0);
    create table one_1 partition of one for values with (modulus 2, remainder 1);
    create table plain (id int, v text, k text, primary key (id, k)) partition by list (k);
    create table plain_1 partition of plain default;
    """,
    ("p", "one", "plain_1"),
    """
    insert into p select 'a', n, 'v' from generate_series(1, 90) n;
    insert into p select 'b', n, 'v' from generate_series(1, 150) n;
    """
    "insert into one select n, 'v' from generate_series(1, 20) n; insert into plain values (1, 'v', 'a')",
    (
        """
        update p set v = 'w' where id % 3 = 0; update p set id = id + 49 where id = 150;
        update p set id = id + 100 where id between 91 and 95
        """,
        "update p set region = 'a' where region = 'b' and id between 98 and 110; update p set id = 95 where id = 199",
        "insert into p values ('b', 198, repeat('x', 9000)); update p set region = 'a', v = v where id = 198",
        "update one set id = id + 101; update plain set v = 'w', id = 7; insert into plain values (2, 'x', 'b')",
        "delete from p where id > 140; delete from p where region = 'a' and id < 10; truncate one",
        "truncate p; insert into p values ('b', 1, 'again')",
    ),
    # A change log is not kept for one partition alone.
    captures=("log", "compare"),
    target="drop table one; create table one (id int primary key, v text)",
)
INHERITED = Story(
    "parents and children",
    "create table parent (id int primary key, v text); create table child (w text, primary key (id)) inherits (parent);"
    "create table alone (id int primary key, v text); create table unheard () inherits (alone)",
    ("parent", "child", "alone"),
    "insert into parent values (1, 'a'), (2, 'b'); insert into child values (1, 'a', 'w'), (3, 'c', 'w');"
    "insert into alone values (1, 'a')",
    (
        "update parent set v = 'both' where id = 1",
        "delete from only parent where id = 1; update only parent set v = 'only'",
        """
        insert into parent values (1, 'again'); delete from child where id = 1;
        insert into unheard values (9, 'not sent')
        """,
        "truncate only parent; insert into parent values (3, 'z'); update only parent set v = 'y'",
    ),
    # The triggers of a change log hear a statement on the parent there only, and not at the child.
    captures=("log", "compare"),
    target="insert into unheard values (1, 'stays')",
    shown=(
        ("select tableoid::regclass::text, p::text from parent p order by 1, 2",) * 2,
        ("select t::text from only alone t order by 1",) * 2,
        ("select '(1,stays)'", "select t::text from unheard t order by 1"),
    ),
)
GENERATED = Story(
    "generated columns and identities",
    """
    create table made (id int generated always as identity primary key, a int,
        twice int generated always as (a * 2) stored, b text, n int generated by default as identity);
    create table serials (id serial primary key, v text);
    """,
    (
        "made", "serials",
        DatasetSpec("public.here", "public.here", fields={"id": "id", "a": "a"}),
        "there",
    ),
    "insert into made (a, b) select n, 'b' from generate_series(1, 5) n; insert into serials (v) values ('a');"
    "insert into here values (1, 2); insert into there values (1, 2, 0)",
    (
        "insert into made (a, b) values (7, null); update made set a = a + 1, b = 'c' where id < 3",
        "insert into made (id, a) overriding system value values (100, 1); update made set n = 77 where id = 4",
        """
        insert into serials (v) values ('b'); update here set a = 9; insert into here values (2, null);
        update there set a = 5
        """,
        "delete from made where id = 2; truncate serials restart identity; insert into serials (v) values ('c')",
    ),
    source="create table here (id int primary key, a int, c int generated always as (a + 1) stored);"
    "create table there (id int primary key, a int, c int)",
    target="create table here (id int primary key, a int, c int default 5);"
    "create table there (id int primary key, a int, c int generated always as (a * 10) stored)",
    shown=(
        ("select t::text from made t order by 1",) * 2,
        ("select t::text from serials t order by 1",) * 2,
        ("select row(id, a, 5)::text from here order by 1", "select t::text from here t order by 1"),
        ("select row(id, a, a * 10)::text from there order by 1", "select t::text from there t order by 1"),
    ),
)  # fmt: skip
OTHERWISE = Story(
    "other orders, dropped columns, wider types",
    "",
    ("mixed_up", "holes", "wider"),
    """
    insert into mixed_up values (1, 'a', 2, '2026-01-01'); insert into holes values (1, 'v', 2);
    insert into wider values (1, 2, 1.5, 'x', 'y', '{\"a\": 1}', '2026-01-01')
    """,
    (
        """
        insert into mixed_up values (2, null, null, null), (3, 'c', 3, '2026-03-03');
        update mixed_up set b = 'x', a = a + 10 where a = 1
        """,
        """
        insert into holes values (2, null, 3); update holes set w = 9;
        alter table holes add column later int; alter table holes drop column later
        """,
        """
        insert into wider values (2, -3, '-Infinity', '', 'z', '[1,  2]', 'infinity');
        update wider set s = 32767 where id = 1
        """,
        "update holes set v = repeat('x', 10000); delete from mixed_up where a = 3; delete from wider where id = 1",
    ),
    source="create table mixed_up (a int primary key, b text, c int, d date);"
    """
    create table holes (id int, gone text, v text, gone2 int, w int, primary key (id));
    alter table holes drop column gone; alter table holes drop column gone2;
    """
    "create table wider (id int primary key, s smallint, r real, v varchar(9), c char(3), j json, d date)",
    target="create table mixed_up (d date, c int, extra text default 'e', a int primary key, b text);"
    "create table holes (w int, gone text, id int primary key, v text); alter table holes drop column gone;"
    "create table wider (id bigint primary key, s numeric, r float8, v text, c text, j jsonb, d timestamp)",
    form="text",
    shown=(
        ("select row(d, c, 'e', a, b)::text from mixed_up order by 1", "select t::text from mixed_up t order by 1"),
        ("select row(w, id, v)::text from holes order by 1", "select t::text from holes t order by 1"),
        (
            "select row(id, s, r, v, format('%s', c), j::jsonb, d::timestamp)::text from wider order by 1",
            "select t::text from wider t order by 1",
        ),
    ),
)
WIDEST = Story(
    "1,600 columns",
    f"create table wide (id int primary key, {', '.join(f'c{n} int' for n in range(WIDE - 1))});"
    f"create table words_wide (id int primary key, {', '.join(f'c{n} text' for n in range(WIDE - 1))});"
    f"create table two (id int primary key, v text)",
    ("wide", "words_wide", "two"),
    f"insert into wide select n, {', '.join(f'n + {n}' for n in range(WIDE - 1))} from generate_series(1, 5) n;"
    f"insert into words_wide (id, c0, c1598) select n, repeat('x', 5000), 'y' from generate_series(1, 5) n;"
    "insert into two values (1, 'a')",
    (
        """
        insert into wide (id, c5) select n, n from generate_series(10, 12) n;
        update wide set c1598 = -1 where id < 3; insert into two values (2, 'b')
        """,
        """
        update words_wide set c1 = 'z'; update words_wide set id = id + 10 where id = 2;
        delete from wide where id = 4; delete from two where id = 1
        """,
        f"insert into words_wide select 50, {', '.join(['repeat(chr(100), 3)'] * (WIDE - 1))}",
    ),
)  # fmt: skip
SHAPE_STORIES = (NAMED, PARTITIONED, INHERITED, GENERATED, OTHERWISE, WIDEST)

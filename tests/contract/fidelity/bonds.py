"""Stories of rows that hold each other: unique swaps, foreign keys, triggers, identities of the log, large values."""

from nms.common.flow import DatasetSpec
from tests.contract.fidelity.story import Story

BIG = "(select string_agg(md5(n::text), '') from generate_series(1, 400) n)"
IDENTIFIED = ("by_default", "by_full", "by_index", "by_full_alone")


def everywhere(sql: str) -> str:
    """SQL once for each table of the story of identities."""
    return "".join(sql.format(table) for table in (*IDENTIFIED, "by_text"))


SWAPPED = Story(
    "unique swaps",
    """
    create table seats (id int primary key, seat int unique, v text);
    create table places (id int primary key, place int unique deferrable, v text);
    create table later (id int primary key, place int unique deferrable initially deferred, v text);
    create table spots (id int primary key, during int4range, exclude using gist (during with &&) deferrable);
    create table self_moved (id int primary key, v text);
    """,
    ("seats", "places", "later", "spots", "self_moved"),
    """
    insert into seats select n, n, 'v' from generate_series(1, 9) n;
    insert into places select n, n, 'v' from generate_series(1, 9) n;
    """
    """
    insert into later select n, n, 'v' from generate_series(1, 9) n;
    insert into self_moved select n, 'v' || n from generate_series(1, 9) n;
    """
    "insert into spots select n, int4range(n, n + 1) from generate_series(1, 5) n",
    (
        "update places set place = case place when 1 then 2 else 1 end where place < 3",
        "update later set place = 10 - place, v = 'w'; update spots set during = int4range(6 - id, 7 - id)",
        "update seats set seat = -seat; update seats set seat = case seat when -1 then 2 when -2 then 1 else -seat end",
        "update seats set seat = seat + 100; update seats set seat = seat - 99; update places set place = 10 - place",
        """
        update self_moved set id = id + 100; update self_moved set id = 110 - id where id < 200 and id > 105;
        update self_moved set id = id + 1000
        """,
        """
        delete from seats where id = 1; insert into seats values (10, 3, 'takes its seat');
        delete from places; insert into places values (1, 5, 'x')
        """,
    ),
    # Without what came between, a swap of values that are checked at once is refused.
    captures=("log",),
)  # fmt: skip
EXCHANGED = Story(
    "swaps that may be checked at the end",
    """
    create table seats (id int primary key, seat int unique deferrable, v text);
    create table spots (id int primary key, during int4range, exclude using gist (during with &&) deferrable);
    """,
    ("seats", "spots"),
    """
    insert into seats select n, n, 'v' from generate_series(1, 9) n;
    insert into spots select n, int4range(n, n + 1) from generate_series(1, 5) n
    """,
    (
        "update seats set seat = 10 - seat; update spots set during = int4range(6 - id, 7 - id)",
        "delete from seats where id = 1; insert into seats values (20, 9, 'new'); update seats set seat = 29 - seat",
    ),
)
REFERRED = Story(
    "foreign keys",
    """
    create table country (code text primary key, v text);
    create table city (id int primary key, country text references country on update cascade, v text);
    create table person (id int primary key, boss int references person, city int references city on delete cascade);
    create table tree (id int primary key, up int references tree deferrable initially deferred, v text);
    create table nulled (id int primary key, country text references country on delete set null);
    """,
    ("person", "tree", "city", "nulled", "country"),
    """
    insert into country values ('a', 'A'), ('b', 'B'), ('c', 'C');
    insert into city select n, 'a', 'v' from generate_series(1, 5) n;
    """
    "insert into person values (3, null, 1); insert into person values (1, 3, 1), (2, 1, 1);"
    "insert into tree values (1, 2, 'a'), (2, 3, 'b'), (3, 1, 'c'), (4, 4, 'self');"
    "insert into nulled values (1, 'c'), (2, 'b')",
    (
        "update country set code = 'z' where code = 'a'",
        """
        insert into person values (9, null, 2); insert into person values (8, 9, 3);
        update person set boss = 8 where id = 3; delete from city where id = 1
        """,
        "insert into tree values (10, 11, 'x'), (11, 10, 'y'); update tree set up = 10; delete from tree where id < 4",
        """
        delete from country where code = 'c'; update nulled set country = 'z' where id = 2;
        delete from country where code = 'b'
        """,
        """
        update tree set id = id + 100, up = up + 100; insert into country values ('c', 'again');
        insert into city values (99, 'c', 'v')
        """,
        "truncate country, city, person, nulled; delete from tree",
    ),
    # Without what came between, a row may go before those that referred to it refer to another.
    captures=("log",),
)  # fmt: skip
CIRCLE = Story(
    "a circle of foreign keys",
    """
    create table hen (id int primary key, egg int);
    create table egg (id int primary key, hen int references hen deferrable initially deferred);
    alter table hen add foreign key (egg) references egg deferrable;
    create table own (id int primary key, up int not null references own deferrable);
    """,
    ("egg", "hen", "own"),
    steps=(
        "set constraints all deferred; insert into hen values (1, 1), (2, 1); insert into egg values (1, 1)",
        """
        insert into egg values (3, 2); insert into hen values (3, 3); update hen set egg = 3;
        delete from egg where id = 1
        """,
        """
        set constraints all deferred; insert into own values (1, 2), (2, 1);
        update own set id = id + 10, up = up + 10
        """,
        "set constraints all deferred; delete from own; delete from hen; delete from egg",
    ),
    # To the others only the states are known, not how the source came from one to the other.
    captures=("log",),
    options={"copy": False},
)
IDENTITIES = Story(
    "replica identities and large values",
    """
    create table by_default (id int primary key, n int, big text, small text);
    create table by_full (id int primary key, n int, big text, small text);
    create table by_index (id int primary key, n int not null unique, big text, small text);
    create table by_full_alone (id int, n int not null unique, big text, small text);
    create table by_text (id text primary key, n int, big text, small text);
    alter table by_full replica identity full; alter table by_index replica identity using index by_index_n_key;
    alter table by_full_alone replica identity full;
    alter table by_default alter big set storage external; alter table by_full alter big set storage external;
    alter table by_index alter big set storage external; alter table by_full_alone alter big set storage external;
    """,
    (
        "by_default", "by_full", "by_index", "by_text",
        DatasetSpec("public.by_full_alone", "public.by_full_alone", key=("n",)),
    ),
    "".join(f"insert into {table} select n, n, {BIG}, 's' from generate_series(1, 6) n;" for table in IDENTIFIED)
    + f"insert into by_text select repeat(md5(n::text), 40) || n, n, {BIG}, 's' from generate_series(1, 6) n;",
    (
        everywhere("update {0} set small = 't' where n < 4;"),
        everywhere("update {0} set n = n + 100 where n = 2; update {0} set small = 'after the move' where n = 102;"),
        everywhere("update {0} set big = null where n = 3; update {0} set big = 'now short', n = 103 where n = 3;"),
        everywhere("update {0} set n = n + 1000; update {0} set small = small || n;"),
        everywhere("delete from {0} where n in (1001, 1102);"),
        """
        update by_default set id = id + 50; update by_full set id = id + 50, small = 'both';
        update by_text set id = 'k' || id, small = 'both'
        """,
        """
        update by_index set id = -id, n = -n; update by_full_alone set n = -n; delete from by_index where n = -1006;
        truncate by_text
        """,
    ),
)  # fmt: skip
FIRED = Story(
    "triggers at the target",
    "create table watched (id int primary key, v text, n int not null default 0)",
    ("watched",),
    "insert into watched select n, 'v', 1 from generate_series(1, 5) n",
    (
        """
        insert into watched values (10, 'x', 1); update watched set v = 'w' where id < 3;
        delete from watched where id = 5
        """,
        "update watched set id = 100 where id = 10; update watched set n = 2",
    ),
    target="""
    create table heard (op text, id int);
    create function hear() returns trigger language plpgsql as $$ begin
        insert into heard values (tg_op, coalesce(new.id, old.id)); return null; end $$;
    create trigger hear after insert or update or delete on watched for each row execute function hear();
    """,
    # To the others a changed key is another row.
    captures=("log",),
    ended=(
        (
            "select op || id from (values ('INSERT', 1), ('INSERT', 2), ('INSERT', 3), ('INSERT', 4), ('INSERT', 5),"
            " ('INSERT', 10), ('DELETE', 5)) as t (op, id) order by 1",
            "select op || id from heard where op <> 'UPDATE' order by 1",
        ),
    ),
)
BOND_STORIES = (SWAPPED, EXCHANGED, REFERRED, CIRCLE, IDENTITIES, FIRED)

"""Stories of keys: of every type, of several columns, equal but not the same, none at all."""

from tests.contract.fidelity.story import Story

KEYS = {
    "smallint": "n", "bigint": "n * 10000000000", "numeric": "n / 7.0", "float8": "n / 3.0",
    "text": "n::text || E'''\\\\\"'", 'text collate "C"': "chr(n + 60) || ' '", "varchar(40)": "'ü' || n",
    "char(8)": "n", "name": "'n' || n", "uuid": "md5(n::text)::uuid", "bytea": "decode(md5(n::text), 'hex')",
    "date": "'4714-11-24 BC'::date + n", "timestamp": "'2026-01-01'::timestamp + n * interval '1 us'",
    "timestamptz": "'2026-01-01'::timestamptz + n * interval '1 s'", "time": "'00:00'::time + n * interval '1 min'",
    "interval": "n * interval '1 min'", "inet": "'10.0.0.0'::inet + n", "cidr": "('10.0.0.' || n)::cidr",
    "macaddr": "('08:00:2b:01:02:' || lpad(n::text, 2, '0'))::macaddr", "bit(16)": "n::bit(16)",
    "varbit": "n::bit(7)::varbit", "jsonb": "jsonb_build_object('k', n)", "pg_lsn": "'0/0'::pg_lsn + n",
    "xid8": "n::text::xid8", "oid": "n", "money": "n::money", "int4range": "int4range(n, n + 1)",
    "nummultirange": "nummultirange(numrange(n, n + 1))", "integer[]": "array[n, null, n]",
    "text[]": "array['a,b', n::text]", "mood": "(enum_range(null::mood))[n]", "small": "n", "words": "'w' || n",
    "float_range": "float_range(n, n + 1)", "span": "int4range(n, n + 1)", "tsvector": "('a:' || n)::tsvector",
    "regclass": "n::oid::regclass", "pair": "(n, 'b')::pair",
    "mixed": "(n, null, '2026-01-01', null, array['x'])::mixed",
    "mood[]": "array['sad', null, (enum_range(null::mood))[n]]::mood[]", "pair_domain": "(n, null)::pair",
    "pair_range": "pair_range((n, 'a')::pair, (n + 1, 'a')::pair)",
}  # fmt: skip
PLAIN = [kind for kind in KEYS if kind not in ("regclass", "pair", "mixed", "mood[]", "pair_domain", "pair_range")]


def _stories(name: str, kinds: list[str]) -> list[Story]:
    # Part of a longer key, and all of it: a key of one field is compared in another way.
    tables = {f"k{at}": kind for at, kind in enumerate(kinds)}
    form = "binary" if kinds == PLAIN else "text"
    made = []
    for place, key in (("alone", "k"), ("among others", "n, k")):
        long = (place == "alone") is (form == "text")
        ddl = "".join(
            f"create table {table} (k {kind}, n int, v text, primary key ({key}));" for table, kind in tables.items()
        )
        there = "".join(
            f"insert into {table} select {KEYS[kind]}, n, 'v' from generate_series(1, 8) n;"
            for table, kind in tables.items()
        )
        change = "".join(f"update {table} set v = v || n where n % 2 = 0;" for table in tables)
        moved = "".join(
            f"update {table} set v = 'moved', n = n + 40 where n = 3;"
            f"update {table} set k = (select {KEYS[kind]} from (values (12)) as x (n)) where n = 43;"
            f"delete from {table} where n = 4;"
            f"insert into {table} select {KEYS[kind]}, n, 'again' from (values (4)) as x (n);"
            for table, kind in tables.items()
        )
        gone = "".join(f"delete from {table} where n in (1, 6);" for table in tables)
        made.append(
            Story(f"{name} keys, {place}", ddl, tuple(tables), there, (change, moved, gone), form=form, long=long)
        )
    return made


ALIKE = """
create table numerics (k numeric primary key, v text);
create table floats (k float8 primary key, v text);
create table spans (k interval primary key, v text);
create table padded (k char(4) primary key, v text);
create table children (
    id int primary key, k numeric references numerics on delete cascade deferrable initially deferred
);
"""
KEY_STORIES = (
    *_stories("plain", PLAIN),
    *_stories("all", list(KEYS)),
    Story(
        "equal keys that are not the same",
        ALIKE,
        ("numerics", "floats", "spans", "padded", "children"),
        """
        insert into numerics values (1.0, 'a'), (2.00, 'b'), (3, 'c');
        insert into floats values ('-0', 'a'), (1, 'b');
        """
        "insert into spans values ('1 day', 'a'), ('30 days', 'b'); insert into padded values ('a', 'a'), ('b', 'b');"
        "insert into children values (1, 2.0), (2, 3)",
        (
            "update numerics set k = 1.000, v = 'a2' where k = 1; update floats set k = 0 where k = 0;"
            "update spans set k = '24:00:00' where k = '1 day'; update padded set k = 'a   ' where k = 'a'",
            """
            delete from numerics where k = 2; insert into numerics values (2.0, 'again');
            insert into children values (1, 2.000);
            """
            "delete from spans where k = '30 days'; insert into spans values ('1 mon', 'again');"
            "delete from floats where k = 0; insert into floats values ('-0', 'again')",
            "update numerics set v = v || '!' where k < 3; delete from numerics where k = 3",
            "delete from numerics; delete from floats; delete from spans; delete from padded",
        ),
    ),
    Story(
        "no key",
        "create table bare (a int, b text); create table emptied (a numeric); create table full_one (a int, b text);"
        "alter table full_one replica identity full; create table nothing (a int primary key, b text);"
        "alter table nothing replica identity nothing",
        ("bare", "emptied", "nothing"),
        """
        insert into bare select n, null from generate_series(1, 30) n;
        insert into bare select n, null from generate_series(1, 30) n;
        """
        "insert into emptied values (1.0), (1.00); insert into nothing values (1, 'a')",
        (
            "insert into bare values (null, null), (null, null), (1, 'x')",
            "truncate emptied; insert into emptied values (2), (2), (null)",
            "insert into nothing values (2, 'b'), (3, null)",
        ),
        captures=("log",),
    ),
)

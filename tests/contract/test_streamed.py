"""What a transaction does while it is streamed, and takes back, leaves no trace: rows as well as columns."""

from pathlib import Path

import pytest

from tests.contract.pipelines import MakeDatabase, lay

DDL = "create table filler (id int primary key, v text); create table rare (id int primary key, v text);"
LATE = "alter database {name} set logical_decoding_work_mem = '64kB'"
FILL = "insert into filler select n, repeat('f', 100) from generate_series(1, 1500) n"
ROWS = "insert into rare select n, repeat('r', 100) from generate_series(1, 900) n"
KEPT = "insert into rare (id) select n from generate_series(1, 900) n"


UNDONE = (
    ROWS,
    f"alter table rare add passer int default 3; {ROWS}",
    "alter table rare drop v; insert into rare select n from generate_series(1, 3000) n",
    f"alter table rare rename v to w; {ROWS}",
    f"alter table rare alter v type varchar(200); {ROWS}",
    f"truncate rare, filler; {ROWS}",
)


@pytest.mark.parametrize("server", ["15", "16", "18"], indirect=True)
async def test_what_a_streamed_savepoint_did_and_took_back_never_was(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, DDL, ["filler", "rare"]) as pipe:
        await pipe.source.execute(LATE.format(name=pipe.spec.source.dsn.rsplit("/", 1)[1]))
        async with pipe.moves():
            await pipe.catch_up()
            for undone in UNDONE:
                session = await pipe.connect()
                await session.execute(f"begin; truncate rare, filler; {FILL}; savepoint a; {undone}")
                # The pipeline has everything so far, of which more than fits in the source's memory was streamed.
                await pipe.catch_up()
                await session.execute(f"rollback to a; {KEPT}")
                await pipe.catch_up()
                await session.execute("commit; insert into rare values (5000, 'after')")
                await session.close()
                await pipe.catch_up()
                await pipe.compare("filler", "rare")
                assert await pipe.target.fetchval("select count(*) from rare") == 901, undone

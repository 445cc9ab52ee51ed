"""`nms warehouse`: records as a file that is there when it is whole; `nms runs --warehouse`: its runs."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nms.cli.main import app
from nms.common.run import DwhRunRepository, enqueue
from nms.common.settings import Settings
from tests.service.test_export import hash_of
from tests.service.test_export_stream import fill
from tests.service.warehouse import connected, make_entities

FORMATS = [("ndjson", "none"), ("ndjson", "gzip"), ("csv", "none"), ("csv", "zstd"), ("parquet", "zstd")]


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def posts(settings: Settings) -> tuple[int, str]:
    """A warehouse with 3,000 posts; how many of them have an id behind 1,000, and their hash."""
    await make_entities()
    async with connected(settings) as connection:
        await fill(connection, 3_000)
        return await hash_of(connection, "posts where id > 1000", "id desc")


async def nms(*words: object) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*map(str, words)])


async def export(*words: object) -> Result:
    return await nms("warehouse", "export", "posts", *words)


def name_of(format_: str, compression: str) -> str:
    packed = {"gzip": ".gz", "zstd": ".zst"}.get(compression, "") if format_ != "parquet" else ""
    return f"posts.{format_}{packed}"


async def test_a_file_in_every_form_is_whole_has_the_hash_of_sql_and_is_told_when_it_was_cut(
    posts: tuple[int, str], tmp_path: Path
) -> None:
    chosen = ("--where", "id.gt=1000", "--where", "sort=-id")
    for format_, compression in FORMATS:
        file = tmp_path / name_of(format_, compression)
        done = await export("-o", file, "--format", format_, "--compress", compression, *chosen, "--json")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert (told["rows"], told["sha256"], told["bytes"]) == (*posts, file.stat().st_size)
        checked = await nms("warehouse", "check", file, "--json")
        assert json.loads(checked.stdout)["sha256"] == posts[1]
        whole = file.read_bytes()
        for cut in (whole[:-1], whole[: len(whole) // 2], b"", whole[:-1] + b"x"):
            file.write_bytes(cut)
            refused = await nms("warehouse", "check", file, "--json")
            assert (refused.exit_code, json.loads(refused.stderr)["code"]) == (1, "export-cut"), file
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.usefixtures("posts")
async def test_what_cannot_be_exported_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "posts.ndjson"
    file.write_text("of yesterday")
    for words, code in (
        (("-o", file, "--where", "nothing=1"), "malformed"),
        (("-o", file, "--where", "limit=1"), "malformed"),
        (("-o", tmp_path / "nowhere" / "posts.ndjson"), "file-unusable"),
    ):
        refused = await export(*words, "--json")
        assert (refused.exit_code, json.loads(refused.stderr)["code"]) == (1, code)
    assert (await nms("warehouse", "export", "nothing", "-o", file)).exit_code == 1
    assert (await export("-o", file, "--where", "id")).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "of yesterday"
    assert "3,000 records of posts" in (await export("-o", file)).stdout


@pytest.mark.usefixtures("settings")
async def test_runs_of_the_warehouse_are_listed_shown_and_cancelled() -> None:
    run = await enqueue(await DwhRunRepository.open(), "export", "posts", payload={})
    listed = await nms("runs", "list", "--warehouse", "--json")
    assert [(one["id"], one["subject"]) for one in json.loads(listed.stdout)] == [(run.id, "posts")]
    assert json.loads((await nms("runs", "list", "--json")).stdout) == []
    assert "export" in (await nms("runs", "show", run.id, "--warehouse")).stdout
    assert "is cancelled" in (await nms("runs", "cancel", run.id, "--warehouse")).stdout
    assert (await nms("runs", "watch", run.id, "--warehouse")).exit_code == 1

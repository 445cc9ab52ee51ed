"""Stored secrets: set once, used by pipelines, never shown, noticed when somebody moves them about in the table."""

from typing import Any

import pytest

from nms.cfg.models import Changeset
from nms.cfg.plan import draw_plan
from nms.cfg.secret import SecretRepository
from nms.cfg.secrets import set_secret
from nms.cfg.standing import Standing
from nms.cfg.text import Draft
from nms.common.configuration import current_documents
from nms.common.problem import Malformed
from nms.common.seal import SealBroken, SealKeyChanged
from nms.common.secret import SecretMissing, resolve
from nms.common.settings import Settings
from nms.common.vault import lent
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline, without_password

IDS = "select id from public.item order by id"
CUT = "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()"
VALUE = "tr4ffic-l1ght-0n-the-m00n"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


async def store(**values: str) -> None:
    for name, value in values.items():
        await set_secret(await SecretRepository.open(), name, value, "test")


async def move(system: str, dsn: str) -> None:
    """Rewrite a document in its table: triggers keep history, and who owns the table can switch them off."""
    pool = (await SecretRepository.open()).connection
    await pool.execute("alter table cfg.document disable trigger document_history")
    statement = "update cfg.document set body = jsonb_set(body, '{dsn}', $2) where kind = 'system' and name = $1"
    await pool.execute(statement, system, dsn)


async def sql(settings: Settings, statement: str) -> list[Any]:
    repository = await SecretRepository.open()
    return [row[0] for row in await repository.connection.fetch(statement)]


async def read(name: str) -> str:
    await current_documents(await SecretRepository.open())
    with lent({name: ["https://a.example"]}):
        return resolve(f"secret://{name}", "https://a.example").get_secret_value()


async def test_a_pipeline_runs_on_secrets_set_from_standard_input(stage: Stage) -> None:
    for side, dsn in (("source", stage.source), ("target", stage.target)):
        done = await stage.nms("secrets", "set", side, "--json", input=f"{without_password(dsn)}\n")
        assert done.exit_code == 0, done.output
    systems = [
        {"kind": "system", "name": each, "type": "postgres", "dsn": f"secret://{each}"} for each in ("source", "target")
    ]
    await stage.apply(*systems, pipeline())
    await stage.at("source", "insert into public.item select n, 'name' from generate_series(1, 3) n")
    async with stage.working():
        await stage.arrive(IDS, [1, 2, 3])
        await stage.reach("streaming")
    listed = await stage.answer("secrets", "list")
    assert [(each["name"], each["version"], each["used_by"]) for each in listed] == [
        ("source", 1, ["system source"]),
        ("target", 1, ["system target"]),
    ]
    refused = await stage.nms("secrets", "remove", "target")
    assert (refused.exit_code, "secret-in-use" in refused.stderr, "system target" in refused.stderr) == (1, True, True)
    await store(spare=VALUE)
    assert (await stage.nms("secrets", "remove", "spare")).exit_code == 0
    assert len(await stage.answer("secrets", "list")) == 2
    again = await stage.nms("secrets", "set", "source", input=f"{without_password(stage.source)}\n")
    assert "version 2. It goes to secret://source." in again.stdout


async def test_a_secret_is_the_text_that_was_set_last(settings: Settings) -> None:
    for value in (VALUE, "a\nb ", "ä" * 1000):
        await store(crm=value)
        assert await read("crm") == value
    assert await sql(settings, "select version from cfg.secret") == [3]


@pytest.mark.parametrize(
    "statement",
    [
        "update cfg.secret a set wrapped = b.wrapped, sealed = b.sealed from cfg.secret b where b.name = 'two'",
        "update cfg.secret a set sealed = b.sealed from cfg.secret b where b.name = 'two'",
        "update cfg.secret a set wrapped = b.wrapped from cfg.secret b where b.name = 'two'",
        "update cfg.secret set version = version + 1",
        "update cfg.secret set origins = '{https://a.example}'",
        "update cfg.secret set origins = '{https://b.example,https://a.example}'",
        "update cfg.secret a set wrapped = o.wrapped, sealed = o.sealed from kept o where a.name = 'one'",
    ],
)
async def test_rows_swapped_and_versions_put_back_are_noticed(settings: Settings, statement: str) -> None:
    await store(one="first value", two="of the other")
    await sql(settings, "create table kept as select * from cfg.secret where name = 'one'")
    await store(one=VALUE)
    assert await read("one") == VALUE
    await sql(settings, statement)
    with pytest.raises(SealBroken, match="The secret one") as broken:
        await read("one")
    assert not isinstance(broken.value, SealKeyChanged)


async def test_a_pipeline_whose_target_is_moved_past_cfg_halts_and_goes_on_when_it_is_back(stage: Stage) -> None:
    await store(target="any password will do")
    await stage.begin()
    target = stage.systems()[1]
    await stage.apply({**target, "password": "secret://target"})
    async with stage.working():
        await stage.at("source", "insert into public.item values (1, 'a')")
        await stage.arrive(IDS, [1])
        await move("target", "postgresql://me@127.0.0.1:1/elsewhere")
        await stage.at("source", CUT)
        halted = await stage.reach("halted")
        assert halted.problem is not None
        assert (halted.problem["code"], "secret target" in halted.problem["detail"]) == ("secret-elsewhere", True)
        await move("target", target["dsn"])
        assert (await stage.nms("resume", "items")).exit_code == 0
        await stage.at("source", "insert into public.item values (2, 'b')")
        await stage.arrive(IDS, [1, 2])


async def test_what_is_not_stored_is_named_with_what_to_do(settings: Settings) -> None:
    with pytest.raises(SecretMissing) as missing:
        await read("absent")
    assert "nms secrets set absent" in missing.value.remedy


PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "dsn": ({"kind": "system", "type": "postgres", "name": "a", "dsn": "secret://s"}, "/dsn"),
    "password": (
        {"kind": "system", "type": "amqp", "name": "a", "dsn": "amqp://u@h/v", "password": "secret://s"},
        "/password",
    ),
    "kafka": (
        {"kind": "system", "type": "kafka", "name": "a", "servers": ["h:1"], "user": "u", "password": "secret://s"},
        "/password",
    ),
    "scheme": (
        {"kind": "endpoint", "name": "a", "scheme": {"type": "stripe", "secrets": ["env://A", "secret://s"]}},
        "/scheme/secrets/1",
    ),
    "handshake": (
        {
            "kind": "endpoint",
            "name": "a",
            "scheme": {"type": "stripe", "secrets": ["env://A"]},
            "handshakes": ["slack", {"type": "meta", "token": "secret://s"}],
        },
        "/handshakes/1/token",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_that_is_not_stored_is_pointed_at(place: str) -> None:
    document, pointer = PLACES[place]
    with pytest.raises(Malformed) as refused:
        draw_plan(Standing.of(0), Changeset([Draft(document)]))
    (fault,) = refused.value.pointers
    assert fault.pointer == f"/documents/0{pointer}"
    assert "nms secrets set s" in fault.detail

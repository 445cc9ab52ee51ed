"""The key of secrets at rest is changed while all goes on: by another key everything is opened, and sealed anew."""

import json
import os
import signal
import sys
from asyncio import create_subprocess_exec, subprocess
from typing import Any
from uuid import UUID

import httpx2
import pytest
from pydantic import SecretStr

from nms.auth.keys import Keyring, insert_key
from nms.auth.repository import AuthRepository
from nms.cfg.main import create_app
from nms.cfg.secret import SecretRepository
from nms.cfg.secrets import set_secret
from nms.common.custody import read_secrets
from nms.common.seal import Sealer, SealKeyChanged
from nms.common.secret import resolve
from nms.common.settings import Settings, get_settings
from nms.common.token import mint_token
from nms.common.vault import lent

OLD, NEW = "an-old-key-of-48-letters-or-so-Zq8fW1uY3xK7", "the-new-key-of-48-letters-or-so-Rm5tB9vC2sJ4"
VALUE = "wint3r-t1res-0f-the-postman"
COUNT = 250
TOKENS = "insert into sync.token (system, line, sealed, renewing) values ($1, $2, $3, false)"
REFUSED = """
    insert into inbox.quarantine (
        id, endpoint, standing, status, code, reason, detail, method, url, size, received_at, headers, sealed, body
    ) values ($1, 'e', 'signed', 401, 'c', 'r', 'd', 'POST', '/', 1, now(), '', $2, '')
"""


def use_keys(monkeypatch: pytest.MonkeyPatch, key: str, *before: str) -> Settings:
    monkeypatch.setenv("SECRETS_KEY", key)
    monkeypatch.setenv("SECRETS_KEY_BEFORE", ",".join(before))
    get_settings.cache_clear()
    return get_settings()


async def fill(settings: Settings) -> UUID:
    """Something on every shelf, sealed with the key of now."""
    repository, sealer = await SecretRepository.open(), Sealer(*settings.sealing_keys())
    for number in range(3):
        await set_secret(repository, f"s-{number}", f"{VALUE}{number}", "test")
    for number in range(COUNT):
        about = f"token api {number:04}"
        await repository.connection.execute(TOKENS, "api", f"{number:04}", sealer.seal(b"token", about))
    one = UUID(int=7)
    await repository.connection.execute(REFUSED, one, sealer.seal(b"{}", f"inbox.quarantine {one}"))
    await insert_key(await AuthRepository.open(), sealer)
    return one


def opened(name: str) -> str:
    with lent({name: ["https://a.example"]}):
        return resolve(f"secret://{name}", "https://a.example").get_secret_value()


async def check(settings: Settings) -> None:
    """Everything opens as its reader opens it."""
    repository, sealer = await SecretRepository.open(), Sealer(*settings.sealing_keys())
    await read_secrets(repository)
    assert [opened(f"s-{number}") for number in range(3)] == [f"{VALUE}{number}" for number in range(3)]
    rows = await repository.connection.fetch("select line, sealed from sync.token order by line")
    assert {sealer.open(row["sealed"], f"token api {row['line']}") for row in rows} == {b"token"}
    assert len(rows) == COUNT
    (row,) = await repository.connection.fetch("select id, sealed from inbox.quarantine")
    assert sealer.open(row["sealed"], f"inbox.quarantine {row['id']}") == b"{}"
    await Keyring(sealer).signer(await AuthRepository.open())


async def run(*words: str, **environment: str) -> tuple[int, list[Any]]:
    command = [sys.executable, "-m", "nms", "secrets", *words, "--json"]
    process = await create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    told, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in told.splitlines()]


async def test_another_key_is_taken_while_all_goes_on_and_a_killed_change_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(use_keys(monkeypatch, OLD))
    with pytest.raises(SealKeyChanged):
        await check(use_keys(monkeypatch, NEW))
    both = use_keys(monkeypatch, NEW, OLD)
    await check(both)
    code, told = await run("rotate", NMS_FAULTS="shelf.renewed=kill@2")
    assert (code, told) == (-signal.SIGKILL, [])
    await check(both)
    code, told = await run("rotate")
    assert (code, told[-1]["done"]) == (0, True)
    assert "may go" in told[-1]["detail"]
    renewed = {each["what"]: each["renewed"] for each in told[-1]["shelves"]}
    assert renewed == {
        "secrets": 0, "refresh tokens of APIs": COUNT - 100, "credentials of refused requests": 1, "signing keys": 1
    }  # fmt: skip
    await check(use_keys(monkeypatch, NEW))
    code, told = await run("rotate")
    assert (code, {each["renewed"] for each in told[-1]["shelves"]}) == (0, {0})


async def test_what_no_key_opens_is_counted_and_set_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(use_keys(monkeypatch, OLD))
    now = use_keys(monkeypatch, NEW)
    token = mint_token(now, ["secrets:write"], subject="ada")
    transport = httpx2.ASGITransport(app=create_app(now))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://cfg", headers={"Authorization": f"Bearer {token}"}
    ) as client:
        answer = (await client.post("/secrets/rotation")).json()
        assert {each["what"]: each["unopened"] for each in answer["shelves"]} == {
            "secrets": 3, "refresh tokens of APIs": COUNT, "credentials of refused requests": 1, "signing keys": 1
        }  # fmt: skip
        assert answer["done"]
        await client.put("/secrets/s-1", json={"value": VALUE})
        answer = (await client.post("/secrets/rotation")).json()
        assert answer["shelves"][0]["unopened"] == 2
    await read_secrets(await SecretRepository.open())
    assert opened("s-1") == VALUE


async def test_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = use_keys(monkeypatch, NEW, OLD, OLD[::-1])
    assert settings.secrets_key_before == (SecretStr(OLD), SecretStr(OLD[::-1]))
    assert {NEW, OLD, OLD[::-1]} <= set(settings.secret_values())
    assert not any(key in repr(settings) for key in (OLD, NEW))

"""Where secrets might come to stand outside of answers and logs: dumps, files, processes, what commands print."""

import asyncio
import json
import os
import subprocess
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nms.common.db.embedded_place import account_for, binaries
from tests.service.planted_secrets import Planted, codings_of
from tests.service.role_process import children_of
from tests.service.stage import Stage

READING = (
    "pipelines", "doctor", "revisions", "rollouts", "endpoints", "runs", "secrets list", "diff 0", "quarantine list",
    "changes list", "conflicts list", "user list", "keys list", "db status",
)  # fmt: skip
"""Commands that show what is there, as words and as JSON."""
SYSTEM = {"kind": "system", "name": "a", "type": "postgres", "dsn": "env://A"}
REST = {"kind": "system", "name": "a", "type": "rest", "url": "https://api.example"}
NOT_YAML = ("a: [{}", "{}", "a: '{}", "a: *{}", "a: !{} b", "a: {}: b", "kind: system\n- {}", "A={}\nB='")
"""Files that are none of ours, such as a `.env` that was named by mistake."""
Typed = tuple[str, str]
"""The words of a command, and what comes in on its standard input."""


async def dump_database(dsn: str) -> str:
    """What `pg_dump` writes of a database: its tables, functions, comments and rows."""
    program = binaries("18", account_for(Path.cwd())) / "pg_dump"
    process = await asyncio.create_subprocess_exec(program, "--dbname", dsn, stdout=asyncio.subprocess.PIPE)
    dumped, _ = await process.communicate()
    assert process.returncode == 0
    return dumped.decode(errors="replace")


def find_below(folder: Path, planted: Planted) -> list[str]:
    """Which secret stands in which file below a folder, in any coding."""
    written = {text: f"{name} stands" for name, value in planted.values.items() for _, text in codings_of(value)}
    # One pass of grep for all of them: a database has many files.
    command = ["grep", "-raosF", "-f", "-", str(folder)]
    found = subprocess.run(
        command, input="\n".join(written).encode(), capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    lines = {line.rpartition(":") for line in found.stdout.decode(errors="replace").splitlines()}
    return sorted({f"{written[text]} in {path}" for path, _, text in lines})


def families_of(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for child in children_of(pid):
        yield from families_of(child)


def show_processes(pid: int) -> dict[str, str]:
    """The command lines of a process and all below it."""
    return {f"command line of {_name_of(one)}": _read(one, "cmdline") for one in families_of(pid)}


def show_environments(pid: int) -> dict[str, str]:
    """The environment of every process below one that is no NMS itself."""
    below = (one for one in families_of(pid) if "nms" not in _read(one, "cmdline").split("\0"))
    return {f"environment of {_name_of(one)}": _read(one, "environ") for one in below if one != pid}


def _name_of(pid: int) -> str:
    return f"{_read(pid, 'comm').strip()} {pid}"


def _read(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def show_commands(stage: Stage, commands: Iterable[Typed]) -> dict[str, str]:
    """What commands print on both ways out, with the traceback of whatever they raise."""
    shown: dict[str, str] = {}
    for words, given in commands:
        done = await stage.nms(*words.split(" "), input=given)
        told = "".join(traceback.format_exception(*done.exc_info)) if done.exc_info else ""
        shown[f"command {len(shown)}, nms {words}"] = f"{done.output} {done.stderr} {told}"
    return shown


def list_commands(planted: Planted, folder: Path, wanted: list[Any]) -> list[Typed]:
    """Commands that show whatever there is, and that are given secrets where none belongs."""
    folder.mkdir()
    file = folder / "wanted.yaml"
    file.write_text("\n---\n".join(json.dumps(each) for each in wanted))
    showing = (*READING, "export", f"plan -f {file}", f"plan --probe -f {file}", f"apply -f {file}")
    told = [(words, "") for each in showing for words in (each, f"{each} --json")]
    return [*told, (f"export -o {folder / 'exported'}", ""), *_misplacing(planted, folder)]


def _misplacing(planted: Planted, folder: Path) -> Iterator[Typed]:
    secret = planted["secret in a wrong place"]
    for number, text in enumerate(_files_with(planted)):
        file = folder / f"wrong-{number}.yaml"
        file.write_text(text)
        yield f"plan -f {file}", ""
        yield f"apply --json -f {file}", ""
    for words in ("set a {}", "set a={}", "set a --value {}", "set a --value={}"):
        yield f"secrets {words.format(secret)}", ""
    for given in (secret * 3_000, f"{secret}\0"):
        yield "secrets set a", given
    yield "secrets set A+B", secret
    for words in ("password ann@example.org {}", "password ann@example.org --password {}", "create-admin {}"):
        yield f"user {words.format(secret)}", ""
    # Too short a password is told so.
    yield "user password ann@example.org --password-stdin", secret[:7]


def _files_with(planted: Planted) -> Iterator[str]:
    secret, password = planted["secret in a wrong place"], planted["dsn in a document"]
    yield from (text.format(planted["word of YAML"]) for text in NOT_YAML)
    dsn = f"//a:{quote(password, safe='')}@127.0.0.1/d"
    login: Mapping[str, Any] = {"type": "header", "key": secret}
    wrong: list[dict[str, Any]] = [
        {**SYSTEM, "dsn": f"postgresql:{dsn}"},
        {**SYSTEM, "dsn": f"host=127.0.0.1 password={password}"},
        {**SYSTEM, "dsn": f"postgresql://127.0.0.1/d?password={quote(password, safe='')}"},
        *({**SYSTEM, "password": each} for each in (secret, [secret], f"env:// {secret}", f"secret://{secret}")),
        {**SYSTEM, "passwort": secret},
        {**SYSTEM, "name": secret},
        {**SYSTEM, "type": secret},
        {**SYSTEM, "kind": secret},
        {"kind": "system", "name": "a", "type": "amqp", "dsn": f"amqp:{dsn}"},
        {"kind": "system", "name": "a", "type": "kafka", "servers": [f"a:{password}@127.0.0.1:1"]},
        {**REST, "url": f"https:{dsn}"},
        {**REST, "url": f"https://api.example/?key={quote(secret, safe='')}"},
        *({**REST, "login": {**login, **part}} for part in ({}, {"type": secret}, {"key": {"a": secret}})),
        {**REST, "headers": {"Authorization": f"Bearer {secret}"}},
        {"kind": "endpoint", "name": "a", "scheme": {"type": "bearer", "secrets": [secret]}},
        {"kind": "endpoint", "name": "a", "scheme": {"type": "bearer", "secrets": secret}},
        {"kind": "endpoint", "name": "a", "scheme": {"type": secret}},
    ]
    yield from (json.dumps(each) for each in wrong)

"""The examples with REST APIs as an operator has them, but with addresses of the test's servers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nms.cfg.text import read_drafts
from tests.service.stage import Stage

EXAMPLES = Path(__file__).parents[2] / "examples"


def documents(name: str, urls: Mapping[str, str], **parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of an example; systems get these URLs, and documents of a name the parts that are given for it."""
    path = EXAMPLES / name
    found: list[dict[str, Any]] = [draft.data for draft in read_drafts(path.read_text(), path.name)]
    for each in found:
        if each["name"] in urls:
            each["url"] = urls[each["name"]]
            if "token_url" in each.get("login", {}):
                each["login"]["token_url"] = urls[each["name"]] + "/oauth/token"
        each.update(parts.get(each["name"], {}))
    return found


def tables_of(name: str) -> str:
    """The tables that the example says it needs."""
    lines = [line.removeprefix("#").strip() for line in (EXAMPLES / name).read_text().splitlines() if line[:1] == "#"]
    begin = next(at for at, line in enumerate(lines) if line.startswith("create table"))
    end = max(at for at, line in enumerate(lines) if line.endswith(";")) + 1
    return " ".join(lines[begin:end])


async def run(stage: Stage, *names: str) -> list[str]:
    """`nms pipelines run`: what it says of each, without the time it took."""
    answer = await stage.nms("pipelines", "run", *names)
    assert answer.exit_code == 0, answer.output
    return [line.partition(" in ")[0] for line in answer.stdout.splitlines()]

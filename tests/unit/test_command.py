"""The command line: what every command promises, whoever wrote it."""

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from nms.cli import main, output
from nms.cli.command import command_with_own_databases
from nms.cli.output import Exit
from nms.common.problem import Malformed, Pointer


def every_command() -> Iterator[tuple[str, Any]]:
    for name in main.COMMANDS:
        loaded = main.load_command(name)
        for below, single in getattr(loaded, "commands", {"": loaded}).items():
            yield f"{name} {below}".strip(), single


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    return dict(every_command())


def test_every_command_of_the_list_can_be_called(commands: dict[str, Any]) -> None:
    assert {name.split()[0] for name in commands} == set(main.COMMANDS)


def test_every_command_speaks_json(commands: dict[str, Any]) -> None:
    silent = {name for name, item in commands.items() if not any("--json" in option.opts for option in item.params)}
    assert not silent


def test_every_command_and_option_explains_itself(commands: dict[str, Any]) -> None:
    for name, item in commands.items():
        assert item.help, name
        assert item.help.strip().split("\n\n")[0].endswith("."), name
        assert not [option.name for option in item.params if not option.hidden and not option.help], name


def test_the_list_is_shown_without_loading_what_commands_use() -> None:
    code = "import sys; from nms.cli.main import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"asyncpg", "fastapi", "pydantic", "aio_pika", "redis", "psycopg"} & loaded
    for name in main.COMMANDS:
        assert f"{name} " in done.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--nonsense"], ["up", "--port", "0"], ["worker", "cfg"]])
def test_wrong_usage_exits_2_and_says_how(arguments: list[str]) -> None:
    done = CliRunner().invoke(main.app, arguments)
    assert done.exit_code == Exit.USAGE
    assert "--help" in done.output or "Usage" in done.output


@command_with_own_databases
async def probe(how: Annotated[str, typer.Argument(help="What happens.")]) -> Exit | None:
    """Do what a test wants."""
    if how == "problem":
        raise Malformed("The document is malformed.", pointers=[Pointer("/name", "is empty")], document="a.yaml")
    if how == "fault":
        raise ZeroDivisionError("secret-in-a-message")
    if how == "unhealthy":
        return Exit.UNHEALTHY
    output.show_rows([{"name": "[red]a[/red]", "count": 1}], ("name", "count"))
    return None


def invoke(*arguments: str) -> Any:
    app = main.new_app()
    app.command()(probe)
    return CliRunner().invoke(app, list(arguments))


def test_a_problem_exits_1_with_its_sentence_its_pointers_and_its_remedy() -> None:
    done = invoke("problem")
    assert done.exit_code == Exit.PROBLEM
    assert done.stdout == ""
    for part in ("The document is malformed.", "/name: is empty", Malformed.remedy, "malformed"):
        assert part in done.stderr


def test_with_json_a_problem_is_one_object_on_standard_error() -> None:
    done = invoke("problem", "--json")
    assert done.stdout == ""
    problem = json.loads(done.stderr)
    assert problem["code"] == "malformed"
    assert problem["errors"] == [{"pointer": "/name", "detail": "is empty"}]
    assert problem["document"] == "a.yaml"


def test_a_fault_of_ours_shows_neither_trace_nor_message() -> None:
    done = invoke("fault")
    assert done.exit_code == Exit.PROBLEM
    assert "ZeroDivisionError" in done.stderr
    assert "secret-in-a-message" not in done.output
    assert "Traceback" not in done.output


def test_unhealthy_exits_3() -> None:
    assert invoke("unhealthy").exit_code == Exit.UNHEALTHY


def test_rows_are_a_table_for_people_and_an_array_with_json() -> None:
    table = invoke("rows").stdout
    assert "[red]a[/red]" in table, "markup in data is shown, not obeyed"
    assert json.loads(invoke("rows", "--json").stdout) == [{"name": "[red]a[/red]", "count": 1}]


@pytest.mark.parametrize(("text", "error"), [("here = 1", None), ("1 / 0", ZeroDivisionError)])
def test_garbage_is_looked_for_again_when_a_command_is_imported_or_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: type[Exception] | None
) -> None:
    (tmp_path / "of_this_test_alone.py").write_text(f"import gc\nassert not gc.isenabled()\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error) if error else nullcontext():
        assert main.import_at_once("of_this_test_alone").here == 1
    sys.modules.pop("of_this_test_alone", None)
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0

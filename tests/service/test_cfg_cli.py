"""`nms apply`, `nms plan`, `nms export` as an operator types them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nms.cli.main import app
from nms.common.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"
Nms = Callable[..., Result]


@pytest.fixture
def nms(settings: Settings) -> Nms:
    runner = CliRunner()
    return lambda *words, **options: runner.invoke(app, [str(word) for word in words], **options)


def test_what_is_exported_applies_as_no_change(nms: Nms, tmp_path: Path) -> None:
    files = ("-f", EXAMPLES / "subscriptions-log.yaml", "-f", EXAMPLES / "pgbench.yaml")
    first = nms("apply", *files, "-f", EXAMPLES / "subscriptions-poll.yaml", "-m", "the examples", "--json")
    assert first.exit_code == 0, first.output
    assert {each["action"] for each in json.loads(first.stdout)["differences"]} == {"add"}
    assert json.loads(first.stdout)["pipelines"] == ["pgbench", "subscriptions", "subscriptions-check"]
    (tmp_path / "all.yaml").write_text(nms("export").stdout)
    again = json.loads(nms("apply", "-f", tmp_path / "all.yaml", "--prune", "--json").stdout)
    assert again == {"revision": json.loads(first.stdout)["revision"], "differences": [], "pipelines": []}
    assert nms("export").stdout == (tmp_path / "all.yaml").read_text()
    assert "has it all already" in nms("apply", "-f", tmp_path / "all.yaml").stdout


def test_a_plan_shows_marks_fields_and_stores_nothing(nms: Nms, tmp_path: Path) -> None:
    nms("apply", "-f", EXAMPLES / "subscriptions-log.yaml")
    text = (EXAMPLES / "subscriptions-log.yaml").read_text().replace("missing: upsert", "missing: ignore")
    (tmp_path / "new.yaml").write_text(text.replace("name: crm\n", "name: erp\n").replace("target: crm", "target: erp"))
    shown = nms("plan", "-f", tmp_path / "new.yaml", "--prune")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert "- system crm" in lines
    assert "+ system erp" in lines
    assert "~ pipeline subscriptions" in lines
    assert "    missing: upsert -> ignore" in lines
    assert "    target: crm -> erp" in lines
    assert "Nothing would change" in nms("plan", "-f", EXAMPLES / "subscriptions-log.yaml").stdout


def test_documents_come_from_standard_input(nms: Nms) -> None:
    text = (EXAMPLES / "subscriptions-log.yaml").read_bytes()
    assert nms("apply", "-f", "-", input=text).exit_code == 0
    assert [each["name"] for each in json.loads(nms("export", "--kind", "system", "--json").stdout)] == [
        "billing",
        "crm",
    ]
    (one,) = json.loads(nms("export", "--kind", "pipeline", "--name", "subscriptions", "--json").stdout)
    assert one["datasets"] == [{"source": "public.subscription"}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: system\n\tname: a\n", "bad.yaml:2: the line is indented with a tab"),
        ("kind: system\nname: A\ntype: postgres\ndsn: env://X\n", "/documents/0/name: "),
        ("kind: system\nname: a\ntype: postgres\ndsn: env://X\npasword: y\n", "did you mean `password`"),
        ("kind: system\nname: a\ntype: postgres\ndsn: postgresql://u:hunter2@h/d\n", "bad.yaml:4"),
        ("", "no document"),
    ],
)
def test_bad_input_is_a_problem_with_place_and_remedy(nms: Nms, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    for word in ("apply", "plan"):
        answer = nms(word, "-f", tmp_path / "bad.yaml")
        assert answer.exit_code == 1
        assert told in answer.stderr
        assert "remedy:" in answer.stderr
        assert "hunter2" not in answer.output
        problem = json.loads(nms(word, "-f", tmp_path / "bad.yaml", "--json").stderr)
        assert problem["status"] == 422
    assert json.loads(nms("export", "--json").stdout) == []


def test_what_is_not_there_is_a_problem(nms: Nms, tmp_path: Path) -> None:
    assert "No such file" in nms("apply", "-f", tmp_path / "absent.yaml").stderr
    assert "no .yaml file" in nms("apply", "-f", tmp_path).stderr
    for words in (("--kind", "system", "--name", "absent"), ("--name", "absent")):
        assert "not-found" in nms("export", *words).stderr
    assert nms("apply").exit_code == 2
    # A misspelt kind is not one of which there is nothing.
    assert nms("export", "--kind", "pipelines").exit_code == 2
    assert nms("watch", "--once", "--kind", "pipelines").exit_code == 2
    for word in (1 << 63, 1 << 70):
        assert "value-refused" not in nms("rollback", word).stderr


def test_a_stale_base_is_refused(nms: Nms) -> None:
    nms("apply", "-f", EXAMPLES / "subscriptions-log.yaml", "--base", "0")
    answer = nms("apply", "-f", EXAMPLES / "pgbench.yaml", "--base", "0")
    assert (answer.exit_code, "revision-moved" in answer.stderr) == (1, True)


def test_the_command_works_as_a_process_of_its_own(settings: Settings) -> None:
    words = [sys.executable, "-m", "nms", "apply", "-f", str(EXAMPLES / "subscriptions-log.yaml"), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["pipelines"] == ["subscriptions"]


def test_watching_once_tells_the_history_from_a_revision_on(nms: Nms) -> None:
    for dsn in ("env://A_DSN", "env://B_DSN"):
        text = json.dumps({"kind": "system", "name": "crm", "type": "postgres", "dsn": dsn})
        assert nms("apply", "-f", "-", input=text).exit_code == 0
    told = nms("watch", "--since", 0, "--once")
    assert told.output.split() == ["1", "+", "system", "crm", "2", "~", "system", "crm"]
    lines = nms("watch", "--since", 1, "--once", "--json").output.splitlines()
    assert [json.loads(line)["document"]["dsn"] for line in lines] == ["env://B_DSN"]
    assert nms("watch", "--since", 0, "--kind", "entity", "--once").output == ""
    assert nms("watch", "--since", 3, "--once").exit_code == 1


def test_a_folder_that_was_exported_applies_as_no_change(nms: Nms, tmp_path: Path) -> None:
    files = [
        word for name in ("subscriptions-log", "webhooks", "entities") for word in ("-f", EXAMPLES / f"{name}.yaml")
    ]
    first = nms("apply", *files, "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(nms("export", "-o", tmp_path / "all", "--json").stdout)
    paths = [path.relative_to(tmp_path / "all") for path in (tmp_path / "all").rglob("*.yaml")]
    assert sorted(told["written"]) == sorted(map(str, paths))
    assert {"system/billing.yaml", "pipeline/subscriptions.yaml", "entity/posts.yaml"} <= {*told["written"]}
    again = json.loads(nms("apply", "-f", tmp_path / "all", "--prune", "--json").stdout)
    assert again == {"revision": json.loads(first.stdout)["revision"], "differences": [], "pipelines": []}
    assert json.loads(nms("export", "-o", tmp_path / "all", "--json").stdout) == {
        "written": [],
        "removed": [],
        "stale": [],
    }


def test_stale_files_of_an_export_are_told_and_removed_only_when_asked(nms: Nms, tmp_path: Path) -> None:
    log, poll = EXAMPLES / "subscriptions-log.yaml", EXAMPLES / "subscriptions-poll.yaml"
    nms("apply", "-f", log, "-f", poll)
    nms("export", "-o", tmp_path)
    (tmp_path / "system" / "mine.yaml").write_text("# by hand\n" + log.read_text())
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "broken.yaml").write_text("\t")
    assert nms("apply", "-f", log, "--prune").exit_code == 0
    stale = "pipeline/subscriptions-check.yaml"
    assert f"{stale} is stale" in nms("export", "-o", tmp_path).stdout
    systems = json.loads(nms("export", "-o", tmp_path, "--kind", "system", "--json").stdout)["stale"]
    assert systems == ["system/newsletter.yaml"]
    assert (tmp_path / stale).exists()
    assert json.loads(nms("export", "-o", tmp_path, "--prune", "--json").stdout)["removed"] == [*systems, stale]
    assert not (tmp_path / stale).exists()
    assert (tmp_path / "system" / "mine.yaml").exists(), "that one is no export's"
    assert nms("export", "--prune").exit_code == 2
    assert nms("export", "-o", tmp_path, "--prune", "--name", "crm").exit_code == 2


def test_a_folder_is_read_as_it_was_written_links_and_all(nms: Nms, tmp_path: Path) -> None:
    nms("apply", "-f", EXAMPLES / "subscriptions-log.yaml")
    (folder := tmp_path / "config").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (folder / "system").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (elsewhere / "folder.yaml").mkdir()
    assert nms("export", "-o", folder).exit_code == 0
    assert (elsewhere / "crm.yaml").exists()
    again = json.loads(nms("apply", "-f", folder, "--prune", "--json").stdout)
    assert again["differences"] == [], "systems behind a link are no missing ones"
    (elsewhere / "lost.yaml").symlink_to(tmp_path / "nothing")
    assert "lost.yaml cannot be read" in nms("apply", "-f", folder, "--prune").stderr


def test_stale_files_that_cannot_be_removed_are_a_problem(nms: Nms, tmp_path: Path) -> None:
    log, poll = EXAMPLES / "subscriptions-log.yaml", EXAMPLES / "subscriptions-poll.yaml"
    nms("apply", "-f", log, "-f", poll)
    nms("export", "-o", tmp_path)
    nms("apply", "-f", log, "--prune")
    os.mkfifo(tmp_path / "pipeline" / "queue.yaml")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        answer = nms("export", "-o", tmp_path, "--prune")
    assert (answer.exit_code, "folder-refused" in answer.stderr) == (1, True), answer.output
    assert nms("export", "-o", tmp_path, "--prune").exit_code == 0, "nobody waits for what a pipe would give"


def refuse(path: Path, **_: Any) -> None:
    raise PermissionError(1, "Operation not permitted", str(path))


def test_a_folder_that_cannot_be_written_is_a_problem(nms: Nms, tmp_path: Path) -> None:
    nms("apply", "-f", EXAMPLES / "subscriptions-log.yaml")
    (tmp_path / "file").write_text("")
    answer = nms("export", "-o", tmp_path / "file")
    assert (answer.exit_code, "folder-refused" in answer.stderr) == (1, True)

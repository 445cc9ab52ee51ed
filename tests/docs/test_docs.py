"""What the documentation says is so: commands exist, examples are accepted, links lead somewhere."""

import pytest

from nms.cfg.text import read_drafts
from nms.common.document import parse_document
from nms.common.problem import Malformed, Problem
from tests.docs.commands import Command, Option, commands, walk
from tests.docs.generate import below, load_everything
from tests.docs.pages import blocks, broken_links, faults_of, make_targets, shown_commands, shown_targets
from tests.house.tree import ROOT, File, paths, refuse

PAGES = [File(path, (ROOT / path).read_text()) for path in paths() if path.endswith(".md")]
# The history of a project speaks of what was.
SPOKEN = [page for page in PAGES if page.path != "CHANGELOG.md"]


@pytest.fixture(scope="module")
def known() -> dict[str, Command]:
    """Every command by its full name."""
    return {command.name: command for command in walk(commands())}


def test_every_command_in_the_documentation_exists(known: dict[str, Command]) -> None:
    refuse(
        f"{page.path}: {fault}"
        for page in SPOKEN
        for text, whole in shown_commands(page)
        for fault in faults_of(text, whole, known)
    )


def test_every_command_in_a_remedy_exists(known: dict[str, Command]) -> None:
    load_everything()
    refuse(
        f"{kind.__name__}: {fault}"
        for kind in below(Problem)
        for text, _ in shown_commands(File("remedy", kind.remedy))
        for fault in faults_of(text, False, known)
    )


def test_every_make_target_in_the_documentation_exists() -> None:
    targets = make_targets((ROOT / "Makefile").read_text())
    refuse(f"{page.path}: no target {name}" for page in SPOKEN for name in sorted(shown_targets(page) - targets))


def test_every_example_is_accepted() -> None:
    refuse(fault for page in PAGES for fault in refused_examples(page))


def test_every_example_file_is_accepted() -> None:
    examples = [File(path, (ROOT / path).read_text()) for path in paths() if path.startswith("examples/")]
    refuse(fault for file in examples for fault in refused(file.path, file.text))


def test_every_relative_link_leads_somewhere() -> None:
    refuse(fault for page in PAGES for fault in broken_links(page, paths()))


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = "".join(page.text for page in PAGES)
    pages = [page.path for page in PAGES if page.path.startswith("docs/") and page.path != "docs/README.md"]
    refuse(f"{path}: no page links here" for path in pages if path.rpartition("/")[2] not in linked)


def refused_examples(page: File) -> list[str]:
    """YAML blocks that speak of documents and would be refused."""
    return [fault for block in blocks(page, "yaml") if "kind:" in block for fault in refused(page.path, block)]


def refused(path: str, text: str) -> list[str]:
    """Why a text of documents would be refused."""
    try:
        for draft in read_drafts(text, path):
            parse_document(draft.data)
    except Malformed as problem:
        return [f"{path}: {problem.detail} {[(item.pointer, item.detail) for item in problem.pointers]}"]
    return []


UP = Command("nms db up", "", (), (Option(("--json",), "", "", False, ""),))
DB = Command("nms db", "", (), (), (UP,))
APPLY = Command("nms apply", "", (), (Option(("--file", "-f"), "FILE", "", True, ""),))
PAUSE = Command("nms pause", "", (Option(("PIPELINE",), "PIPELINE", "", True, ""),), ())
DEMO = Command("nms demo", "", (), (), (UP,), alone=True)
PLANTED = {command.name: command for command in (DB, UP, APPLY, PAUSE, DEMO)}


@pytest.mark.parametrize(
    "text",
    [
        "nms fly",
        "nms db sideways",
        "nms db",
        "nms db up --hard",
        "nms apply x.yaml",
        "nms pause",
        "nms pause a b",
        "nms demo fly",
    ],
)
def test_a_command_that_the_program_refuses_is_seen(text: str) -> None:
    assert [fault for shown, whole in shown_commands(block(text)) for fault in faults_of(shown, whole, PLANTED)]


@pytest.mark.parametrize(
    "text",
    [
        "nms db up --json",
        "nms apply -f x.yaml | less",
        "$ nms pause a  # for a while",
        "nms demo",
        "nms --help",
        "A=1 .venv/bin/nms db up",
    ],
)
def test_a_command_that_the_program_takes_is_fine(text: str) -> None:
    assert shown_commands(block(text))
    assert not [fault for shown, whole in shown_commands(block(text)) for fault in faults_of(shown, whole, PLANTED)]


def test_a_command_that_is_only_spoken_of_needs_no_arguments_but_must_exist() -> None:
    assert not faults_of("nms pause", False, PLANTED)
    assert not faults_of("nms db", False, PLANTED)
    assert faults_of("nms db sideways", False, PLANTED)
    assert shown_commands(File("a.md", "Say `nms pause`.")) == [("nms pause", False)]


def test_a_broken_link_is_seen() -> None:
    page = File("docs/how-to/a.md", "[b](../b.md) [c](c.md#part) [d](https://example.org) [e](#here)")
    assert len(broken_links(page, ["docs/how-to/a.md"])) == 2
    assert not broken_links(page, ["docs/b.md", "docs/how-to/c.md"])


def test_an_example_that_would_be_refused_is_seen() -> None:
    assert refused_examples(File("a.md", "```yaml\nkind: system\nname: Billing\n```"))


def test_a_target_that_is_not_there_is_seen() -> None:
    assert make_targets("demo: x ## Run\nA := b\n.PHONY: c\n") == {"demo"}
    assert shown_targets(File("a.md", "`make demo` and\n```sh\nmake fly\n```\n make peace")) == {"demo", "fly"}


def block(text: str) -> File:
    """A page with one block to be typed."""
    return File("a.md", f"```sh\n{text}\n```\n")

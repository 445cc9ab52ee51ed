"""The words are those of the design, everywhere."""

from tests.house.tree import File, files, python, refuse
from tests.house.words import synonyms_in_names, synonyms_in_text


def test_names_in_code_use_the_words() -> None:
    refuse(fault for file in files("nms") for fault in synonyms_in_names(file))


def test_sql_and_documentation_use_the_words() -> None:
    written = files("nms", "db", suffix=".sql") + files("docs", suffix=".md")
    refuse(fault for file in written for fault in synonyms_in_text(file))


def test_a_synonym_in_a_name_is_seen() -> None:
    assert synonyms_in_names(python("class JobRepository: ..."))
    assert synonyms_in_names(python("def write(sink): ..."))
    assert synonyms_in_names(python("", "nms/sync/jobs.py"))
    assert not synonyms_in_names(python("class Target:\n    def sinking(self): ..."))


def test_a_synonym_in_text_is_seen() -> None:
    assert synonyms_in_text(File("docs/a.md", "Every job runs.\n"))
    assert not synonyms_in_text(File("docs/a.md", "The main job.\n"))
    assert not synonyms_in_text(File("docs/a.md", "Every run has a state.\n"))

"""Files, functions and parameter lists stay small enough to read at once."""

import pytest

from tests.house.sizes import long_file, long_functions, wide_functions
from tests.house.tree import File, files, python, refuse

EVERYTHING = files("nms", "tests", "bench") + files("nms", "tests", "bench", "db", suffix=".sql")
# Generated from the migrations, not written.
PYTHON = files("nms", "tests", "bench")
READ = [file for file in EVERYTHING if not file.path.endswith("/schema.sql")]


def test_no_file_is_longer_than_400_lines() -> None:
    refuse(fault for file in READ for fault in long_file(file))


def test_no_function_is_longer_than_40_lines() -> None:
    refuse(fault for file in PYTHON for fault in long_functions(file))


def test_no_function_takes_more_than_5_parameters() -> None:
    refuse(fault for file in PYTHON for fault in wide_functions(file))


def test_a_file_of_401_lines_is_seen() -> None:
    assert not long_file(python("x = 1\n" * 400))
    assert long_file(python("x = 1\n" * 401))


def test_a_function_of_41_lines_is_seen_and_its_docstring_does_not_count() -> None:
    body = "    x = 1\n" * 39
    assert not long_functions(python(f'def f():\n    """One.\n\n    Two.\n    """\n{body}'))
    assert long_functions(python(f"def f():\n{body}    x = 1\n"))
    assert long_functions(
        python(f"class C:\n    async def f(self):\n{body.replace('    x', '        x')}        x = 1\n")
    )


@pytest.mark.parametrize(
    "signature",
    ["a, b, c, d, e, f", "a, b, c, *, d, e, f", "a, b, c, d, *e, **f", "a, b, /, c, d, e, f"],
)
def test_a_sixth_parameter_is_seen_however_it_is_passed(signature: str) -> None:
    assert wide_functions(python(f"def f({signature}): ..."))
    assert wide_functions(python(f"class C:\n    def f(self, {signature}): ..."))


def test_self_and_cls_and_record_fields_are_no_parameters() -> None:
    assert not wide_functions(
        python("class C:\n    def f(self, a, b, c, d, e): ...\n    def g(cls, a, b, c, d, e): ...")
    )
    assert not wide_functions(python("@dataclass\nclass C:\n" + "".join(f"    {name}: int\n" for name in "abcdefgh")))


def test_commands_and_endpoints_are_exempt_from_the_parameter_rule_and_nothing_else_is() -> None:
    six = "(a, b, c, d, e, f): ..."
    assert not wide_functions(File("nms/cli/up.py", f"@command\ndef up{six}"))
    assert not wide_functions(File("nms/cli/db.py", f"@app.command('up')\ndef up{six}"))
    assert not wide_functions(File("nms/sync/api/tasks.py", f"import fastapi\n@router.get('/')\ndef up{six}"))
    assert wide_functions(File("nms/sync/pipeline.py", f"@registry.get('/')\ndef up{six}"))
    assert wide_functions(File("nms/sync/api/tasks.py", f"import fastapi\n@cache\ndef up{six}"))
    assert wide_functions(File("nms/cli/up.py", f"def up{six}"))

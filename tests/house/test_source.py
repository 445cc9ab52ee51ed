"""Python files say what they use on top, name things by what they are, and finish what they begin."""

import pytest

from tests.house.source import (
    banned_names,
    late_imports,
    skips,
    sleeps,
    swallowed,
    undeclared_imports,
    undeclared_sleeps,
    unfinished,
)
from tests.house.tree import File, files, paths, python, refuse

# Where an import may wait until it is needed, and why: path -> module -> reason. `*` is a name known at run time only.
LATE_IMPORTS: dict[str, dict[str, str]] = {
    "nms/cli/main.py": {"*": "`nms --help` and each command load only what they use: 1.5 s of imports otherwise"},
    "nms/sync/capture.py": {"*": "the folder of a connector is named by the type of its system; drivers are large"},
    "nms/common/bus/bus.py": {"nms.common.bus.rabbit": "aio-pika costs 0.3 s: only where AMQP_DSN is set"},
    "nms/common/bus/exchange.py": {
        "nms.common.bus.rabbit_exchange": "aio-pika costs 0.3 s: only where AMQP_DSN is set"
    },
    "nms/common/budget.py": {"nms.common.cache.redis": "redis costs 0.5 s: only where REDIS_DSN is set"},
    "nms/common/cache/cache.py": {"nms.common.cache.redis": "redis costs 0.5 s: only where REDIS_DSN is set"},
    "nms/common/egress/shared.py": {
        "nms.common.egress.egress": "only where a process sends requests; every role can close"
    },
    "nms/warehouse/closing.py": {
        "nms.warehouse.parquet": "pyarrow takes 40 MB of memory: only where a file is Parquet",
        "nms.warehouse.zstd": "only where a file is packed by it",
    },
    "nms/warehouse/format.py": {
        "nms.warehouse.parquet": "pyarrow takes 40 MB of memory: only where somebody asks for Parquet",
        "nms.warehouse.zstd": "only where somebody asks for it",
    },
    "nms/cfg/probe.py": {"*": "the connectors of the systems that are probed, as in sync"},
    "nms/connectors/kafka/connector.py": {"*": "aiokafka is an extra: only where a pipeline has a Kafka system"},
}
# Where a library lacks types or Python's type system a word, and why: path -> reason.
SILENCED_TYPES: dict[str, str] = {
    "nms/cli/command.py": "`__signature__` of a function is read by inspect, and typeshed does not know it",
    "nms/common/cache/redis.py": "redis leaves closing a subscription untyped",
}
# Who may sleep in tests, and why: path -> function -> reason. All other waiting is for a state, through these.
SLEEPING: dict[str, dict[str, str]] = {
    "tests/waiting.py": {"eventually": "the waiting function: a condition and a deadline"},
    "tests/services/process.py": {"wait_until": "the waiting function: a condition and a deadline"},
    "tests/contract/budget_worker.py": {"work": "a request takes a while: the load of the test"},
    "tests/service/remote.py": {"say": "a remote that dawdles: the delay is the test"},
    "tests/service/storm.py": {"_here": "edits come at any pace: the load", "_there": "the same at the remote"},
    "tests/service/test_egress.py": {
        "test_a_large_body_is_read_as_it_comes_and_a_slow_reader_is_not_the_remotes_fault": "the delay is the test",
    },
    "tests/service/test_rest_write.py": {"behave": "an effect that comes late is the test"},
    "tests/services/hostile/api.py": {"_answer": "the latency of an API"},
    "tests/services/hostile/broken.py": {
        "late": "an API that answers late",
        "reset_when_read": "a reset drops what was not read: the client gets the time to",
        "drip": "an API that sends a byte a second",
        "drip_headers": "as there",
    },
    "tests/flow/campaign.py": {
        "wait_for_mark": "waits for the end of the backfill, with a deadline",
        "wait_for_progress": "waits for new effects, with a deadline",
        "watch": "looks for the end of the backfill until the campaign is over",
        "strike": "a fault comes at a random time",
        "restart": "a server is away for a random time",
    },
    "tests/flow/proof/checker.py": {"wait_until_through": "waits for the last event's arrival, with a deadline"},
    "tests/flow/proof/observer.py": {"run": "looks at the target so many times a second"},
    "tests/flow/proof/writers.py": {
        "run": "writes at a given rate, and tries a lost server again",
        "take_long": "holds a transaction open: the delay is the test",
    },
}

PACKAGE = files("nms")
TESTS = files("tests", "bench")


def test_modules_and_folders_have_names_that_mean_something() -> None:
    refuse(fault for path in paths() if path.endswith((".py", ".sql", ".md")) for fault in banned_names(path))


def test_imports_stand_on_top() -> None:
    refuse(fault for file in PACKAGE for fault in undeclared_imports(file, LATE_IMPORTS))
    assert set(LATE_IMPORTS) <= set(paths())


def test_nothing_is_unfinished_and_no_type_is_silenced_without_a_reason() -> None:
    faults = [fault for file in PACKAGE for fault in unfinished(file)]
    refuse(f for f in faults if not (f.endswith("a silenced type") and f.split(":")[0] in SILENCED_TYPES))


def test_no_fault_is_swallowed() -> None:
    refuse(fault for file in PACKAGE for fault in swallowed(file))


def test_tests_wait_for_a_state_and_never_sleep() -> None:
    refuse(fault for file in files("tests") for fault in undeclared_sleeps(file, SLEEPING))
    assert set(SLEEPING) <= set(paths())


def test_no_test_is_skipped() -> None:
    refuse(fault for file in TESTS for fault in skips(file))


def test_every_file_is_python_3_11() -> None:
    for file in (*PACKAGE, *TESTS):
        assert file.tree


@pytest.mark.parametrize(
    "path", ["nms/common/utils.py", "nms/core/run.py", "tests/helpers/__init__.py", "nms/sync/base.py"]
)
def test_a_name_that_says_nothing_is_seen(path: str) -> None:
    assert banned_names(path)


def test_a_word_that_only_contains_a_banned_one_is_fine() -> None:
    assert not banned_names("nms/common/database.py")
    assert not banned_names("nms/common/miscount.py")


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("def f():\n    import redis", "redis"),
        ("class C:\n    async def f(self):\n        from aio_pika import connect", "aio_pika"),
        ("def f():\n    return import_module('redis.asyncio')", "redis.asyncio"),
        ("driver = importlib.import_module(name)", "*"),
    ],
)
def test_an_import_inside_a_function_is_seen(text: str, module: str) -> None:
    assert late_imports(python(text)) == {module}
    assert undeclared_imports(python(text), {})
    assert not undeclared_imports(python(text), {"nms/planted.py": {module: "for this test"}})


def test_a_listed_late_import_that_is_gone_is_seen() -> None:
    assert undeclared_imports(python("import redis"), {"nms/planted.py": {"redis": "once upon a time"}})


@pytest.mark.parametrize(
    "text",
    [
        "x = f()  # type: ignore[arg-type]",
        "# " + "TODO: later",
        "x = 1  # " + "FIXME",
        "def f():\n    raise NotImplementedError",
    ],
)
def test_unfinished_work_is_seen(text: str) -> None:
    assert unfinished(python(text))


def test_a_word_in_a_string_is_no_mark() -> None:
    assert not unfinished(python("x = 'TODO # type: ignore'"))


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    f()\nexcept:\n    raise",
        "try:\n    f()\nexcept OSError:\n    pass",
        "try:\n    f()\nexcept OSError:\n    ...",
        "with suppress(OSError, Exception):\n    f()",
        "with contextlib.suppress(BaseException):\n    f()",
    ],
)
def test_a_swallowed_fault_is_seen(text: str) -> None:
    assert swallowed(python(text))


def test_suppressing_one_named_error_is_fine_and_closing_may_suppress_all() -> None:
    assert not swallowed(python("async def close_pools():\n    with suppress(Exception):\n        f()"))
    assert not swallowed(python("with suppress(FileNotFoundError):\n    f()"))


@pytest.mark.parametrize(
    "call", ["time.sleep(1)", "await asyncio.sleep(0.1)", "sleep(delay)", "await anyio.sleep(wait())"]
)
def test_a_sleep_is_seen(call: str) -> None:
    file = python(f"async def f():\n    {call}")
    assert sleeps(file) == {"f": 2}
    assert undeclared_sleeps(file, {})
    assert not undeclared_sleeps(file, {"nms/planted.py": {"f": "for this test"}})


def test_a_listed_sleep_that_is_gone_is_seen() -> None:
    assert undeclared_sleeps(python("def f(): ..."), {"nms/planted.py": {"f": "once upon a time"}})


def test_yielding_to_the_loop_is_no_sleep() -> None:
    assert not sleeps(python("async def f():\n    await asyncio.sleep(0)"))


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.skip\ndef test_f(): ...",
        "@pytest.mark.skipif(True, reason='x')\ndef test_f(): ...",
        "@pytest.mark.xfail()\ndef test_f(): ...",
        "def test_f():\n    pytest.skip('no server')",
        "redis = pytest.importorskip('redis')",
        "class T(unittest.TestCase):\n    def test_f(self):\n        self.skipTest('x')",
    ],
)
def test_a_skipped_test_is_seen(text: str) -> None:
    assert skips(File("tests/unit/test_planted.py", text))


def test_a_file_that_python_3_11_cannot_read_is_seen() -> None:
    with pytest.raises(SyntaxError):
        assert python("type Name = str").tree

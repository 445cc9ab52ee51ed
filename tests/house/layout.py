"""What may stand where: the top of the checkout, and the files of a room."""

from collections.abc import Iterable
from pathlib import PurePosixPath

TOP = {
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
    "Makefile", "pyproject.toml", "poetry.lock", "poetry.toml", "docker-compose.yml", "Dockerfile",
    ".env", "loggers.json", ".ci", ".gitignore", ".dockerignore",
    "nms", "db", "examples", "tests", "bench", "docs",
}  # fmt: skip
FLOORS = {"cli", "connectors", "events", "common"}
ROOMS = {"auth", "cfg", "inbox", "sync", "warehouse", "console"}
FRAME = {"__init__", "main", "settings", "problems", "models", "repository", "worker"}
# The words of DESIGN 1, 4 and 5 that a room's module may be: a noun (in sync also the acts of its sentence), singular
# or plural. A new word is agreed on there first.
WORDS = {
    "*": {"system", "dataset", "change", "batch", "position", "pipeline", "run", "lease", "quarantine", "endpoint",
          "entity", "entities", "outbox", "problem", "event", "task", "document", "revision", "secret"},
    "auth": {"form", "user", "role", "token", "session", "revocation", "password", "email", "claim", "throttle",
             "audit", "key", "service_token"},
    "cfg": {"changeset", "difference", "plan", "consistency", "text", "resource", "audit", "door", "probe", "condition",
            "effect", "exposure", "rotation", "watch", "notice", "stream", "rollout", "standing", "turn"},
    "inbox": {"scheme", "signature", "replay", "writer", "handshake", "verifier", "check", "key", "signed", "form",
             "login", "arrival", "receiver", "item", "cloudevent", "limit", "relay", "reference", "selection",
             "address", "refused", "credential", "verification", "header", "duty", "identity", "day",
             "diagnosis", "request"},
    "sync": {"capture", "compact", "mapping", "conflict", "apply", "backfill", "preflight", "engine", "guard",
             "ledger", "round", "twoway", "merge", "turn", "pull", "push", "echo", "archive", "deletes", "absence",
             "feed"},
    "warehouse": {"record", "filter", "export", "feed", "page", "table", "value", "expression", "reading", "front",
                  "pull", "horizon", "statement", "alteration", "member", "write", "condition",
                  "lineage", "operation", "reference", "diagnosis", "exporter", "extract", "file", "format", "parquet",
                  "stream", "zstd", "closing"},
    "console": {"page"},
}  # fmt: skip
FOLDERS = {"api", "queries"}
CONSOLE_FOLDERS = FOLDERS | {"templates", "static"}


def strangers_on_top(paths: Iterable[str]) -> list[str]:
    """Files and folders at the top of the checkout that the design does not name."""
    return [
        f"{top}: nothing else stands at the top" for top in sorted({PurePosixPath(p).parts[0] for p in paths} - TOP)
    ]


def strangers_in_package(paths: Iterable[str]) -> list[str]:
    """Folders and modules directly under `nms/` that are neither a floor nor a room."""
    found = {PurePosixPath(path).parts[1] for path in paths if path.startswith("nms/")}
    return [f"nms/{name}: neither floor nor room" for name in sorted(found - FLOORS - ROOMS - FRAME_OF_PACKAGE)]


def strangers_in_rooms(paths: Iterable[str]) -> list[str]:
    """Files of a room that are neither of its frame nor a word."""
    return [f"{path}: {fault}" for path in paths if (fault := _stranger(PurePosixPath(path)))]


FRAME_OF_PACKAGE = {"__init__.py", "__main__.py", "py.typed"}


def _stranger(path: PurePosixPath) -> str | None:
    if len(path.parts) < 3 or path.parts[0] != "nms" or path.parts[1] not in ROOMS:
        return None
    room, inside = path.parts[1], path.parts[2:]
    if len(inside) > 1 and inside[0] not in (CONSOLE_FOLDERS if room == "console" else FOLDERS):
        return f"a room holds no folder `{inside[0]}`"
    if len(inside) > 1 and inside[0] not in {"api"} and path.suffix == ".py":
        return "Python stands in the room and in api/"
    if path.suffix == ".sql" and inside[0] != "queries":
        return "statements stand in queries/"
    if path.suffix == ".py" and not _is_word(room, path.stem, FRAME if len(inside) == 1 else {"__init__"}):
        return f"`{path.stem}` is neither of a room's frame nor a word (tests/house/layout.py, DESIGN 1)"
    return None


def _is_word(room: str, stem: str, frame: set[str]) -> bool:
    words = WORDS["*"] | WORDS[room]
    return stem in frame or stem in words or stem.removesuffix("s") in words

"""What must not be in a committed file: registry hosts, paths of one machine, keys; and a lock that is out of step."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.house.tree import File

# Written in two parts, so that this file holds none of them.
REGISTRIES = tuple(
    f"{name}.{domain}"
    for name, domain in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry.npmjs", "org"),
        ("registry.yarnpkg", "com"),
        ("registry-1.docker", "io"),
        ("proxy.golang", "org"),
    ]
)
_PLACES = re.compile(r"(?<![\w.~-])/(?:work|root|home/\w+)/[\w.]")
_KEYS = re.compile(r"-----BEGIN [A-Z ]*" + r"PRIVATE KEY-----")
PROJECT = ("requires-python", "dependencies", "optional-dependencies")
POETRY = ("dependencies", "source", "extras", "dev-dependencies", "group")


def registries(file: File, configured: Iterable[str] = ()) -> list[str]:
    """Registry host names: the public ones, and those this machine's pip is configured with."""
    return [f"{file.path}: names the registry {host}" for host in {*REGISTRIES, *configured} if host in file.text]


def places(file: File) -> list[str]:
    """Absolute paths that exist on one machine only."""
    return [
        f"{file.path}:{file.text.count(chr(10), 0, found.start()) + 1}: a path of one machine"
        for found in _PLACES.finditer(file.text)
    ]


def keys(file: File) -> list[str]:
    """Private keys."""
    return [f"{file.path}: a private key"] if _KEYS.search(file.text) else []


def hosts_of(settings: str) -> set[str]:
    """Host names of the URLs in pip's configuration listing, loopback left out."""
    found = {urlsplit(url).hostname for url in re.findall(r"https?://[^\s'\"]+", settings)}
    return {host for host in found if host and host not in {"localhost", "127.0.0.1"}}


def content_hash(pyproject: Mapping[str, Any]) -> str:
    """Poetry's hash of what a lock depends on, for a pyproject with [project] (poetry 2.3, `_get_content_hash`)."""
    content = {
        "project": _chosen(pyproject["project"], PROJECT),
        "tool": {"poetry": _chosen(pyproject["tool"]["poetry"], POETRY)},
    } | _chosen(pyproject, ["dependency-groups"])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _chosen(table: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: table[name] for name in names if table.get(name) is not None}

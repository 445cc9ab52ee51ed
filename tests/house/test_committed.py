"""What is committed works on any machine, tells no secret, and is in step with itself."""

import os
import subprocess
import tomllib
from pathlib import Path

from tests.house.committed import REGISTRIES, content_hash, hosts_of, keys, places, registries
from tests.house.tree import ROOT, File, files, refuse, texts

PIP = [Path("/etc/pip.conf"), Path("~/.config/pip/pip.conf").expanduser(), Path("~/.pip/pip.conf").expanduser()]


def configured_hosts() -> set[str]:
    """The registries this machine's pip is told to use."""
    told = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "POETRY_PYPI_MIRROR_URL")]
    return hosts_of("\n".join([*told, *(file.read_text() for file in PIP if file.is_file())]))


def test_no_file_names_a_registry() -> None:
    configured = configured_hosts()
    refuse(fault for file in texts() for fault in registries(file, configured))


def test_no_file_names_a_place_of_one_machine() -> None:
    refuse(fault for file in texts() for fault in places(file))


def test_no_file_holds_a_private_key() -> None:
    refuse(fault for file in texts() for fault in keys(file))


def test_the_lock_is_in_step_with_pyproject_and_names_no_source() -> None:
    lock = tomllib.loads((ROOT / "poetry.lock").read_text())
    assert lock["metadata"]["content-hash"] == content_hash(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    assert not [package["name"] for package in lock["package"] if "source" in package]


def test_a_package_has_one_license_and_it_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_what_make_runs_keeps_its_bytecode_whatever_the_machine_says() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "--eval", 'told:; @echo "<$${PYTHONDONTWRITEBYTECODE-}>"', "told"]
    told = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert told.stdout == "<>\n"


def test_a_registry_is_seen() -> None:
    assert all(registries(File("Makefile", f"pip install -i https://{host}/simple x")) for host in REGISTRIES)
    assert registries(File("Makefile", "curl mirror.example.net"), hosts_of("index-url = https://mirror.example.net/x"))
    assert not registries(File("README.md", "pip install nms"))


def test_loopback_is_no_registry() -> None:
    assert hosts_of("index-url = http://127.0.0.1:3141/simple http://localhost/") == set()


def test_a_place_of_one_machine_is_seen() -> None:
    assert places(File("Makefile", "cd /wo" + "rk/main")) == ["Makefile:1: a path of one machine"]
    assert places(File("a.py", "x = '/ro" + "ot/.cache'"))
    assert places(File("a.py", "x = '/ho" + "me/me/nms'"))
    assert not places(File("a.py", "x = '.nms/work/a'; y = 'https://host/work/a'; z = '~/work/a'"))


def test_a_private_key_is_seen() -> None:
    assert keys(File("key.pem", "-----BEGIN EC PRIVATE" + " KEY-----"))


def test_a_lock_out_of_step_is_seen() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    changed = {**pyproject, "project": {**pyproject["project"], "dependencies": ["fastapi"]}}
    assert content_hash(changed) != content_hash(pyproject)


def test_every_text_file_ends_with_a_newline() -> None:
    refuse(file.path for suffix in (".py", ".sql", ".md", ".yaml", ".toml") for file in ends(suffix))


def ends(suffix: str) -> list[File]:
    """Files that do not end with a newline."""
    return [
        file
        for file in files("nms", "tests", "bench", "db", "docs", suffix=suffix)
        if file.text and file.text[-1] != "\n"
    ]

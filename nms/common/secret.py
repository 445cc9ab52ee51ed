"""References to secrets: `secret://name`, `env://NAME` and `file:///path`, resolved late and never shown."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import SecretStr

from nms.common.log import remember_secrets
from nms.common.settings import Settings, environment_value, get_settings
from nms.common.vault import SecretElsewhere, SecretMissing, own_vault

__all__ = [
    "SECRET_BYTES", "SecretElsewhere", "SecretMissing", "check_reference", "is_reference", "resolve", "stored_name",
]  # fmt: skip

SECRET_BYTES: Final = 65_536
"""A secret file is read up to this size; no password or key is longer."""

_ENV: Final = re.compile(r"env://([A-Za-z_][A-Za-z0-9_]{0,199})")
_STORED: Final = re.compile(r"secret://([a-z](?:[a-z0-9-]{0,38}[a-z0-9])?)")
_FILE: Final = re.compile(r"file://(/[^\x00-\x1f\x7f]{1,1000})")
_OWN: Final = frozenset(name.upper() for name in Settings.model_fields) | {"NMS_FAULTS"}
_KERNEL: Final = ("/proc", "/sys", "/dev")


def is_reference(text: str) -> bool:
    """Whether a text has the form of a reference, well made or not."""
    return text.startswith(("secret://", "env://", "file://"))


def check_reference(text: str) -> str:
    """The reference as it is; raises ValueError with one sentence that does not repeat it."""
    env, file = _ENV.fullmatch(text), _FILE.fullmatch(text)
    if env is None and file is None and stored_name(text) is None:
        raise ValueError("a secret is named as `secret://name`, `env://NAME` or `file:///run/secrets/name`")
    if env is not None and env[1].upper() in _OWN:
        raise ValueError("settings of NMS itself are not handed to systems; use a variable of its own")
    if file is not None and _is_forbidden(PurePosixPath(file[1])):
        raise ValueError("a secret file has an absolute path without `..`, outside /proc, /sys and /dev")
    return text


def stored_name(reference: str) -> str | None:
    """The name of the stored secret that a reference means; None for one that is kept elsewhere."""
    stored = _STORED.fullmatch(reference)
    return None if stored is None else stored[1]


def resolve(reference: str, *origins: str) -> SecretStr:
    """The secret behind a reference, hidden in logs from now on; raises SecretMissing, SecretElsewhere, SealBroken.

    `origins` are all that it goes to from here: a stored one is opened for those it was given for, and for no others.
    One newline at the end of a file is not part of the secret.
    """
    try:
        check_reference(reference)
    except ValueError as error:
        raise SecretMissing(str(error)) from None
    text = _read(reference, origins)
    if not text or "\0" in text:
        raise SecretMissing(f"The secret behind {reference} is empty or has zero bytes.", reference=reference)
    remember_secrets([text])
    return SecretStr(text)


def _read(reference: str, origins: Sequence[str]) -> str:
    stored, env = stored_name(reference), _ENV.fullmatch(reference)
    if stored is not None:
        return own_vault().open(stored, origins)
    return _read_variable(env[1]) if env else _read_file(reference.removeprefix("file://"))


def _is_forbidden(path: PurePosixPath) -> bool:
    return ".." in path.parts or any(path.is_relative_to(root) for root in _KERNEL)


def _is_ours(place: PurePosixPath) -> bool:
    """Whether it is `.env` or below DATA_DIR, where the keys of NMS itself may stand."""
    return place == PurePosixPath(os.path.realpath(".env")) or place.is_relative_to(
        os.path.realpath(get_settings().data_dir)
    )


def _read_variable(name: str) -> str:
    value = environment_value(name)
    if value is None:
        raise SecretMissing(f"The environment variable {name} is not set.", reference=f"env://{name}")
    return value


def _read_file(path: str) -> str:
    reference = f"file://{path}"
    place = PurePosixPath(os.path.realpath(path))
    if _is_forbidden(place):
        raise SecretMissing(f"{reference} leads to /proc, /sys or /dev.", reference=reference)
    if _is_ours(place):
        raise SecretMissing(
            f"{reference} is a file of NMS itself; those are not handed to systems.", reference=reference
        )
    try:
        descriptor = os.open(Path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretMissing(f"{reference} cannot be read: {error.strerror}.", reference=reference) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SecretMissing(f"{reference} is not a regular file.", reference=reference)
        content = os.read(descriptor, SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > SECRET_BYTES:
        raise SecretMissing(f"{reference} is larger than {SECRET_BYTES} bytes.", reference=reference)
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretMissing(f"{reference} is not UTF-8 text.", reference=reference) from None

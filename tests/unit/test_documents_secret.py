"""References to secrets: found late, limited, never shown."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nms.common.log import redact
from nms.common.secret import SECRET_BYTES, SecretMissing, check_reference, resolve
from nms.common.settings import get_settings


def test_a_variable_is_found_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_PASSWORD", "hunter2")
    secret = resolve("env://BILLING_PASSWORD")
    assert secret.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r}"
    assert "hunter2" not in redact("the password hunter2 was refused")


def test_a_variable_of_the_env_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CRM_PASSWORD=from-the-file\n")
    assert resolve("env://CRM_PASSWORD").get_secret_value() == "from-the-file"
    monkeypatch.setenv("CRM_PASSWORD", "from-the-environment")
    assert resolve("env://CRM_PASSWORD").get_secret_value() == "from-the-environment"


def test_a_file_is_read_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b" pass word \n")
    assert resolve(f"file://{tmp_path}/secret").get_secret_value() == " pass word "


def test_what_cannot_be_read_is_a_problem_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (SECRET_BYTES + 1))
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "zero").write_bytes(b"a\0b")
    (tmp_path / "proc").symlink_to("/proc/self/environ")
    os.mkfifo(tmp_path / "pipe")
    for name in ("large", "empty", "binary", "zero", "proc", "pipe", "absent", "."):
        with pytest.raises(SecretMissing) as caught:
            resolve(f"file://{tmp_path}/{name}")
        assert "xx" not in caught.value.detail


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "data")
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_files_of_nms_itself_are_not_handed_out(home: Path) -> None:
    (home / "data" / "keys").mkdir(parents=True)
    for name in ("data/keys/secrets", ".env", "beside"):
        (home / name).write_text("CRM_KEY=the-key-of-all")
    (home / "shortcut").symlink_to("data/keys/secrets")
    for name in ("data/keys/secrets", ".env", "shortcut"):
        with pytest.raises(SecretMissing, match="a file of NMS itself"):
            resolve(f"file://{home}/{name}")
    assert resolve(f"file://{home}/beside").get_secret_value() == "CRM_KEY=the-key-of-all"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SecretMissing, match="NMS_TEST_ABSENT"):
        resolve("env://NMS_TEST_ABSENT")


@pytest.mark.parametrize(
    "reference",
    [
        "env://",
        "env://A B",
        "env://A-B",
        "env://1A",
        "env://A\n",
        "file://",
        "file://relative",
        "file://host/path",
        "file:///etc/../proc/self/environ",
        "file:///proc/self/environ",
        "file:///dev/stdin",
        "file:///a\nb",
        "http://x",
        "hunter2",
    ],
)
def test_bad_references_are_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        check_reference(reference)


@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "SECRETS_KEY", "DB_NMS_DSN", "AMQP_DSN", "jwt_secret_key"])
def test_settings_of_nms_itself_are_not_handed_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "own-secret")
    with pytest.raises(SecretMissing) as caught:
        resolve(f"env://{name}")
    assert "own-secret" not in caught.value.detail

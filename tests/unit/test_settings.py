"""Settings: what is read from where, what is refused, and that no secret shows."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings, Settings, SettingsRefused, WeakKey, read_settings

GOOD = "k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ENVIRONMENT", "DB_NMS_DSN", "JWT_SECRET_KEY", "SECRETS_KEY", "DATA_DIR", "NMS_FAULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TZ=Europe/Vienna\nNMS_FAULTS=a.b=kill\nSYNC_WORKER=false\n")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    settings = read_settings(Settings)
    assert (settings.tz, settings.faults) == ("Asia/Tokyo", "a.b=kill")


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_NMS_DSN", "")
    assert read_settings(Settings).db_nms_dsn is None


def test_no_form_of_the_settings_shows_a_secret() -> None:
    settings = read_settings(Settings, db_nms_dsn="postgresql://nms:hunter22@db/nms", jwt_secret_key=GOOD)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hunter22" not in shown
    assert GOOD not in shown
    assert settings.secret_values() == ["postgresql://nms:hunter22@db/nms", GOOD]


@pytest.mark.parametrize(
    ("jwt", "sealing", "named"),
    [
        (None, GOOD, "JWT_SECRET_KEY"),
        (GOOD, None, "SECRETS_KEY"),
        ("x" * 31, GOOD, "JWT_SECRET_KEY"),
        (GOOD, GOOD[:31], "SECRETS_KEY"),
        ("x" * 64, GOOD, "JWT_SECRET_KEY"),
        ("change-me-0123456789-abcdefghijklmn", GOOD, "JWT_SECRET_KEY"),
    ],
)
def test_production_refuses_missing_short_and_sample_keys(jwt: str | None, sealing: str | None, named: str) -> None:
    with pytest.raises(WeakKey) as refused:
        read_settings(Settings, environment="prod", jwt_secret_key=jwt, secrets_key=sealing)
    assert refused.value.setting == named
    assert refused.value.code == "weak-key"
    assert "x" * 20 not in str(refused.value.to_dict())


def test_production_starts_with_keys_of_its_own() -> None:
    settings = read_settings(Settings, environment="production", jwt_secret_key=GOOD, secrets_key=GOOD[::-1])
    assert settings.signing_key() == GOOD.encode()
    assert not Path(".nms").exists()


def test_an_unknown_environment_is_refused_not_taken_for_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "staging")
    with pytest.raises(SettingsRefused) as refused:
        read_settings(Settings)
    assert [item.pointer for item in refused.value.pointers] == ["/ENVIRONMENT"]


def test_a_malformed_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "s3cret-in-the-wrong-place")
    with pytest.raises(SettingsRefused) as refused:
        read_settings(Settings)
    assert "DEBUG" in refused.value.detail
    assert "s3cret" not in str(refused.value.to_dict())


def test_a_role_setting_carries_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    class DemoSettings(RoleSettings):
        model_config = SettingsConfigDict(env_prefix="DEMO_")

    assert read_settings(DemoSettings).worker is True
    monkeypatch.setenv("DEMO_WORKER", "false")
    assert read_settings(DemoSettings).worker is False
    monkeypatch.setenv("DEMO_WORKER", "perhaps")
    with pytest.raises(SettingsRefused) as refused:
        read_settings(DemoSettings)
    assert refused.value.pointers[0].pointer == "/DEMO_WORKER"


def test_dev_generates_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = read_settings(Settings, data_dir=tmp_path / "data")
    key = settings.signing_key()
    path = tmp_path / "data/keys/jwt"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(key) >= 32
    assert settings.signing_key() == key != settings.sealing_key()


def test_processes_that_start_together_get_one_key(tmp_path: Path) -> None:
    settings = read_settings(Settings, data_dir=tmp_path / "data")
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: settings.signing_key(), range(64)))
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "data/keys").iterdir()] == ["jwt"]


def test_a_half_written_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/jwt").write_text("short")
    with pytest.raises(WeakKey):
        read_settings(Settings, data_dir=tmp_path).signing_key()


def test_a_data_directory_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsRefused):
        read_settings(Settings, data_dir=tmp_path / "file").signing_key()


def test_inner_networks_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_ALLOW", "10.0.0.0/8, 192.168.1.7")
    assert read_settings(Settings).egress_allow == ("10.0.0.0/8", "192.168.1.7")

"""The containers hold to what SECURITY says: no default secret, nobody's rights, a read-only root, health for each."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = ("auth", "cfg", "sync", "inbox", "warehouse", "console")
SERVERS = ("postgres", "rabbitmq", "redis")
SECRETS = (
    "NMS_POSTGRES_PASSWORD",
    "NMS_AUTH_PASSWORD",
    "NMS_DB_PASSWORD",
    "NMS_AMQP_PASSWORD",
    "JWT_SECRET_KEY",
    "SECRETS_KEY",
)


def read(text: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text or (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return found


def faults(compose: dict[str, Any]) -> list[str]:
    """What a composition lacks."""
    services, found = compose["services"], []
    found += [f"{name} is missing" for name in (*ROLES, *SERVERS, "migrations", "sync-worker") if name not in services]
    found += [f"{name} has no health check" for name in (*ROLES, *SERVERS) if "healthcheck" not in services[name]]
    for name, service in services.items():
        if service.get("image") == "nms" and not (
            service.get("read_only") and service.get("cap_drop") == ["ALL"] and service.get("security_opt")
        ):
            found.append(f"{name} may more than it needs")
        if any(not str(port).startswith("127.0.0.1:") for port in service.get("ports", ())):
            found.append(f"{name} listens to the world")
    return found


def soft_secrets(text: str) -> list[str]:
    """Secrets that a composition would start without, or with one of its own."""
    return [name for name in SECRETS if text.count(f"${{{name}") != text.count(f"${{{name}:?")]


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert all(f"${{{name}:?" in text for name in SECRETS)
    assert soft_secrets(text) == []
    assert soft_secrets(text.replace("${NMS_DB_PASSWORD:?", "${NMS_DB_PASSWORD:-nms", 1)) == ["NMS_DB_PASSWORD"]


def test_every_role_runs_read_only_with_a_health_check() -> None:
    assert faults(read()) == []


@pytest.mark.parametrize(
    ("planted", "instead"),
    [
        ("read_only: true", "read_only: false"),
        ("cap_drop: [ALL]", "cap_drop: []"),
        ("127.0.0.1:4003:4003", "4003:4003"),
        ("healthcheck:", "x-healthcheck:"),
    ],
)
def test_what_is_taken_away_is_noticed(planted: str, instead: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert planted in text
    assert faults(read(text.replace(planted, instead, 1)))


def test_the_image_is_built_in_stages_and_runs_as_nobody_in_particular() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("FROM ") for line in lines) == 2
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    last = max(at for at, line in enumerate(lines) if line.startswith("FROM "))
    assert not any("pip install" in line or "poetry" in line for line in lines[last:])

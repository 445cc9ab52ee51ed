"""Every place of a document that takes a secret is looked at before a changeset may carry one elsewhere."""

from collections.abc import Iterator
from typing import Any

from nms.common.document import json_schema

LOOKED_AT = {
    ("PostgresSystem", "dsn"), ("PostgresSystem", "password"), ("AmqpSystem", "dsn"), ("AmqpSystem", "password"),
    ("KafkaSystem", "password"),
    ("HeaderLogin", "key"), ("BasicLogin", "password"), ("ClientLogin", "client_secret"),
    ("RefreshLogin", "client_secret"), ("RefreshLogin", "refresh_token"),
    ("StandardScheme", "secrets"), ("TimedScheme", "secrets"), ("NamedScheme", "secrets"), ("HubspotScheme", "secrets"),
    ("HmacScheme", "secrets"), ("BasicScheme", "secrets"), ("BearerScheme", "secrets"), ("PathScheme", "secrets"),
    ("TokenHandshake", "token"), ("SigningHandshake", "secret"),
}  # fmt: skip
"""What `nms.cfg.exposure` lists: a further place is listed there first, with the origins that it leads to."""


def test_no_place_that_takes_a_secret_is_forgotten() -> None:
    assert set(_places(json_schema())) == LOOKED_AT


def _places(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, model in schema["$defs"].items():
        for field, told in model.get("properties", {}).items():
            if "env://" in str(told):
                yield name, field

"""Logs: one JSON object a line, and no secret in any part of it."""

import io
import json
import logging
import logging.config
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from nms.common import log

PASSWORD = 'pä"ss\\w0rd/with@all'
SECRETS = {
    "password": PASSWORD,
    "dsn": f"postgresql://nms:{quote(PASSWORD, safe='')}@db:5432/nms",
    "key": "k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga",
}
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator["Lines"]:
    monkeypatch.setattr(log, "_remembered", set())
    monkeypatch.setattr(log, "_hidden", log._Hidden())
    log.remember_secrets([SECRETS["dsn"], SECRETS["key"]])
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.JsonFormatter())
    logger = logging.getLogger("nms.test")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield Lines(logger, stream)
    logger.removeHandler(handler)
    logger.propagate = True


class Lines:
    """A logger and what it wrote."""

    def __init__(self, logger: logging.Logger, stream: io.StringIO) -> None:
        self.logger, self._stream = logger, stream

    def text(self) -> str:
        return self._stream.getvalue()

    def last(self) -> dict[str, Any]:
        found = json.loads(self.text().splitlines()[-1])
        assert isinstance(found, dict)
        return found


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_leaves_in_no_part_of_a_line(lines: Lines, secret: str) -> None:
    logger = lines.logger
    logger.info("message " + secret)  # noqa: G003
    logger.info("argument %s and %r", secret, secret)
    logger.info("member", extra={"given": {"deep": [secret]}})
    logger.info(secret, {"a": 1})
    with log.bound(run=secret):
        logger.info("bound")
    try:
        raise ValueError(f"cannot connect to {secret!r}")
    except ValueError:
        logger.exception("exception")
    text = lines.text()
    for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]):
        assert form not in text
    assert PASSWORD not in text
    assert quote(PASSWORD, safe="") not in text
    assert [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        "postgres://someone:sw0rdfish@host/db",
        "amqp://u:sw0rdfish@host:5672/",
        "connect to redis://:sw0rdfish@host failed",
        f"Authorization: Bearer {'sw0rdfish' * 3}",
        "host=db password=sw0rdfish user=x",
        '{"password": "sw0rdfish"}',
    ],
)
def test_what_looks_like_a_secret_is_hidden_though_nobody_named_it(lines: Lines, text: str) -> None:
    lines.logger.info(text)
    assert "sw0rdfish" not in lines.text()
    assert "***" in lines.last()["message"]


def test_a_token_is_hidden_wherever_it_stands(lines: Lines) -> None:
    lines.logger.info("token %s refused", TOKEN)
    assert lines.last()["message"] == "token *** refused"


def test_a_short_password_hides_itself_and_not_half_of_the_log(lines: Lines) -> None:
    log.remember_secrets(["postgresql://nms:pipe@db/nms"])
    lines.logger.info("pipeline runs with pipe")
    assert lines.last()["message"] == "pipeline runs with ***"


def test_another_secret_costs_no_more_than_the_first(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns: list[str] = []
    monkeypatch.setattr(re, "compile", patterns.append)
    for number in range(20):
        log.remember_secrets([f"{number}-is-a-secret"])
        lines.logger.info("it is %d-is-a-secret", number)
        assert lines.last()["message"] == "it is ***"
    assert patterns == []


def test_arguments_that_do_not_fit_are_one_redacted_line(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    lines.logger.info("one %s two %d", *[SECRETS["key"]])
    assert "arguments do not fit" in lines.last()["message"]
    assert SECRETS["key"] not in lines.text() + "".join(capsys.readouterr())


def test_a_line_says_when_who_what_and_for_which_request(lines: Lines) -> None:
    with log.bound(request_id="r-1"):
        lines.logger.warning("hello\nworld", extra={"color_message": "\x1b[1mhello", "pipeline": "p"})
    line = lines.last()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "nms.test",
        "message": "hello\nworld",
        "pipeline": "p",
        "request_id": "r-1",
    }
    assert lines.text().count("\n") == 1
    lines.logger.info("after")
    assert "request_id" not in lines.last()


def test_loggers_json_is_a_configuration_that_drops_the_doubled_access_log() -> None:
    config = json.loads((Path(__file__).parents[2] / "loggers.json").read_text())
    assert config["formatters"]["json"]["()"] == "nms.common.log.JsonFormatter"
    assert logging.config.DictConfigurator(config).config["root"]["level"] == "INFO"
    assert config["loggers"]["uvicorn.access"] == {"handlers": [], "level": "CRITICAL", "propagate": False}

"""Logs: one JSON object per line, with the request id and without a secret in any part of it."""

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pythonjsonlogger.json import JsonFormatter as BaseFormatter

REDACTED = "***"
SHORTEST_ANYWHERE, SHORTEST_WORD = 8, 4
"""A remembered secret of 8 characters or more is hidden anywhere, one of 4 to 7 only as a whole word.
Shorter ones would hide half of every line; the patterns below still hide them where they stand in a DSN."""

# Each pattern is tried only on a line that holds its mark: searching a mark costs a tenth of trying a pattern.
_PATTERNS = (
    ("://", re.compile(r"(\w[\w+.-]*://[^\s:/@\"']*:)[^\s\"']*@"), r"\1***@"),
    ("bearer ", re.compile(r"\b(bearer)(\s+)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE), r"\1\2***"),
    ("basic ", re.compile(r"\b(basic)(\s+)[A-Za-z0-9+/=]{16,}", re.IGNORECASE), r"\1\2***"),
    ("nmss_", re.compile(r"\bnmss_[0-9A-Za-z]{8,}"), REDACTED),
    ("nmsr_", re.compile(r"\bnmsr_[\w-]{8,}"), REDACTED),
    ("eyj", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), REDACTED),
)
_NAMES = ("password", "passwd", "secret", "api_key", "apikey", "access_token", "refresh_token")
_NAMED = re.compile(
    rf"((?:{'|'.join(_NAMES)})\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s\"',;&}}\\]+",
    re.IGNORECASE,
)

_facts: ContextVar[MappingProxyType[str, Any]] = ContextVar("log_facts", default=MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class _Hidden:
    """What is hidden, the longest first: texts, and words that are none in the middle of another one.

    Texts are searched one by one: a pattern of all of them is read anew with each one that comes, which takes seconds
    where they are many or long.
    """

    count: int = 0
    texts: Sequence[str] = ()
    words: re.Pattern[str] | None = None

    @classmethod
    def of(cls, remembered: Sequence[str]) -> "_Hidden":
        """All that is remembered."""
        ordered = sorted(remembered, key=len, reverse=True)
        short = [re.escape(word) for word in ordered if len(word) < SHORTEST_ANYWHERE]
        words = re.compile(rf"\b(?:{'|'.join(short)})\b") if short else None
        return cls(len(remembered), [word for word in ordered if len(word) >= SHORTEST_ANYWHERE], words)


_remembered: set[str] = set()
_hidden = _Hidden()


@contextmanager
def bound(**facts: Any) -> Iterator[None]:
    """Add these facts (request_id, run, pipeline, ...) to every line logged inside, in this task and its children."""
    token = bind(**facts)
    try:
        yield
    finally:
        _facts.reset(token)


def bind(**facts: Any) -> Any:
    """Like `bound` for callers that cannot use `with`; give the answer to `unbind`."""
    return _facts.set(MappingProxyType({**_facts.get(), **facts}))


def unbind(token: Any) -> None:
    """Take back what `bind` added."""
    _facts.reset(token)


def fact(name: str) -> Any:
    """One bound fact, such as the request id, or None."""
    return _facts.get().get(name)


def remember_secrets(values: Iterable[str]) -> None:
    """Hide these values in everything logged or rendered from now on; of a DSN its password as well."""
    for value in values:
        _remembered.update(_spellings_of(value))


def redact(text: str) -> str:
    """The text without remembered secrets, passwords of DSNs, bearer tokens, JWTs and `password=...`."""
    text = redact_values(text)
    lower = text.lower()
    return _NAMED.sub(r"\1***", text) if any(name in lower for name in _NAMES) else text


def redact_values(text: str) -> str:
    """Like `redact`, but a member named `secret` or `password` stays: in a problem it holds a name, not a value."""
    global _hidden
    if _hidden.count != len(_remembered):
        # Other threads log, too: none may take an older state for the newest, so the count is that of what was read.
        _hidden = _Hidden.of(tuple(_remembered))
    for word in _hidden.texts:
        if word in text:
            text = text.replace(word, REDACTED)
    if _hidden.words is not None:
        text = _hidden.words.sub(REDACTED, text)
    lower = text.lower()
    for mark, pattern, replacement in _PATTERNS:
        if mark in lower:
            text = pattern.sub(replacement, text)
    return text


def _spellings_of(value: str) -> Iterator[str]:
    """How a secret looks raw, percent-encoded, and after `repr` or JSON escaped it."""
    raw = {value}
    if "://" in value:
        password = _password_of(value)
        raw |= {password, unquote(password)}
    for secret in raw:
        for spelling in (secret, quote(secret, safe="")):
            for shown in (spelling, repr(spelling)[1:-1]):
                for written in (shown, json.dumps(shown)[1:-1], json.dumps(shown, ensure_ascii=False)[1:-1]):
                    if len(written) >= SHORTEST_WORD:
                        yield written


def _password_of(dsn: str) -> str:
    try:
        return urlsplit(dsn).password or ""
    except ValueError:
        return ""


class JsonFormatter(BaseFormatter):
    """The formatter that `loggers.json` names: time, level, logger, message, bound facts, exception; redacted."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
            json_ensure_ascii=False,
            json_default=str,
        )

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line; a record whose arguments do not fit its message is still one line, not a traceback."""
        try:
            record.getMessage()
        except Exception:
            record.msg, record.args = f"{record.msg!s} (arguments do not fit: {record.args!r})", None
        return redact(super().format(record))

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Add the bound facts; uvicorn's `color_message` says the message twice, with escape codes."""
        log_data.pop("color_message", None)
        return {**log_data, **_facts.get()}


def configure(*, debug: bool) -> None:
    """Give every logger this form where no log configuration was given (gunicorn's default has none for us)."""
    root, logger = logging.getLogger(), logging.getLogger("nms")
    if not root.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)
        logger.setLevel(logging.INFO)
    if debug:
        logger.setLevel(logging.DEBUG)

"""Behaviours that are good HTTP: refusals, redirects, pages that go wrong, documents that are not what was agreed."""

import datetime
import email.utils
import json
from collections.abc import Callable
from typing import Any

from tests.services.hostile.behaviour import Call, behaviour, changes, pages, says
from tests.services.hostile.wire import Answer

HTML = b"<!doctype html><title>Maintenance</title><p>We are back soon.\n"
TEN_DAYS = 864_000
DEEP = 200_000


def many(**headers: str) -> Answer:
    return Answer.of(429, {"error": "too many requests"}, **headers)


def in_seconds(call: Call) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=call.option("seconds", 1))
    return email.utils.format_datetime(moment, usegmt=True)


def html(status: int) -> Answer:
    return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, HTML)


def problem(status: int) -> Callable[[Call], Answer]:
    return lambda call: Answer.of(status, {"error": f"{status}, as planned"})


says("429-seconds", "429, Retry-After in seconds", lambda call: many(Retry_After=f"{call.option('seconds', 1):.0f}"))
says("429-date", "429, Retry-After as a date", lambda call: many(Retry_After=in_seconds(call)))
says(
    "429-past",
    "429, Retry-After as a date of last year",
    lambda call: many(Retry_After="Wed, 01 Jan 2025 00:00:00 GMT"),
)
says("429-garbage", "429, Retry-After: soon", lambda call: many(Retry_After="soon"))
says("429-negative", "429, Retry-After: -5", lambda call: many(Retry_After="-5"))
says("429-ten-days", "429, Retry-After of ten days", lambda call: many(Retry_After=str(TEN_DAYS)))
says("429-bare", "429 without Retry-After", lambda call: many())
says("503-seconds", "503, Retry-After in seconds", lambda call: problem(503)(call).with_headers(Retry_After="1"))
says("portal", "200 with the page of somebody before the API, nothing was done", lambda call: html(200))
says("502", "502 with a proxy's HTML", lambda call: html(502))
says("504", "504 with a proxy's HTML, nothing was done", lambda call: html(504))
for status in (400, 401, 403, 404, 408, 409, 410, 412, 422, 428, 500, 501, 503, 520):
    says(str(status), f"{status}, nothing was done", problem(status))
changes("500-after-effect", "500 although it was done", lambda _: Answer.of(500, {"error": "sorry"}))
changes("504-after-effect", "504 although it was done", lambda _: html(504))
changes("429-after-effect", "429 although it was done", lambda _: many(Retry_After="0"))


@behaviour("429-token-expires", "429 with Retry-After, and the access token is worthless after the wait")
async def expire_in_wait(call: Call) -> bool:
    call.logins.expire(call.request.header("authorization").removeprefix("Bearer "))
    await call.send(many(Retry_After=f"{call.option('seconds', 1):.0f}"))
    return True


def moved(call: Call, target: str, status: int = 302) -> Answer:
    return Answer(status, {"Location": target})


says("redirect-loopback", "302 to a secret on loopback", lambda call: moved(call, f"{call.base}/_secret"))
says("redirect-keeping", "307 to a secret on loopback", lambda call: moved(call, f"{call.base}/_secret", 307))
says("redirect-metadata", "302 to a cloud's metadata", lambda call: moved(call, "http://169.254.169.254/latest/"))
says("redirect-file", "302 to a file", lambda call: moved(call, "file:///etc/passwd"))
says("redirect-loop", "302 to itself", lambda call: moved(call, call.base + call.request.target))

pages("page-loop", "the next page is this page", "loop")
pages("page-clamp", "past the end comes the last page again, and no total", "clamp")
pages("page-repeat", "the second page has the records of the first", "repeat")
pages("page-skip", "a page is left out after the first", "skip")
pages("page-vanish", "a record of the first page vanishes after it, and all others move up", "vanish")
pages("page-short", "half of each page is missing, and nothing says so", "short")
pages("page-empty", "the second page is empty, and more follow", "empty")


def over(change: Callable[[Any], Any]) -> Callable[[Answer], Answer]:
    """Change each record of an answer, wherever it is."""

    def apply(document: Any) -> Any:
        if isinstance(document, list):
            return [apply(one) for one in document]
        if not isinstance(document, dict):
            return document
        if "id" in document:
            return change(document)
        return {name: apply(value) if isinstance(value, list) else value for name, value in document.items()}

    return lambda answer: answer.with_json(apply(answer.json)) if answer.body else answer


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """Another schema: a member has another name, a number is a text, a text is an object, one more is there."""
    rest = {name: value for name, value in record.items() if name not in ("name", "group")}
    return {**rest, "group": str(record.get("group")), "title": {"text": record.get("name")}, "new": [1, 2]}


def body(change: Callable[[bytes], bytes]) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(answer.status, answer.headers, change(answer.body))


def doubled(text: bytes) -> bytes:
    """Each object's `id` comes twice, with another value first."""
    return text.replace(b'"id": ', b'"id": -1, "id": ')


changes("schema-changed", "members are renamed and of other types", over(renamed))
changes("key-missing", "records have no id", over(lambda one: {k: v for k, v in one.items() if k != "id"}))
changes("key-null", "records have null as id", over(lambda one: {**one, "id": None}))
changes("key-text", "records have their id as a text", over(lambda one: {**one, "id": str(one["id"])}))
changes("envelope-gone", "the records are not where they were", lambda answer: answer.with_json({"items": answer.json}))
changes("error-in-200", "200 that tells of an error", lambda _: Answer.of(200, {"error": "internal", "data": None}))
changes("html", "200 with HTML", lambda _: html(200))
changes("html-as-json", "200 with HTML that calls itself JSON", body(lambda _: HTML))
changes("empty-200", "200 with nothing", body(lambda _: b""))
changes("null", "200 with null", body(lambda _: b"null"))
changes("no-content", "204, whatever was asked", lambda _: Answer(204))
changes(
    "truncated-json",
    "JSON that ends in the middle, of the length that is told",
    body(lambda text: text[: len(text) // 2]),
)
changes("nan", "NaN and Infinity in numbers", over(lambda one: {**one, "group": float("nan"), "sum": float("inf")}))
changes(
    "big-numbers",
    "numbers that no double holds",
    body(lambda text: text.replace(b'"group": ', b'"big": 1e999, "sum": 12345678901234567890.123456789, "group": ')),
)
changes("duplicate-keys", "objects with a member twice", body(doubled))
changes("two-documents", "two JSON documents in one body", body(lambda text: text + text))
changes("deep-json", "arrays in arrays, 200,000 deep", body(lambda _: b"[" * DEEP + b"]" * DEEP))
changes("broken-utf8", "JSON that is not UTF-8", body(lambda text: text.replace(b"Name", b"N\xe4me\xff")))
changes("utf-16", "JSON in UTF-16 that does not say so", body(lambda text: text.decode().encode("utf-16")))
changes(
    "nul-characters",
    "texts with U+0000 and lone surrogates",
    body(lambda text: text.replace(b"Name", rb"N\u0000me\ud800")),
)
changes("byte-order-mark", "JSON after a byte order mark", body(lambda text: b"\xef\xbb\xbf" + text))
changes(
    "forgets-etag",
    "no validators in the answer",
    lambda answer: Answer(answer.status, {k: v for k, v in answer.headers.items() if k != "ETag"}, answer.body),
)
changes(
    "json-as-text", "JSON that calls itself text/plain", lambda answer: answer.with_headers(Content_Type="text/plain")
)
changes("wrong-id", "the answer is about another record", over(lambda one: {**one, "id": one["id"] + 1000}))
changes("accepted", "202 and no word of what becomes of it", lambda _: Answer.of(202, json.loads("{}")))

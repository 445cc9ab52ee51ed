"""Answers to writes that are none: a page of somebody who stands before the API."""

import pytest

from nms.common.settings import Settings
from nms.connectors.rest.order import Act
from tests.service.desk import Desk
from tests.services.hostile.api import HostileApi
from tests.services.hostile.behaviour import BEHAVIOURS, Behaviour, Call
from tests.services.hostile.wire import Answer as Reply


@pytest.fixture
async def desk(asking: Settings, hostile_api: HostileApi) -> Desk:
    del asking
    hostile_api.add("items")
    return Desk(hostile_api)


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("text/html", b"<!DOCTYPE html><title>Log in</title>"),
        ("application/json", b"<!doctype html>"),
        ("application/json", b"\xef\xbb\xbf \r\n<!-- a proxy --><html>"),
        ("application/json", b'<?xml version="1.0"?><html>'),
        ("application/json", "\ufeff<html>".encode("utf-16-le")),
        ("Text/HTML; charset=utf-8", b"Please log in."),
    ],
    ids=["page", "calls itself json", "mark and comment", "xml", "utf-16", "text"],
)
async def test_a_web_page_that_says_200_is_no_answer(
    desk: Desk, kind: str, page: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behave(call: Call) -> bool:
        await call.send(Reply(200, {"Content-Type": kind}, page))
        return True

    monkeypatch.setitem(BEHAVIOURS, "portal", Behaviour("portal", "a page that never reached the API", behave))
    number = desk.there()
    desk.api.plan("portal", method="PATCH", times=1)
    await desk.do(Act.UPDATE, link=desk.link(number))
    assert desk.api.records("items")[number]["name"] == "ours"
    desk.api.plan("portal", method="DELETE", times=1)
    await desk.do(Act.DELETE, link=desk.link(number))
    assert desk.api.records("items") == {}


@pytest.mark.parametrize("body", [b"", b'{"id": 1, "name": "ours"}'])
async def test_json_that_calls_itself_a_web_page_is_an_answer(
    desk: Desk, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behave(call: Call) -> bool:
        await call.send(Reply(200, {"Content-Type": "text/html"}, body))
        return True

    monkeypatch.setitem(BEHAVIOURS, "portal", Behaviour("portal", "an answer with a wrong name", behave))
    desk.api.plan("portal", method="PATCH")
    outcome = await desk.do(Act.UPDATE, link=desk.link(desk.there()))
    assert (outcome.state, outcome.attempts) == ("sent", 1)

"""The real thing behind the REST examples: JSONPlaceholder forgets what is written, json-server keeps it."""

import json
from contextlib import suppress
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.services.node import NodeServer
from tests.waiting import eventually

POST = {"userId": 1, "title": "ours", "body": "written here"}


@pytest.fixture(params=["jsonplaceholder", "json_server"])
def either(request: pytest.FixtureRequest) -> NodeServer:
    server: NodeServer = request.getfixturevalue(request.param)
    return server


async def ask(server: NodeServer, method: str, path: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.url) as client:
        return await client.request(method, path, **options)


async def is_kept(server: NodeServer) -> bool:
    with suppress(json.JSONDecodeError):
        return [post["title"] for post in server.data["posts"] if post["id"] in (1, 101)] == ["ours", "ours"]
    return False


async def test_each_has_100_posts_and_500_comments_of_them(either: NodeServer) -> None:
    posts = (await ask(either, "GET", "/posts")).json()
    comments = (await ask(either, "GET", "/comments")).json()
    assert (len(posts), len(comments)) == (100, 500)
    assert {comment["postId"] for comment in comments} == {post["id"] for post in posts}


async def test_jsonplaceholder_says_created_and_forgets_it(jsonplaceholder: NodeServer) -> None:
    created = await ask(jsonplaceholder, "POST", "/posts", json=POST)
    assert (created.status_code, created.json()) == (201, POST | {"id": 101})
    assert (await ask(jsonplaceholder, "GET", "/posts/101")).status_code == 404
    assert (await ask(jsonplaceholder, "PUT", "/posts/1", json=POST)).json()["title"] == "ours"
    assert (await ask(jsonplaceholder, "GET", "/posts/1")).json()["title"] != "ours"


async def test_json_server_keeps_what_is_written_and_so_does_its_file(json_server: NodeServer) -> None:
    created = await ask(json_server, "POST", "/posts", json=POST)
    assert created.status_code == 201
    assert (await ask(json_server, "GET", "/posts/101")).json() == POST | {"id": 101}
    assert (await ask(json_server, "PATCH", "/posts/1", json={"title": "ours"})).json()["title"] == "ours"
    # json-server answers before it has written its file.
    await eventually(partial(is_kept, json_server))
    json_server.end()
    json_server.launch()
    assert (await ask(json_server, "GET", "/posts/1")).json()["title"] == "ours"

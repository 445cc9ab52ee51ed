"""Calling an app in this process, and what every problem must look like."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from nms.common.settings import Settings, read_settings

SECRET = "k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga"
PASSWORD = "hunter2-hunter2"


def settings_in(folder: Path) -> Settings:
    """Settings with secrets that no answer and no line of the log may show."""
    dsn = f"postgresql://nms:{PASSWORD}@127.0.0.1:1/nms"
    return read_settings(Settings, environment="test", jwt_secret_key=SECRET, data_dir=folder, db_nms_dsn=dsn)


@asynccontextmanager
async def client_of(app: FastAPI, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://nms", headers=headers) as client:
        yield client


def problem_of(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body.keys() >= {"type", "title", "detail", "retry", "remedy"}
    assert body["request_id"] == answer.headers["x-request-id"]
    return body

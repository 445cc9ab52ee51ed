"""A role that breaks its own OpenAPI document, to show that the fuzzer sees it."""

from typing import Annotated

from fastapi import Body, Response
from pydantic import BaseModel

from nms.common import web
from nms.common.guard import requires
from nms.common.router import Router
from nms.common.settings import RoleSettings, get_settings


class Number(BaseModel):
    number: int


router = Router()


@router.post("/crash", dependencies=[requires("doors:read")])
async def crash(text: Annotated[str, Body(embed=True, min_length=1)]) -> Number:
    return Number(number=len(text) // (0 if text > "1" else 1))


@router.get("/lie", dependencies=[requires("doors:read")], response_model=Number)
async def lie(number: int) -> Response:
    return Response(f'{{"number": "{number}"}}', media_type="application/json")


@router.get("/teapot", dependencies=[requires("doors:read")])
async def brew(number: int) -> Response:
    return Response("{}", 418, media_type="application/problem+json")


@router.get("/open", openapi_extra={"security": [{"bearer": []}]})
async def read_secret() -> Number:
    return Number(number=1)


ROLE = web.Role(name="demo", summary="", description="", routers=[router], public=frozenset({"/open"}))
app = web.create_app(ROLE, get_settings(), RoleSettings())

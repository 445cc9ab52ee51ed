"""Forms of OAuth: read as RFC 6749 wants it, refused in its words, told in the OpenAPI document."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from nms.auth.problems import GrantProblem, GrantRefused
from nms.common.problem import Pointer

MEDIA_TYPE = "application/x-www-form-urlencoded"
_PARAMETERS = 100
"""More of them than anybody has use for."""

F = TypeVar("F", bound=BaseModel)


def body_of(form: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra=` of a route that reads this form."""
    return {"requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": form.model_json_schema()}}}}


async def read_form(request: Request, form: type[F]) -> F:
    """The parameters of a request; raises GrantProblem and GrantRefused, which show no value.

    One without a value counts as left out, one given twice is refused, and those that the form does not know are let be
    (RFC 6749 sections 3.1 and 3.2).
    """
    pairs = [(name, value) for name, value in await _read_pairs(request) if name in form.model_fields]
    given = dict(pairs)
    if len(given) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _refuse([Pointer(f"/{name}", "It is given twice.") for name, count in counts.items() if count > 1])
    try:
        return form.model_validate({name: value for name, value in given.items() if value})
    except ValidationError as error:
        raise _problem_of(form, error) from None


async def _read_pairs(request: Request) -> list[tuple[str, str]]:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != MEDIA_TYPE:
        raise GrantProblem(f"Send a form: Content-Type: {MEDIA_TYPE}.")
    try:
        text = (await request.body()).decode()
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS)
    except ClientDisconnect:
        raise GrantProblem("The form ended too early.") from None
    except ValueError:
        raise GrantProblem(f"The form is not in UTF-8, or has more than {_PARAMETERS} parameters.") from None


def _problem_of(form: type[BaseModel], error: ValidationError) -> GrantProblem:
    """A foreign grant type comes before all that its own form has and ours has not."""
    faults = {str(one["loc"][0]): one["msg"] for one in error.errors(include_url=False, include_input=False)}
    if "grant_type" in faults:
        return GrantRefused(f"This address takes grant_type={form.model_fields['grant_type'].default} only.")
    return _refuse([Pointer(f"/{name}", fault) for name, fault in faults.items()])


def _refuse(pointers: Sequence[Pointer]) -> GrantProblem:
    named = ", ".join(pointer.pointer[1:] for pointer in pointers)
    return GrantProblem(f"These parameters do not have the right form: {named}.", pointers=pointers)

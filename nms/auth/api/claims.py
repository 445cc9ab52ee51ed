"""The claim over HTTP: a form for the first administrator, without a script, and the same as JSON."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError

from nms.auth.api.tokens import Address
from nms.auth.claim import ClaimBody, ClaimRepository
from nms.auth.claims import check_claim, use_claim
from nms.auth.password import Passwords, get_passwords
from nms.auth.problems import NO_STORE, AuthBusy, ClaimClosed, PasswordRefused, TooManyAttempts
from nms.auth.user import User
from nms.common.answers import problems
from nms.common.db.problems import Duplicate
from nms.common.db.repositories import get_db_repository
from nms.common.problem import Problem
from nms.common.router import Router

PUBLIC = frozenset({"/claim"})
"""Who comes here has no account yet; the token of the link is looked at in the use case."""

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 3rem auto; padding: 0 1rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
label { margin-top: 1rem; } input, button { padding: .5rem; } button { margin-top: 1.5rem; }
[role=alert] { border-left: .25rem solid #b00020; padding-left: .75rem; } [role=alert]:empty { display: none; }
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {**NO_STORE, "Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - NMS</title><style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
_FORM = """<p>Nobody administers this NMS yet. Whoever sends this form does; the link works once.</p>
<p role="alert">{alert}</p>
<form method="post" action="claim">
<input type="hidden" name="token" value="{token}">
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" autocomplete="username" maxlength="254" required value="{email}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="12" required
 aria-describedby="rule">
<p id="rule">12 to 128 characters of any kind; common passwords are refused.</p>
<label for="again">The password again</label>
<input id="again" name="again" type="password" autocomplete="new-password" minlength="12" required>
<button type="submit">Become the administrator</button>
</form>
"""
_DONE = """<p><strong>{email}</strong> may do everything from now on, and this link is closed.</p>
<p>What to do next:</p>
<ul>
<li>Log in on the <a href="docs">page of the API</a>: press Authorize there.</li>
<li>Or send <code>username</code> and <code>password</code> as a form to <code>token</code> beside this page.</li>
<li>Add other people under <code>/users</code>, and tokens for machines under <code>/service-tokens</code>.</li>
</ul>
"""
_BODIES = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": ClaimBody.model_json_schema()}
            for kind in ("application/x-www-form-urlencoded", "application/json")
        },
    },
}
_HTML: Mapping[str, Any] = MappingProxyType({"text/html": {"schema": {"type": "string"}}})
"""The page says the same in words."""
_CLOSED: dict[int | str, dict[str, Any]] = {410: {"description": ClaimClosed.title, "content": {**_HTML}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    201: {"content": {**_HTML}},
    **{
        status: {**answer, "content": {**answer["content"], **_HTML}}
        for status, answer in problems(ClaimClosed, PasswordRefused, Duplicate, AuthBusy, TooManyAttempts).items()
    },
}

router = Router(tags=["claim"])
Repository = Annotated[ClaimRepository, Depends(get_db_repository(ClaimRepository))]
Hashing = Annotated[Passwords, Depends(get_passwords)]


@router.get("/claim", summary="The form for the first administrator", response_class=HTMLResponse, responses=_CLOSED)
async def show_claim(
    request: Request,
    repository: Repository,
    token: Annotated[str, Query(max_length=200, description="Of the link that the first start printed.")] = "",
) -> HTMLResponse:
    """A page that asks for e-mail and password of the first administrator; 410 when the link is not good any more."""
    try:
        await check_claim(repository, request.app.state.settings, token)
    except ClaimClosed as closed:
        return _refuse(closed)
    return _show_form({"token": token})


@router.post(
    "/claim",
    summary="Make the first administrator",
    status_code=201,
    response_model=User,
    responses=_ANSWERS,
    openapi_extra=_BODIES,
)
async def claim(request: Request, repository: Repository, passwords: Hashing, address: Address) -> Response:
    """Make the account that holds admin, once, with the token of the link.

    A form is answered by a page, JSON by the user. The link is good for 24 hours, while nobody holds admin.
    """
    settings = request.app.state.settings
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        user = await use_claim(repository, settings, passwords, await _read_json(request), address)
        return JSONResponse(user.model_dump(mode="json"), 201, HEADERS)
    form = await _read_form(request)
    try:
        user = await use_claim(repository, settings, passwords, _parse(form), address)
    except ClaimClosed as closed:
        return _refuse(closed)
    except RequestValidationError:
        return _show_form(form, ["Fill in every field."], 422)
    except Problem as problem:
        sentences = [problem.detail, *(f"{each.detail[:1].upper()}{each.detail[1:]}." for each in problem.pointers)]
        page = _show_form(form, sentences, problem.status)
        if "retry_after" in problem.facts:
            page.headers["Retry-After"] = str(problem.facts["retry_after"])
        return page
    return _show("You are the administrator", _DONE, 201, email=user.email)


async def _read_json(request: Request) -> ClaimBody:
    try:
        return ClaimBody.model_validate_json(await request.body())
    except ValidationError as error:
        raise _malformed(error) from None


async def _read_form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0, max_fields=10) as form:
        return {name: value for name, value in form.multi_items() if isinstance(value, str)}


def _parse(form: Mapping[str, str]) -> ClaimBody:
    try:
        return ClaimBody.model_validate(form)
    except ValidationError as error:
        raise _malformed(error) from None


def _malformed(error: ValidationError) -> RequestValidationError:
    return RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()])


def _show_form(form: Mapping[str, str], sentences: Iterable[str] = (), status: int = 200) -> HTMLResponse:
    values = {name: form.get(name, "") for name in ("token", "email")}
    return _show("Become the administrator", _FORM, status, alert=" ".join(sentences), **values)


def _refuse(closed: ClaimClosed) -> HTMLResponse:
    content = "<p>{detail}</p>\n<p>{remedy}</p>\n"
    return _show("This link is closed", content, closed.status, detail=closed.detail, remedy=closed.remedy)


def _show(title: str, content: str, status: int, **values: str) -> HTMLResponse:
    body = content.format(**{name: escape(value) for name, value in values.items()})
    return HTMLResponse(_PAGE.format(title=title, style=_STYLE, content=body), status, HEADERS)

"""The reference of a role's API: what the OpenAPI document says of problems and logins, and a page that shows it.

The page is Swagger UI, vendored in `swagger/` with checksums: nothing is loaded from another host.
"""

import gzip
from importlib.resources import files
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from nms.common import guard
from nms.common.guard import BEARER, PASSWORD, Caller, identify
from nms.common.problem import NotFound, Problem
from nms.common.router import Router

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
}
_SCOPES = (guard.__doc__ or "").partition("\n\n")[2].strip()
_START = b"""// Starts Swagger UI on the OpenAPI document beside this page; its addresses are relative to the page too.
// Whoever logs in is shown the document as it is for him.
const read = (token) => fetch("openapi.json", token ? { headers: { Authorization: `Bearer ${token}` } } : {})
  .then((answer) => answer.json()).then((spec) => {
    const login = spec.components.securitySchemes.token.flows.password;
    login.tokenUrl = new URL(login.tokenUrl, location.href).href;
    spec.servers = [{ url: new URL(".", location.href).href.replace(/[/]$/, "") }];
    return spec;
  });
const tokenOf = (held) => (held.bearer && held.bearer.value) || (held.token && held.token.token.access_token) || "";
read("").then((spec) => {
  const ui = SwaggerUIBundle({ spec, dom_id: "#reference", deepLinking: true, persistAuthorization: false });
  let shown = "";
  ui.getStore().subscribe(() => {
    const token = tokenOf(ui.authSelectors.authorized().toJS());
    if (token === shown) return;
    shown = token;
    read(token).then((spec) => { if (token === shown) ui.specActions.updateSpec(JSON.stringify(spec)); });
  });
});
"""
_FOLDER = files("nms.common") / "swagger"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="reference"></div><script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script>
</body>
</html>
"""
_BY_CALLER = {"Vary": "Authorization", "Cache-Control": "no-cache"}
PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457): a stable `code`, whether to `retry`, and a `remedy`; more members are facts.",
    "required": ["type", "title", "status", "detail", "code", "retry", "remedy"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "retry": {"type": "string", "enum": ["now", "later", "never"]},
        "remedy": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901, from the place that `in` names"},
                    "in": {"type": "string", "description": "query, path, header or cookie; left out for the body"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "additionalProperties": True,
    "examples": [
        {
            "type": "urn:nms:problem:malformed",
            "title": "Malformed input",
            "status": 422,
            "detail": "The request does not have the right form.",
            "code": "malformed",
            "retry": "never",
            "remedy": "Correct the fields that `errors` points at and send it again.",
            "request_id": "9f1c2d3e4a5b6c7d",
            "errors": [{"pointer": "/limit", "in": "query", "detail": "Input should be less than or equal to 1000"}],
        }
    ],
}
router = Router(include_in_schema=False)


@router.get("/openapi.json")
async def read_document(request: Request) -> Response:
    """The document as the caller sees it; without a good token that of everybody."""
    document = request.app.describe(await _find_caller(request))
    root = request.scope.get("root_path", "").rstrip("/")
    return JSONResponse({**document, "servers": [{"url": root}]} if root else document, headers=_BY_CALLER)


async def _find_caller(request: Request) -> Caller | None:
    if "authorization" not in request.headers:
        return None
    try:
        return await identify(request)
    except Problem:
        return None


@router.get("/docs")
async def show_reference(request: Request) -> Response:
    """The page; every address in it is relative, so that it works under any prefix."""
    page = _PAGE.format(title=request.app.title)
    return Response(page, headers={"Content-Security-Policy": _POLICY}, media_type="text/html; charset=utf-8")


@router.get("/docs/{asset}")
async def read_asset(asset: str, request: Request) -> Response:
    """One file of the page, compressed as it is stored where the browser takes that."""
    if asset not in ASSETS:
        raise NotFound("The page has no such file.")
    content = gzip.compress(_START) if asset == "start.js" else (_FOLDER / f"{asset}.gz").read_bytes()
    headers = {"Cache-Control": "public, max-age=86400", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        content = gzip.decompress(content)
    return Response(content, headers=headers, media_type=ASSETS[asset])


def with_logins(document: dict[str, Any], token_url: str) -> dict[str, Any]:
    """The OpenAPI document with the two ways to bear a token: log in by password (RFC 6749 4.3), or paste one."""
    asked = {
        scope.partition(":{")[0]
        for path in document.get("paths", {}).values()
        for operation in path.values()
        for requirement in operation.get("security", ())
        for scope in requirement.get(PASSWORD, ())
    }
    flow = {"tokenUrl": token_url, "scopes": dict.fromkeys(sorted(asked), "")}
    document.setdefault("components", {})["securitySchemes"] = {
        PASSWORD: {"type": "oauth2", "description": _SCOPES, "flows": {"password": flow}},
        BEARER: {"type": "http", "scheme": "bearer", "description": "A token of `nms token`, or a service token."},
    }
    return document

"""The page of the schemes: which header says what, what is signed and with what, from the engine's own data."""

from nms.inbox.identity import IDS, TYPES
from nms.inbox.scheme import Parameters, Signed
from nms.inbox.schemes import KNOWN, STANDARDS

TEXT = """What an endpoint verifies, by the `type` of its `scheme`. Its keys stand in [documents](documents.md),
documents that are ready in [receive webhooks](../how-to/receive-webhooks.md). `id`, `event` and `items` of an
endpoint say otherwise where duplicates, types and lists are told otherwise. What stands in the row of `hmac` are
keys of its document.
"""
SECONDS = {"s": "seconds", "ms": "milliseconds"}
HEAD = ("scheme", "signature in", "its form", "what is signed", "with", "time", "known again by", "type")
LOGINS = (
    ("hmac", "`header`", "`prefix` and `encoding`", "`signed`", "HMAC, `algorithm`", "`timestamp`, `unit`, `window`"),
    ("basic", "`authorization`", "`Basic <base64>`", "nothing", "user and password", "none"),
    ("bearer", "`authorization`", "`Bearer <secret>`", "nothing", "the secret itself", "none"),
    ("path", "the end of the path", "`/in/NAME/<secret>`", "nothing", "the secret itself", "none"),
    ("none", "nothing", "", "nothing", "nothing; ENVIRONMENT=dev only", "none"),
)
NAMES = {
    "standard-webhook": "`standard`",
    "standard-svix": "`standard` (`headers: svix`)",
    **{f"hubspot-{version}": f"`hubspot` (`version: {version}`)" for version in ("v1", "v2", "v3")},
}


def rows() -> list[tuple[str, ...]]:
    """A row for each scheme that has one, and each version of it."""
    found = [_row(name, rule) for name, rule in (*STANDARDS.items(), *KNOWN.items())]
    return [*found, *((f"`{name}`", *rest, "body", "") for name, *rest in LOGINS)]


def _row(name: str, rule: Signed | Parameters) -> tuple[str, ...]:
    type_ = name.partition("-v")[0]
    title = NAMES.get(name, f"`{name}`")
    known = IDS.get("standard" if name == "standard-webhook" else type_)
    finder = TYPES.get(type_)
    kind = "" if finder is None else f"header `{finder.header}`" if finder.header else f"`{finder.path}` of the body"
    ends = (f"header {' and '.join(f'`{one}`' for one in known)}" if known else "body", kind)
    if isinstance(rule, Parameters):
        form = f"URL, then the form ({rule.only})" if rule.only else "URL, then the form, names sorted"
        hashed = f", or the body's SHA-256 in `{rule.hashed}` of the query" if rule.hashed else ""
        return title, f"`{rule.header}`", "`<base64>`", form + hashed, "HMAC-SHA1", "none", *ends
    return title, f"`{rule.header}`", _form(rule), f"`{rule.signed}`", _key(rule), _time(rule), *ends


def _form(rule: Signed) -> str:
    value = f"{rule.prefix}<{rule.encoding}>"
    return {"one": f"`{value}`", "pairs": f"`t=<seconds>,v1={value}`", "list": f"`v1,{value} v1a,{value}`"}[
        rule.spelling
    ]


def _key(rule: Signed) -> str:
    if rule.spelling == "list":
        return "v1: HMAC-SHA256, secret `whsec_<base64>`; v1a: Ed25519, key `whpk_<base64>`"
    return "HMAC-SHA256" if rule.keyed == "hmac" else "SHA-256 of the secret and the bytes"


def _time(rule: Signed) -> str:
    if rule.time is None:
        return "none"
    place = f"`{rule.time.header}`" if rule.time.header else "`t`"
    return f"{place}, {SECONDS[rule.time.unit]}, {rule.time.window:g} s either way"

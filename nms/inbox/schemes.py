"""The schemes that are known, as data; adding a provider is adding a line here and its name to the document.

| type | header | signed | with | time |
|---|---|---|---|---|
| `standard` v1 | `webhook-signature: v1,<base64> ...` | id.time.body | HMAC-SHA256, secret `whsec_<base64>` | 300 s |
| `standard` v1a | `webhook-signature: v1a,<base64> ...` | id.time.body | Ed25519, key `whpk_<base64>` | 300 s |
| `stripe` | `stripe-signature: t=<s>,v1=<hex>,...` | time.body | HMAC-SHA256 | 300 s |
| `github`, `meta` | `x-hub-signature-256: sha256=<hex>` | body | HMAC-SHA256 | none |
| `shopify` | `x-shopify-hmac-sha256: <base64>` | body | HMAC-SHA256 | none |
| `hubspot` v1 | `x-hubspot-signature: <hex>` | body | SHA-256 of secret and bytes | none |
| `hubspot` v2 | `x-hubspot-signature: <hex>` | method URL body | SHA-256 of secret and bytes | none |
| `hubspot` v3 | `x-hubspot-signature-v3: <base64>` | method URL body time | HMAC-SHA256 | 300 s (ms) |
| `slack` | `x-slack-signature: v0=<hex>` | v0:time:body | HMAC-SHA256 | 300 s |
| `zoom` | `x-zm-signature: v0=<hex>` | v0:time:body | HMAC-SHA256 | 300 s |
| `x` | `x-twitter-webhooks-signature: sha256=<base64>` | body | HMAC-SHA256 | none |
| `mandrill` | `x-mandrill-signature: <base64>` | URL, form | HMAC-SHA1 | none |
| `twilio` | `x-twilio-signature: <base64>` | URL, form (or SHA-256 of the body in the query) | HMAC-SHA1 | none |
| `hmac` | as the document says | as the document says | HMAC | as the document says |
| `basic`, `bearer` | `authorization` | nothing | the secret itself | none |
| `path` | the end of the path (Mailchimp Marketing) | nothing | the secret itself | none |
| `none` | nothing (ENVIRONMENT=dev only) | nothing | nothing | none |

Sources: github.com/standard-webhooks/standard-webhooks (spec), docs.stripe.com/webhooks/signature,
docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries, shopify.dev/docs/apps/build/webhooks,
developers.hubspot.com/docs/api/webhooks/validating-requests, developers.zoom.us/docs/api/webhooks,
api.slack.com/authentication/verifying-requests-from-slack, docs.x.com/x-api/webhooks/quickstart,
www.twilio.com/docs/usage/security, mandrill.zendesk.com/hc/en-us/articles/205583257 (the same for all of Mailchimp's
transactional webhooks).

A signature of URL and body without anything between them (HubSpot, Twilio, Mandrill) fits another cut of the same
bytes: an endpoint should say its whole URL, so that nobody can put a part of the body into the query.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from nms.common.document.scheme import (
    BasicScheme,
    BearerScheme,
    HmacScheme,
    HubspotScheme,
    NoScheme,
    PathScheme,
    Scheme,
    StandardScheme,
    TimedScheme,
)
from nms.inbox.scheme import Login, Nothing, Parameters, Rule, Signed, Time

HUB: Final = Signed("x-hub-signature-256", prefix="sha256=")
KNOWN: Final[Mapping[str, Signed | Parameters]] = {
    "stripe": Signed("stripe-signature", "{timestamp}.{body}", spelling="pairs", time=Time()),
    "github": HUB,
    "meta": HUB,
    "shopify": Signed("x-shopify-hmac-sha256", encoding="base64"),
    "hubspot-v1": Signed("x-hubspot-signature", keyed="first", demands={"x-hubspot-signature-version": "v1"}),
    "hubspot-v2": Signed(
        "x-hubspot-signature",
        "{method}{url}{body}",
        keyed="first",
        demands={"x-hubspot-signature-version": "v2"},
    ),
    "hubspot-v3": Signed(
        "x-hubspot-signature-v3",
        "{method}{url}{body}{timestamp}",
        encoding="base64",
        time=Time("x-hubspot-request-timestamp", "ms"),
        reads=":/?@!$'()*,;",
    ),
    "slack": Signed("x-slack-signature", "v0:{timestamp}:{body}", prefix="v0=", time=Time("x-slack-request-timestamp")),
    "zoom": Signed("x-zm-signature", "v0:{timestamp}:{body}", prefix="v0=", time=Time("x-zm-request-timestamp")),
    # Its handshake signs short tokens for anybody: what is no JSON object was not sent as an event.
    "x": Signed("x-twitter-webhooks-signature", encoding="base64", prefix="sha256=", begins=b"{"),
    "mandrill": Parameters("x-mandrill-signature", only="mandrill_events"),
    "twilio": Parameters("x-twilio-signature", hashed="bodySHA256", ported=True),
}
STANDARDS: Final[Mapping[str, Signed]] = {
    f"standard-{names}": Signed(
        f"{names}-signature",
        f"{{header:{names}-id}}.{{timestamp}}.{{body}}",
        encoding="base64",
        spelling="list",
        time=Time(f"{names}-timestamp"),
    )
    for names in ("webhook", "svix")
}


def rule_of(scheme: Scheme) -> Rule:
    """What the scheme of a document asks for."""
    if isinstance(scheme, StandardScheme):
        return _standard(scheme)
    if isinstance(scheme, HmacScheme):
        return _hmac(scheme)
    if isinstance(scheme, BasicScheme):
        return Login("basic", scheme.user)
    if isinstance(scheme, BearerScheme):
        return Login("bearer")
    if isinstance(scheme, PathScheme):
        return Login("path")
    if isinstance(scheme, NoScheme):
        return Nothing()
    rule = KNOWN[f"hubspot-{scheme.version}" if isinstance(scheme, HubspotScheme) else scheme.type]
    if isinstance(scheme, TimedScheme | HubspotScheme) and isinstance(rule, Signed) and rule.time is not None:
        return replace(rule, time=replace(rule.time, window=scheme.window))
    return rule


def _standard(scheme: StandardScheme) -> Signed:
    rule = STANDARDS[f"standard-{scheme.headers}"]
    return replace(rule, time=Time(f"{scheme.headers}-timestamp", window=scheme.window))


def _hmac(scheme: HmacScheme) -> Signed:
    told = scheme.timestamp
    return Signed(
        scheme.header.lower(),
        scheme.signed,
        scheme.algorithm,
        scheme.encoding,
        scheme.prefix,
        time=None if told is None else Time(told.lower(), scheme.unit, scheme.window),
    )

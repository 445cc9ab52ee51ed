"""Signatures that providers and their own libraries publish are believed; each says where it was published."""

from collections.abc import Mapping
from typing import Any

import pytest

from nms.inbox.check import Request
from tests.unit.webhooks import Case, judge

MESSAGE = b'{"test": 2432232314}'
STANDARD = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330"}
SLASH = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
CREATION = (
    b'[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,'
    b'"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM",'
    b'"changeFlag":"NEW","appId":54321}]'
)
CLIENT = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
TWILIO = "https://mycompany.com/myapp.php?foo=1&bar=2"
CALL = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
JSON = b'{"property": "value", "boolean": true}'
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


def published(
    scheme: Mapping[str, Any], secret: str, headers: Mapping[str, str], body: bytes, call: tuple[str, str, float]
) -> Case:
    method, url, arrived = call
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Case("published", {"secrets": ["env://A"], **scheme}, (secret,), Request(method, url, raw, arrived), body)


def hubspot(version: str, digest: str, body: bytes, method: str = "POST") -> Case:
    headers = {"X-HubSpot-Signature-Version": version, "X-HubSpot-Signature": digest}
    call = (method, "https://www.example.com/webhook_uri", 0.0)
    return published({"type": "hubspot", "version": version}, CLIENT, headers, body, call)


def twilio(url: str, signature: str, body: bytes = CALL) -> Case:
    return published({"type": "twilio"}, "12345", {"X-Twilio-Signature": signature}, body, ("POST", url, 0.0))


VECTORS = {
    # github.com/standard-webhooks/standard-webhooks: the tests of its libraries
    "standard v1": published(
        {"type": "standard"}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {**STANDARD, "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        MESSAGE, ("POST", "https://a.example", 1614265330.0),
    ),
    # github.com/svix/svix-webhooks: test_asymmetric_key_signing of its server
    "standard v1a": published(
        {"type": "standard"}, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        {**STANDARD, "webhook-signature": V1A}, MESSAGE, ("POST", "https://a.example", 1614265330.0),
    ),
    # docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    "github": published(
        {"type": "github"}, "It's a Secret to Everybody",
        {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        b"Hello, World!", ("POST", "https://a.example", 0.0),
    ),
    # api.slack.com/authentication/verifying-requests-from-slack
    "slack": published(
        {"type": "slack"}, "8f742231b10e8888abcd99yyyzzz85a5",
        {
            "X-Slack-Request-Timestamp": "1531420618",
            "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        SLASH, ("POST", "https://a.example", 1531420618.0),
    ),
    # github.com/sqlpage/SQLPage: its test of Shopify's form of HMAC (Shopify publishes none)
    "shopify": published(
        {"type": "shopify"}, "test-webhook-secret",
        {"X-Shopify-Hmac-SHA256": "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="},
        b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}', ("POST", "https://a.example", 0.0),
    ),
    # legacydocs.hubspot.com/docs/faq/v1-request-validation and v2-request-validation
    "hubspot v1": hubspot("v1", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de", CREATION),
    "hubspot v2 GET": hubspot("v2", "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e", b"", "GET"),
    "hubspot v2": hubspot(
        "v2", "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900", b'{"example_field":"example_value"}'
    ),
    # github.com/twilio/twilio-python: tests/unit/test_request_validator.py
    "twilio": twilio(TWILIO, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    "twilio, port added here": twilio(TWILIO.replace(".com", ".com:443"), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    "twilio, port signed": twilio(TWILIO, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    "twilio, port of http signed": twilio(TWILIO.replace("https", "http"), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    "twilio, a name twice": twilio(
        TWILIO, "IK+Dwps556ElfBT0I3Rgjkr1wJU=", b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234"
    ),
    "twilio, JSON": twilio(f"{TWILIO}&bodySHA256={HASH}", "a9nBmqA0ju/hNViExpshrM61xv4=", JSON),
    "twilio, JSON alone": twilio(
        f"https://mycompany.com/myapp.php?bodySHA256={HASH}", "y77kIzt2vzLz71DgmJGsen2scGs=", JSON
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_what_a_provider_published_is_believed(name: str, chunk: int) -> None:
    assert judge(VECTORS[name], chunk) is None


@pytest.mark.parametrize("name", VECTORS)
def test_what_a_provider_published_is_not_believed_with_another_body(name: str) -> None:
    case = VECTORS[name]
    refusal = judge(Case(case.name, case.scheme, case.secrets, case.request, case.body + b"!"))
    assert refusal is not None

"""The verifier of an endpoint: its scheme and secrets, ready for requests. Pure: no HTTP, no database."""

from collections.abc import Sequence
from typing import Protocol

from nms.common.document.scheme import Scheme
from nms.inbox.check import Check, Request
from nms.inbox.form import FormVerifier
from nms.inbox.login import LoginVerifier, OpenVerifier
from nms.inbox.problems import SchemeForbidden
from nms.inbox.scheme import Login, Parameters, Signed
from nms.inbox.schemes import rule_of
from nms.inbox.signed import SignedVerifier


class Verifier(Protocol):
    """What verifies the requests of one endpoint; it keeps nothing of them."""

    @property
    def hidden(self) -> Sequence[bytes]:
        """What a request may show that nobody else may see, the longest first."""

    def check(self, request: Request) -> Check:
        """The check of one request; `Check.refusal` may tell at once that its body need not be read."""


def make_verifier(scheme: Scheme, secrets: Sequence[str], *, dev: bool = False) -> Verifier:
    """The verifier of a scheme with its secrets as they are (references resolved), any of which fits.

    Raises SecretUnfit, and SchemeForbidden for `none` unless this is a development environment.
    """
    rule = rule_of(scheme)
    if isinstance(rule, Signed):
        return SignedVerifier(rule, secrets)
    if isinstance(rule, Parameters):
        return FormVerifier(rule, secrets)
    if isinstance(rule, Login):
        return LoginVerifier(rule, secrets)
    if not dev:
        raise SchemeForbidden("The scheme `none` believes anybody.")
    return OpenVerifier()

"""What a scheme is, as data: which header says what, which bytes are signed, with what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nms.common.document.scheme import WINDOW


@dataclass(frozen=True, slots=True)
class Time:
    """Where the time of a request stands (no header: in the signature's own, as `t=`), in seconds or milliseconds."""

    header: str = ""
    unit: Literal["s", "ms"] = "s"
    window: float = WINDOW


@dataclass(frozen=True, slots=True)
class Signed:
    """A scheme whose signature is computed from facts of the request and its body with a shared secret.

    `signed` names the bytes in order (see `split_signed`). `spelling` says how the header holds signatures: `one`;
    `pairs` (`t=1,v1=ab,v1=cd`); `list` (`v1,ab v1,cd`). `keyed` is `hmac`, or `first`: a plain digest of the secret
    followed by the bytes. `demands` are headers with the one value that they must have. `reads` are the characters
    that the provider signs as themselves where the URL has them percent-encoded. `begins` is what a body begins with.
    """

    header: str
    signed: str = "{body}"
    algorithm: str = "sha256"
    encoding: Literal["hex", "hex-upper", "base64", "base64url"] = "hex"
    prefix: str = ""
    spelling: Literal["one", "pairs", "list"] = "one"
    keyed: Literal["hmac", "first"] = "hmac"
    time: Time | None = None
    demands: Mapping[str, str] = field(default_factory=dict)
    reads: str = ""
    begins: bytes = b""


@dataclass(frozen=True, slots=True)
class Parameters:
    """A scheme that signs the URL followed by the parameters of a form, name and value, sorted; HMAC-SHA1 in base64.

    `only` is the one parameter that such a form has, where that is known: names and values are signed without
    anything between them, so what is not pinned could be cut elsewhere. A name may stand there twice; each of its
    values counts once. `hashed` is the parameter of the query that has the SHA-256 of a body that is no form. `ported`
    takes a URL with and without its port for the same.
    """

    header: str
    only: str = ""
    hashed: str = ""
    ported: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """A scheme that shows the secret itself: in the header Authorization, or as the end of the path."""

    kind: Literal["basic", "bearer", "path"]
    user: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """No scheme: whoever sends is believed."""


Rule = Signed | Parameters | Login | Nothing

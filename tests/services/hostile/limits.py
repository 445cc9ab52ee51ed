"""A rate limit as APIs have it: a bucket of tokens, and a count of those it refused."""

import math
import time
from dataclasses import dataclass, field

from tests.services.hostile.wire import Answer


@dataclass(slots=True)
class Limit:
    """At most `rate` requests a second with `burst` at once; rate 0 refuses nobody."""

    rate: float = 0
    burst: float = 1
    let_in: int = 0
    refused: int = 0
    _tokens: float = -1
    _at: float = field(default_factory=time.monotonic)

    def take(self) -> Answer | None:
        """Let a request in, or answer 429 with the seconds until the next one may come."""
        if not self.rate:
            self.let_in += 1
            return None
        now = time.monotonic()
        full = self.burst if self._tokens < 0 else self._tokens + (now - self._at) * self.rate
        self._tokens, self._at = min(self.burst, full), now
        if self._tokens >= 1:
            self._tokens -= 1
            self.let_in += 1
            return None
        self.refused += 1
        wait = math.ceil((1 - self._tokens) / self.rate)
        return Answer.of(429, {"error": "too many requests"}, Retry_After=str(wait)).with_headers(**self.headers())

    def headers(self) -> dict[str, str]:
        """The RateLimit headers (draft-ietf-httpapi-ratelimit-headers-03: three headers)."""
        if not self.rate:
            return {}
        reset = math.ceil((self.burst - self._tokens) / self.rate)
        return {
            "RateLimit_Limit": f"{self.rate:g}",
            "RateLimit_Remaining": str(max(0, int(self._tokens))),
            "RateLimit_Reset": str(reset),
        }

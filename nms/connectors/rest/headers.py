"""Headers that name a client (pure)."""

import base64


def basic(user: str, password: str) -> str:
    """The value of Authorization (RFC 7617, in UTF-8)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(token: str) -> str:
    """The value of Authorization (RFC 6750 section 2.1)."""
    return f"Bearer {token}"

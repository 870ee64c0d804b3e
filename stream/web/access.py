"""Who may ask: anyone who can reach the address or, where a token is set, who knows it.

Programs send `Authorization: Bearer TOKEN`. A browser asks its user (HTTP Basic, RFC 7617: any name, the token as the
password) and goes on sending it, so the page needs neither a form nor a cookie.
Invariant: how long a comparison takes says nothing about the token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from stream.config import Http

TOKEN_VARIABLE = "STREAM_HTTP_TOKEN"  # noqa: S105  # the name of it
"""Environment variable that holds the token."""

MIN_TOKEN = 16
"""Characters; a shorter one could be guessed."""

OPEN = frozenset(("/healthz", "/readyz"))
"""Asked by whatever restarts workers, which has no token; they tell no names of models."""

CHALLENGES = ('Basic realm="stream", charset="UTF-8"', 'Bearer realm="stream"')
"""What a refused request is told it may send."""


def token_of(http: Http, environ: Mapping[str, str]) -> str | None:
    """The token that the configuration says, else the environment; None where there is none.

    Raises ValueError for one that is too short or cannot be sent in a header.
    """
    token = http.token or environ.get(TOKEN_VARIABLE) or None
    problem = None if token is None else weakness(token)
    if problem:
        raise ValueError(f"http.token (or {TOKEN_VARIABLE}) {problem}")
    return token


def weakness(token: str) -> str | None:
    """What is wrong with a token, without showing it; None when nothing is."""
    if len(token) < MIN_TOKEN:
        return f"is shorter than {MIN_TOKEN} characters: `openssl rand -hex 32` makes a good one"
    if not all("!" <= character <= "~" for character in token):
        return "has characters other than printable ASCII, or spaces"
    return None


def allowed(authorization: str | None, token: str) -> bool:
    """Whether a request with this header knows the token.

    >>> allowed("Bearer s3cret", "s3cret"), allowed("Basic " + base64.b64encode(b"me:s3cret").decode(), "s3cret")
    (True, True)
    >>> allowed(None, "s3cret"), allowed("Bearer s3cre", "s3cret"), allowed("Basic !", "s3cret")
    (False, False, False)
    """
    scheme, _, credentials = (authorization or "").partition(" ")
    given = credentials.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given, token.encode())

"""Who may use the desk: one browser, let in once, asking from the desk's own pages.

The desk listens on the loopback interface, which every program and every page in a browser of this machine can reach.
So each request must name the exact host (against DNS rebinding), come with the session's cookie, and not have been
started by another site (Fetch Metadata, W3C; the header Origin, RFC 6454). Cookies are not told apart by port
(RFC 6265, section 8.5): another server on this machine would be sent them too. Hence the desk lives under a path that
cannot be guessed, and its cookie goes to that path alone.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Mapping
from typing import Final

from werkzeug.wrappers import Request

COOKIE: Final = "trustspace_desk"
LANGUAGE_COOKIE: Final = "trustspace_desk_language"
FORM_FIELD: Final = "form"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "trustspace",
}


class Gate:
    """The desk's door: its address, the token that opens it once, and the session that it opens."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.root = f"/{secrets.token_urlsafe(18)}"
        self.form = secrets.token_urlsafe(32)
        self._token: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._lock = threading.Lock()

    @property
    def origin(self) -> str:
        """As a browser names the desk in the header Origin."""
        return f"http://{self.host}"

    @property
    def address(self) -> str:
        """What the reviewer opens, once."""
        return f"{self.origin}{self.root}/?token={self._token or ''}"

    def redeem(self, token: str) -> str | None:
        """The session's cookie for the right token, once; None for any other, and from then on."""
        with self._lock:
            if self._token is None or not _same(token, self._token):
                return None
            self._token = None
            return self._session

    def knows_host(self, request: Request) -> bool:
        """Whether the request names this very host and port, and no name that merely resolves to it."""
        return request.headers.get("Host", "") == self.host

    def is_open_to(self, request: Request) -> bool:
        """Whether the request carries the session's cookie, of a token that was redeemed."""
        return self._token is None and _same(request.cookies.get(COOKIE, ""), self._session)

    def is_own(self, request: Request) -> bool:
        """Whether no other site had a hand in the request: a page of ours, or the address bar."""
        return request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}

    def may_change(self, request: Request) -> bool:
        """Whether a request that changes something was sent by a page of this desk.

        Under Referrer-Policy no-referrer browsers send ``Origin: null`` with a form (Fetch, section 3.2); it is
        believed only where the browser says in Sec-Fetch-Site, which no page can set, that it was ours.
        """
        origin, site = request.headers.get("Origin", ""), request.headers.get("Sec-Fetch-Site", "")
        if site:
            return site == "same-origin" and origin in {self.origin, "null"}
        return origin == self.origin

    def knows_form(self, given: str) -> bool:
        """Whether a form was made by this desk."""
        return _same(given, self.form)


def _same(given: str, wanted: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())

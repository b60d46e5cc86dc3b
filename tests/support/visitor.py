"""A visitor to a desk, without a browser or a socket: what it keeps, and what its forms hold."""

from __future__ import annotations

import html
import re
from typing import Any

from werkzeug.test import Client, TestResponse

from trustspace.web.app import Desk
from trustspace.web.gate import Gate

HOST = "127.0.0.1:41234"
# What an attacker writes wherever the protocol lets it.
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Visitor:
    """A browser that was let in, as far as a server can tell."""

    def __init__(self, home: Any, reviewer: str, **options: Any) -> None:
        self.gate = Gate(HOST)
        self.desk = Desk(home, reviewer, self.gate, **options)
        self.client = Client(self.desk, use_cookies=False)
        self.cookie = ""

    def enter(self) -> Visitor:
        answer = self.ask("GET", self.gate.address.removeprefix(f"http://{HOST}{self.gate.root}"))
        assert answer.status_code == 200
        self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        return self

    def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> TestResponse:
        """Any request, under the desk's root; ``headers`` replace what a browser would send, "" leaves one out."""
        sent = {"Host": HOST, "Cookie": self.cookie, "Sec-Fetch-Site": "same-origin"}
        if method == "POST":
            sent["Origin"] = "null"  # what a browser sends with a form under Referrer-Policy no-referrer
        sent = {name: value for name, value in {**sent, **(headers or {})}.items() if value}
        return self.client.open(f"{self.gate.root}{path}", method=method, headers=sent, **more)

    def get(self, path: str, *, lang: str = "en", **more: Any) -> TestResponse:
        cookie = f"{self.cookie}; trustspace_desk_language={lang}"
        return self.ask("GET", path, headers={"Cookie": cookie, **more.pop("headers", {})}, **more)

    def post(self, path: str, fields: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        return self.ask("POST", path, data={"form": self.gate.form, **(fields or {})}, **more)

    def draft(self, answer: TestResponse) -> str:
        """Where a confirmation's form goes."""
        assert answer.status_code == 200, answer.text
        found = re.search(rf'action="{re.escape(self.gate.root)}(/sign/[A-Za-z0-9_-]{{22}})"', answer.text)
        assert found is not None
        return found[1]


def plain(answer: TestResponse) -> str:
    """What a page says, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())

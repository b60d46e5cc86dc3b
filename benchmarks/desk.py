"""The review desk: how long its pages and a decision take with many outputs in the queue.

    python -m benchmarks.desk [--json FILE] [--turns 15] [--outputs 1000] [--browser]

A desk that listens on the loopback interface, asked over HTTP as a browser asks, beside the client's own calls that
each page rests on. The outputs are real statements in a real ledger, with evidence that opens; the space runs in this
process, without gRPC between. With ``--browser`` headless Chromium loads the same pages.
"""

from __future__ import annotations

import http.client
import re
import sys
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from benchmarks.cast import REVIEWER, Cast
from benchmarks.common import Ratio, Result, Row, arguments, finish, take_turns, timed, workspace
from trustspace.client import jobs, review
from trustspace.web.server import DeskServer

QUEUE = "queue page: first 50"
LIST = "client: the list alone"
LAST = "queue page: last 50"
CASE = "one output's page"
OPEN = "client: evidence opened and checked alone"
READ = "evidence of 50 opened for the list, each"
DECIDE = "decision: confirm, sign, receipt"
SIGN = "client: opened, decided and in the ledger"
OVERVIEW = "overview page"
LOADED = "in Chromium: queue page loaded"
CASE_LOADED = "in Chromium: one output's page loaded"
NOTES = (
    "Seconds, from the request's first byte to the answer's last, a new connection for each, as the desk has it.",
    "The queue shows verdicts of outputs whose evidence was opened; opening that of a whole page is a step of its own.",
    "An output's page proves the job's statements, opens the evidence, and looks for code that was approved before.",
    "The space is in the same process: over a network each page takes its round trips on top.",
)


class Visitor:
    """A browser as far as a server can tell: a cookie and the desk's own form field."""

    def __init__(self, server: DeskServer) -> None:
        self._gate = server.desk.gate
        status, headers, _ = self._ask("GET", self._gate.address.removeprefix(self._gate.origin), "")
        assert status == 200
        self._cookie = headers["Set-Cookie"].split(";")[0]

    def _ask(self, method: str, path: str, cookie: str, body: str = "") -> tuple[int, dict[str, str], str]:
        line = http.client.HTTPConnection(self._gate.host, timeout=120)
        headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin" if cookie else "none"}
        if body:
            headers |= {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"}
        line.request(method, path, body or None, headers)
        answer = line.getresponse()
        content = answer.read().decode()
        line.close()
        return answer.status, dict(answer.getheaders()), content

    def get(self, path: str) -> str:
        """A page."""
        status, _, content = self._ask("GET", f"{self._gate.root}{path}", self._cookie)
        assert status == 200, content
        return content

    def post(self, path: str, **fields: str) -> tuple[dict[str, str], str]:
        """A form's answer."""
        body = urllib.parse.urlencode({"form": self._gate.form, **fields})
        status, headers, content = self._ask("POST", f"{self._gate.root}{path}", self._cookie, body)
        assert status in (200, 303), content
        return headers, content

    def decide(self, job: str) -> None:
        """Reject an output: confirm, sign, and read the receipt."""
        _, shown = self.post(f"/case/{job}/confirm", choice="reject", comment="measured")
        found = re.search(r'action="[^"]*(/sign/[^"]+)"', shown)
        assert found is not None
        headers, _ = self.post(found[1])
        assert "Signed" in self.get(headers["Location"].removeprefix(self._gate.root))


def measure(cast: Cast, result: Result, turns: int, outputs: int) -> DeskServer:
    """Everything but what needs a browser; returns the desk, which still listens."""
    waiting = cast.in_review(outputs)
    server = DeskServer(cast.unit, REVIEWER, idle_minutes=600)
    threading.Thread(target=server.serve, daemon=True).start()
    visitor = Visitor(server)
    decided = iter(waiting)
    looked = waiting[-1]
    last = -(-outputs // 50)

    def sign() -> None:
        review.reject(cast.unit, review.sealed_case(cast.unit, next(decided), REVIEWER), comment="measured")
        jobs.listing(cast.unit)

    def read() -> float:
        server.desk.cases._seen.clear()
        return timed(lambda: visitor.get("/queue?read=yes")) / min(50, outputs)

    cases: dict[str, Callable[[], float]] = {
        QUEUE: lambda: timed(lambda: visitor.get("/queue")),
        LIST: lambda: timed(lambda: review.queue(cast.unit, REVIEWER)),
        LAST: lambda: timed(lambda: visitor.get(f"/queue?page={last}")),
        CASE: lambda: timed(lambda: visitor.get(f"/case/{looked}")),
        OPEN: lambda: timed(lambda: review.open_case(cast.unit, looked, REVIEWER)),
        READ: read,
        DECIDE: lambda: timed(lambda: visitor.decide(next(decided))),
        SIGN: lambda: timed(sign),
        OVERVIEW: lambda: timed(lambda: visitor.get("/overview")),
    }
    found = take_turns(cases, turns)
    result.rows += [Row.of(name, "s", values) for name, values in found.items()]
    result.ratios += [Ratio.between(a, b, found) for a, b in ((QUEUE, LIST), (CASE, OPEN), (DECIDE, SIGN))]
    result.facts["outputs waiting at the end"] = len(review.queue(cast.unit, REVIEWER))
    return server


def in_browser(server: DeskServer, result: Result, turns: int, job: str) -> None:
    """The same pages, loaded, laid out and painted by a browser."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from support.browser import Browser

    fresh = DeskServer(server.desk.home, REVIEWER, idle_minutes=600)
    threading.Thread(target=fresh.serve, daemon=True).start()
    base = f"{fresh.desk.gate.origin}{fresh.desk.gate.root}"
    with Browser() as browser:
        browser.open(fresh.address)
        browser.until("location.pathname.endsWith('/queue')")

        def loaded(path: str) -> float:
            browser.open("about:blank")
            browser.until("location.href === 'about:blank'")
            browser.open(base + path)
            browser.until(f"location.pathname.endsWith({path!r}) && performance.timing.loadEventEnd > 0")
            took = "performance.timing.loadEventEnd - performance.timing.navigationStart"
            return float(browser.evaluate(took)) / 1000

        found = take_turns(
            {LOADED: lambda: loaded("/queue"), CASE_LOADED: lambda: loaded(f"/case/{job}")}, turns
        )
    fresh.close()
    result.rows += [Row.of(name, "s", values) for name, values in found.items()]


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = arguments("The review desk's pages and a decision, with many outputs in the queue.", turns=15)
    parser.add_argument("--outputs", type=int, default=1000, help="outputs in the queue (1000)")
    parser.add_argument("--browser", action="store_true", help="load the pages in headless Chromium as well")
    given = parser.parse_args()
    if given.outputs <= 2 * given.turns:
        parser.error("--outputs must be more than twice --turns: each turn decides on two")
    settings = {"outputs": given.outputs, "turns": given.turns, "browser": given.browser}
    result = Result("desk", settings, notes=list(NOTES))
    with workspace(given.work) as work:
        cast = Cast(work)
        try:
            server = measure(cast, result, given.turns, given.outputs)
            if given.browser:
                in_browser(server, result, given.turns, review.queue(cast.unit, REVIEWER)[-1]["statement"])
            server.close()
        finally:
            cast.close()
        finish(result, work, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

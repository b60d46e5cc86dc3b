"""The whole decision in a real browser, by keyboard alone, on a real space. Needs Chromium."""

import http.server
import re
import threading
from typing import ClassVar

import pytest
from support.browser import Browser, binary
from support.desks import DeskStory

from trustspace.domain.records import DecisionRecord, JobRecord, OutputRecord

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binary() is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def desk():
    story = DeskStory().fill(train=False)
    yield story
    story.close()


@pytest.fixture
def browser():
    with Browser() as opened:
        yield opened


def enter(browser, server):
    browser.open(server.address)
    browser.until("location.pathname.endsWith('/queue')")


def test_a_decision_by_keyboard_alone(desk, browser):
    server, job = desk.serve(), desk.waiting["code"]
    enter(browser, server)
    for _ in desk.waiting:  # those of one second stand in no order of ours
        browser.press("j")
        if "large ones" in browser.evaluate("document.activeElement.textContent"):
            break
    browser.press("Enter")
    browser.until(f"location.pathname.endsWith('/case/{job}')")
    assert "Nothing failed, but these checks need your judgement" in browser.text()
    browser.tab_to("e.name === 'choice'")
    browser.press(" ")
    assert browser.evaluate("document.querySelector('[value=approve]').checked")
    browser.tab_to("e.name === 'comment'")
    browser.write("Seen and compared.")
    browser.tab_to("e.matches('#decide button')")
    browser.press("Enter")
    browser.until("location.pathname.endsWith('/confirm')")
    says = browser.text()
    assert "I, Dr Li, approve summary.json, groups.json of “Mean size by diagnosis, large ones”." in says
    assert "Seen and compared." in says
    record = desk.world.ledger.view.get(JobRecord, job)
    assert record.output in says.replace(" ", "").replace("\n", "")
    browser.tab_to("e.textContent === 'Sign the approval'", 1)
    browser.press("Enter")
    browser.until("location.pathname.includes('/receipt/')")
    output = desk.world.ledger.view.get(OutputRecord, record.output)
    (decision,) = (desk.world.ledger.view.get(DecisionRecord, d) for d in output.decisions.values())
    assert (decision.body.verdict, decision.body.artifacts) == ("approve", ("summary.json", "groups.json"))
    shown = browser.evaluate("document.getElementById('statement').textContent")
    assert re.sub(r"\s", "", shown) == decision.statement
    assert browser.problems() == []


def test_no_page_asks_anybody_else_or_offends_its_own_policy(desk, browser):
    server = desk.serve(language="zh")
    enter(browser, server)
    base = f"{server.desk.gate.origin}{server.desk.gate.root}"
    for path in (
        "/queue?read=yes",
        f"/case/{desk.waiting['more']}",
        "/requests",
        f"/request/{desk.job}",
        "/overview",
    ):
        browser.open(base + path)
        browser.until(f"(location.pathname + location.search).endsWith({path!r})")
        assert browser.evaluate("document.styleSheets.length && document.styleSheets[0].cssRules.length > 50")
    assert all(address.startswith((base, "about:")) for address in browser.requested())
    assert browser.problems() == []


def test_the_policy_stops_a_script_that_got_into_a_page(desk, browser):
    """The second wall, tried: markup put into the page itself does not run, a script of the desk's own file does."""
    server = desk.serve()
    enter(browser, server)
    browser.evaluate(
        "(() => { const x = document.createElement('div'); x.innerHTML = '<img src=x onerror=\"window.ran=1\">';"
        "document.body.append(x); const s = document.createElement('script'); s.textContent = 'window.ran=1';"
        "document.body.append(s); })()"
    )
    browser.until("document.querySelector('main')")
    assert browser.evaluate("window.ran") is None
    assert any("Content Security Policy" in problem for problem in browser.problems())
    browser.press("?")
    assert browser.evaluate("document.getElementById('keys').open")


def test_another_sites_page_gets_nothing(desk, browser):
    """A page of another origin on this machine sends a form and asks for a page: it is refused, and sees nothing."""
    server = desk.serve()
    enter(browser, server)
    base = f"{server.desk.gate.origin}{server.desk.gate.root}"
    before = desk.hospital.session.sync().size
    browser.open(
        "data:text/html,<form method=post action='" + base + "/overview/check'><button>x</button></form>"
    )
    browser.until("document.querySelector('form')")
    browser.evaluate("document.querySelector('form').submit()")
    browser.until("document.body.innerText.length > 3")
    assert "Open the desk with the address" in browser.text() or "did not come from" in browser.text()
    assert server.desk.unit._checked is None
    assert desk.hospital.session.sync().size == before


@pytest.mark.parametrize(("width", "scale"), [(1280, 1.0), (1024, 1.25), (420, 1.0)])
def test_nothing_is_wider_than_the_window(desk, width, scale):
    """1280 x 800, also at 125 %: then it is 1024 pixels of the page's own; and as narrow as half a small screen."""
    for language in ("en", "zh"):
        server = desk.serve(language=language)
        with Browser(width, int(width * 0.625), scale) as browser:
            enter(browser, server)
            base = f"{server.desk.gate.origin}{server.desk.gate.root}"
            for path in ("/queue", f"/case/{desk.waiting['more']}", f"/request/{desk.job}", "/overview"):
                browser.open(base + path)
                browser.until(f"location.pathname.endsWith({path!r})")
                browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, (path, language)


def test_the_same_without_scripts(desk):
    server, job = desk.serve("Dr Wang"), desk.waiting["code"]
    with Browser() as browser:
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        enter(browser, server)
        browser.open(f"{server.desk.gate.origin}{server.desk.gate.root}/case/{job}")
        browser.until(f"location.pathname.endsWith('/case/{job}')")
        browser.tab_to("e.name === 'choice'")
        browser.press(" ")
        browser.tab_to("e.matches('#decide button')")
        browser.press("Enter")
        browser.until("location.pathname.endsWith('/confirm')")
        assert "I, Dr Wang, approve" in browser.text()


class _Other(http.server.BaseHTTPRequestHandler):
    """Another server on this machine: it keeps what browsers send it."""

    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Cookie", "")))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_another_server_on_this_machine_is_not_sent_the_cookie(desk, browser):
    """Cookies are not told apart by port (RFC 6265, 8.5). What keeps this one is that nobody can guess its path."""
    server = desk.serve()
    enter(browser, server)
    root = server.desk.gate.root
    with http.server.HTTPServer(("127.0.0.1", 0), _Other) as other:
        threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True).start()
        try:
            # The positive control comes second: with the path known, the browser does send it.
            for path in ("/", f"{root}/x"):
                browser.open(f"http://127.0.0.1:{other.server_port}{path}")
                browser.until(f"location.pathname === {path!r}")
        finally:
            other.shutdown()
    sent = dict(_Other.seen)
    assert "trustspace_desk" not in sent["/"]
    assert "trustspace_desk=" in sent[f"{root}/x"]

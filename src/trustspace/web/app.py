"""The desk as a WSGI application: who may ask, which page answers, and how errors read.

Nothing is decided here: pages show what the client proved, and forms call what the command line calls. A page that is
only looked at changes nothing but the note that it was (client/viewing.py); what changes anything else is a POST with
the desk's own form field.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule
from werkzeug.wrappers import Request, Response

from trustspace.client import jobs, review
from trustspace.client.acting import Acting
from trustspace.client.home import PartyHome
from trustspace.domain.budget import in_bits
from trustspace.errors import Code, TrustspaceError, Unavailable
from trustspace.evidence.words import TITLES, Language
from trustspace.web import requests
from trustspace.web.cases import MOST_LOG_LINES, PAGE, Cases
from trustspace.web.drafts import Answer, Decision, Drafts, FormError, decided, sign
from trustspace.web.gate import COOKIE, FORM_FIELD, HEADERS, LANGUAGE_COOKIE, Gate
from trustspace.web.page import asset, render
from trustspace.web.people import People
from trustspace.web.unit import Unit
from trustspace.web.words import LANGUAGES

_LOG = logging.getLogger(__name__)
READ_SECONDS: Final = 10.0
MOST_BODY_BYTES: Final = 64 << 10
_ASSETS: Final = {"desk.css": "text/css; charset=utf-8", "desk.js": "text/javascript; charset=utf-8",
                  "mark.svg": "image/svg+xml"}  # fmt: skip
_STATUS: Final = {
    Code.NOT_FOUND: 404, Code.PERMISSION_DENIED: 403, Code.UNAVAILABLE: 503, Code.INVALID_INPUT: 400,
    Code.INTERNAL: 500,
}  # fmt: skip
# What can always be signed, also where the evidence does not open.
_WITHOUT_EVIDENCE: Final = frozenset({"reject", "revoke"})
_FIELD: Final = re.compile(r"\{(\w+)\}")
_OWN_PATH: Final = re.compile(r"/[a-z0-9/_-]*(\?[a-z]+=[a-z0-9]+(&[a-z]+=[a-z0-9]+)*)?")
_WORDS: Final = frozenset({"what", "kind", "record", "state", "event", "role", "use", "type"})


class _Digest(BaseConverter):
    """A digest in an address, and nothing else."""

    regex = r"[0-9a-f]{64}"


class _Number(BaseConverter):
    """A draft's number in an address."""

    regex = r"[A-Za-z0-9_-]{22}"


class _Request(Request):
    """A request whose form is small and flat."""

    max_content_length = MOST_BODY_BYTES
    max_form_memory_size = MOST_BODY_BYTES
    max_form_parts = 512


_ROUTES: Final = Map(
    [
        Rule("/", endpoint="start", methods=["GET"]),
        Rule("/queue", endpoint="queue", methods=["GET"]),
        Rule("/case/<digest:job>", endpoint="case", methods=["GET"]),
        Rule("/case/<digest:job>/confirm", endpoint="confirm_decision", methods=["POST"]),
        Rule("/requests", endpoint="requests", methods=["GET"]),
        Rule("/request/<digest:job>", endpoint="request", methods=["GET"]),
        Rule("/request/<digest:job>/confirm", endpoint="confirm_answer", methods=["POST"]),
        Rule("/sign/<number:number>", endpoint="sign", methods=["POST"]),
        Rule("/receipt/<number:number>", endpoint="receipt", methods=["GET"]),
        Rule("/overview", endpoint="overview", methods=["GET"]),
        Rule("/overview/check", endpoint="check", methods=["POST"]),
        Rule("/language", endpoint="switch", methods=["POST"]),
        Rule("/close", endpoint="leave", methods=["POST"]),
        Rule("/static/<name>", endpoint="static", methods=["GET"]),
    ],
    converters={"digest": _Digest, "number": _Number},
    strict_slashes=True, merge_slashes=False,
)  # fmt: skip


@dataclass(frozen=True)
class _Turn:
    """One request, as its page needs it: in which language, and by which names parties go."""

    request: _Request
    language: Language
    path: str


class Desk:
    """One reviewer's desk. ``chinese`` translates errors' English templates; ``close`` ends the server."""

    def __init__(
        self,
        home: Acting,
        reviewer: str,
        gate: Gate,
        *,
        language: Language = "en",
        chinese: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.home, self.reviewer, self.gate = home, reviewer, gate
        self.cases = Cases(home, reviewer)
        self.unit = Unit(home, clock)
        self.drafts = Drafts()
        self.last_used = time.monotonic()
        self._language, self._chinese = language, chinese or {}
        self._clock, self._close = clock, close

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        response = self._answer(_Request(environ))
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response(environ, start_response)

    # -- the way in

    def _answer(self, request: _Request) -> Response:
        language = self._spoken(request)
        if not self.gate.knows_host(request):
            return self._bare(421, "error_host", language)
        root = self.gate.root
        path = request.path[len(root) :] if request.path.startswith(f"{root}/") else None
        if path is None:
            return self._bare(404, "error_missing", language)
        turn = _Turn(request, language, path)
        try:
            return self._guarded(turn)
        except FormError as error:
            return self._error(turn, 400, key=error.key, details=error.details, nothing=True)
        except RequestEntityTooLarge:
            return self._error(turn, 413, key="error_size", nothing=True)
        except MethodNotAllowed:
            return self._error(turn, 405, key="error_method")
        except (RequestRedirect, HTTPException):
            return self._error(turn, 404, key="error_missing")
        except TrustspaceError as error:
            return self._error(turn, _STATUS.get(error.code, 409), error=error)
        except TimeoutError:
            return self._error(turn, 408, key="error_form", nothing=True)
        except Exception as error:
            # Its kind alone: what it says may quote what was being looked at.
            _LOG.error("a page failed: %s", type(error).__name__)
            return self._error(turn, 500, key="error_internal")

    def _guarded(self, turn: _Turn) -> Response:
        request, gate = turn.request, self.gate
        endpoint, values = _ROUTES.bind(gate.host).match(
            turn.path, method="GET" if request.method == "HEAD" else request.method
        )
        if endpoint == "start" and "token" in request.args:
            # A look ahead (HEAD) is no visit.
            return (
                self._enter(turn)
                if request.method == "GET"
                else self._bare(403, "error_session", turn.language)
            )
        if not gate.is_open_to(request):
            return self._bare(403, "error_session", turn.language)
        if not gate.is_own(request):
            return self._bare(403, "error_origin", turn.language)
        if request.method == "POST":
            if not gate.may_change(request):
                return self._error(turn, 403, key="error_origin", nothing=True)
            if not gate.knows_form(request.form.get(FORM_FIELD, "")):
                return self._error(turn, 403, key="error_form", nothing=True)
        self.last_used = time.monotonic()
        response: Response = getattr(self, f"_{endpoint}")(turn, **values)
        return response

    def _enter(self, turn: _Turn) -> Response:
        """The token becomes a cookie.

        The page moves on by itself, so that the cookie comes along also where another site's link was followed here:
        SameSite=Strict withholds it from a redirect.
        """
        session = self.gate.redeem(turn.request.args.get("token", ""))
        if session is None:
            return self._bare(403, "error_session", turn.language)
        response = _html(render("enter.html", turn.language, {"root": self.gate.root}))
        response.set_cookie(COOKIE, session, path=self.gate.root, httponly=True, samesite="Strict")
        self.last_used = time.monotonic()
        return response

    def _spoken(self, request: _Request) -> Language:
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        return next((known for known in LANGUAGES if known == chosen), self._language)

    # -- pages

    def _start(self, turn: _Turn) -> Response:
        return self._to("/queue")

    def _queue(self, turn: _Turn) -> Response:
        order = "newest" if turn.request.args.get("order") == "newest" else "oldest"
        waiting = self.cases.waiting(newest_first=order == "newest")
        pages = max(1, -(-len(waiting) // PAGE))
        number = min(pages, max(1, turn.request.args.get("page", 1, type=int)))
        first = (number - 1) * PAGE
        lines, opened = waiting[first : first + PAGE], None
        if turn.request.args.get("read") == "yes":
            opened = self.cases.read(lines, READ_SECONDS)
            lines = self.cases.waiting(newest_first=order == "newest")[first : first + PAGE]
        return self._page(
            turn, "queue.html", "queue", lines=lines, count=len(waiting), pages=pages, number=number, first=first,
            order=order, opened=opened, now=int(self._clock()), unread=sum(line.seen is None for line in lines),
        )  # fmt: skip

    def _case(self, turn: _Turn, job: str) -> Response:
        try:
            shown = self.cases.show(job, turn.language)
        except Unavailable:
            raise
        except TrustspaceError as error:
            # What does not open can still be rejected. Where not even that much is proven, this raises again.
            sealed = review.sealed_case(self.home, job, self.reviewer)
            message, fix = self._explained(error, turn.language)
            return self._page(
                turn, "unopened.html", "queue", status=409, case=sealed, message=message, fix=fix
            )
        return self._page(
            turn, "case.html", "queue", shown=shown, case=shown.case, job=shown.case.job, body=shown.case.job.body,
            report=shown.case.report, reasons=review.REASONS, most_lines=MOST_LOG_LINES, days=review.DECISION_DAYS,
            data=requests.data_of(shown.asked), parameters=requests.parameters_of(shown.asked),
            history_title=TITLES["buyer_history"][turn.language],
        )  # fmt: skip

    def _confirm_decision(self, turn: _Turn, job: str) -> Response:
        form = turn.request.form
        case: review.SealedCase
        if form.get("choice") in _WITHOUT_EVIDENCE:
            case = review.sealed_case(self.home, job, self.reviewer)
        else:
            case = self.cases.open(job)
        draft = decided(case, form, form.getlist("file"), form.getlist("reason"))
        return self._page(
            turn, "confirm.html", "queue", back=f"/case/{job}", draft=draft, number=self.drafts.put(draft), case=case,
            report=case.report if isinstance(case, review.Case) else None,
            artifacts=[a for a in case.own_files if a.name in draft.files],
        )  # fmt: skip

    def _requests(self, turn: _Turn) -> Response:
        return self._page(
            turn, "requests.html", "requests", lines=requests.waiting(self.home),
            can_answer=requests.granting(self.home) is not None,
        )  # fmt: skip

    def _request(self, turn: _Turn, job: str) -> Response:
        shown = requests.show(self.home, job, turn.language)
        return self._page(
            turn, "request.html", "requests", shown=shown, job=shown.asked.job, body=shown.asked.job.body,
            tiers=requests.TIER_CHOICES, limits=requests.LIMITS, days=jobs.GRANT_DAYS,
        )  # fmt: skip

    def _confirm_answer(self, turn: _Turn, job: str) -> Response:
        form, home = turn.request.form, self._granting()
        asked = jobs.request(home, job)
        grant = None
        if form.get("choice") == "grant":
            chosen = tuple(form.getlist("reviewer"))
            if not chosen:  # to the client, none is all of them
                raise FormError("error_reviewers")
            grant = requests.draft(home, asked, requests.options(form, chosen))
        elif form.get("choice") != "refuse":
            raise FormError("error_choice")
        draft = Answer(job, asked.job.body.title, grant)
        return self._page(
            turn, "confirm_answer.html", "requests", back=f"/request/{job}", draft=draft,
            number=self.drafts.put(draft), asked=asked, grant=grant, body=asked.job.body,
            epsilon=in_bits(grant.privacy_millis) if grant is not None else "",
            here=[r.holder for r in grant.reviewers if r.holder in home.reviewers_here] if grant is not None else [],
        )  # fmt: skip

    def _granting(self) -> PartyHome:
        home = requests.granting(self.home)
        if home is None:
            raise FormError("grants_keyless")
        return home

    def _sign(self, turn: _Turn, number: str) -> Response:
        if not self.drafts.sign_once(number, self._signed):
            raise FormError("error_form")
        return self._to(f"/receipt/{number}")

    def _signed(self, draft: Decision | Answer) -> str:
        if isinstance(draft, Decision):
            return sign(self.home, self.reviewer, draft)
        return self._answered(draft)

    def _answered(self, draft: Answer) -> str:
        """Sign a grant or a refusal."""
        home = self._granting()
        if draft.grant is None:
            return jobs.refuse(home, draft.job)
        if home.remembered("refused", draft.job):
            raise FormError("error_changed")  # by another process of this home, since it was shown
        return home.submit(draft.grant, "grant").digest

    def _receipt(self, turn: _Turn, number: str) -> Response:
        receipt = self.drafts.receipt(number)
        if receipt is None:
            return self._error(turn, 404, key="error_missing")
        listed, waiting = None, []
        # It is signed and stands, whether or not the space can say now what came of it.
        with contextlib.suppress(TrustspaceError):
            listed = next((j for j in jobs.listing(self.home) if j["statement"] == receipt.draft.job), None)
            waiting = self.cases.waiting() if isinstance(receipt.draft, Decision) else []
        return self._page(
            turn, "receipt.html", "queue" if isinstance(receipt.draft, Decision) else "requests", receipt=receipt,
            draft=receipt.draft, is_decision=isinstance(receipt.draft, Decision),
            state=str(listed["state"]) if listed else "", size=self.home.session.accepted().size,
            following=waiting[0].job if waiting else "",
        )  # fmt: skip

    def _overview(self, turn: _Turn) -> Response:
        return self._page(turn, "overview.html", "overview", shown=self.unit.show())

    def _check(self, turn: _Turn) -> Response:
        self.unit.check()
        return self._to("/overview")

    def _switch(self, turn: _Turn) -> Response:
        """Speak the other language from now on, on the page that this was asked on."""
        form = turn.request.form
        chosen = next((known for known in LANGUAGES if known == form.get("language")), self._language)
        back = form.get("back", "")
        response = self._to(back if _OWN_PATH.fullmatch(back) else "/queue")
        response.set_cookie(LANGUAGE_COOKIE, chosen, path=self.gate.root, httponly=True, samesite="Strict")
        return response

    def _static(self, turn: _Turn, name: str) -> Response:
        if name not in _ASSETS:
            return self._error(turn, 404, key="error_missing")
        return Response(asset(name), content_type=_ASSETS[name])

    def _leave(self, turn: _Turn) -> Response:
        threading.Thread(target=self._close, name="close", daemon=True).start()
        return _html(render("closed.html", turn.language, {}))

    # -- answers

    def _page(self, turn: _Turn, template: str, place: str, *, status: int = 200, **values: Any) -> Response:
        people = People(self.home, turn.language)
        query = turn.request.query_string.decode("ascii", "replace") if turn.request.method == "GET" else ""
        back = f"{turn.path}?{query}" if query else turn.path
        common = {
            "root": self.gate.root, "form": self.gate.form, "place": place, "reviewer": self.reviewer,
            "unit": people.plain(self.home.fingerprint), "people": people,
            "back": back if turn.request.method == "GET" and _OWN_PATH.fullmatch(back) else "/queue",
        }  # fmt: skip
        return _html(render(template, turn.language, {**common, **values}), status)

    def _to(self, path: str) -> Response:
        return Response(status=303, headers={"Location": f"{self.gate.root}{path}"})

    def _bare(self, status: int, key: str, language: Language) -> Response:
        """A page for whoever is not let in: it tells nothing of this desk."""
        return _html(render("bare.html", language, {"key": key, "details": {}}), status)

    def _error(
        self, turn: _Turn, status: int, *, key: str = "", details: Mapping[str, int] | None = None,
        error: TrustspaceError | None = None, nothing: bool = False,
    ) -> Response:  # fmt: skip
        if not self.gate.is_open_to(turn.request):
            return self._bare(status, key or "error_session", turn.language)
        message, fix = self._explained(error, turn.language) if error is not None else ("", "")
        values = {
            "root": self.gate.root, "form": self.gate.form, "key": key, "details": dict(details or {}),
            "message": message, "fix": fix, "nothing": nothing,
            "form_back": nothing and turn.path.endswith("/confirm"),
        }  # fmt: skip
        return _html(render("error.html", turn.language, values), status)

    def _explained(self, error: TrustspaceError, language: Language) -> tuple[str, str]:
        """What is wrong and what to do about it, in the reader's language; never more than the error itself says."""
        return tuple(self._filled(text, error, language) for text in (error.message, error.fix))  # type: ignore[return-value]

    def _filled(self, template: str, error: TrustspaceError, language: Language) -> str:
        chinese = self._chinese if language == "zh" else {}
        details = {
            name: chinese.get(f"detail:{value}", str(value)) if name in _WORDS else str(value)
            for name, value in error.details.items()
        }
        # Only plain names are places: a template may have come over the network.
        return _FIELD.sub(lambda place: details.get(place[1], place[0]), chinese.get(template, template))


def _html(content: str, status: int = 200) -> Response:
    return Response(content, status=status, content_type="text/html; charset=utf-8")

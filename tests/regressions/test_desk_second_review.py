"""What a second review of the reviewers' desk, homes and lists found; each mended, each kept."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.browser import Browser, binary
from support.story import Story
from support.visitor import Visitor, plain

from trustspace.cli.i18n import catalogue
from trustspace.cli.main import run
from trustspace.client import audit, jobs, review, reviewers, viewing
from trustspace.client.notices import Answered, Changes
from trustspace.client.reviewers import ReviewerHome
from trustspace.errors import AlreadyExists, LogCorrupted, NotFound, Unavailable, VerificationFailed
from trustspace.evidence.render import facts_in_words

PEOPLE = ("Dr Li", "Dr Wang", "Dr Sun", "Dr Zhao")
DAY = 86400


@pytest.fixture(scope="module")
def story():
    """One output that two people of the hospital have to approve, and one request."""
    made = Story(people=PEOPLE)
    made.until_review(reviewers=("Dr Li", "Dr Wang"), threshold=2)
    made.waiting = made.job
    made.ask()
    made.asked, made.job = made.job, made.waiting
    yield made
    made.close()


@pytest.fixture
def visitor(story):
    return Visitor(story.hospital, "Dr Li", chinese=catalogue()).enter()


def later(monkeypatch, story, days):
    """Everybody's clock, so many days on."""
    monkeypatch.setattr(story.world.space, "_clock", lambda: time.time() + days * DAY)
    monkeypatch.setattr(story.hospital.session, "_clock", lambda: time.time() + days * DAY)


# -- signing


def confirmations(visitor, story):
    yield visitor.post(f"/case/{story.job}/confirm", {"choice": "reject"})
    yield visitor.post(f"/request/{story.asked}/confirm", {"choice": "refuse"})
    terms = {"choice": "grant", "reviewer": "Dr Li", "threshold": "1", "runs": "1", "days": "30"}
    yield visitor.post(f"/request/{story.asked}/confirm", terms)


def test_no_button_that_signs_has_the_focus(visitor, story):
    for answer in confirmations(visitor, story):
        assert answer.status_code == 200
        assert re.search(r"<button[^>]*autofocus", answer.text) is None
        assert len(re.findall(r'<section class="statement" tabindex="-1" autofocus>', answer.text)) == 1


@pytest.mark.slow
@pytest.mark.skipif(binary() is None, reason="there is no Chromium on this machine")
def test_a_key_held_down_does_not_sign():
    """Enter in a field of the form, held for as long as it takes to read a line, had signed the approval."""
    from support.desks import DeskStory

    desk = DeskStory().fill(train=False)
    try:
        server, job = desk.serve(), desk.waiting["more"]
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}

        def hold(browser, times):
            for again in range(times):
                browser.call("Input.dispatchKeyEvent", type="keyDown", autoRepeat=bool(again), **enter)
                if not again:
                    browser.until("location.pathname.endsWith('/confirm')")
            browser.call("Input.dispatchKeyEvent", type="keyUp", **enter)

        with Browser() as browser:
            browser.open(server.address)
            browser.until("location.pathname.endsWith('/queue')")
            browser.open(f"{server.desk.gate.origin}{server.desk.gate.root}/case/{job}")
            browser.until("location.pathname.includes('/case/')")
            browser.press("a")
            browser.evaluate("document.querySelector('[name=days]').focus()")
            hold(browser, 20)
            assert browser.evaluate("document.activeElement.matches('.statement')")
            assert browser.evaluate("location.pathname.endsWith('/confirm')")
            # The control: with the focus where it was, one more press signs.
            browser.evaluate("document.querySelector('main button').focus()")
            browser.press("Enter")
            browser.until("location.pathname.includes('/receipt/')")
    finally:
        desk.close()


def test_a_receipt_is_shown_also_when_the_space_is_gone_by_then(visitor, story, monkeypatch):
    """It stood in the ledger, and the page said that something did not work."""
    monkeypatch.setattr(review, "reject", lambda *_, **__: "a" * 64)
    where = visitor.draft(visitor.post(f"/case/{story.job}/confirm", {"choice": "reject"}))
    receipt = visitor.post(where).headers["Location"].removeprefix(visitor.gate.root)

    def gone(*_):
        raise Unavailable("The space cannot be reached.")

    monkeypatch.setattr(jobs, "listing", gone)
    shown = visitor.get(receipt)
    assert shown.status_code == 200
    assert "aaaaaaaa" in plain(shown)


def test_changing_the_language_before_signing_leads_back_to_the_case(visitor, story):
    """It led to the list, as if something had been signed."""
    places = [f"/case/{story.job}", f"/request/{story.asked}", f"/request/{story.asked}"]
    for answer, place in zip(confirmations(visitor, story), places, strict=True):
        assert f'name="back" value="{place}"' in answer.text


def test_reasons_are_a_sentence_each(visitor, story):
    """Each ends in a full stop, and the sentence around them put one more after the last."""
    fields = {"choice": "changes", "reason": ["overfitted", "other"]}
    for lang, stops in (("en", "..;"), ("zh", "。。；")):
        cookie = f"{visitor.cookie}; trustspace_desk_language={lang}"
        shown = visitor.post(f"/case/{story.job}/confirm", fields, headers={"Cookie": cookie}).text
        statement = shown.split('class="statement"')[1].split("</section>")[0]
        assert not re.search(rf"[{stops[1]}{stops[2]}][{stops}]|[{stops[1]}];", statement)


# -- requests


def test_a_grant_that_names_nobody_is_sent_back(visitor, story):
    """With every box unticked the client took it for all reviewers."""
    terms = {"choice": "grant", "threshold": "1", "runs": "1", "days": "30"}
    answer = visitor.post(f"/request/{story.asked}/confirm", terms)
    assert answer.status_code == 400
    assert "Choose at least one reviewer." in plain(answer)


def test_a_grant_for_several_whose_keys_lie_here_says_so(visitor, story):
    """The command line does."""
    terms = {"choice": "grant", "reviewer": ["Dr Li", "Dr Wang"], "runs": "1", "days": "30"}
    two = plain(visitor.post(f"/request/{story.asked}/confirm", {**terms, "threshold": "2"}))
    assert "The keys of Dr Li, Dr Wang lie in this home" in two
    assert "lie in this home" not in plain(
        visitor.post(f"/request/{story.asked}/confirm", {**terms, "threshold": "1"})
    )


def test_a_request_says_what_it_answers(visitor, story, monkeypatch):
    """Whoever grants must know that the last output was to be changed; the command line said it, the desk did not."""
    asked = Changes(story.hospital.fingerprint, "Dr Li", 0, ("overfitted",), "")
    monkeypatch.setattr(
        "trustspace.client.notices.answered", lambda *_: Answered("0" * 64, "First try", asked)
    )
    shown = plain(visitor.get(f"/request/{story.asked}"))
    assert "Answers a request for changes First try" in shown
    assert "remembers whom it was trained on" in shown


def test_what_has_ended_is_not_offered_to_be_refused(visitor, story, monkeypatch):
    assert 'value="refuse"' in visitor.get(f"/request/{story.asked}").text
    later(monkeypatch, story, 400)
    shown = visitor.get(f"/request/{story.asked}")
    assert 'name="choice"' not in shown.text
    assert "Nothing is left to answer: expired" in plain(shown)


# -- outputs


def test_an_expired_job_asks_nobody_to_decide(visitor, story, monkeypatch):
    """The list said that it had expired; its page, from the statements alone, that it was in review."""
    page = visitor.get(f"/case/{story.job}")
    assert 'value="approve"' in page.text
    later(monkeypatch, story, 400)
    page = visitor.get(f"/case/{story.job}")
    assert 'value="approve"' not in page.text
    assert 'value="revoke"' in page.text  # stopping is never too late
    assert "Nothing is left to decide: this job is expired." in plain(page)


def test_a_file_that_one_person_can_open_is_shown_as_text(visitor, story, monkeypatch):
    """The evidence said of files of free form to open and look, and there was nothing to open them with."""
    shown = plain(visitor.get(f"/case/{story.job}"))
    assert "What stands in the files" in shown
    assert shown.count("no single person can read it") == 3  # two files and the log, each for two to open
    monkeypatch.setattr(viewing, "text_of", lambda _home, _case, name: f'{{"file": "<b>{name}</b>"}}')
    shown = visitor.get(f"/case/{story.job}").text
    assert "{&#34;file&#34;: &#34;&lt;b&gt;summary.json&lt;/b&gt;&#34;}" in shown
    monkeypatch.setattr(viewing, "MOST_TEXT_BYTES", 1)
    shown = plain(visitor.get(f"/case/{story.job}"))
    assert shown.count("too large to be shown") == 2


def test_the_command_line_shows_such_a_file_and_since_when_the_evidence_is_known(story, monkeypatch, capsys):
    monkeypatch.setattr(viewing, "text_of", lambda _home, _case, name: f"in {name}")
    show = ["review", "show", story.job, "--reviewer", "Dr Li", "--file", "summary.json"]
    home = ["--home", str(story.hospital.path)]
    assert run([*home, "--json", *show]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["contents"] == {"summary.json": "in summary.json"}
    (mine,) = (v for v in viewing.viewings(story.hospital) if v.reviewer == "Dr Li")
    assert document["viewed"] == mine.at
    assert run([*home, *show]) == 0
    said = capsys.readouterr().out
    assert "First shown to you" in said
    assert "What stands in summary.json" in said
    assert "in summary.json" in said


def test_a_name_of_a_file_or_an_input_is_not_taken_for_a_fact():
    """The digest of the parameters was called that of the fitted numbers, and a file called rows a number of rows."""
    told = {
        "digests": {
            "parameters": {"granted": "a", "observed": "a"},
            "code": {"granted": "b", "observed": "b"},
        },
        "observed": {"rows": {"rows": 3}},
        "evidence_kind": "software",
    }
    assert list(facts_in_words(told, "zh")) == [
        ("摘要，参数，授权", "a"), ("摘要，参数，实际", "a"), ("摘要，代码，授权", "b"), ("摘要，代码，实际", "b"),
        ("实际，rows，行数", "3"), ("平台证据", "软件自述"),
    ]  # fmt: skip
    assert list(facts_in_words({"parameters": 3}, "en")) == [("fitted numbers", "3")]


def test_a_failed_check_of_the_ledger_leaves_no_verified_beside_it(visitor, monkeypatch):
    assert visitor.post("/overview/check").status_code == 303
    assert "Verified at" in plain(visitor.get("/overview"))

    def forked(_):
        raise LogCorrupted("The ledger's leaves do not hash to its checkpoint.")

    monkeypatch.setattr(audit, "verify_ledger", forked)
    assert visitor.post("/overview/check").status_code == 409
    assert "Verified at" not in plain(visitor.get("/overview"))


def test_a_space_that_does_not_answer_is_not_taken_for_an_answer(visitor, story, monkeypatch):
    """It was said that evidence does not open, that time was over, or that no code was approved here before."""

    def gone(*_):
        raise Unavailable("The space cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(review, "_open_evidence", gone)
        assert visitor.get("/queue?read=yes").status_code == 503
        assert visitor.get(f"/case/{story.job}").status_code == 503
    queue = plain(visitor.get("/queue"))
    assert "not opened" in queue
    assert "does not open" not in queue
    asked = jobs.request(story.hospital, story.job)
    earlier = {**jobs.listing(story.hospital)[0], "state": "released", "statement": "0" * 64}
    monkeypatch.setattr(jobs, "request", gone)
    with pytest.raises(Unavailable):
        visitor.desk.cases._code(asked, [earlier])


# -- what was viewed


def test_who_saw_the_evidence_first_is_noted_once(story, visitor, capsys):
    visitor.get(f"/case/{story.job}")
    before = viewing.viewings(story.hospital)
    mine = [v for v in before if v.reviewer == "Dr Li"]
    case = story.case()
    assert [(v.job, v.output, v.evidence) for v in mine] == [
        (story.job, case.output.statement, case.evidence.commitment)
    ]
    assert 0 < mine[0].log_size <= story.hospital.session.accepted().size
    visitor.get(f"/case/{story.job}")
    visitor.get("/queue?read=yes")  # a verdict in a list is no report that was read
    assert viewing.viewings(story.hospital) == before
    file = story.hospital.path / viewing.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert "First shown to you on" in plain(visitor.get(f"/case/{story.job}"))
    assert run(["--home", str(story.hospital.path), "--json", "review", "viewed"]) == 0
    assert json.loads(capsys.readouterr().out)["viewed"] == [vars(v) for v in before]


def test_a_line_of_what_was_viewed_is_not_changed_or_taken_out_unseen(tmp_path, story):
    class Copy:
        """A home of which only this file and the ledger's state matter."""

        path, session = tmp_path, story.hospital.session

    def noted(name):
        return viewing.note(Copy, replace(story.case(), reviewer=name))

    file = tmp_path / viewing.FILE
    for name in PEOPLE[:3]:
        noted(name)
    assert [v.reviewer for v in viewing.viewings(Copy)] == list(PEOPLE[:3])
    good = file.read_bytes()
    lines = good.splitlines(keepends=True)
    for bad in (
        good.replace(b"Dr Li", b"Dr Lo"), lines[1] + lines[2], lines[0] + lines[2],
        lines[1] + lines[0] + lines[2], good.replace(b'"at":1', b'"at":2'), b"{}\n" + good,
    ):  # fmt: skip
        file.write_bytes(bad)
        with pytest.raises(VerificationFailed, match="does not follow"):
            viewing.viewings(Copy)
        assert noted("Dr Zhao").reviewer == "Dr Zhao"  # nobody is kept from reviewing by it
    # A line that a full disk or a kill tore is passed over, whole ones on both sides of it stay.
    for torn in (lines[2][:40], lines[2].rstrip(b"\n")):
        file.write_bytes(lines[0] + lines[1] + torn)
        noted("Dr Zhao")
        kept = [v.reviewer for v in viewing.viewings(Copy)]
        assert kept == [*PEOPLE[:2], *(["Dr Sun"] if torn.endswith(b"}") else []), "Dr Zhao"]


def test_nothing_is_shown_that_cannot_be_noted(visitor, story, monkeypatch):
    def full(*_):
        raise Unavailable("{file} could not be written: {reason}.", file=viewing.FILE, reason="full")

    alone = Visitor(story.hospital, "Dr Wang").enter()
    monkeypatch.setattr(viewing, "append_line", full)
    answer = alone.get(f"/case/{story.job}")
    assert answer.status_code == 503
    assert "could not be written" in plain(answer)
    assert "What was checked" not in plain(answer)


# -- reviewers' homes


def test_keys_of_a_removed_reviewer_are_destroyed_also_after_a_break(story, monkeypatch):
    """What broke off between the description and the destroying left them in the unit's home for good."""
    home = story.hospital

    def left():
        return {name for name in home.keys.names() if name.startswith("reviewer-")}

    assert len(left()) == 2 * len(PEOPLE)
    with monkeypatch.context() as patch:
        patch.setattr(type(home.keys), "destroy", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            reviewers.remove(home, "Dr Zhao")
    assert len(left()) == 2 * len(PEOPLE)
    with pytest.raises(NotFound):  # it is done, but for the files
        reviewers.remove(home, "Dr Zhao")
    assert len(left()) == 2 * len(PEOPLE) - 2
    card = ReviewerHome.create(story.world.path / "sun", "Dr Sun").card
    with monkeypatch.context() as patch:
        patch.setattr(type(home.keys), "destroy", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            reviewers.adopt(home, card, replace=True)
    reviewers.adopt(home, card)
    assert len(left()) == 2 * len(PEOPLE) - 4
    assert set(home.reviewers_here) == {"Dr Li", "Dr Wang"}


def test_a_home_that_was_begun_and_not_made_is_begun_anew(tmp_path, monkeypatch):
    """A kill between the keys and the card left a directory that no reviewer could be made in."""
    path: Path = tmp_path / "home"
    with monkeypatch.context() as patch:
        patch.setattr(reviewers, "new_request", lambda _: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            ReviewerHome.create(path, "Dr Li")
    assert (path / "keys/review.key").exists()
    begun = json.loads((path / "keys/review.key").read_bytes())
    home = ReviewerHome.create(path, "Dr Li", passphrase="a passphrase of six words here")
    made = json.loads((path / "keys/review.key").read_bytes())
    assert home.card.review == made["public"] != begun["public"]
    assert made["protection"]["kdf"] == "scrypt"  # the first one was not locked
    # The control: what was handed out is not made anew.
    with pytest.raises(AlreadyExists):
        ReviewerHome.create(path, "Dr Li")


# -- the last of this file: they decide


def test_an_approval_that_lapsed_is_asked_for_again(story, visitor, monkeypatch):
    """It stood in nobody's list any more, and the output waited for good."""
    wang = Visitor(story.hospital, "Dr Wang").enter()
    review.approve(story.hospital, story.case("Dr Wang"), comment="seen", accept_red=True, valid_days=1)
    assert "Nothing waits" in plain(wang.get("/queue"))
    assert len(review.queue(story.hospital, "Dr Li")) == 1
    later(monkeypatch, story, 2)
    assert [job["statement"] for job in review.queue(story.hospital, "Dr Wang")] == [story.job]
    page = wang.get(f"/case/{story.job}")
    assert "approved, but that has lapsed" in plain(page)
    assert 'value="approve"' in page.text
    # One count, whichever way it is asked for: of the unit itself, and of it among all units.
    standing = review.standing_for(review.sealed_case(story.hospital, story.job, "Dr Wang"), "Dr Wang")
    assert (standing.approved, [unit.approved for unit in standing.units]) == (0, [0])

"""What the pages say, what their forms sign, and that nothing on them is anything but text."""

import re
from dataclasses import replace

import pytest
from support.visitor import MARKUP, Visitor, plain

from trustspace.client import review
from trustspace.domain.records import DecisionRecord, OutputRecord
from trustspace.errors import Unavailable, VerificationFailed
from trustspace.web import page
from trustspace.web.people import People


def pages(visitor, story, lang="en"):
    for path in ("/queue?read=yes", f"/case/{story.job}", "/requests", f"/request/{story.job}", "/overview"):
        yield visitor.get(path, lang=lang)


def confirm(visitor, story, **fields):
    return visitor.post(f"/case/{story.job}/confirm", {"days": "30", **fields})


def own_decisions(story):
    output = story.world.ledger.view.get(OutputRecord, story.record.output)
    return [story.world.ledger.view.get(DecisionRecord, digest) for digest in output.decisions.values()]


def test_markup_in_titles_purposes_names_and_logs_is_text(visitor, story):
    for answer in pages(visitor, story):
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<svg onload" not in answer.text
        assert "<svg/onload" not in answer.text
        assert "onerror=alert(2)>" not in answer.text
    shown = visitor.get(f"/case/{story.job}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "&lt;svg onload=alert(3)&gt;" in shown


def test_without_escaping_the_same_title_would_be_a_script(visitor, story, monkeypatch):
    """The positive control: the very templates, their escaping switched off, hand on what the developer wrote."""
    bare = page.environment(escape=False)
    monkeypatch.setattr(page, "_environment", lambda: bare)
    assert f"<h1>Mean size {MARKUP}</h1>" in visitor.get(f"/case/{story.job}").text


def test_characters_that_turn_text_around_are_shown_by_number(story):
    alone = Visitor(story.hospital, "Dr Li").enter()
    log = "first \u202eevil\u2066 \x1b[31m \u200b \\u{202e}"
    assert page.shown(log) == "first \\u{202e}evil\\u{2066} \\u{1b}[31m \\u{200b} \\u{5c}u{202e}"
    assert "\u202e" in log
    for answer in pages(alone, story):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x1b]", answer.text)


def test_long_text_is_shown_whole_and_escapes_hold_at_every_cut():
    for length in range(990, 1010):
        text = "é" * length + "\\u{41}" + "\u202e" + "x" * 3000
        shown = page.shown(text)
        assert shown == "é" * length + "\\u{5c}u{41}" + "\\u{202e}" + "x" * 3000
    assert page.shown("\\" * 2500 + "u{41}") == "\\" * 2499 + "\\u{5c}u{41}"
    assert page.shown(None) == ""


def test_the_code_is_shown_as_text_with_what_it_hides(visitor, story):
    shown = visitor.get(f"/case/{story.job}").text
    assert "&lt;svg/onload=alert(4)&gt;" in shown
    assert "No code of this developer was approved here before." in shown


def test_pages_name_only_the_desks_own_files(visitor, story):
    for answer in pages(visitor, story):
        named = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
        assert named
        assert all(address.startswith((f"{visitor.gate.root}/", "#main")) for address in named), named
        assert "style=" not in answer.text
        assert not re.search(r"<script(?! src=)", answer.text)
        assert not re.search(r"\son[a-z]+=\"", answer.text)


def test_both_languages(visitor, story):
    for answer in pages(visitor, story, lang="zh"):
        assert '<html lang="zh-CN">' in answer.text
    assert "等待您审查的产出" in visitor.get("/queue", lang="zh").text
    shown = plain(visitor.get(f"/case/{story.job}", lang="zh"))
    assert story.case().report.headline.zh in shown
    assert "Your decision" not in shown
    assert "您的决定" in shown


def test_a_verdict_is_listed_once_its_evidence_was_opened_here(story):
    visitor = Visitor(story.hospital, "Dr Li").enter()
    assert "not opened" in plain(visitor.get("/queue"))
    visitor.get(f"/case/{story.job}")
    opened = plain(visitor.get("/queue"))
    assert "not opened" not in opened
    assert "Amber" in opened
    assert "your decision; 2 must approve" in opened


def test_reading_a_page_stops_when_its_time_is_over(story):
    visitor = Visitor(story.hospital, "Dr Li").enter()
    cases, ticks = visitor.desk.cases, iter([0.0, 20.0])
    cases.clock = lambda: next(ticks)
    assert cases.read(cases.waiting(), 10.0) == 0
    cases.clock = lambda: 0.0
    assert cases.read(cases.waiting(), 10.0) == 1


def test_a_decision_is_shown_in_words_and_signed_once(visitor, story):
    """Confirmed, not signed: nothing is in the ledger. The test that signs is test_desk_story.py's."""
    answer = confirm(visitor, story, choice="approve", file="summary.json", comment="seen <b>")
    says = plain(answer)
    assert f"I, Dr Li, approve summary.json of “Mean size {MARKUP}”" in says
    assert "City Clinic" in says
    assert "seen <b>" in says
    assert "seen &lt;b&gt;" in answer.text
    assert story.record.output in says.replace(" ", "")
    assert story.case().evidence.commitment in says.replace(" ", "")
    assert own_decisions(story) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "Choose what you decide."),
        ({"choice": "nonsense"}, "Choose what you decide."),
        ({"choice": "approve"}, "Choose at least one file"),
        ({"choice": "approve", "file": "no-such-file"}, "Choose at least one file"),
        ({"choice": "approve", "file": "summary.json", "days": "0"}, "A number is missing"),
        ({"choice": "approve", "file": "summary.json", "days": "１"}, "A number is missing"),
        ({"choice": "changes"}, "Choose at least one reason"),
        ({"choice": "changes", "reason": "<script>"}, "Choose at least one reason"),
        ({"choice": "reject", "comment": "x" * 2001}, "longer than 2000 characters"),
    ],
)
def test_a_form_that_says_too_little_or_too_much_is_sent_back(visitor, story, fields, says):
    answer = confirm(visitor, story, **fields)
    assert answer.status_code == 400
    assert says in plain(answer)
    assert "Nothing was signed." in plain(answer)


def test_what_was_not_shown_is_not_signed(visitor, story):
    approval = {"choice": "approve", "file": "summary.json"}
    for fields, change in (
        ({"choice": "reject"}, {"output": "0" * 64}),
        ({"choice": "reject"}, {"evidence": "0" * 64}),
        (approval, {"output": "0" * 64}),
        (approval, {"evidence": "0" * 64}),
        (approval, {"verdict": "green"}),
    ):
        number = visitor.draft(confirm(visitor, story, **fields))
        draft = visitor.desk.drafts.take(number.removeprefix("/sign/"))
        assert vars(draft) != {**vars(draft), **change}
        again = "/sign/" + visitor.desk.drafts.put(replace(draft, **change))
        assert "not what stands there now" in plain(visitor.post(again)), (fields, change)
    assert visitor.post("/sign/" + "A" * 22).status_code == 400
    assert own_decisions(story) == []


def test_evidence_that_does_not_open_can_be_rejected_and_nothing_else(visitor, story, monkeypatch):
    def closed(*_):
        raise VerificationFailed("The evidence judges other bytes than the output holds.")

    monkeypatch.setattr(review, "open_case", closed)
    answer = visitor.get(f"/case/{story.job}", lang="zh")
    assert answer.status_code == 409
    assert "该证据评判的字节与产出不符" in answer.text or "证据" in plain(answer)
    assert 'value="reject"' in answer.text
    assert 'value="approve"' not in answer.text
    visitor.draft(confirm(visitor, story, choice="reject"))
    assert confirm(visitor, story, choice="approve", file="summary.json").status_code == 409
    assert "does not open" in plain(visitor.get("/queue"))


def test_a_space_that_cannot_be_reached_is_said(visitor, story, monkeypatch):
    def gone(*_):
        raise Unavailable("The space cannot be reached.")

    monkeypatch.setattr(review, "open_case", gone)
    answer = visitor.get(f"/case/{story.job}")
    assert answer.status_code == 503
    assert "The space cannot be reached." in plain(answer)


def test_a_colleague_is_hidden_until_one_has_decided(visitor, story):
    says = plain(visitor.get(f"/case/{story.job}"))
    assert "Dr Wang hidden until you decide" in says
    assert "0 of 2 approvals" not in says


def test_whoever_is_no_reviewer_of_it_sees_nothing(story):
    stranger = Visitor(story.hospital, "Dr Nobody").enter()
    assert stranger.get("/queue").status_code == 404
    assert stranger.get(f"/case/{story.job}").status_code == 404


def test_nobody_is_called_by_a_name_that_was_not_pinned(story):
    people = People(story.hospital, "en")
    assert people.name(story.buyer.fingerprint) == "City Clinic"
    assert people.name("ab" * 32) == "not in your trust file (abababababab …)"
    assert people.name(story.hospital.fingerprint) == "Hospital A (you)"


def test_the_overview_counts_what_is_spent_and_checks_the_ledger(story):
    visitor = Visitor(story.hospital, "Dr Li").enter()
    says = plain(visitor.get("/overview"))
    assert "cytology" in says
    assert "3.17 / 100" in says.replace(" of ", " / ")
    assert "has not been checked since the desk was opened" in says
    assert visitor.post("/overview/check").status_code == 303
    assert "entries hash to this root" in plain(visitor.get("/overview"))

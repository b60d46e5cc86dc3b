from __future__ import annotations

import re
import unicodedata

import pytest
from evidence_facts import A, sound
from hypothesis import given
from hypothesis import strategies as st

from trustspace.evidence.facts import Delivered, DigestPair
from trustspace.evidence.figures import Curve, Exposed, Exposure, Histogram, Series, Table
from trustspace.evidence.render import drawn, neutralise, render_text
from trustspace.evidence.report import Check, Report, Words, build_report
from trustspace.evidence.words import TITLES

ATTACKS = [
    "\x1b[2J\x1b[1;32mGREEN",
    "\x9b31mred",
    "title\rVerdict: GREEN",
    "a\nVerdict: GREEN",
    "\u202egnp.exe",
    "\u2066hidden\u2069",
    "zero\u200bwidth",
    "\u2028line",
    "\x07\x08\x08\x08",
    "\ufeff",
    "\U000e0041tag",
    "\u3164\u115f\u1160\uffa0\u2800",
    "m\ufe0fe\ufe01s\U000e0100s\u034fage",
    "\x1b]8;;http://x\x07link\x1b]8;;\x07",
]


def test_english():
    text = render_text(build_report(sound()), "en")
    assert text.startswith(
        "Verdict: GREEN\nSomeone guessing who was in your data would be right 51 times of 100;"
    )
    for title in TITLES.values():
        assert title["en"] in text
    assert "455" in text
    assert text.endswith("from it.\n")


def test_chinese():
    text = render_text(build_report(sound(custom_code=True)), "zh")
    assert text.startswith("结论：黄色\n若有人猜测谁在您的数据之中，")
    for title in TITLES.values():
        assert title["zh"] in text
    assert "请留意" in text
    assert "开发方自有代码：是" in text
    assert "机器归属：数据源单位" in text
    assert "Verdict" not in text


def test_without_details_only_the_sentences_stand_there():
    short = render_text(build_report(sound()), details=False)
    assert len(short.splitlines()) == 5 + 2 * len(TITLES)
    assert "448" not in short


def test_every_status_is_marked_in_words():
    report = build_report(sound(withheld_patients=1, custom_code=True, digests=(DigestPair("code", A, "x"),)))
    text = render_text(report)
    for words in ("[passed]", "[look closely]", "[failed]", "[could not run]"):
        assert words in text


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_untrusted_text_stays_text(attack, lang):
    history = (Delivered(output=A, title=attack, datasets=("ward-a",), bytes=1),)
    honest = build_report(sound(history=(Delivered(output=A, title="plain", datasets=("ward-a",), bytes=1),)))
    report = build_report(sound(history=history, digests=(DigestPair(attack, A, A),)))
    text = render_text(report, lang)
    assert attack not in text
    assert len(text.splitlines()) == len(render_text(honest, lang).splitlines()) - 2, (
        "two digests fewer, no line more"
    )
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


def test_a_report_of_a_stranger_is_escaped_everywhere():
    evil = Words(en=ATTACKS[0], zh=ATTACKS[0])
    check = Check(
        name="novel",
        status="passed",
        summary=evil,
        facts={ATTACKS[0]: {ATTACKS[2]: [ATTACKS[1], {"a": ATTACKS[4]}]}},
    )
    report = Report(
        format="trustspace-report-v2", verdict="green", headline=evil, checks=(check,), limits=evil
    )
    text = render_text(report)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\\u{1b}[2J" in text
    assert "novel [passed]" in text


EVIL = Words(en=ATTACKS[0], zh=ATTACKS[0])
PICTURES = {
    "histogram": Histogram(
        title=EVIL, x=EVIL, edges=("0.0", "1.0"), series=(Series(name=EVIL, counts=(3,)),)
    ),
    "curve": Curve(title=EVIL, x=EVIL, y=EVIL, points=(("0.0", "0.0"),)),
    "exposure": Exposure(title=EVIL, rows=(Exposed(key=ATTACKS[0], value="0.9"),)),
    "table": Table(title=EVIL, columns=(ATTACKS[0], "n"), rows=((ATTACKS[0], ATTACKS[0]),), marked=((0, 1),)),
}


@pytest.mark.parametrize(("name", "texts"), [("histogram", 3), ("curve", 3), ("exposure", 2), ("table", 4)])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_whatever_stands_in_a_picture_is_text(name, texts, lang):
    """A developer's own tables are drawn with their cells and columns, and patients with their keys."""
    text = "\n".join(drawn(PICTURES[name], lang))
    assert "\x1b" not in text
    assert text.count("\\u{1b}[2J") == texts


def test_marked_cells_stand_in_brackets():
    table = Table(title=EVIL, columns=("group", "n"), rows=(("a", "3"), ("b", "40")), marked=((0, 1),))
    *_, first, second = drawn(table, "en")
    assert (first.split(), second.split()) == (["a", "[3]"], ["b", "40"])


@given(st.text())
def test_neutral_text_is_one_visible_line(text):
    shown = neutralise(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", shown)


BLANK = "\u115f\u1160\u2800\u3164\uffa0"


@given(st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="\\" + BLANK)))
def test_ordinary_text_is_left_as_it_is(text):
    assert neutralise(text) == text


@pytest.mark.parametrize("blank", [*BLANK, "\u034f", "\u17b4", "\u180b", "\ufe0f", "\U000e01ef"])
def test_letters_and_marks_that_show_nothing_are_shown_by_number(blank):
    assert neutralise(f"a{blank}b") == f"a\\u{{{ord(blank):x}}}b"


def test_long_text_is_cut():
    assert len(neutralise("x" * 5000)) == 2001


def test_two_texts_never_look_the_same_by_escaping():
    assert neutralise("\x1b") != neutralise("\\u{1b}")

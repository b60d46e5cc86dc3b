"""A report for a terminal, in English or Chinese; whatever stands in it is text, never a control sequence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from trustspace.evidence.figures import Curve, Exposure, Figure, Histogram, Table
from trustspace.evidence.report import Report
from trustspace.evidence.words import FACTS, GIVEN, NAMED, STATUSES, TITLES, VALUES, VERDICTS, Language

MARKS = {"passed": "✓", "warned": "!", "failed": "✗", "not_applicable": "-", "could_not_run": "?"}
MAX_CHARACTERS = 2000
_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN_POINTS = 8
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# Letters, marks and symbols that show nothing: Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties.txt)
# outside of those categories, and the empty braille pattern.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_LABELS: dict[str, dict[Language, str]] = {
    "verdict": {"en": "Verdict", "zh": "结论"},
    "limits": {"en": "What this cannot show", "zh": "本报告的局限"},
}
_COLON: dict[Language, str] = {"en": ": ", "zh": "："}
_COMMA: dict[Language, str] = {"en": ", ", "zh": "，"}


def render_text(report: Report, lang: Language = "en", *, details: bool = True) -> str:
    """The report as lines of text; with ``details``, the facts follow each check, indented."""
    lines = [
        f"{_LABELS['verdict'][lang]}{_COLON[lang]}{VERDICTS[report.verdict][lang]}",
        neutralise(report.headline.in_language(lang)),
        "",
    ]
    for check in report.checks:
        title = TITLES.get(check.name, {}).get(lang) or neutralise(check.name)
        lines.append(f"{MARKS[check.status]} {title} [{STATUSES[check.status][lang]}]")
        lines.append(f"    {neutralise(check.summary.in_language(lang))}")
        if details:
            lines += [
                f"      {name}{_COLON[lang]}{value}"
                for name, value in facts_in_words(check.facts, lang, neutralise)
            ]
            lines += [f"      {line}" for figure in check.figures for line in drawn(figure, lang)]
    lines += ["", f"{_LABELS['limits'][lang]}{_COLON[lang]}{neutralise(report.limits.in_language(lang))}"]
    return "\n".join(lines) + "\n"


def drawn(figure: Figure, lang: Language) -> Iterator[str]:
    """A figure as lines of text."""
    yield f"{neutralise(figure.title.in_language(lang))}{_COLON[lang]}"
    if isinstance(figure, Histogram):
        for series in figure.series:
            most = max(series.counts, default=0)
            bars = "".join(
                _BARS[-(-count * (len(_BARS) - 1) // most) if most else 0] for count in series.counts
            )
            yield f"  |{bars}| {neutralise(series.name.in_language(lang))} ({sum(series.counts)})"
        yield f"  {figure.edges[0]} … {figure.edges[-1]}  {neutralise(figure.x.in_language(lang))}"
    elif isinstance(figure, Curve):
        shown = figure.points[:: max(1, len(figure.points) // _SHOWN_POINTS)]
        yield f"  {neutralise(figure.x.in_language(lang))} → {neutralise(figure.y.in_language(lang))}"
        yield "  " + "  ".join(f"{x[:5]}→{y[:5]}" for x, y in shown)
    elif isinstance(figure, Exposure):
        for row in figure.rows:
            yield f"  {neutralise(row.key)}  {row.value}"
    else:
        yield from _table(figure)


def _table(figure: Table) -> Iterator[str]:
    marked = set(figure.marked)
    rows = [
        [
            f"[{neutralise(cell)}]" if (at, place) in marked else neutralise(cell)
            for place, cell in enumerate(row)
        ]
        for at, row in enumerate(figure.rows)
    ]
    columns = [neutralise(name) for name in figure.columns]
    widths = [
        max(len(line[at]) if at < len(line) else 0 for line in [columns, *rows]) for at in range(len(columns))
    ]
    for line in (columns, *rows):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()


def neutralise(text: str) -> str:
    r"""``text`` on one line, with everything invisible written out as ``\u{1b}``.

    Control characters (and so ANSI sequences and line breaks), format characters (bidirectional overrides,
    zero width), surrogates, private and unassigned code points, and letters and marks that show nothing are shown
    by number; long text is cut.
    """
    cut = text[:MAX_CHARACTERS]
    shown = "".join(
        character if _harmless(character, cut[place + 1 : place + 3]) else f"\\u{{{ord(character):x}}}"
        for place, character in enumerate(cut)
    )
    return shown if len(text) <= MAX_CHARACTERS else shown + "…"


def _harmless(character: str, following: str) -> bool:
    if character == "\\":  # written out where it would look like an escape of ours
        return following != "u{"
    return character == " " or not (unicodedata.category(character) in _INVISIBLE or _BLANK.match(character))


def facts_in_words(
    value: Any, lang: Language, as_text: Callable[[str], str] = str, name: str = "", fact: str = ""
) -> Iterator[tuple[str, str]]:
    """A check's facts as (name, value), under the names that people read.

    ``as_text`` makes harmless what stands in them; whoever gives none does so afterwards.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            label = _label(str(key), fact, lang) or as_text(str(key))
            longer = f"{name}{_COMMA[lang]}{label}" if name else label
            yield from facts_in_words(item, lang, as_text, longer, str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for place, item in enumerate(value, start=1):
            yield from facts_in_words(item, lang, as_text, f"{name} {place}")
    elif isinstance(value, list):
        if value:
            yield name, _COMMA[lang].join(as_text(str(item)) for item in value)
    else:
        yield name, VALUES.get(fact, {}).get(str(value), {}).get(lang) or as_text(str(value))


def _label(key: str, above: str, lang: Language) -> str | None:
    """What people read for a fact's name, if anything; names of files and inputs, beneath some facts, are no facts."""
    known = GIVEN if above == "digests" else {} if above in NAMED else FACTS
    return known.get(key, {}).get(lang)

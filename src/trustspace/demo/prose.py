"""Line breaking for a narrow column: between words, between Chinese characters, and where a shell allows it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

# What may not begin a line, and what may not end one (GB/T 15834).
_CLOSING = "，。；：！？、）》」』”’…%"
_OPENING = "（《「『“‘"
_WORD = r'(?:"[^"]*"|[^\s"])+'
# An option stays with its value.
_ARGUMENT = re.compile(rf"--[a-z-]+ (?!-){_WORD}|{_WORD}")
_NARROWEST = 12


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` terminal cells (more only where a single word is wider)."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for unit in _units(paragraph):
            if line and cell_len((line + unit).rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += unit if line else unit.lstrip()
        lines.append(line.rstrip())
    return lines


def _units(text: str) -> Iterator[str]:
    """What stays together: a word with the space after it, a wide character with its punctuation."""
    unit = ""
    for character in text:
        if unit and _may_break(unit[-1], character):
            yield unit
            unit = ""
        unit += character
    if unit:
        yield unit


def _may_break(before: str, after: str) -> bool:
    if after == " " or after in _CLOSING or before in _OPENING:
        return False
    return before == " " or cell_len(before) == 2 or cell_len(after) == 2


def wrapped_command(command: str, width: int) -> list[str]:
    """A command line, continued with backslashes so that it can still be copied."""
    lines, line = [], "$"
    for argument in _ARGUMENT.findall(command):
        # A long comment breaks at its spaces; all else stays whole.
        words = [argument] if cell_len(argument) <= width - 6 else argument.split(" ")
        for number, word in enumerate(words):
            if cell_len(f"{line} {word}") > width - 2 and line.strip("$ "):
                lines.append(f"{line} \\")
                # Inside quotes, what a line begins with would be part of the text.
                line = "   " if number == 0 else ""
            line += f" {word}" if line else word
    return [*lines, line]


class Prose:
    """A paragraph that breaks where its language does."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text = text
        self._style = style

    def lines(self, width: int) -> list[str]:
        """The paragraph in lines of at most ``width`` cells."""
        return wrapped(self._text, width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(options.max_width):
            yield Text(line, style=self._style, overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest = max(cell_len(line) for line in self._text.split("\n"))
        return Measurement(min(widest, _NARROWEST), widest).clamp(max_width=options.max_width)


class Command(Prose):
    """A command that a person would type."""

    def lines(self, width: int) -> list[str]:
        """The command in lines that a shell reads as one."""
        return wrapped_command(self._text, width)

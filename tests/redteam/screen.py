"""A terminal, as far as attacks on whoever reads it need one: what is on the screen after a text was printed.

Understands what xterm and its kin do (ECMA-48; xterm's ctlseqs): wrapping, carriage return, backspace, cursor moves,
erasing, colours, concealment, and the operating system commands that set the title, the clipboard and links.
"""

from __future__ import annotations

import io
import re
import unicodedata

_CSI = re.compile(r"(?:\x1b\[|\x9b)([0-9;?]*)([A-Za-z])")
_OSC = re.compile(r"(?:\x1b\]|\x9d)([0-9]+);(.*?)(?:\x07|\x1b\\|\x9c)", re.DOTALL)
_ZERO_WIDTH = {"Mn", "Me", "Cf"}


class Screen(io.StringIO):
    """A terminal of so many columns; what is printed to it acts on it. ``isatty`` is true."""

    def __init__(self, columns: int = 80) -> None:
        super().__init__()
        self.columns = columns
        self.title = self.clipboard = ""
        self.links: list[str] = []
        self._cells: list[list[str]] = [[]]
        self._row = self._column = 0
        self._concealed = False

    def isatty(self) -> bool:
        """A person sits here."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What it is sent."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What it cannot show ends the program that prints it."""
        return "strict"

    @property
    def lines(self) -> list[str]:
        """What a person sees, line by line; a wrapped line is two."""
        return ["".join(row).rstrip() for row in self._cells]

    def write(self, text: str) -> int:
        """Print."""
        if not isinstance(text, str):
            raise TypeError("text only")
        place = 0
        while place < len(text):
            for pattern, act in ((_CSI, self._control), (_OSC, self._command)):
                if found := pattern.match(text, place):
                    act(found[1], found[2])
                    place = found.end()
                    break
            else:
                self._character(text[place])
                place += 1
        return len(text)

    def _character(self, character: str) -> None:
        if character == "\n":
            self._row, self._column = self._row + 1, 0
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character == "\t":
            self._column = min(self.columns - 1, self._column // 8 * 8 + 8)
        elif ord(character) >= 32 and unicodedata.category(character) not in _ZERO_WIDTH:
            width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
            if self._column + width > self.columns:
                self._row, self._column = self._row + 1, 0
            self._put(" " if self._concealed else character)
            self._column += width
        while len(self._cells) <= self._row:
            self._cells.append([])

    def _put(self, character: str) -> None:
        while len(self._cells) <= self._row:
            self._cells.append([])
        row = self._cells[self._row]
        row += [" "] * (self._column + 1 - len(row))
        row[self._column] = character

    def _control(self, numbers: str, kind: str) -> None:
        first = int(numbers.split(";")[0] or 0) if numbers[:1] != "?" else 0
        if kind == "A":
            self._row = max(0, self._row - max(1, first))
        elif kind == "B":
            self._row += max(1, first)
        elif kind == "C":
            self._column = min(self.columns - 1, self._column + max(1, first))
        elif kind == "D":
            self._column = max(0, self._column - max(1, first))
        elif kind == "G":
            self._column = max(0, first - 1)
        elif kind == "H":
            self._row = self._column = 0
        elif kind == "J" and first in (2, 3):
            self._cells = [[]]
        elif kind == "K" and self._row < len(self._cells):
            del self._cells[self._row][0 if first == 2 else self._column :]
        elif kind == "m":
            for code in numbers.split(";"):
                self._concealed = code == "8" or (self._concealed and code not in ("0", "28", ""))

    def _command(self, number: str, content: str) -> None:
        if number in ("0", "2"):
            self.title = content
        elif number == "52":
            self.clipboard = content.split(";", 1)[-1]
        elif number == "8":
            self.links += [link for link in [content.split(";", 1)[-1]] if link]

"""Where everything that people and programs read leaves the command line.

With ``--json`` exactly one JSON document goes to standard output and nothing else does; without it, text
and tables in the language spoken now. Text from others passes :func:`~trustspace.cli.i18n.clean` first.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

from trustspace.cli.i18n import _, clean_lines, explain
from trustspace.errors import CATALOGUE, InvalidInput, TrustspaceError

_PLAIN_WIDTH = 120
# What could act on a terminal that a document is printed on: control, direction, zero width, lone surrogates.
_INVISIBLE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_YES = frozenset({"y", "yes", "是", "好", "同意"})


class Declined(Exception):
    """The person who was asked said no."""


class Output:
    """Standard output, for people or for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._said = False

    # -- for programs

    def document(self, value: Any) -> None:
        """Print the command's one JSON document; for people this does nothing."""
        if self.as_json:
            self._said = True
            ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
            text = json.dumps(value, ensure_ascii=ascii_only)
            print(_INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=True)

    # -- for people; for programs these do nothing

    def say(self, text: str = "", *, style: str = "") -> None:
        """A line that our own templates made."""
        if not self.as_json:
            click.echo(click.style(text, **_STYLES[style]) if style and text else text)

    def heading(self, text: str) -> None:
        """The title of what follows."""
        self.say()
        self.say(text, style="heading")

    def block(self, text: str, *, fold: bool = True) -> None:
        """Text of somebody else's, indented, line by line and uncut.

        ``fold`` False is for a line of ours that is to be copied whole.
        """
        lines = (f"    {line}" for line in clean_lines(text).rstrip("\n").split("\n"))
        self.say("\n".join(self._folded(line) if fold else line.rstrip() for line in lines))

    def report(self, text: str) -> None:
        """Lines that were made harmless already, and in which names of somebody else's choosing stand."""
        self.say("\n".join(self._folded(line) for line in text.split("\n")))

    def _folded(self, line: str) -> str:
        """A line in pieces that fit the terminal, the later ones indented further.

        A terminal would go on at its left edge, where only we begin lines: text padded to its width could put words
        of its own there.
        """
        if not sys.stdout.isatty():
            return line.rstrip()
        from rich.cells import chop_cells

        indent = line[: len(line) - len(line.lstrip(" "))][:16]
        width = max(20, self._console().width - len(indent) - 2)
        first, *more = chop_cells(line[len(indent) :], width) or [""]
        return "\n".join([f"{indent}{first}".rstrip(), *(f"{indent}  {piece}".rstrip() for piece in more)])

    def fields(self, rows: Iterable[tuple[str, str]]) -> None:
        """Labels and values."""
        if self.as_json:
            return
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        for label, value in rows:
            grid.add_row(_cell(label), _cell(value))
        self._print(grid)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; cells may have several lines."""
        if self.as_json:
            return
        from rich import box
        from rich.cells import cell_len
        from rich.table import Table

        cells = [[_cell(value) for value in row] for row in rows]
        table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
        longest = []
        for number, header in enumerate(headers):
            words = [word for text in (header, *(str(row[number]) for row in cells)) for word in text.split()]
            longest.append(min(16, max(map(cell_len, words), default=1)))
        # A word broken over lines cannot be read or copied; where there is no room for that, all columns share.
        roomy = sum(longest) + 2 * len(longest) <= self._console().width
        for header, width in zip(headers, longest, strict=True):
            table.add_column(_cell(header), overflow="fold", min_width=width if roomy else None)
        for row in cells:
            table.add_row(*row)
        self._print(table)

    def _console(self) -> Any:
        from rich.console import Console

        width = None if sys.stdout.isatty() else _PLAIN_WIDTH
        return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)

    def _print(self, renderable: Any) -> None:
        console = self._console()
        with console.capture() as capture:
            console.print(renderable)
        # Padding at the ends of lines helps nobody who copies or greps them.
        print("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")), flush=True)

    @contextlib.contextmanager
    def progress(self, labels: dict[str, str]) -> Iterator[Callable[[str, int, int], None]]:
        """A bar for each kind of work, on standard error; yields what is told (kind, done, total) in bytes."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda *_unused: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks: dict[str, Any] = {}

            def report(kind: str, done: int, total: int) -> None:
                if kind not in tasks:
                    for earlier in tasks.values():  # what was sealed is a little more or less than was read
                        bars.update(earlier, completed=bars.tasks[earlier].total)
                    tasks[kind] = bars.add_task(labels.get(kind, kind), total=total)
                bars.update(tasks[kind], completed=done, total=total)

            yield report

    # -- asking

    def ask(self, question: str, *, yes: bool) -> None:
        """Go on only if the person agrees (or has agreed with --yes).

        Raises:
            Declined: the answer is anything but yes.
            InvalidInput: with --json nobody can be asked.

        """
        if yes:
            return
        if self.as_json:
            raise InvalidInput(
                "With --json nobody can be asked.", fix="Look at it without --json, then add --yes."
            )
        print(f"{question} [y/N] ", end="", flush=True)
        answer = sys.stdin.readline()
        if not (answer.endswith("\n") and sys.stdin.isatty()):
            print()  # nobody's return key ended the line
        if answer.strip().lower() not in _YES:
            raise Declined

    @property
    def asks(self) -> bool:
        """Whether a person sits at a terminal who can be asked."""
        return not self.as_json and sys.stdin.isatty() and sys.stdout.isatty()

    def wants(self, question: str) -> bool:
        """Ask something that changes nothing; no, where nobody sits at a terminal."""
        if not self.asks:
            return False
        with contextlib.suppress(Declined):
            self.ask(question, yes=False)
            return True
        return False

    # -- errors

    def error(self, error: TrustspaceError) -> int:
        """Show an error; returns the exit code that goes with it."""
        message, fix = explain(error)
        if self.as_json and not self._said:
            self.document({"error": {"code": str(error.code), "message": message, "fix": fix}})
        else:
            click.secho(_("Error: "), fg="red", bold=True, nl=False, err=True)
            click.echo(message, err=True)
            if fix:
                click.secho(_("What to do: "), bold=True, nl=False, err=True)
                click.echo(fix, err=True)
        return CATALOGUE[error.code].exit_code


_STYLES: dict[str, dict[str, Any]] = {
    "heading": {"bold": True},
    "good": {"fg": "green"},
    "warning": {"fg": "yellow"},
    "bad": {"fg": "red"},
}


def _cell(text: str) -> Any:
    from rich.text import Text

    return Text(clean_lines(text))

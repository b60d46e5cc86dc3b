"""How the story is told: one line for each act, who sees or does what, and when. Readable without colours too."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from trustspace.demo.attempts import Attempt, Cheat
from trustspace.demo.prose import Command, Prose
from trustspace.demo.words import Language, say
from trustspace.errors import TrustspaceError
from trustspace.evidence.render import neutralise

Who = Literal["operator", "hospital", "broker", "enclave", "developer", "buyer", "reviewer", "auditor"]
NARROW, WIDE = 80, 100
GREY = "bright_black"
_MARGIN_CELLS = 9
_COLOURS: dict[Who, str] = {
    "operator": "magenta", "hospital": "green", "broker": "green", "enclave": "cyan", "developer": "blue",
    "buyer": "yellow", "reviewer": "green", "auditor": "magenta",
}  # fmt: skip
Explain = Callable[[TrustspaceError], tuple[str, str]]
"""An error's message and fix, in the language of the story."""


class Stage:
    """Tells the story as it happens, and remembers nothing of it but the time."""

    def __init__(self, language: Language, explain: Explain, console: Console | None = None) -> None:
        columns = shutil.get_terminal_size((WIDE - 4, 24)).columns
        self.language = language
        self.console = console or Console(
            file=sys.stdout, width=max(NARROW, min(WIDE, columns)), highlight=False, soft_wrap=False
        )
        self._explain = explain
        self._started = time.monotonic()
        self._scenes = 0
        self._cheats = 0

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def say(self, key: str, **details: str | int) -> str:
        """A sentence in the story's language."""
        return say(key, self.language, **details)

    def error_text(self, error: TrustspaceError) -> str:
        """An error's code and own words."""
        return neutralise(f"{error.code}: {self._explain(error)[0]}")

    def opening(self) -> None:
        """The title."""
        self.console.print(
            Panel(
                Prose(self.say("intro")), title=Text(self.say("title"), style="bold"), box=box.DOUBLE,
                padding=(0, 2), title_align="left",
            )
        )  # fmt: skip

    def scene(self, key: str) -> None:
        """A new scene."""
        self._scenes += 1
        self.console.print()
        title = Text(f"{self._scenes}  {self.say(key)}", style="bold")
        self.console.print(Rule(title, align="left", characters="━", style="default"))

    def does(
        self,
        who: Who,
        key: str,
        *bodies: RenderableType,
        command: str | Sequence[str] = (),
        **details: str | int,
    ) -> None:
        """An act, told once it is done; ``command`` is what a person would type for it."""
        self._act(who, "does", key, bodies, command, details)

    def sees(
        self,
        who: Who,
        key: str,
        *bodies: RenderableType,
        command: str | Sequence[str] = (),
        **details: str | int,
    ) -> None:
        """What somebody is shown, and by that what not."""
        self._act(who, "sees", key, bodies, command, details)

    def _act(
        self, who: Who, verb: str, key: str, bodies: Sequence[RenderableType], command: str | Sequence[str],
        details: dict[str, str | int],
    ) -> None:  # fmt: skip
        commands = (command,) if isinstance(command, str) else tuple(command)
        parts: list[RenderableType] = [Prose(self.say(key, **details)), *bodies]
        parts += [Command(line, GREY) for line in commands]
        margin = Text(self.say(f"who.{who}"), style=f"bold {_COLOURS[who]}")
        margin.append(f"\n{self.say(f'verb.{verb}')}", style="default italic")
        margin.append(f"\n{self.seconds:.1f} s", style=GREY)
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(width=_MARGIN_CELLS, no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_row(margin, Group(*parts))
        self.console.print()
        self.console.print(grid)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Sequence[int] = (),
        title: str = "",
    ) -> Table:
        """A small table of plain text."""
        table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="italic",
                      show_edge=False, padding=(0, 1), header_style="bold")  # fmt: skip
        for index, name in enumerate(columns):
            table.add_column(Text(name), justify="right" if index in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Prose(neutralise(cell)) for cell in row))
        return table

    def facts(self, rows: Sequence[tuple[str, str]]) -> Table:
        """Names and what they are."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            grid.add_row(Text(name), Prose(neutralise(value)))
        return grid

    def box(self, *bodies: RenderableType, title: str) -> Panel:
        """A frame around what one party has before it."""
        return Panel(
            Group(*bodies), title=Text(title), title_align="left", box=box.ROUNDED, border_style=GREY
        )

    def cheat(self, cheat: Cheat) -> None:
        """A cheat: what was tried, why it does not work, and what shows that it could have."""
        self._cheats += 1
        parts: list[RenderableType] = []
        told: set[str] = set()
        for attempt in cheat.attempts:
            if attempt.key in told and attempt.as_it_should:
                continue  # the same at another hospital; the last table counts it
            told.add(attempt.key)
            parts.append(self._attempt(attempt))
        repeated = len(cheat.attempts) - len(parts)
        if repeated:
            parts.append(Prose(self.say("cheat.repeated", count=repeated), GREY))
        verdict = self.say("cheat.refused" if cheat.refused else "cheat.succeeded")
        self.console.print()
        self.console.print(
            Panel(
                Group(*parts), box=box.HEAVY, border_style="red" if cheat.refused else "bold red reverse",
                title=Text(f"{self.say('cheat')} {self._cheats}: {self.say(f'cheat.{cheat.name}')}", style="bold"),
                subtitle=Text(f"{verdict}, {self.seconds:.1f} s"), title_align="left", subtitle_align="right",
            )
        )  # fmt: skip

    def _attempt(self, attempt: Attempt) -> RenderableType:
        mark, style = ("✓", "green") if attempt.control else ("✗", "red")
        if not attempt.as_it_should:
            mark, style = "!!", "bold red reverse"
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=2, no_wrap=True)
        grid.add_column(ratio=1)
        lines: list[RenderableType] = []
        tried = self.say(attempt.key, **attempt.details)
        if attempt.control:
            lines.append(Prose(self.say("cheat.control") + tried))
        else:
            lines.append(Prose(tried, "bold"))
            lines.append(Prose(self.say(f"{attempt.key}.why", **attempt.details)))
        if attempt.stopped is not None:
            lines.append(Prose(self.error_text(attempt.stopped), GREY))
        grid.add_row(Text(mark, style=style), Group(*lines))
        return grid

    def note(self, key: str, **details: str | int) -> None:
        """Something to be said by nobody in particular."""
        self.console.print()
        self.console.print(Prose(self.say(key, **details)))

    def problem(self, error: TrustspaceError) -> None:
        """Why the story cannot go on."""
        message, fix = self._explain(error)
        lines: list[RenderableType] = [Prose(neutralise_lines(message))]
        if fix:
            lines.append(Prose(neutralise_lines(fix), "bold"))
        if error.code == "cannot-isolate":
            lines.append(Command("trustspace doctor", GREY))
        self.console.print()
        self.console.print(
            Panel(Group(*lines), title=Text(self.say("problem")), border_style="red", title_align="left")
        )


def neutralise_lines(text: str) -> str:
    """Text of several lines with nothing invisible in it."""
    return "\n".join(neutralise(line) for line in text.splitlines())

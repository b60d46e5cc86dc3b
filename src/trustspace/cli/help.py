"""Help pages and usage errors of click, in the language spoken when they are shown."""

from __future__ import annotations

import difflib
import inspect
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from trustspace.cli.i18n import _, language, translate
from trustspace.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])
_NOT_AT_LINE_START = "，。；：、！？）】》”’"


def display_width(text: str) -> int:
    """Columns on a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns; breaks at spaces and between East Asian characters."""
    lines, line = [], ""
    for piece in _pieces(text):
        if (
            line
            and display_width(line) + display_width(piece.rstrip()) > width
            and piece[0] not in _NOT_AT_LINE_START
        ):
            lines.append(line.rstrip())
            line = ""
        line += piece if line or piece.strip() else ""
    return [*lines, line.rstrip()]


def _pieces(text: str) -> Iterable[str]:
    word = ""
    for character in " ".join(text.split()):
        if character == " ":
            yield word + " "
            word = ""
        elif unicodedata.east_asian_width(character) in "WF":
            if word:
                yield word
            yield character
            word = ""
        else:
            word += character
    if word:
        yield word


class Formatter(click.HelpFormatter):
    """Wraps by what a terminal shows, not by the number of characters."""

    def write_heading(self, heading: str) -> None:
        """A heading, which brings its own colon."""
        self.write(f"{' ' * self.current_indent}{heading}\n")

    def write_text(self, text: str) -> None:
        """Paragraphs, each wrapped; a backspace character on its own line keeps the lines of a paragraph."""
        indent = " " * self.current_indent
        for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
            if number:
                self.write("\n")
            kept = paragraph.startswith("\b\n")
            lines = paragraph[2:].splitlines() if kept else wrap(paragraph, self.width - self.current_indent)
            self.write("".join(f"{indent}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Terms on the left, what they mean on the right."""
        listed = list(rows)
        first = min(max((display_width(term) for term, _meaning in listed), default=0), col_max) + col_spacing
        indent = " " * self.current_indent
        for term, meaning in listed:
            lines = wrap(meaning, max(self.width - first - self.current_indent, 20))
            start = f"{indent}{term}"
            if display_width(term) + col_spacing > first:
                self.write(start + "\n")
                start = indent
            gap = " " * (first + self.current_indent - display_width(start))
            self.write((start + gap + lines[0]).rstrip() + "\n")
            self.write("".join(f"{' ' * (first + self.current_indent)}{line}\n" for line in lines[1:]))


class Context(click.Context):
    """Formats with our formatter."""

    formatter_class = Formatter


class Option(click.Option):
    """An option whose help is translated when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and what it does."""
        if self.hidden:
            return None
        notes = []
        if self.show_default and self.default not in (None, (), False, ""):
            notes.append(_("default: {default}", default=str(self.default)))
        if self.required:
            notes.append(_("required"))
        if self.multiple:
            notes.append(_("may be repeated"))
        text = translate(self.help or "")
        return _spec(self), f"{text} [{'; '.join(notes)}]".strip() if notes else text


def _spec(option: click.Option) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(option.type.choices)}"
    return f"{names} {option.metavar or option.type.name.upper()}"


class Command(click.Command):
    """A command whose help is translated when it is shown."""

    context_class = Context

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """How it is called."""
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write_usage(ctx.command_path, pieces, prefix=_("Usage: "))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What it does."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(translate(inspect.cleandoc(self.help or "")))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its options."""
        rows = []
        for parameter in self.params:
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, Option):
                rows.append(record)
        rows.append(("--help", _("Show this help.")))
        with formatter.section(_("Options:")):
            formatter.write_dl(rows)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Its first paragraph's first sentence, for the list of commands."""
        del limit
        text = " ".join(translate(inspect.cleandoc(self.help or "")).split("\n\n")[0].split())
        end = "。" if language() == "zh" else ". "
        return text.split(end)[0].removesuffix(".") + ("。" if language() == "zh" and end in text else "")


class Group(Command, click.Group):
    """Several commands under a noun."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, each with a sentence."""
        rows = [
            (name, command.get_short_help_str())
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section(_("Commands:")):
            formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were declared: that is the order of the story."""
        del ctx
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without anything, show the help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(0)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], list(self.commands), n=1)
            raise InvalidInput(
                "There is no command {command}.",
                fix="Did you mean {suggestion}?" if close else "See `{program} --help`.",
                command=args[0][:64], suggestion=close[0] if close else "", program=ctx.command_path,
            )  # fmt: skip
        return super().resolve_command(ctx, args)


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """``click.option`` with translated help."""
    return click.option(*names, cls=Option, **settings)


def usage_error(error: click.UsageError) -> InvalidInput:
    """A usage error of click's as one of ours."""
    program = error.ctx.command_path if error.ctx else "trustspace"
    fix = "See `{program} --help`."
    if isinstance(error, click.NoSuchOption):
        if error.option_name in ("--home", "--lang", "--json", "--passphrase-file"):
            return InvalidInput(
                "The option {option} does not belong here.", fix="Write it before the command: trustspace {option} …",
                option=error.option_name,
            )  # fmt: skip
        close = (error.possibilities or [""])[0]
        return InvalidInput(
            "There is no option {option}.", fix="Did you mean {suggestion}?" if close else fix,
            option=error.option_name[:64], suggestion=close, program=program,
        )  # fmt: skip
    if isinstance(error, click.MissingParameter):
        return InvalidInput(
            "{parameter} is missing.", fix=fix, parameter=_named(error.param), program=program
        )
    if isinstance(error, click.BadParameter):
        return _bad_value(error.param, program)
    if isinstance(error, click.BadOptionUsage):
        return InvalidInput(
            "{parameter} needs a value.", fix=fix, parameter=error.option_name, program=program
        )
    if error.ctx is not None and isinstance(error.ctx.command, click.Group):
        return InvalidInput("A command is missing.", fix=fix, program=program)
    return InvalidInput("There are more arguments than {program} takes.", fix=fix, program=program)


def _bad_value(parameter: click.Parameter | None, program: str) -> InvalidInput:
    name = _named(parameter)
    kind = parameter.type if parameter is not None else None
    if isinstance(kind, click.Choice):
        return InvalidInput("{field} must be one of: {choices}.", field=name, choices=", ".join(kind.choices))
    if isinstance(kind, click.IntRange) and kind.min is not None and kind.max is not None:
        return InvalidInput("{field} must be from {low} to {high}.", field=name, low=kind.min, high=kind.max)
    return InvalidInput(
        "The value of {parameter} cannot be used.",
        fix="See `{program} --help`.",
        parameter=name,
        program=program,
    )


def _named(parameter: click.Parameter | None) -> str:
    if parameter is None:
        return "?"
    return (
        max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name
    )

"""The command ``trustspace``: global options, one error mapping, one place where the language is chosen."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from trustspace.cli import (
    broker,
    dataset,
    demo,
    doctor,
    enclave,
    i18n,
    job,
    ledger,
    party,
    release,
    review,
    reviewer,
    score,
    space,
    trust,
    verify,
    witness,
)
from trustspace.cli.common import DEBUG_VARIABLE, PATH, Cli
from trustspace.cli.help import Group, Option, option, usage_error
from trustspace.cli.i18n import _
from trustspace.cli.output import Declined, Output
from trustspace.errors import NotFound, PermissionDenied, TrustspaceError, Unavailable

INTERRUPTED = 130
_PIPE_CLOSED = 141
_NOTHING_DONE = 1
_WITH_VALUE = frozenset({"--home", "--lang", "--passphrase-file"})


@click.group("trustspace", cls=Group)
@option("--home", type=PATH, envvar="TRUSTSPACE_HOME", metavar="DIR",
        help="Where keys and settings are: a space's, a party's, a reviewer's or an enclave's. "
             "Else TRUSTSPACE_HOME, else ~/.trustspace.")  # fmt: skip
@option("--lang", type=click.Choice(i18n.LANGUAGES), help="English or Chinese. Else the locale decides.")
@option("--json", "as_json", is_flag=True,
        help="Print one JSON document on standard output, and nothing else there; errors too, "
             'as {"error": {"code", "message", "fix"}}.')  # fmt: skip
@option("--passphrase-file", type=PATH, metavar="FILE",
        help="Unlock the keys with the passphrase in this file. Else TRUSTSPACE_PASSPHRASE.")  # fmt: skip
@click.version_option(
    package_name="trustspace", message="%(prog)s %(version)s", cls=Option, help="Show the version."
)
@click.pass_context
def cli(
    context: click.Context, home: Path | None, lang: str | None, as_json: bool, passphrase_file: Path | None
) -> None:
    """Use hospitals' data without it ever being seen, or stored anywhere but with them.

    \b
    Operator:     space
    Everybody:    party, trust, job list, job show
    Source unit:  enclave, dataset, broker, job grant, reviewer, review, score
    Developer:    dataset list, job rehearse, job submit, score
    Buyer:        job countersign, release, verify
    Auditor:      ledger, witness

    Exit codes: 0 done, 1 failed or declined, 2 wrong input, 3 does not verify, 4 unknown caller, 5 not permitted,
    6 not found, 7 exists already, 8 not in this state, 9 refused by a policy, 10 out of date, 11 used up,
    12 not reachable, 13 ledger damaged, 14 cannot isolate, 130 interrupted.
    """  # noqa: D301 - click's mark for lines to keep
    i18n.use(lang or i18n.from_locale())
    context.obj = Cli(home or Path.home() / ".trustspace", Output(as_json=as_json), passphrase_file)


for module in (
    space, party, trust, enclave, broker, dataset, job, reviewer, review, release, score, verify, ledger, witness,
    doctor, demo,
):  # fmt: skip
    cli.add_command(module.command)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    # Before click parses anything: its own errors and help pages are to be in this language and form.
    i18n.use(_given(arguments, "--lang") or i18n.from_locale())
    out = Output(as_json="--json" in _global(arguments))
    try:
        with cli.make_context("trustspace", list(arguments)) as context:
            out = context.obj.out if context.obj else out
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except Declined:
        out.document({"error": {"code": "declined", "message": _("Nothing was done."), "fix": ""}})
        out.say(_("Nothing was done."))
        return _NOTHING_DONE
    except (KeyboardInterrupt, click.Abort, EOFError):
        click.echo(err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return _close_quietly()
    except click.UsageError as error:
        return out.error(usage_error(error))
    except TrustspaceError as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return out.error(error)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return out.error(_unexpected(error))
    return 0


def _unexpected(error: Exception) -> TrustspaceError:
    if isinstance(error, OSError) and error.filename:
        file = str(error.filename)
        if isinstance(error, FileNotFoundError):
            return NotFound("There is no file {file}.", fix="Check the path.", file=file)
        if isinstance(error, PermissionError):
            return PermissionDenied("You may not use the file {file}.", fix="Check who owns it.", file=file)
        reason = os.strerror(error.errno or 0)
        return Unavailable("The file {file} cannot be used: {reason}.", file=file, reason=reason)
    return TrustspaceError(
        "Something went wrong inside trustspace ({kind}).",
        fix="Run it again with {variable}=1 to see where, and report that.",
        kind=type(error).__name__, variable=DEBUG_VARIABLE,
    )  # fmt: skip


def _close_quietly() -> int:
    """The reader of our output went away: nothing is left to be said to it, also not at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _PIPE_CLOSED


def _global(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments before the first command."""
    place = 0
    while place < len(arguments) and arguments[place].startswith("-"):
        place += 2 if arguments[place] in _WITH_VALUE else 1
    return arguments[:place]


def _given(arguments: Sequence[str], name: str) -> str:
    """The value of a global option, if it has one that can be used."""
    value = ""
    before = _global(arguments)
    for place, argument in enumerate(before):
        if argument == name:
            value = before[place + 1] if place + 1 < len(before) else ""
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
    return value if value in i18n.LANGUAGES else ""


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its number, not a traceback.
        getattr(stream, "reconfigure", lambda **_settings: None)(errors="backslashreplace")
    if not os.environ.get(DEBUG_VARIABLE):
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # our own errors say what a person can act on
    # What forks here only starts another program. gRPC would set up threads of its own before that begins, and with
    # connections in use about one such child in 600 died of it (grpc/grpc issue 43055).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    if "_TRUSTSPACE_COMPLETE" in os.environ:
        cli.main(prog_name="trustspace")
    sys.exit(run(sys.argv[1:]))

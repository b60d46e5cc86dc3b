"""What every command is given: where home is, how to speak, how keys are unlocked, how a server is run."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustspace.cli.i18n import _, clean
from trustspace.cli.output import Output
from trustspace.errors import InvalidInput, NotFound, PermissionDenied
from trustspace.transport.stopping import stop_on_signals, wait_until

if TYPE_CHECKING:
    from trustspace.client.acting import Acting
    from trustspace.client.home import PartyHome

DEBUG_VARIABLE = "TRUSTSPACE_DEBUG"
_MAX_FILE_BYTES = 32 << 20
_STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Cli:
    """The global options and the way out."""

    home: Path
    out: Output
    passphrase_file: Path | None = None

    def passphrase(self) -> str | None:
        """The passphrase of the keys: from the file, from the environment, or none."""
        if self.passphrase_file is not None:
            text = read_bytes(self.passphrase_file, "passphrase file")
            try:
                return text.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise InvalidInput("The passphrase file is not UTF-8 text.") from None
        return os.environ.get("TRUSTSPACE_PASSPHRASE") or None

    def acting(self, *, signs: bool = False) -> Acting:
        """Whoever is in the home directory, a party or a reviewer of one, to look at what both may see.

        With ``signs``, to act: it asks for the passphrase where a person sits at a terminal. Else private keys stay
        locked if they are.
        """
        from trustspace.client.home import PartyHome
        from trustspace.client.reviewers import ReviewerHome, is_reviewer

        passphrase = self.passphrase()
        asks = signs and sys.stdin.isatty() and not self.out.as_json
        if passphrase is None and asks and self._is_protected():
            passphrase = getpass.getpass(_("Passphrase of your keys: ")) or None
        return (ReviewerHome if is_reviewer(self.home) else PartyHome)(self.home, passphrase)

    def party(self) -> PartyHome:
        """The party in the home directory, to look at."""
        return _whole(self.acting())

    def signer(self) -> PartyHome:
        """The party, to act for it."""
        return _whole(self.acting(signs=True))

    def _is_protected(self) -> bool:
        for name in ("root", "review"):
            try:
                content = json.loads((self.home / "keys" / f"{name}.key").read_bytes())
                return bool(content["protection"]["kdf"] != "none")
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return False

    def ready(self, document: dict[str, Any], text: str) -> None:
        """Say, in one line, that a server accepts connections."""
        self.out.document(document)
        self.out.say(text, style="good")
        sys.stdout.flush()


def _whole(home: Acting) -> PartyHome:
    from trustspace.client.home import PartyHome

    if not isinstance(home, PartyHome):
        raise PermissionDenied(
            "This is a reviewer's own home: it reviews, and does nothing else.",
            fix="Do it at the source unit's own home.",
        )
    return home


pass_cli = click.make_pass_decorator(Cli)


class PathType(click.ParamType[Path]):
    """A path; whether it can be used is found out, and said, where it is used."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """A ``~`` at its start is somebody's home directory."""
        del param, ctx
        return Path(value).expanduser()


PATH = PathType()


def read_bytes(path: Path, what: str) -> bytes:
    """A file's content.

    Raises:
        NotFound, InvalidInput: naming the file and what it should have been.

    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            "There is no {what} at {path}.", fix="Check the path.", what=what, path=str(path)
        ) from None
    except OSError:
        raise InvalidInput("The {what} {path} cannot be read.", fix="Is it a file, and may you read it?",
                           what=what, path=str(path)) from None  # fmt: skip
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInput("The file {path} is too large to be a {what}.", what=what, path=str(path))
    return data


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object in a file; errors as :func:`read_bytes` has them."""
    try:
        value = json.loads(read_bytes(path, what))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("The file {path} is no {what}.", what=what, path=str(path))
    return value


def log_to_stderr() -> None:
    """Servers tell what happens on standard error, made harmless for a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _LogFormatter(logging.Formatter):
    """One line for each record; tracebacks only where somebody debugs."""

    def format(self, record: logging.LogRecord) -> str:
        if not os.environ.get(DEBUG_VARIABLE) and record.exc_info:
            kind = record.exc_info[0]
            record.exc_info = record.exc_text = None
            record.msg, record.args = f"{record.getMessage()} ({kind.__name__ if kind else '?'})", ()
        return "\n".join(clean(line) for line in super().format(record).split("\n"))


def serve_until_stopped(work: Callable[[threading.Event], None], ready: Callable[[], None]) -> None:
    """Run ``work`` until SIGTERM or SIGINT. It may be cut off in a wait: all it does is durable step by step."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            failures.append(error)
        finally:
            stop.set()

    stop_on_signals(stop)
    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    ready()
    wait_until(stop)
    thread.join(_STOP_SECONDS)
    if failures:
        raise failures[0]

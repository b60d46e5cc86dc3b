"""What every command is given: where home is, how to speak, how to unlock keys."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trustspace.client.home import PartyHome



@dataclass(frozen=True)
class Cli:
    """The global options."""

    home: Path
    as_json: bool
    passphrase_file: Path | None

    def passphrase(self) -> str | None:
        if self.passphrase_file is not None:
            return self.passphrase_file.read_text(encoding="utf-8").rstrip("\r\n")
        return os.environ.get("TRUSTSPACE_PASSPHRASE") or None

    def party(self) -> PartyHome:
        from trustspace.client.home import PartyHome

        return PartyHome(self.home, self.passphrase())

    def ready(self, document: dict[str, Any], text: str) -> None:
        print(json.dumps(document, ensure_ascii=False) if self.as_json else text, flush=True)


pass_cli = click.make_pass_decorator(Cli)


def log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")


def serve_until_stopped(work: Callable[[threading.Event], None], ready: Callable[[], None]) -> None:
    """Run ``work`` in a thread until SIGTERM or SIGINT."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            failed.append(error)
        finally:
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready()
    stop.wait()
    thread.join(2.0)
    if failed:
        raise failed[0]

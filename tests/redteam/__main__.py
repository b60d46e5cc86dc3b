"""Carry out the attacks and print the table: ``cd tests && ../.venv/bin/python -m redteam --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from redteam.arena import Arena
from redteam.attacks import collect
from redteam.model import GROUPS
from redteam.page import rewrite
from redteam.report import Outcome, as_json, explained, host, lines, try_out
from trustspace.errors import CannotIsolate
from trustspace.sandbox.config import BACKENDS, SandboxConfig

CANNOT_ISOLATE, INTERRUPTED = 14, 130


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="redteam", description="Attack the sandbox, without it and with it."
    )
    parser.add_argument(
        "--group", action="append", choices=list(GROUPS), default=[], help="only these groups"
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only these attacks")
    parser.add_argument("--quick", action="store_true", help="leave out attacks that take longer")
    parser.add_argument("--list", action="store_true", help="say what each attack is about, and stop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write a full run into the pages red-team of that folder"
    )
    parser.add_argument("--lang", choices=("en", "zh"), default="en")
    parser.add_argument("--sandbox", choices=BACKENDS, default=BACKENDS[0], help="what walls the jobs in")
    asked = parser.parse_args()
    every = collect()
    unknown = set(asked.only) - {attack.name for attack in every}
    if unknown:
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    chosen = [
        attack
        for attack in every
        if (not asked.group or attack.group in asked.group)
        and (not asked.only or attack.name in asked.only)
        and (attack.quick or not asked.quick)
    ]
    if asked.write is not None and len(chosen) < len(every):
        parser.error("only a full run is written down")
    if asked.list:
        print("\n".join(explained(chosen, asked.lang)).strip())
        return 0
    # Also when it is ended from outside, bait and launcher go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    outcomes: list[Outcome] = []
    try:
        with Arena(SandboxConfig(backend=asked.sandbox)) as arena:
            for number, attack in enumerate(chosen, 1):
                show(f"{number}/{len(chosen)} {attack.name}")
                outcomes.append(try_out(attack, arena))
            facts = host(arena)
    except CannotIsolate as error:
        print(error, file=sys.stderr)
        return CANNOT_ISOLATE
    except KeyboardInterrupt:
        return INTERRUPTED
    show("")
    if asked.json is not None:
        text = json.dumps(as_json(outcomes, facts), ensure_ascii=False, indent=2)
        asked.json.write_text(text + "\n", encoding="utf-8")
    print("\n".join(lines(outcomes, facts, asked.lang)))
    if asked.write is not None and not any(outcome.problem for outcome in outcomes):
        rewrite(asked.write, as_json(outcomes, facts))
    return 1 if any(outcome.problem for outcome in outcomes) else 0


def show(progress: str) -> None:
    """One line that is written over, on a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

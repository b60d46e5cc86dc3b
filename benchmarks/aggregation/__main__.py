"""What protected sums cost for each parameter, beside other people's libraries and a plain addition.

    python -m benchmarks.aggregation [--json FILE] [--part NAME ...] [--quick] [--turns 5]

table      every scheme, step and size in one interleaved run, and every goal beside what was measured
growth     cost against size from 10^3 to 10^7 parameters; with --json also a picture beside FILE
members    one member's whole work for a sum, against members: where masks are cheaper and where the lattice is
rounds     a whole round with each scheme, and rounds in which a member is lost, by the phase in which it is
recovery   what putting the sum of the secrets together costs, from 3 to 1,000 participants
gpu        the lattice on a graphics card, beside one core; left out, with a line that says so, where there is none
memory     peak memory of a vector that passes chunk by chunk, up to 10^9 parameters
stream     a whole round over the wire with 10^9 parameters (--params), members and space in processes of their own;
           it wants up to 26 GiB of disk for a while, and runs only when it is named

Peers run in locked environments under ~/.cache/trustspace-bench (or --environments DIR), made when they are
missing; --no-peers leaves them out. Parts that are not run keep what FILE holds of them.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.aggregation import parts, stream
from benchmarks.common import FORMAT, Result, arguments, render, workspace
from benchmarks.peers.environments import CACHE

# The part ``table`` is the file's own content, the others stand under "further".
FIRST = "table"
PARTS: dict[str, Callable[[Path, argparse.Namespace], Result | None]] = {
    FIRST: parts.part_table, "growth": parts.part_growth, "members": parts.part_members,
    "rounds": parts.part_rounds, "recovery": parts.part_recovery, "gpu": parts.part_gpu,
    "memory": parts.part_memory, "stream": parts.part_stream,
}  # fmt: skip


def merged(file: Path | None, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content with these parts in place of its own."""
    before = json.loads(file.read_bytes()) if file is not None and file.exists() else {}
    further = before.pop("further", {}) | {name: part for name, part in parts.items() if name != FIRST}
    first = parts.get(FIRST, before) or {"format": FORMAT, "benchmark": "aggregation"}
    return first | {"further": {name: further[name] for name in PARTS if name in further}}


def main() -> None:
    """Run the benchmark, or parts of it."""
    parser = arguments("Protected sums.", turns=5)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="tiny: to see that it runs")
    parser.add_argument("--no-peers", action="store_true", help="leave other people's libraries out")
    parser.add_argument(
        "--environments",
        type=Path,
        default=CACHE,
        metavar="DIR",
        help="where the peers' environments are kept",
    )
    parser.add_argument("--params", type=int, default=stream.PARAMS, help="for --part stream")
    parser.add_argument("--sums", default="", help="for --part stream: lines of the job's [sums]")
    given = parser.parse_args()
    # Who is asked to stop takes its processes along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: dict[str, Any] = {}
    for part in given.part or [name for name in PARTS if name != "stream"]:
        with workspace(given.work) as work:
            measured = PARTS[part](work, given)
            if measured is None:
                continue
            found[part] = measured.to_json(work)
        print(render(found[part]), flush=True)
        if given.json is not None:
            # After every part: what was measured is kept, whatever the next one does.
            given.json.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps(merged(given.json, found), indent=1, ensure_ascii=False)
            given.json.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

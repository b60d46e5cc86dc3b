"""What every benchmark shares: taking turns, medians and spread, ratios, the machine, JSON and a table.

Machines are shared and noisy. So the things compared are run in turns within one process run, every ratio is
made of two measurements of the same turn, and what is reported is a median with the lowest and highest turn.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import trustspace

FORMAT = "trustspace-benchmark-v1"
LIBRARIES = ("cryptography", "grpcio", "numpy", "protobuf", "pyarrow", "pydantic")


@dataclass(frozen=True)
class Row:
    """One thing measured: median, lowest and highest of its turns, in ``unit``."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float]) -> Row:
        """From one value for each turn."""
        kept = tuple(_round(v) for v in values)
        return cls(name, unit, _round(statistics.median(values)), min(kept), max(kept), kept)


@dataclass(frozen=True)
class Ratio:
    """How many times ``of`` is ``to``, turn by turn."""

    of: str
    to: str
    median: float
    low: float
    high: float

    @classmethod
    def between(cls, name: str, over: str, measured: Mapping[str, Sequence[float]]) -> Ratio:
        """The ratio of two series of the same turns."""
        turns = [a / b for a, b in zip(measured[name], measured[over], strict=True)]
        return cls(name, over, _round(statistics.median(turns)), _round(min(turns)), _round(max(turns)))


@dataclass(frozen=True)
class Table:
    """Figures side by side, ready to be shown."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Result:
    """One benchmark's figures, the settings they were taken with, and what a reader must know."""

    benchmark: str
    settings: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic, repr=False)
    _load: float = field(default_factory=lambda: os.getloadavg()[0], repr=False)

    def to_json(self, work: Path) -> dict[str, Any]:
        """Everything, with the machine it was measured on."""
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "machine": machine(work),
            "load_before_and_after": [_round(self._load), _round(os.getloadavg()[0])],
            "seconds": round(time.monotonic() - self._started, 1),
            "settings": self.settings,
            "rows": [asdict(row) for row in self.rows],
            "ratios": [asdict(ratio) for ratio in self.ratios],
            "tables": [asdict(table) for table in self.tables],
            "facts": self.facts,
            "notes": self.notes,
        }


def take_turns(
    cases: Mapping[str, Callable[[], float]], turns: int, *, between: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Run every case once in each turn, each turn beginning with another one; returns each case's values.

    A case returns its own measurement. ``between`` is called, unmeasured, before every case.
    """
    names = list(cases)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            between()
            measured[name].append(cases[name]())
    return measured


def timed(action: Callable[[], object]) -> float:
    """Seconds of wall time that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def machine(work: Path) -> dict[str, Any]:
    """What the figures were taken on, without a name or a path."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {re.sub(r'[^0-9.].*', '', platform.release())}",
        "file_system": _file_system(work),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "trustspace": trustspace.__version__,
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    """The kind of file system that a path is on, by the longest mount point above it."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, mount, found, *_ = line.split()
            if Path(mount) in (path.resolve(), *path.resolve().parents) and len(mount) >= len(best):
                best, kind = mount, found
    return kind


class PeakMemory:
    """The largest resident memory of this process since it was last reset (proc(5), VmHWM)."""

    def reset(self) -> None:
        """Begin again from what is resident now; a kernel that refuses keeps the older peak."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def mib(self) -> float:
        """The peak, in MiB."""
        # Not getrusage: Linux carries its maximum over from the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return _round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def arguments(description: str, *, turns: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file as well")
    parser.add_argument(
        "--turns", type=int, default=turns, help=f"how often each thing is measured ({turns})"
    )
    parser.add_argument(
        "--work", type=Path, help="a directory on the disk to measure (default: the temporary one)"
    )
    return parser


@contextlib.contextmanager
def workspace(parent: Path | None) -> Iterator[Path]:
    """A directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="trustspace-bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def finish(result: Result, work: Path, file: Path | None) -> None:
    """Print the table and write the JSON."""
    content = result.to_json(work)
    print(render(content), flush=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def render(content: Mapping[str, Any]) -> str:
    """A result as Markdown: readable in a terminal and on a page."""
    where = content["machine"]
    before, after = content["load_before_and_after"]
    versions = ", ".join(f"{name} {version}" for name, version in where["libraries"].items())
    described = (
        f"{where['cores']} cores of {where['cpu']}, {where['memory_gib']} GiB, {where['kernel']}, "
        f"{where['file_system']}; {where['python']}, trustspace {where['trustspace']}, {versions}; "
        f"load {before} before and {after} after; {content['seconds']} s in all."
    )
    lines = [
        f"## {content['benchmark']}",
        "",
        described,
        "Settings: " + ", ".join(f"{name} {value}" for name, value in content["settings"].items()) + ".",
        "",
    ]  # fmt: skip
    for table in content.get("tables", ()):
        lines += [*_table(tuple(table["head"]), [tuple(row) for row in table["rows"]]), ""]
    rows = [
        (r["name"], _text(r["median"]), f"{_text(r['low'])} to {_text(r['high'])}", r["unit"])
        for r in content["rows"]
    ]
    lines += _table(("what", "median", "lowest to highest", "unit"), rows)
    if content["ratios"]:
        ratios = [
            (r["of"], r["to"], _text(r["median"]), f"{_text(r['low'])} to {_text(r['high'])}")
            for r in content["ratios"]
        ]
        lines += ["", *_table(("ratio of", "to", "median", "lowest to highest"), ratios)]
    lines += ["", *(f"- {name}: {_text(value)}" for name, value in content["facts"].items())]
    lines += ["", *(f"- {note}" for note in content["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(head), line(["-" * width for width in widths]), *(line(row) for row in rows)]


def _round(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

"""Run every benchmark, each in a process of its own.

python -m benchmarks [--into DIR]     measure; JSON goes into DIR (build/benchmarks)
                                      those on real data only where TRUSTSPACE_DATA says where it is
python -m benchmarks --tables DIR     write DIR/RESULTS.md from the JSON that lies there
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import render

NAMES = ("submit", "job", "ledger", "rounds", "aggregation", "sandbox")
# What these measure is how good models are, on data that is not in the repository.
ON_REAL_DATA = ("heart", "pneumonia")
# Run by themselves: where limits come from and what promises cost (no measurements of speed), the desk, which asks a
# browser, and the evidence, beside which tools are asked that are installed from elsewhere.
BY_ITSELF = ("calibration", "canaries", "private", "evidence", "desk")
HEAD = "# Results\n\nWritten from the JSON files beside it; what they mean stands in ../README.md.\n\n"


def tables(directory: Path) -> str:
    """All results of a directory as one page."""
    found = [directory / f"{name}.json" for name in NAMES + ON_REAL_DATA + BY_ITSELF]
    contents = [json.loads(file.read_bytes()) for file in found if file.exists()]
    return HEAD + "\n".join(render(part) for content in contents for part in parts(content))


def parts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """What one file holds: a result, or several that were measured apart."""
    if "parts" in content:
        return list(content["parts"].values())
    return [*([content] if "rows" in content else []), *content.get("further", {}).values()]


def main() -> int:
    """Run them all; returns the first exit status that is not 0."""
    parser = argparse.ArgumentParser(description="Run every benchmark, or write the page of results.")
    parser.add_argument("--into", type=Path, default=Path("build/benchmarks"), metavar="DIR")
    parser.add_argument("--tables", type=Path, metavar="DIR")
    given = parser.parse_args()
    if given.tables:
        (given.tables / "RESULTS.md").write_text(tables(given.tables), encoding="utf-8")
        return 0
    status = 0
    for name in NAMES + (ON_REAL_DATA if os.environ.get("TRUSTSPACE_DATA") else ()):
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(given.into / f"{name}.json")]
        status = status or subprocess.run(command, check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())

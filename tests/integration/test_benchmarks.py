"""Every benchmark runs, at a tiny size, and says what it measured. Nothing here looks at a time."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TINY = {
    "submit": ["--turns", "2", "--megabytes", "1.5", "--gigabytes", "0.003"],
    "ledger": ["--turns", "2", "--scale", "0.02", "--leaves", "50"],
    "job": ["--turns", "1", "--rows", "0", "--epochs", "2"],
    "rounds": ["--quick"],
    "aggregation": "--quick --no-peers --turns 2".split(),
    "desk": ["--turns", "2", "--outputs", "8"],
    "private": ["--turns", "1"],
    "sandbox": "--turns 1 --mebibytes 2 --rows 300 --epochs 1 --no-platform --backends namespaces".split(),
}
EXPECTED = {
    "submit": (
        "seal alone",
        "file copy with fsync",
        "gRPC, mutual TLS, to memory",
        "long stream, client's peak memory",
    ),
    "ledger": (
        "ledger append, one at a time",
        "inclusion proof verified",
        "review whole: prove, open, decide, release",
    ),
    "job": ("breast cancer, granted to first row", "breast cancer, bare PyTorch: start to end"),
    "rounds": (
        "platform, 2 members: overhead",
        "plain gRPC, mutual TLS, 2 members",
        "2 hospitals, over the wire",
        "1,000 parameters, in process",
        "2 hospitals, space memory",
    ),
    "aggregation": (
        "paillier-packed-3072 (gmpy2): encrypt, 1,016, 1 thread",
        "2 members, lattice-sum-s-v1: whole",
        "lattice L, one may be lost, one lost in reveal: overhead",
        "lattice-sum-l-v1, 1000 participants, all: combined",
    ),
    "desk": (
        "queue page: first 50",
        "client: the list alone",
        "one output's page",
        "decision: confirm, sign, receipt",
    ),
    "private": (
        "one holder, no promise, accuracy",
        "together, epsilon 1, AUC",
        "each alone, epsilon 3, accuracy",
    ),
    "sandbox": (
        "true: bubblewrap with a sandbox's options",
        "torch: namespaces, new",
        "hand-in: sealed memory into namespaces, warm",
        "training: bare process",
    ),
}


@pytest.fixture
def benchmarks(monkeypatch):
    """The package at the root of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.__main__
    import benchmarks.common

    return benchmarks


def parts(content):
    """A file's result, or those of its parts."""
    if "parts" in content:
        return list(content["parts"].values())
    return [*([content] if "rows" in content else []), *content.get("further", {}).values()]


def check_file(content, name):
    assert content["benchmark"] == name
    for part in parts(content):
        check_form(part, name)
    assert set(EXPECTED[name]) <= {row["name"] for part in parts(content) for row in part["rows"]}


def check_form(content, name):
    assert content["format"] == "trustspace-benchmark-v1"
    assert content["benchmark"].partition(",")[0] == name
    assert content["machine"]["cores"] >= 1
    assert set(content["machine"]) == {
        "cpu", "cores", "memory_gib", "kernel", "file_system", "python", "trustspace", "libraries",
    }  # fmt: skip
    rows = {row["name"]: row for row in content["rows"]}
    assert len(rows) == len(content["rows"]), "two rows have one name"
    for row in rows.values():
        assert row["unit"]
        assert all(math.isfinite(value) for value in row["values"])
        assert min(row["values"]) == row["low"] <= row["median"] <= row["high"] == max(row["values"])
    assert content["ratios"]
    for ratio in content["ratios"]:
        assert {ratio["of"], ratio["to"]} <= set(rows)
        # 0 where what is measured is too small to be seen, as the memory of a tiny model.
        assert 0 <= ratio["low"] <= ratio["median"] <= ratio["high"]


@pytest.mark.parametrize(
    "name",
    [
        "submit",
        "ledger",
        pytest.param("aggregation", marks=pytest.mark.slow),
        pytest.param("desk", marks=pytest.mark.slow),
        pytest.param("private", marks=pytest.mark.slow),
        pytest.param("job", marks=(pytest.mark.isolation, pytest.mark.slow)),
        *(pytest.param(n, marks=(pytest.mark.isolation, pytest.mark.slow)) for n in ("rounds", "sandbox")),
    ],
)
def test_it_runs_and_writes_what_it_measured(name, tmp_path):
    work, file = tmp_path / "work", tmp_path / "out" / "result.json"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--json", file, "--work", work, *TINY[name]],
        cwd=ROOT, capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    content = json.loads(text)
    check_file(content, name)
    for row in (row for part in parts(content) for row in part["rows"]):
        assert row["name"] in done.stdout
    assert str(tmp_path) not in text
    assert socket.gethostname() not in text
    assert list(work.iterdir()) == [], "something was left on the disk that was measured"


def test_what_is_committed_is_whole_and_its_page_is_fresh(benchmarks):
    for name in benchmarks.__main__.NAMES:
        check_file(json.loads((RESULTS / f"{name}.json").read_bytes()), name)
    page = (RESULTS / "RESULTS.md").read_text(encoding="utf-8")
    assert page == benchmarks.__main__.tables(RESULTS), (
        "run: python -m benchmarks --tables benchmarks/results"
    )


def test_turns_begin_with_another_case_each_time_and_ratios_stay_within_a_turn(benchmarks):
    common = benchmarks.common
    order = []

    def case(name, values):
        taken = iter(values)
        return lambda: order.append(name) or next(taken)

    cases = {"a": case("a", [1.0, 20.0, 3.0]), "b": case("b", [2.0, 5.0, 6.0])}
    measured = common.take_turns(cases, 3, between=lambda: order.append("-"))
    assert "".join(order) == "-a-b-b-a-a-b"
    assert measured == {"a": [1.0, 20.0, 3.0], "b": [2.0, 5.0, 6.0]}
    ratio = common.Ratio.between("a", "b", measured)
    # 1/2, 20/5, 3/6; the quotient of the medians would be 3/5.
    assert (ratio.low, ratio.median, ratio.high) == (0.5, 0.5, 4.0)
    row = common.Row.of("a", "s", measured["a"])
    assert (row.low, row.median, row.high) == (1.0, 3.0, 20.0)

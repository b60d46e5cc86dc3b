"""Six outputs and what the report says of each. Seeds are fixed; thresholds were calibrated on other data and seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.judged import played, report_of

from benchmarks.outputs import CASES, PATIENT, Output
from trustspace.evidence.report import Report

# Cheap enough for every run; the rest takes trainings.
QUICK = ("small cells", "differencing", "regularised")


def judged(output: Output, seed: int, folder: Path) -> Report:
    found = [
        played(file, [rows], folder, code=output.code, seed=seed, patient_column=PATIENT, **output.policy)
        for file, rows in zip(output.files, output.tables, strict=True)
    ]
    return report_of(found[-1])


def check(name: str, seed: int, folder: Path) -> None:
    output = CASES[name](seed)
    report = judged(output, seed, folder)
    asking = {c.name: c.status for c in report.checks if c.status not in ("passed", "not_applicable")}
    assert report.verdict == output.expected, (asking, report.headline.en)
    if output.decides and output.expected != "green":
        wanted = "failed" if output.expected == "red" else "warned"
        assert asking[output.decides] == wanted


@pytest.mark.parametrize("name", QUICK)
def test_an_output_is_told_for_what_it_is(name, tmp_path):
    check(name, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_on_other_seeds_too(name, seed, tmp_path):
    check(name, seed, tmp_path)


def test_the_table_alone_is_harmless(tmp_path):
    """The control of the differencing pair: what is red is the pair, not either table."""
    output = CASES["differencing"](1)
    for place in range(2):
        found = played(
            output.files[place], [output.tables[place]], tmp_path / str(place), patient_column=PATIENT
        )
        assert report_of(found).check("differencing").status == "passed"
        assert report_of(found).verdict != "red"

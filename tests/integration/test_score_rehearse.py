"""A rehearsal of a job that scores: made-up rows, a throwaway key, and the developer's own file of weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import scores
from support.enclaves import SimulatedLauncher, patients

from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.jobs.spec import load_job_file, read_code
from trustspace.jobs.weights import read_model
from trustspace.rehearsal.play import play
from trustspace.rehearsal.samples import gather, read_given

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "jobs" / "encrypted-score.toml"
JOB = """
[job]
title = "Risk"
purpose = "A study."
kind = "score"

[parties]
buyer = "City Clinic"
"""
USE = """
[[datasets]]
id = "cytology"
version = 1
columns = [{columns}]
source_unit = "{unit}"
"""
SCORE = """
[score]
model = "linear"
weights = "weights.json"
features = { size = [5, 20] }
group = "diagnosis"
groups = ["B", "M"]
"""


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    scores.small_keys(monkeypatch)
    generate = PrivateKey.generate.__func__
    monkeypatch.setattr(PrivateKey, "generate", classmethod(lambda cls: generate(cls, 1024)))
    launcher = SimulatedLauncher()

    def call(units=("north", "south"), text=SCORE, columns='"size", "diagnosis"'):
        path = tmp_path / "job.toml"
        path.write_text(
            JOB + "".join(USE.format(unit=u, columns=columns) for u in units) + text, encoding="utf-8"
        )
        (tmp_path / "weights.json").write_text('{"weights": {"size": 2}}', encoding="utf-8")
        given = {}
        for number, unit in enumerate(units):
            given[f"{unit}/cytology"] = tmp_path / f"{unit}.parquet"
            pq.write_table(patients(60, seed=number), given[f"{unit}/cytology"])
        file = load_job_file(path)
        parameters = file.parameters()
        model = read_model(path, file.score.weights, parameters).integers
        return play(
            file,
            read_code(file, path),
            gather(None, parameters, read_given(parameters, given)),
            launcher,
            tmp_path,
            model,
        )

    yield call
    launcher.close()


def test_every_source_unit_gets_scores_of_its_own(rehearse):
    found = rehearse()
    assert found.causes == ()
    for number, part in enumerate(found.parts, 1):
        assert [used.program for used in part.used] == ["score"]
        report = part.report
        assert {c.status for c in report.checks} == {"passed", "warned", "not_applicable"}
        assert list(report.check("declared_vs_observed").facts["observed"]) == [f"{number}.scores.json"]
        assert report.check("small_cells").facts["encrypted_sums"] == 2


def test_masks_of_rows_are_no_files_that_reviewers_judge(rehearse):
    text = SCORE.replace('group = "diagnosis"\ngroups = ["B", "M"]', 'result = "rows"')
    found = rehearse(("north",), text, columns='"size"')
    (part,) = found.parts
    assert list(part.report.check("declared_vs_observed").facts["observed"]) == ["scores.json"]
    assert part.report.check("small_cells").status == "passed"


@pytest.mark.isolation
@pytest.mark.slow
def test_the_example_as_a_developer_rehearses_it(tmp_path):
    """In a real sandbox, with a key of full size, without gmpy2."""
    columns = load_job_file(EXAMPLE).parameters().features
    draw = np.random.default_rng(1)
    rows = {name: draw.random(80) * 100 for name in columns if name != "diagnosis"}
    pq.write_table(pa.table({**rows, "diagnosis": ["B", "M"] * 40}), tmp_path / "mock.parquet")
    environment = {k: v for k, v in os.environ.items() if k != "TRUSTSPACE_HOME"} | {"TMPDIR": str(tmp_path)}
    command = ["job", "rehearse", str(EXAMPLE), "--mock", f"breast-cancer={tmp_path / 'mock.parquet'}"]
    done = subprocess.run(
        [sys.executable, "-m", "trustspace", "--json", *command], capture_output=True, text=True, timeout=240,
        check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (unit,) = json.loads(done.stdout)["source_units"]
    assert [used["status"] for used in unit["used"]] == ["finished"]

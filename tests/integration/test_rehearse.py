"""A rehearsal plays a job with the real parts on made-up rows; it foretells what an enclave and reviewers would say."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.enclaves import SimulatedLauncher, patients

from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.data.description import ColumnDescription, DatasetDescription
from trustspace.data.mock import mock_sample
from trustspace.domain.bodies import SMALL_SUMS
from trustspace.jobs.spec import load_job_file, read_code
from trustspace.rehearsal.play import play
from trustspace.rehearsal.samples import gather, read_given
from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.doctor import probe
from trustspace.sandbox.launcher import Launcher

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "jobs"
HEAD = """
[job]
title = "Malignancy over several hospitals"
purpose = "A second opinion."
kind = "{kind}"

[parties]
buyer = "City Clinic"
"""
USE = """
[[datasets]]
id = "cytology"
version = 1
columns = {columns}
source_unit = "{unit}"
"""
TRAIN = """
[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 1
learning_rate = 0.05
"""
FEDERATED = """
[federated]
rounds = 2
weight_cap = 1000
wait_seconds = 5
"""
STATISTICS = """
[statistics]
numeric = ["size"]
tables = [["diagnosis"]]
categories = { diagnosis = ["B", "M"] }
"""
COMPUTE = """
[code]
path = "code"

[compute]
outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }]
"""
CODE = """
def run(inputs, outputs):
    table = inputs.table()
    print("looked at", table.num_rows, "rows")
    outputs.json("summary.json", {"rows": table.num_rows})
"""
MODEL = """
import torch

def build(parameters):
    return torch.nn.Linear(parameters["input_shape"][0], parameters["outputs"])
"""
UNITS = ("north", "south", "west")
NUMBERS, ALL = '["size", "texture"]', '["size", "diagnosis"]'


class Measured(SimulatedLauncher):
    """Says how much memory everything took, as a real launcher does."""

    def _result(self, *arguments):
        result = super()._result(*arguments)
        result.peak_bytes = 123 << 20
        return result


def job(folder, kind, sections, units=UNITS, columns=NUMBERS, code=CODE, file="main.py"):
    """A job file over these units' datasets, and its code beside it."""
    text = HEAD.format(kind=kind) + "".join(USE.format(unit=u, columns=columns) for u in units) + sections
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / file).write_text(code, encoding="utf-8")
    (folder / "job.toml").write_text(text, encoding="utf-8")
    return folder / "job.toml"


def tables(folder, units=UNITS, rows=120):
    """Mock samples as files, by the datasets' names."""
    given = {}
    for number, unit in enumerate(units):
        path = folder / f"{unit}.parquet"
        pq.write_table(patients(rows, seed=number), path)
        given[f"{unit}/cytology"] = path
    return given


def rehearse(folder, path, given, launcher=None):
    file = load_job_file(path)
    samples = gather(None, file.parameters(), read_given(file.parameters(), given))
    launcher = launcher or Measured()
    try:
        return play(file, read_code(file, path), samples, launcher, folder)
    finally:
        launcher.close()


def statuses(part):
    return {check.name: check.status for check in part.report.checks}


def test_a_joint_training_is_played_by_all_its_members(tmp_path):
    path = job(tmp_path, "train", TRAIN + FEDERATED)
    found = rehearse(tmp_path, path, tables(tmp_path))
    assert found.causes == ()
    assert [part.sample.name for part in found.parts] == list(UNITS)
    for part in found.parts:
        assert part.could_withhold
        assert statuses(part)["sums"] == statuses(part)["declared_vs_observed"] == "passed"
        # Round 0, two rounds, and the withheld patients' metrics.
        facts = part.report.check("sums").facts
        assert (facts["rounds"], facts["smallest"], facts["source_units"]) == (4, 3, 3)
        assert part.report.check("withheld_metrics").facts["withheld_patients"] >= 10
        assert [(used.program, used.status, used.peak_bytes) for used in part.used] == [
            ("train_rounds", "finished", 123 << 20), ("evaluate", "finished", 123 << 20),
            *[("references", "finished", 123 << 20)] * (len(part.used) - 2),
        ]  # fmt: skip
        assert part.report.check("reexecution").status == "passed", "one round was computed twice"
        assert len(part.used) in (3, 4), "a second look where the first left a doubt"


def test_joint_statistics(tmp_path):
    path = job(tmp_path, "statistics", STATISTICS, columns=ALL)
    found = rehearse(tmp_path, path, tables(tmp_path))
    assert found.causes == ()
    for part in found.parts:
        assert statuses(part)["sums"] == statuses(part)["small_cells"] == "passed"
        # A file that could hold a tenth of so few rows: one of the things that a mock sample cannot foretell.
        assert [name for name, status in statuses(part).items() if status == "warned"] == ["sizes"]


@pytest.mark.parametrize("units", [("north",), UNITS])
def test_own_code_runs_in_each_domain_by_itself(tmp_path, units):
    path = job(tmp_path, "compute", COMPUTE, units=units)
    found = rehearse(tmp_path, path, tables(tmp_path, units))
    assert found.causes == ()
    assert len(found.parts) == len(units)
    for part in found.parts:
        assert part.report.verdict == "amber"
        assert statuses(part)["custom_code"] == "warned"
        assert b"looked at 120 rows" in part.used[0].log


def test_a_single_training(tmp_path):
    path = job(tmp_path, "train", TRAIN, units=("north",))
    (part,) = rehearse(tmp_path, path, tables(tmp_path, ("north",))).parts
    assert statuses(part)["sums"] == "passed"
    assert [used.program for used in part.used][:4] == ["train", "evaluate", "train", "references"]


@pytest.mark.parametrize("sections", [TRAIN, TRAIN + FEDERATED + "validation_percent = 10\n"])
def test_a_mock_of_few_rows_trains_but_withholds_nobody(tmp_path, sections):
    units = UNITS if "federated" in sections else UNITS[:1]
    path = job(tmp_path, "train", sections, units=units)
    given = tables(tmp_path, units)
    few = pa.table({"size": [9.0, 12.0], "texture": [1.0, 1.5], "diagnosis": ["B", "M"]})
    for file in given.values():
        pq.write_table(few, file)
    found = rehearse(tmp_path, path, given)
    assert found.causes == ()
    for part in found.parts:
        assert not part.could_withhold
        assert statuses(part)["withheld_metrics"] == "could_not_run"


def test_the_first_failure_is_told_and_ends_it_for_all(tmp_path):
    path = job(tmp_path, "train", TRAIN + FEDERATED)
    given = tables(tmp_path)
    table = patients(120).drop_columns(["size"]).append_column("size", pa.array(["big"] * 120))
    pq.write_table(table, given["south/cytology"])
    found = rehearse(tmp_path, path, given)
    (cause,) = found.causes
    assert cause.sample.name == "south"
    assert cause.failure.reason == "job-failed"
    assert "size" in cause.failure.log
    others = [part for part in found.parts if part is not cause]
    assert {part.failure.reason for part in others} <= {"stopped", "members"}


def test_what_is_too_large_fails_as_it_would_in_an_enclave(tmp_path):
    code = CODE.replace('"rows": table.num_rows', '"rows": "x" * 5000')
    path = job(tmp_path, "compute", COMPUTE, units=("north",), code=code)
    (part,) = rehearse(tmp_path, path, tables(tmp_path, ("north",))).parts
    assert part.report is None
    assert part.failure.reason == "job-failed"
    assert "summary.json" in part.failure.log


def test_a_custom_model_over_several_hospitals(tmp_path):
    sections = TRAIN.replace("logistic_regression", "custom") + "max_parameters = 100\n" + FEDERATED
    sections += '\n[code]\npath = "code"\n'
    path = job(tmp_path, "train", sections, code=MODEL, file="model.py")
    found = rehearse(tmp_path, path, tables(tmp_path))
    assert found.causes == (), found.causes[0].failure.log
    assert {statuses(part)["custom_code"] for part in found.parts} == {"warned"}


def heart(rows):
    """A mock sample as a source unit would publish it: from a description alone."""
    number = {"kind": "number", "low": "0", "high": "300"}
    columns = (
        {"name": "age", "kind": "integer", "low": "20", "high": "90"},
        {"name": "sex", "kind": "category", "categories": ("female", "male")},
        {"name": "chest pain", "kind": "category", "categories": ("typical", "none", "other")},
        *({"name": n, **number} for n in ("resting pressure", "cholesterol", "largest heart rate", "st depression")),
        {"name": "diseased", "kind": "category", "categories": ("yes", "no")},
    )  # fmt: skip
    described = tuple(ColumnDescription(**column) for column in columns)
    return mock_sample(
        DatasetDescription(title="Heart", rows_bucket=0, columns=described), rows, seed=b"heart"
    )


@pytest.mark.parametrize("name", ["joint-training", "joint-statistics"])
def test_the_joint_examples_play(tmp_path, name):
    path = EXAMPLES / f"{name}.toml"
    given = {}
    for unit in ("north-hospital", "south-hospital", "west-hospital"):
        given[f"{unit}/heart"] = tmp_path / f"{unit}.parquet"
        pq.write_table(heart(100), given[f"{unit}/heart"])
    found = rehearse(tmp_path, path, given)
    assert found.causes == ()
    assert {statuses(part)["sums"] for part in found.parts} == {"passed"}


# -- the command line, without a space


@pytest.fixture
def simulated(monkeypatch):
    """Sandboxes in this process, where what is under test is not isolation."""
    monkeypatch.setattr(Launcher, "start", lambda *_a, **_k: contextlib.closing(Measured()))


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """``job rehearse`` without a home; gives exit code, standard output and standard error."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(path, given, *before):
        mocks = [part for name, file in given.items() for part in ("--mock", f"{name}={file}")]
        capsys.readouterr()
        code = run(["--home", str(tmp_path / "nowhere"), *before, "job", "rehearse", str(path), *mocks])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    i18n.use("en")


def test_people_are_told_what_holds_and_what_does_not(tmp_path, command, simulated):
    path = job(tmp_path, "train", TRAIN + FEDERATED + "\n[terms]\nminimum_participants = 2\n")
    given = tables(tmp_path)
    code, out, err = command(path, given)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("MADE-UP DATA: no number below")
    assert lines[-1].startswith("MADE-UP DATA: no number above")
    assert "All 3 source units are played on this machine" in out
    assert "What the reviewers of west would see: cytology, version 1" in out
    assert "Only sums of several were opened [passed]" in out
    assert "123.0 MiB of 2048 MiB (6 %)" in out
    assert f"Each grant must accept sums of two, in these words: “{SMALL_SUMS}”." in out
    assert "Nothing that a rehearsal can find." in out
    code, out, _ = command(path, given, "--lang", "zh")
    assert code == 0
    assert out.count("虚构数据：") == 2
    assert "只打开多家之和 [通过]" in out


def test_programs_get_one_document(tmp_path, command, simulated):
    path = job(tmp_path, "statistics", STATISTICS, columns=ALL)
    code, out, err = command(path, tables(tmp_path), "--json")
    found = json.loads(out)
    assert (code, err, found["refusals"], found["data"]) == (0, "", [], "made-up")
    assert found["not_foretold"] == [
        "sizes",
        "platform",
        "buyer_history",
        "differencing",
        "small_cells",
        "dominance",
    ]
    (unit, *_) = found["source_units"]
    assert (unit["name"], unit["mock_rows"], unit["policy_is_published"]) == ("north", 120, False)
    assert [entry["name"] for entry in unit["files"]] == ["statistics.json"]
    assert unit["files"][0]["bytes"] <= unit["files"][0]["max_bytes"]
    assert unit["used"][0]["peak_bytes"] == 123 << 20


def test_a_mock_of_few_rows_is_named_as_that(tmp_path, command, simulated):
    path = job(tmp_path, "train", TRAIN, units=("north",))
    code, out, _ = command(path, tables(tmp_path, ("north",), rows=6))
    assert code == 0
    assert "The sample has too few rows to withhold any patients" in out


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (('"texture"]', '"colour"]'), 2, "colour"),
        (("def run(", "def start("), 2, "run()"),
        (("outputs.json(", "outputs.nothing("), 2, "The run at north failed."),
        (('evidence_kind = "software"', 'evidence_kind = "snp"'), 9, "snp"),
    ],
)  # fmt: skip
def test_what_would_be_refused_ends_with_its_code(tmp_path, command, simulated, change, code, said):
    sections = COMPUTE + '\n[terms]\nevidence_kind = "software"\n'
    path = job(tmp_path, "compute", sections.replace(*change), units=("north",), code=CODE.replace(*change),
               columns=NUMBERS.replace(*change))  # fmt: skip
    found, out, err = command(path, tables(tmp_path, ("north",)))
    assert found == code
    assert said in out + err


def test_more_than_the_limits_allow(tmp_path, command, monkeypatch):
    class Short(Measured):
        def _result(self, *arguments):
            result = super()._result(*arguments)
            result.close()
            result.status, result.reason = "timed_out", "wall-clock"
            return result

    monkeypatch.setattr(Launcher, "start", lambda *_a, **_k: contextlib.closing(Short()))
    path = job(tmp_path, "compute", COMPUTE)
    code, out, _ = command(path, tables(tmp_path))
    assert code == 11
    assert out.count("needs more than its limits") == 3
    assert "took too long" in out
    assert "It ended with" not in out


def test_a_policy_that_refuses_code_is_foretold(tmp_path, command, simulated, monkeypatch):
    refusing = DEFAULT_POLICY.model_copy(update={"custom_code": "refuse"})
    monkeypatch.setattr("trustspace.rehearsal.samples.DEFAULT_POLICY", refusing)
    code, out, _ = command(job(tmp_path, "compute", COMPUTE, units=("north",)), tables(tmp_path, ("north",)))
    assert code == 9
    assert "The policy of north refuses jobs with the developer's own code." in out


BLIND = COMPUTE.replace('path = "code"', 'path = "code"\nblind = true\nhost_can_read = true')


def test_blind_code_is_played_from_its_plaintext_and_judged_as_blind(tmp_path, command, simulated):
    code, out, err = command(job(tmp_path, "compute", BLIND), tables(tmp_path))
    assert code == 0, out + err
    (part, *_) = rehearse(tmp_path, tmp_path / "job.toml", tables(tmp_path)).parts
    assert b"looked at 120 rows" in part.used[0].log
    assert part.report.check("custom_code").facts["blind"] == "yes"
    assert statuses(part)["custom_code"] == "warned"


def test_blind_code_without_the_words_is_foretold(tmp_path, command, simulated):
    silent = BLIND.replace("host_can_read = true", "")
    code, out, _ = command(job(tmp_path, "compute", silent), tables(tmp_path))
    assert code == 9
    assert "could read it" in out
    assert "host_can_read = true" in out


@pytest.mark.parametrize(
    ("mocks", "code", "said"),
    [
        ({"elsewhere/cytology": "x"}, 6, "names no dataset"),
        ({"cytology": "x"}, 2, "Several source units"),
        ({"north/cytology": "nothing.parquet"}, 6, "nothing.parquet"),
        ({"north/cytology": "job.toml"}, 2, "Parquet"),
        ({"": "x"}, 2, "--mock"),
        ({}, 6, "party"),
    ],
)  # fmt: skip
def test_wrong_mocks_are_told(tmp_path, command, simulated, monkeypatch, mocks, code, said):
    monkeypatch.chdir(tmp_path)
    found, out, err = command(job(tmp_path, "train", TRAIN + FEDERATED), mocks)
    assert (found, out) == (code, "")
    assert said in err


@pytest.mark.isolation
@pytest.mark.slow
def test_with_sandboxes_that_have_no_namespaces(tmp_path):
    """Sessions of a joint training and the evaluation after it, walled in by Landlock and a filter alone."""
    config = SandboxConfig(backend="landlock")
    report = probe(config)
    if report.tier is None:
        pytest.skip(f"this host has no Landlock: {report.reasons('en')}")
    path = job(tmp_path, "train", TRAIN + FEDERATED, units=UNITS[:2])
    with Launcher.start(config, allow_threads=True) as launcher:
        found = rehearse(tmp_path, path, tables(tmp_path, UNITS[:2], rows=60), launcher)
    assert {used.status for part in found.parts for used in part.used} == {"finished"}
    assert [part.used[0].program for part in found.parts] == ["train_rounds"] * 2


@pytest.mark.isolation
def test_with_real_sandboxes(tmp_path):
    """As a developer runs it: one process, one sandbox for each member, and nothing left behind."""
    path = job(tmp_path, "train", TRAIN + FEDERATED, units=UNITS[:2])
    given = tables(tmp_path, UNITS[:2], rows=60)
    mocks = [part for name, file in given.items() for part in ("--mock", f"{name}={file}")]
    environment = {k: v for k, v in os.environ.items() if k != "TRUSTSPACE_HOME"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "trustspace", "--json", "job", "rehearse", str(path), *mocks],
        capture_output=True, text=True, timeout=240, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    for unit in found["source_units"]:
        assert {used["status"] for used in unit["used"]} == {"finished"}
        assert [used["program"] for used in unit["used"]][:3] == ["train_rounds", "evaluate", "references"]
        checks = {check["name"]: check for check in unit["report"]["checks"]}
        assert checks["sums"]["facts"]["smallest"] == 2
        assert checks["platform"]["facts"]["sandbox_tier"].startswith("namespaces")
    assert not list(tmp_path.glob("trustspace-rehearsal-*"))

"""Canaries from end to end: agreed to in the signed job, shown before a grant, drawn in the enclave, told to reviewers."""

import json

import pyarrow.parquet as pq
import pytest
from support.enclaves import TRAIN, SimulatedLauncher, patients
from support.story import Story
from support.visitor import Visitor, plain
from test_rehearse import FEDERATED, UNITS, job, rehearse, tables
from test_rehearse import TRAIN as JOINT

from trustspace.cli import i18n
from trustspace.cli.i18n import catalogue
from trustspace.cli.main import run
from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.launcher import Launcher

AGREED = "\n[terms]\nwithheld_percent = 20\ncanaries = 50\n"


@pytest.fixture
def story():
    story = Story(table=patients(300))
    yield story
    story.close()


def cli(capsys, home, *arguments):
    capsys.readouterr()
    code = run(["--home", str(home.path), *arguments])
    return code, " ".join(capsys.readouterr().out.split())


def test_who_grants_is_told_of_them_in_words(story, capsys):
    story.ask(TRAIN + AGREED, "")
    assert story.record.body.parameters["terms"]["canaries"] == 50
    code, out = cli(capsys, story.hospital, "job", "show", story.job)
    assert code == 0
    assert "50 % get another label than their own, on purpose" in out
    code, out = cli(capsys, story.hospital, "--lang", "zh", "job", "show", story.job)
    i18n.use("en")
    assert "会被有意更改标签" in out.replace(" ", "")
    visitor = Visitor(story.hospital, "Dr Li", chinese=catalogue()).enter()
    assert "50 % get another label than their own" in plain(visitor.get(f"/request/{story.job}"))
    assert "有 50% 会被有意更改标签" in plain(visitor.get(f"/request/{story.job}", lang="zh"))
    # The control: a job that agrees to none is shown without a word of it.
    story.ask(TRAIN, "")
    assert "on purpose" not in cli(capsys, story.hospital, "job", "show", story.job)[1]
    assert "on purpose" not in plain(visitor.get(f"/request/{story.job}"))


@pytest.mark.slow
def test_an_enclave_draws_them_and_its_reviewers_read_what_they_give_away(story):
    # By two people: whatever the coins make of so few patients, they can release it.
    story.until_review(text=TRAIN + AGREED, code="", reviewers=("Dr Li", "Dr Wang"), threshold=2)
    report = story.case().report
    # Which status follows is for fixed keys to show (tests/unit/evidence/test_evidence_canaries.py).
    check = report.check("canaries")
    # 300 patients, of whom 120 are audited.
    assert check.facts["patients_in"] + check.facts["patients_out"] == 60
    assert report.check("reexecution").status == "passed"
    shown = report.check("withheld_metrics").facts
    assert shown["withheld"]["rows"] == shown["withheld_patients"]
    trained = report.check("sizes").facts["patients"]
    assert trained + shown["withheld_patients"] + check.facts["patients_out"] == 300
    assert shown["training"]["rows"] == trained - check.facts["patients_in"]
    story.approve()
    delivered, _ = story.fetch()
    files = {file.name: file.content for file in delivered}
    # What training says of itself is of all that it trained on: it does not know who is a canary.
    assert json.loads(files["metrics.json"])["rows"] == trained


@pytest.mark.slow
def test_every_member_of_a_joint_training_draws_its_own(tmp_path):
    path = job(tmp_path, "train", JOINT + FEDERATED + AGREED)
    given = tables(tmp_path, rows=200)
    # The same rows everywhere: what differs is which of them each enclave drew.
    for file in given.values():
        pq.write_table(patients(200, seed=1), file)
    seen = SimulatedLauncher()
    found = rehearse(tmp_path, path, given, seen)
    assert found.causes == ()
    withheld = 0
    for part in found.parts:
        facts = part.report.check("canaries").facts
        assert facts["patients_in"] + facts["patients_out"] == 40
        judged = part.report.check("withheld_metrics").facts
        assert judged["withheld"]["rows"] == judged["withheld_patients"]
        withheld += judged["withheld_patients"]
    drawn = [sorted(given["canaries"]["size"].to_pylist()) for name, given in seen.seen if name == "evaluate"]
    assert len(drawn) == len(UNITS)
    assert drawn[0] != drawn[1] != drawn[2]
    # Of what the members' sums measure the joint model on, no row is a canary's.
    rows = [given["data"].num_rows for name, given in seen.seen if name == "evaluate"]
    assert sum(rows) == withheld


@pytest.mark.isolation
@pytest.mark.slow
def test_in_a_real_sandbox(tmp_path):
    path = job(tmp_path, "train", JOINT + AGREED, units=UNITS[:1])
    with Launcher.start(SandboxConfig(), allow_threads=True) as launcher:
        (part,) = rehearse(tmp_path, path, tables(tmp_path, UNITS[:1], rows=200), launcher).parts
    assert {used.status for used in part.used} == {"finished"}
    assert part.report.check("reexecution").status == "passed"
    facts = part.report.check("canaries").facts
    assert facts["patients_in"] + facts["patients_out"] == 40

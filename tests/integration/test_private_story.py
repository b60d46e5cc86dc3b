"""Training with differential privacy from end to end: claimed, granted, counted, trained, judged and spent."""

import json

import numpy as np
import pytest
from support.scores import ranges
from support.story import PEOPLE, Story

from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client import budgets, jobs
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.domain import budget
from trustspace.errors import BudgetExhausted, PolicyRefused, VerificationFailed
from trustspace.jobs.tensors import read_tensors

JOB = """
[job]
title = "Size"
purpose = "A study."
kind = "train"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "cytology"
version = 1
columns = ["size", "texture"]

[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 3
batch_size = 30

[privacy]
epsilon = {epsilon}
delta = 0.001

[privacy.ranges]
{ranges}
"""
POLICY = DEFAULT_POLICY.model_copy(update={"privacy_millis": 4000})


def text(story, epsilon="3", **changed):
    shown = {name: both for name, both in ranges(story).items() if name in ("size", "texture")} | changed
    return JOB.format(epsilon=epsilon, ranges="\n".join(f"{name} = [{both}]" for name, both in shown.items()))


@pytest.fixture
def story():
    story = Story(policy=POLICY)
    yield story
    story.close()


def cli(capsys, home, *arguments):
    capsys.readouterr()
    code = run(["--home", str(home.path), *arguments])
    return code, capsys.readouterr().out


@pytest.mark.slow
def test_a_private_model_reaches_its_reviewer_and_its_buyer(story):
    # Who is withheld is drawn by a secret key: of so few patients two approve, who may also if chance makes it red.
    story.until_review(text=text(story), code="", reviewers=PEOPLE, threshold=2)
    report = story.case().report
    check = report.check("differential_privacy")
    assert check.status == "passed"
    assert check.facts["epsilon_accounted"] <= "3.000000"
    assert check.facts["patients"] == report.check("sizes").facts["patients"]
    assert report.check("reexecution").status == "passed"
    assert report.check("custom_code").status == "passed"
    story.approve()
    delivered, _ = story.fetch()
    files = {file.name: file.content for file in delivered}
    value = json.loads(files["metrics.json"])
    assert value["epsilon"] == "3"
    low, high = (float(end.strip(' "')) for end in ranges(story)["size"].split(","))
    assert read_tensors(files["model.safetensors"])["input.mean"][0] == np.float32((low + high) / 2)
    assert budgets.privacy_spent(story.hospital, "cytology") == {story.developer.fingerprint: 3000}
    # Another one does not fit, whatever the space shows.
    story.ask(text(story), "")
    with pytest.raises(BudgetExhausted, match=r"epsilon 4 on dataset cytology: 3 is spent"):
        story.grant()


def test_what_cannot_be_kept_or_paid_is_not_granted(story, capsys):
    story.ask(text(story, size="0, 21.5"), "")
    with pytest.raises(VerificationFailed, match="not what the dataset's description shows") as failed:
        story.grant()
    assert failed.value.details["field"] == "privacy.ranges"
    story.ask(text(story), "")
    with pytest.raises(PolicyRefused, match=r"epsilon 3, and the grant allows 2\.5"):
        story.grant(privacy_millis=2500)
    with pytest.raises(BudgetExhausted, match="this job could spend 6"):
        story.grant(runs=2)
    for given in ("-1", "much", "nan", "1e9"):
        code, _ = cli(capsys, story.hospital, "job", "grant", story.job, "--yes", f"--privacy={given}")
        assert code == 2
    story.grant(privacy_millis=3500)


@pytest.mark.slow
def test_the_broker_counts_for_itself(story, monkeypatch):
    """A space that hides what was spent, and a client that did not look, get no second key."""
    story.ask(text(story), "")
    story.grant()
    story.offer()
    assert story.release_key() == 1
    monkeypatch.setattr(budget, "require", lambda *_: None)
    monkeypatch.setattr(budgets, "require", lambda *_: None)
    first = story.job
    story.ask(text(story), "")
    story.grant()
    story.offer()
    story.release_key()
    assert story.state == "refused"
    assert budgets.privacy_spent(story.hospital, "cytology") == {story.developer.fingerprint: 3000}
    # The control: without the count the same job is given the key.
    monkeypatch.setattr(budgets, "count", lambda *_: None)
    story.ask(text(story), "")
    story.grant()
    story.offer()
    assert story.release_key() == 1
    assert first != story.job


def test_everybody_concerned_is_told(story, capsys):
    story.ask(text(story), "")
    _, out = cli(capsys, story.hospital, "job", "show", story.job)
    for said in (
        "This job may spend epsilon 3.",
        "epsilon 0 of 4 is spent, by the jobs of all developers",
        "Noise is added",
    ):
        assert said in " ".join(out.split())
    code, out = cli(
        capsys, story.hospital, "--lang", "zh", "job", "grant", story.job, "--yes", "--privacy", "3.5"
    )
    assert code == 0
    for said in ("该任务最多花费epsilon3。", "已花费epsilon0，上限4", "预算中的epsilon3.5", "加入噪声"):
        assert said in "".join(out.split())
    i18n.use("en")
    assert jobs.request(story.hospital, story.job).job.grants
    story.offer()
    story.release_key()
    _, out = cli(capsys, story.hospital, "--json", "dataset", "show", "cytology")
    quiet = next(v for v in json.loads(out).values() if isinstance(v, dict) and "privacy_spent" in v)
    assert (quiet["privacy_limit_millis"], quiet["privacy_spent"][0]["millis"]) == (4000, 3000)
    _, out = cli(capsys, story.hospital, "dataset", "show", "cytology")
    assert "Together 3 of 4." in out
    # The developer sees its own, and no more.
    _, out = cli(capsys, story.developer, "--json", "job", "show", story.job)
    shown = json.loads(out)["quiet"]["privacy"]
    assert (shown["millis"], shown["budgets"][0]["spent_millis"], shown["budgets"][0]["counted"]) == (
        3000,
        3000,
        False,
    )

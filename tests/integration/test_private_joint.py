"""Differential privacy over several hospitals, end to end: granted and paid by each, trained together, judged alone."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from support.enclaves import until
from support.hospitals import MANY_JOBS, Joint
from support.world import World

from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client import budgets, jobs, releases, review
from trustspace.client.datasets import resolve
from trustspace.errors import BudgetExhausted, PolicyRefused, VerificationFailed
from trustspace.jobs.tensors import read_tensors

# What Opacus does on purpose: no input has a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
POLICY = MANY_JOBS.model_copy(update={"privacy_millis": 8000, "reexecution": "demand"})
JOB = """
[job]
title = "Malignancy over several hospitals, privately"
purpose = "A second opinion."
kind = "train"

[parties]
buyer = "City Clinic"

[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 1
batch_size = 20
learning_rate = 0.05

[federated]
rounds = 3
local_steps = 2
wait_seconds = 60
{more}

[privacy]
epsilon = {epsilon}
delta = 0.001

[privacy.ranges]
{ranges}

[terms]
minimum_participants = {{minimum}}
"""
PATIENCE = 120


@pytest.fixture
def joint():
    """Three hospitals whose brokers and enclaves attend by themselves."""
    world = World()
    made = Joint(world, policy=POLICY)
    try:
        made.attend()
        yield made
    finally:
        i18n.use("en")
        made.close()
        world.close()


def shown(joint, hospital):
    """The ranges that a hospital's description shows."""
    columns = resolve(joint.developer, f"{hospital.name}/cytology", 1).body.description["columns"]
    return {c["name"]: (c["low"], c["high"]) for c in columns if c["name"] in ("size", "texture")}


def text(joint, epsilon="3", more="", **changed):
    each = [shown(joint, hospital) for hospital in joint.hospitals]
    around = {
        name: (min((one[name][0] for one in each), key=Decimal), max((one[name][1] for one in each), key=Decimal))
        for name in ("size", "texture")
    } | changed  # fmt: skip
    lines = "\n".join(f'{name} = ["{low}", "{high}"]' for name, (low, high) in around.items())
    return JOB.format(epsilon=epsilon, more=more, ranges=lines)


def told(joint):
    return [[f"{f.reason}: {f.log}" for f in h.enclave.failures()] for h in joint.hospitals]


def secrets_of(hospital):
    """The secrets of the noise that a hospital's rounds were trained with, run by run."""
    return [bytes(given["noise"]) for program, given in hospital.launcher.seen if program == "train_rounds"]


@pytest.mark.slow
def test_three_hospitals_train_privately_and_each_pays_and_judges_for_itself(joint, capsys):
    joint.ask(text(joint))
    assert joint.until("in-review", "failed").state == "in-review", told(joint)
    for hospital in joint.hospitals:
        report = review.open_case(hospital.home, joint.job, hospital.reviewer).report
        check = report.check("differential_privacy")
        assert check.status == "passed", check
        assert (check.facts["steps"], check.facts["epsilon_claimed"]) == (6, "3.000000")
        assert "2.9" < check.facts["epsilon_accounted"] <= "3.000000"
        assert check.facts["patients"] == report.check("sizes").facts["patients"]
        # One of its rounds was trained again, with the same noise.
        assert report.check("reexecution").status == "passed"
        assert budgets.privacy_spent(hospital.home, "cytology") == {joint.developer.fingerprint: 3000}
    assert len({secret for h in joint.hospitals for secret in secrets_of(h)}) == 3
    assert joint.approve() == "released"
    files = {d.name: d.content for d in releases.fetch(joint.buyer, joint.job)[0]}
    assert json.loads(files["metrics.json"]) == {
        "format": "trustspace-private-federated-v1", "model": "logistic_regression", "strategy": "fedavg", "rounds": 3,
        "steps_per_round": 2, "batch_size": 20, "participants_per_round": [3, 3, 3], "max_gradient_norm": "1",
        "delta": "0.001", "epsilon": "3",
    }  # fmt: skip
    each = [shown(joint, hospital)["size"] for hospital in joint.hospitals]
    low, high = min(float(one[0]) for one in each), max(float(one[1]) for one in each)
    assert read_tensors(files["model.safetensors"])["input.mean"][0] == np.float32((low + high) / 2)
    # What is spent is shown to everybody concerned, and a job that no budget is left for is granted by nobody.
    joint.submit(text(joint, epsilon="6"))
    for hospital in joint.hospitals:
        with pytest.raises(BudgetExhausted, match="epsilon 8 on dataset cytology: 3 is spent"):
            jobs.grant(hospital.home, joint.job, threshold=2)
    home = joint.hospitals[0].home
    for language, said in (
        ("en", ("epsilon 3 of 8 is spent", "also holds against all other source units together")),
        ("zh", ("已花费epsilon3，上限8", "即使其他数据源单位全部合谋")),
    ):
        capsys.readouterr()
        assert run(["--home", str(home.path), "--lang", language, "job", "show", joint.job]) == 0
        out = capsys.readouterr().out
        shown_as = " ".join(out.split()) if language == "en" else "".join(out.split())
        assert all(words in shown_as for words in said)


@pytest.mark.slow
def test_a_hospital_that_comes_back_draws_new_noise_and_has_paid_for_it(joint):
    """It is lost when its second round has been trained: the others go on with it in a new run, from the first."""
    lost = joint.hospitals[2]
    asked = {hospital.name: [] for hospital in joint.hospitals}

    def hear(hospital):
        def heard(program, message):
            if message.get("do") == "round":
                asked[hospital.name].append(message["round"])

        hospital.heard = heard

    for hospital in joint.hospitals:
        hear(hospital)

    def vanish(place, phase):
        if (place.round, phase) == (2, "reveal") and not lost.away.is_set() and not gone:
            gone.append(True)
            lost.vanish()

    gone = []
    lost.before = vanish
    # Both runs are paid for before the first begins: epsilon 3 for each.
    joint.submit(text(joint))
    with pytest.raises(PolicyRefused, match="epsilon 6, and the grant allows 3"):
        jobs.grant(lost.home, joint.job, runs=2, privacy_millis=3000, threshold=2)
    for hospital in joint.hospitals:
        jobs.grant(hospital.home, joint.job, runs=2, threshold=2)
    assert until(lost.away.is_set, PATIENCE)
    before = secrets_of(lost)
    joint.lapse(lost)
    assert joint.until("granted", "failed").state == "granted", told(joint)
    lost.restart()
    assert joint.until("in-review", "failed").state == "in-review", told(joint)
    # The second round was trained in both runs, from one model but with another secret: nothing is there twice.
    for hospital in joint.hospitals:
        drawn = secrets_of(hospital) + (before if hospital is lost else [])
        assert len(drawn) == len(set(drawn)) == 2
        assert {1, 2, 3} == set(asked[hospital.name])
        assert budgets.privacy_spent(hospital.home, "cytology") == {joint.developer.fingerprint: 6000}
        check = review.open_case(hospital.home, joint.job, hospital.reviewer).report.check(
            "differential_privacy"
        )
        # What the model is made of are three rounds, whichever run they were trained in.
        assert (check.status, check.facts["steps"]) == ("passed", 6)


@pytest.mark.slow
def test_what_one_hospital_does_not_publish_or_the_job_may_not_ask(joint):
    own = shown(joint, joint.hospitals[0])["size"]
    assert any(shown(joint, hospital)["size"] != own for hospital in joint.hospitals)
    # The ranges of one hospital alone are not those of all.
    joint.submit(text(joint, size=own))
    for hospital in joint.hospitals:
        with pytest.raises(VerificationFailed, match="not what the dataset's description shows") as failed:
            jobs.grant(hospital.home, joint.job, threshold=2)
        assert failed.value.details["field"] == "privacy.ranges"

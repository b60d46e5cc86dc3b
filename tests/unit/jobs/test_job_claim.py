"""A private training's job file, plan, chance and claim: everything of it that needs no torch."""

from __future__ import annotations

import numpy as np
import pytest
from job_runs import parameters
from private_runs import RANGES, numbered, private_job
from scipy.stats import kstest

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import check_artifact, encode_json
from trustspace.jobs.chance import GENERATOR, Chance
from trustspace.jobs.claim import Claim, Plan, claim_json, observed, pace, read_claim
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.messages import InvalidJobFile
from trustspace.jobs.participants import Participants, Turns
from trustspace.jobs.spec import Parameters, parse_job_file
from trustspace.privacy.accountant import epsilon_of

FILE = """
[job]
title = "t"
purpose = "p"
kind = "train"
[parties]
buyer = "city-clinic"
[[datasets]]
id = "ward-a"
version = 1
columns = ["age", "sex"]
[train]
model = "mlp"
target = "outcome"
positive = "M"
epochs = 3
categories.sex = ["f", "m"]
[privacy]
epsilon = 3
delta = 1e-4
"""


def test_the_signed_parameters_say_all_of_it() -> None:
    job = parse_job_file(FILE + "ranges.age = [0, 100]\n")
    signed = job.to_parameters()["privacy"]
    assert signed == {
        "epsilon": "3", "delta": "0.0001", "max_gradient_norm": "1", "ranges": {"age": ["0", "100"]},
    }  # fmt: skip
    assert Parameters.from_json(job.to_parameters()).privacy is not None
    assert "privacy" not in parameters().to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ranges.age = [0, 100]", "ranges.weight = [0, 100]"), "exactly the columns of numbers"),
        (("ranges.age = [0, 100]", ""), "exactly the columns of numbers"),
        (("[0, 100]", "[100, 0]"), "end is not above"),
        (("epsilon = 3", "epsilon = 0"), "privacy.epsilon"),
        (("delta = 1e-4", "delta = 0.5"), "privacy.delta"),
        (('kind = "train"', 'kind = "statistics"'), "train"),
    ],
)
def test_a_wrong_claim_is_refused_by_its_field(change, message) -> None:
    text = (FILE + "ranges.age = [0, 100]\n").replace(*change)
    with pytest.raises(InvalidJobFile) as failed:
        parse_job_file(text)
    assert any(message in problem.public_message for problem in failed.value.problems)


def test_a_numeric_target_needs_a_range_and_images_none() -> None:
    with pytest.raises(ValueError, match="exactly the columns"):
        private_job(loss="mean_squared_error")
    private_job(loss="mean_squared_error", ranges={**RANGES, "outcome": ["0", "1"]})
    private_job(columns=("scan",), model="small_cnn", image_size=8, ranges={})


# -- the plan


def test_the_plan_keeps_the_claim_and_no_more() -> None:
    plan = Plan.of(private_job("3", "0.001", epochs=10, batch_size=20), 500)
    assert (plan.rate, plan.steps) == (0.04, 250)
    assert epsilon_of(plan.noise, plan.rate, plan.steps, 0.001) <= 3
    assert epsilon_of(plan.noise - 1e-4, plan.rate, plan.steps, 0.001) > 3
    assert Plan.of(private_job("1", "0.001", epochs=10, batch_size=20), 500).noise > plan.noise


def test_steps_are_rounded_up_and_a_large_batch_is_everybody() -> None:
    assert pace(20, 10, 501) == (20 / 501, 251)
    assert pace(500, 7, 500) == pace(900, 7, 500) == (1.0, 7)


def test_a_delta_that_gives_one_patient_away_is_refused() -> None:
    Plan.of(private_job(delta="0.001"), 999)
    with pytest.raises(InvalidInput, match="number of patients"):
        Plan.of(private_job(delta="0.001"), 1000)


def test_a_claim_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(InvalidInput, match="No amount of noise"):
        Plan.of(private_job("0.01", "0.0000000001", epochs=10_000, batch_size=400), 400)


# -- chance


def test_chance_is_the_same_of_the_same_secret_and_of_no_other() -> None:
    one, again, other = Chance(bytes(32)), Chance(bytes(32)), Chance(bytes(31) + b"\1")
    assert np.array_equal(one.words("noise", 5, 100), again.words("noise", 5, 100))
    others = [one.words("noise", number, 100) for number in (6, 5 + (1 << 8), 5 + (1 << 32))]
    for words in (other.words("noise", 5, 100), one.words("rows", 5, 100), *others):
        assert not np.array_equal(one.words("noise", 5, 100), words)
    with pytest.raises(ValueError, match="32 bytes"):
        Chance(bytes(31))


def test_normal_numbers_are_normal_and_independent() -> None:
    drawn = Chance(b"t" * 32).normal("noise", 0, 40_001)
    assert len(drawn) == 40_001
    # A fixed seed: these hold or they do not. 4 standard errors of mean and deviation.
    assert abs(drawn.mean()) < 4 / np.sqrt(40_001)
    assert abs(drawn.std() - 1) < 4 / np.sqrt(2 * 40_001)
    assert kstest(drawn, "norm").pvalue > 0.01
    # Both halves come from the same angles: they must not show it.
    first, second = drawn[:20_000], drawn[20_001:40_001]
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(20_000)
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 4 / np.sqrt(20_000)
    # The control: with a wrong deviation the same test says so.
    assert kstest(drawn * 1.05, "norm").pvalue < 0.01


# -- whose turn it is


def everybody(owners, count: int, seed: bytes = b"s" * 32) -> Participants:
    return Participants(np.asarray(owners, dtype=np.int64), count, seed)


def test_a_patient_gives_at_most_one_row_to_a_step_however_many_they_have() -> None:
    owners = np.array([0] * 200 + list(range(1, 100)))
    turns = Turns(everybody(owners, 100), 0.5, Chance(b"s" * 32))
    used = [turns.rows_of(step) for step in range(60)]
    assert all(len(np.unique(owners[rows])) == len(rows) for rows in used)
    # At a half: 4 standard errors of 60 binomial numbers.
    assert abs(np.mean([len(rows) for rows in used]) - 50) < 4 * np.sqrt(25 / 60)
    # The rows differ from step to step.
    assert len({int(row) for rows in used for row in rows if owners[row] == 0}) > 15


def test_everybody_is_drawn_at_the_rate_and_independently() -> None:
    turns = Turns(everybody(np.arange(400), 400), 0.1, Chance(b"r" * 32))
    drawn = np.zeros((500, 400), bool)
    for step in range(500):
        drawn[step, turns.rows_of(step)] = True
    sizes = drawn.sum(axis=1)
    # A binomial number each time: 4 standard errors of its mean, and a third of its variance either way.
    assert abs(sizes.mean() - 40) < 4 * np.sqrt(36 / 500)
    assert 36 * 2 / 3 < sizes.var() < 36 * 4 / 3
    assert np.abs(drawn.mean(axis=0) - 0.1).max() < 5 * np.sqrt(0.09 / 500)


def test_a_rate_of_one_is_everybody_and_who_has_no_row_adds_nothing() -> None:
    turns = Turns(everybody([0, 0, 2], 3), 1.0, Chance(b"r" * 32))
    assert {len(turns.rows_of(step)) for step in range(20)} == {2}


def test_patients_without_a_usable_row_are_counted() -> None:
    used = np.array([True, False, True, False])
    found = Participants.of({"patients": numbered([7, 3, 7, 7]), "noise": b"n" * 32}, used)
    assert (found.owners.tolist(), found.count) == ([1, 1], 2)


@pytest.mark.parametrize(
    "inputs", [{}, {"patients": numbered([1, 2])}, {"patients": numbered([1]), "noise": b"n" * 32},
               {"patients": numbered([1, 2]), "noise": b"n" * 31}],
)  # fmt: skip
def test_a_private_training_does_not_begin_without_its_secret(inputs) -> None:
    with pytest.raises(InvalidInput, match="not those of these rows"):
        Participants.of(inputs, np.array([True, True]))


def test_a_further_training_has_a_secret_of_its_own() -> None:
    whole = everybody([4, 4, 9, 2], 10)
    half = whole.part(np.array([True, False, True, False]), 0)
    assert (half.owners.tolist(), half.count) == ([0, 1], 2)
    other = whole.part(np.array([True, False, True, False]), 1)
    assert len({whole.noise, half.noise, other.noise}) == 3


# -- what is told


def _claim(job: Parameters, patients: int = 500) -> Claim:
    plan = Plan.of(job, patients)
    return Claim(patients, plan.steps, plan.noise, 2.5, GENERATOR)


def test_the_metrics_are_the_claim_and_nothing_more() -> None:
    job = private_job()
    value = claim_json(job, _claim(job))
    assert read_claim(value, job) == _claim(job)
    for changed in (
        {**value, "loss": "0.123456"},
        {**value, "epsilon": "4"},
        {**value, "epsilon_accounted": "1.000000"},
        {**value, "noise_multiplier": "1.23"},
        {**value, "generator": "dice"},
        {**value, "patients": True},
        {**value, "steps": 10**9},
        {k: v for k, v in value.items() if k != "delta"},
        [],
    ):
        with pytest.raises(VerificationFailed):
            read_claim(changed, job)


def test_the_enclave_lets_out_no_other_metrics_of_a_private_training() -> None:
    job = private_job()
    value = claim_json(job, _claim(job))
    check_artifact(RawArtifact("metrics.json", "application/json", encode_json(value)), job)
    told = {
        "format": "trustspace-training-v1",
        "model": "logistic_regression",
        "epochs": 2,
        "rows": 9,
        "left_out": 0,
    }
    with pytest.raises(VerificationFailed):
        check_artifact(RawArtifact("metrics.json", "application/json", encode_json(told)), job)


def test_the_account_is_the_enclaves_own() -> None:
    job = private_job(epochs=10, batch_size=20)
    claim = _claim(job)
    raw = [RawArtifact("metrics.json", "application/json", encode_json(claim_json(job, claim)))]
    found = observed(job, raw, 500)
    assert found is not None
    assert found.accounted == pytest.approx(epsilon_of(claim.noise, 0.04, 250, 0.001))
    # Told that there were more patients than there are, it still counts with its own.
    fewer = observed(job, raw, 100)
    assert fewer is not None
    assert (fewer.patients, fewer.told_patients, fewer.rate) == (100, 500, 0.2)
    assert fewer.accounted > found.accounted
    assert observed(parameters(), raw, 500) is None

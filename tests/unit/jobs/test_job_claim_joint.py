"""A private training over several source units: its job file, what its metrics say, what a round's worker says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from private_runs import RANGES
from pydantic import ValidationError
from session_runs import joint_parameters

from trustspace.domain.bodies import Job
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.agreement import agreed_parameters, sum_terms
from trustspace.jobs.artifacts import check_artifact, encode_json
from trustspace.jobs.claim import Part, check_claim, joint_claim_json, observed, seen
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.federation import platform_from_sums, prepare_length
from trustspace.jobs.messages import InvalidJobFile
from trustspace.jobs.spec import Parameters, parse_job_file
from trustspace.privacy.accountant import epsilon_of

PRIVACY = {"epsilon": "3", "delta": "0.001", "ranges": RANGES}
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
columns = ["age"]
[[datasets]]
id = "ward-b"
version = 1
columns = ["age"]
[train]
model = "mlp"
target = "outcome"
positive = "M"
epochs = 1
[federated]
rounds = 4
[privacy]
epsilon = 3
delta = 1e-4
ranges.age = [0, 100]
"""


def job(**federated: Any) -> Parameters:
    return joint_parameters(federated={"rounds": 3, "local_steps": 2, **federated}, privacy=PRIVACY)


def test_all_units_count_the_same_and_what_is_signed_says_so() -> None:
    assert job().federation().weight_cap == 1
    assert parse_job_file(FILE).to_parameters()["federated"]["weight_cap"] == 1
    assert (
        parse_job_file(FILE.replace("[federated]\nrounds = 4\n", "")).parameters().federation().weight_cap
        == 1
    )
    assert joint_parameters().federation().weight_cap == 10_000
    signed = job().to_json()
    assert Parameters.from_json(signed) == job()
    with pytest.raises(VerificationFailed, match="must be 1 with a section"):
        Parameters.from_json({**signed, "federated": {**signed["federated"], "weight_cap": 10_000}})


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('strategy = "scaffold"', "federated.strategy"),
        ("validation_percent = 10", "federated.validation_percent"),
        ("validation_percent = 10\npatience = 2", "federated.validation_percent"),
        ("weight_cap = 500", "federated.weight_cap"),
    ],
)
def test_what_would_tell_more_of_the_rows_is_refused_by_its_field(line, field) -> None:
    text = FILE.replace("rounds = 4", f"rounds = 4\n{line}")
    text = text.replace('positive = "M"', 'positive = "M"\noptimiser = "sgd"')
    with pytest.raises(InvalidJobFile) as failed:
        parse_job_file(text)
    assert [problem.details["field"] for problem in failed.value.problems] == [field]
    # The control: without the promise it is as good as any other job.
    parse_job_file(text[: text.index("[privacy]")])


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedadam", "fedyogi"])
def test_every_strategy_that_sends_nothing_but_its_update_is_allowed(strategy) -> None:
    assert job(strategy=strategy).privacy is not None


def test_statistics_over_several_still_claim_nothing() -> None:
    value = {
        "kind": "statistics",
        "datasets": [{"id": "ward", "version": n, "columns": ["age"]} for n in (1, 2, 3)],
        "statistics": {"numeric": ["age"]},
        "privacy": {**PRIVACY, "ranges": {"age": ["0", "100"]}},
        "terms": {"withheld_percent": 0},
    }
    with pytest.raises(ValidationError, match="does not belong to a job of kind"):
        Parameters.model_validate(value)


# -- ranges: what is published of all datasets


def named(low: str, high: str, **changed: Any) -> Any:
    columns = [{"name": name, "low": lo, "high": hi} for name, (lo, hi) in RANGES.items()]
    columns[0] |= {"low": low, "high": high, **changed}
    return SimpleNamespace(dataset="ward", description={"columns": columns})


@pytest.mark.parametrize(
    ("shown", "accepted"),
    [
        ([("0", "100"), ("0", "100"), ("0", "100")], True),
        ([("0", "90"), ("5", "100"), ("20", "80")], True),
        ([("0", "90"), ("5", "95"), ("20", "80")], False),
        ([("1", "100"), ("5", "95"), ("20", "80")], False),
        ([("0", "100"), ("-5", "95"), ("20", "80")], False),
        ([("0", "100"), ("0", ""), ("0", "100")], False),
    ],
)
def test_ranges_are_the_least_around_those_that_all_descriptions_show(shown, accepted) -> None:
    parameters = job()
    described = {f"{n:064x}": named(*ends) for n, ends in enumerate(shown)}
    for n, one in enumerate(described.values()):
        one.version = n + 1
    asked = Job.model_construct(
        kind="train", code="", parameters=parameters.to_json(), release_quorum="all", evidence_kind="software",
        datasets=[
            SimpleNamespace(dataset=digest, source_unit=str(n) * 64, columns=parameters.columns_of(n))
            for n, digest in enumerate(described)
        ],
        minimum_participants=parameters.terms.minimum_participants, sums=sum_terms(parameters),
    )  # fmt: skip
    if accepted:
        assert agreed_parameters(asked, described.get) == parameters
    else:
        with pytest.raises(VerificationFailed, match="not what the dataset's description shows"):
            agreed_parameters(asked, described.get)


def test_inputs_are_scaled_by_published_ranges_and_nothing_is_counted_for_it() -> None:
    parameters = job()
    assert prepare_length(parameters) == 1
    platform = platform_from_sums(parameters, [0.0])
    assert platform["input.mean"].tolist() == [50.0, 15.0, 0.5]
    assert platform["input.scale"].tolist() == [25.0, 7.5, 0.25]
    # Nor can a member put something else there for all.
    with pytest.raises(VerificationFailed, match="not those of any rows"):
        platform_from_sums(parameters, [480.0])
    assert prepare_length(joint_parameters()) > 1


# -- metrics: what was agreed, and nothing else


def test_the_metrics_of_all_are_what_was_agreed() -> None:
    parameters = job()
    value = joint_claim_json(parameters, [3, 3, 3])
    assert (value["epsilon"], value["steps_per_round"], value["participants_per_round"]) == (
        "3",
        2,
        [3, 3, 3],
    )
    check_claim(value, parameters)
    check_artifact(RawArtifact("metrics.json", "application/json", encode_json(value)), parameters)
    for changed in (
        {**value, "rows": 480},
        {**value, "epsilon": "2"},
        {**value, "participants_per_round": [3, 3]},
        {**value, "participants_per_round": [3, 3, 4]},
        {**value, "participants_per_round": [3, 3, 2]},
        {**value, "participants_per_round": [3, 3, True]},
        {k: v for k, v in value.items() if k != "delta"},
        [],
        None,
    ):
        with pytest.raises(VerificationFailed, match="not what training reports"):
            check_claim(changed, parameters)
    whole_passes = joint_parameters(federated={"rounds": 2}, epochs=4, privacy=PRIVACY)
    assert joint_claim_json(whole_passes, [3, 3])["epochs_per_round"] == 4
    # What one unit did stands in no file that leaves.
    raw = [RawArtifact("metrics.json", "application/json", encode_json(value))]
    assert observed(parameters, raw, 100) is None


# -- what a worker says of its rounds


def test_parts_add_up_to_the_weakest_of_what_they_say() -> None:
    one = Part(100, 5, 2.5, "shake-256")
    assert Part.from_json(one.to_json()) == one
    assert one.then(one) == Part(100, 10, 2.5, "shake-256")
    assert one.then(Part(100, 5, 1.5, "shake-256")).noise == 1.5
    assert one.then(Part(100, 5, 2.5, "not cryptographic")).generator == "not cryptographic"
    assert one.then(Part(101, 5, 2.5, "shake-256")).patients == 0


@pytest.mark.parametrize(
    "change",
    [
        {"patients": -1}, {"patients": True}, {"steps": 10**9}, {"steps": 1.5}, {"noise_multiplier": "-1.000000"},
        {"noise_multiplier": 2.5}, {"noise_multiplier": "much"}, {"generator": "dice"}, {"loss": "0.500000"},
    ],
)  # fmt: skip
def test_a_worker_that_says_something_else_is_not_read(change) -> None:
    with pytest.raises(VerificationFailed, match="how much noise"):
        Part.from_json({**Part(100, 5, 2.5, "shake-256").to_json(), **change})
    with pytest.raises(VerificationFailed):
        Part.from_json(None)


def test_each_units_account_is_of_its_own_patients_and_all_its_rounds() -> None:
    parameters = joint_parameters(federated={"rounds": 3, "local_steps": 2}, privacy=PRIVACY, batch_size=20)
    part = Part(100, 6, 2.0, "shake-256")
    found = seen(parameters, part, 2.5, 100)
    assert (found.rate, found.steps, found.told_patients) == (0.2, 6, 100)
    assert found.accounted == pytest.approx(epsilon_of(2.0, 0.2, 6, 0.001))
    # With fewer patients than the worker says, each is in more steps.
    assert seen(parameters, part, 2.5, 40).accounted > found.accounted
    with pytest.raises(InvalidInput, match="claims no differential privacy"):
        seen(joint_parameters(), part, 2.5, 100)
    assert np.isinf(seen(parameters, Part(100, 6, 0.0, "shake-256"), 2.5, 100).accounted)

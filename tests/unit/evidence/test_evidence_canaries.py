"""The check of canaries: what their area and their bound mean, and what real models give away of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from evidence_facts import CANARIES, PROMISED, sound
from support.judged import job_file, played, report_of

from trustspace.domain.bodies import Policy
from trustspace.evidence.canaries import canaries
from trustspace.evidence.membership import asks_for_more, best_guess
from trustspace.evidence.private import differential_privacy
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT, build_report
from trustspace.evidence.words import FACTS
from trustspace.privacy.membership import Estimate, fewest_measurable, judge, measure

CERTAIN = replace(CANARIES, auc=Estimate(0.72, 0.66, 0.78, 0.5, 0.56))
FEW = replace(CANARIES, members=8, others=9, auc=Estimate(0.5, 0.22, 0.78, 0.5, 0.78))


def of(found, policy=None, **changes):
    return canaries(sound(canaries=found, private=None, **changes), policy or Policy())


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (CANARIES, "passed", "55 patients was changed"),
        (replace(CANARIES, epsilon=0.49), "passed", "55 patients"),
        (replace(CANARIES, epsilon=0.5), "warned", "worst case"),
        (CERTAIN, "warned", "right 72 times of 100 (95 %: 66 to 78)"),
        (replace(CANARIES, auc=Estimate(0.65, 0.51, 0.77, 0.5, 0.66)), "warned", "right 65 times of 100"),
        (replace(CANARIES, auc=Estimate(0.65, 0.50, 0.77, 0.5, 0.66)), "passed", "one 65 times of 100"),
        (replace(CANARIES, auc=Estimate(0.64, 0.51, 0.75, 0.5, 0.66)), "passed", "one 64 times of 100"),
        (replace(CANARIES, epsilon=1.0), "failed", "epsilon below 1.00"),
        (replace(FEW, epsilon=1.7), "failed", "epsilon below 1.70"),
        (FEW, "warned", "at least 34 are needed"),
        (None, "warned", "at least 34 are needed"),
    ],
)
def test_the_area_warns_at_most_and_the_bound_fails(found, status, says):
    finding = of(found)
    assert finding.status == status
    assert says in finding.summary["en"]
    assert finding.summary["zh"]
    assert set(finding.facts) <= set(FACTS)
    # The same area of patients as they are fails.
    assert (
        found is not CERTAIN or build_report(sound(membership=CERTAIN)).check("membership").status == "failed"
    )


def test_the_policy_draws_the_lines():
    assert of(CERTAIN, Policy(auc_warned_permille=800, auc_failed_permille=900)).status == "passed"
    assert of(replace(CANARIES, epsilon=1.2), Policy(audit_failed_millis=1300)).status == "warned"


def test_what_was_not_agreed_does_not_apply_unless_the_policy_demands_it():
    none = sound(canaries_percent=0, canaries=None)
    assert build_report(none).check("canaries").status == "not_applicable"
    assert build_report(none).verdict == "green"
    demanding = tuple(name for name in NOT_APPLICABLE_BY_DEFAULT if name != "canaries")
    report = build_report(none, Policy(not_applicable=demanding))
    assert (report.verdict, report.check("canaries").status) == ("red", "could_not_run")


def test_what_was_agreed_and_not_measured_is_not_excused():
    report = build_report(sound(canaries=None))
    assert (report.verdict, report.check("canaries").status) == ("amber", "warned")


def test_they_are_the_worst_case_and_not_what_people_are_told_of_everybody():
    facts = sound(canaries=CERTAIN)
    assert best_guess(facts.judged) == best_guess(sound().judged) == 51
    assert not asks_for_more(facts.judged, Policy())


def test_more_than_was_claimed_fails_the_claim_as_well():
    def report(epsilon):
        return sound(private=PROMISED, canaries=replace(CANARIES, epsilon=epsilon))

    lenient = Policy(audit_warned_millis=9000, audit_failed_millis=9000)
    assert canaries(report(2.99), lenient).status == "passed"
    assert differential_privacy(report(2.99), lenient).status == "passed"
    finding = canaries(report(3.01), lenient)
    assert finding.status == "failed"
    assert "epsilon 3.00 was claimed" in finding.summary["en"]
    assert finding.facts["epsilon_claimed"] == "3.000000"
    assert differential_privacy(report(3.01), lenient).status == "failed"
    # Without a claim there is none to break.
    assert of(replace(CANARIES, epsilon=3.01), lenient).status == "passed"


@pytest.mark.parametrize(("warned", "failed"), [(0.6, 0.65), (0.55, 0.6), (0.5, 0.9), (0.7, 0.8)])
def test_so_few_are_needed_and_no_fewer(warned, failed):
    needed = fewest_measurable(warned, failed)
    sides = np.linspace(0, 1, needed // 2)
    assert judge(measure(sides, sides).auc, warned, failed) != "could_not_run"
    fewer = np.linspace(0, 1, needed // 2 - 1)
    assert len(fewer) == 0 or judge(measure(fewer, fewer).auc, warned, failed) == "could_not_run"


def test_limits_that_chance_itself_cannot_pass_need_more_than_anybody_has():
    assert fewest_measurable(0.5, 0.5) == 2_000_000


# -- real models; seeds are fixed


def ward(rows, signal, seed):
    """Twenty measurements of which three say something about the outcome."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, 20))
    ill = draw.random(rows) < 1 / (1 + np.exp(-signal * values[:, :3].sum(axis=1)))
    columns = {f"m{place}": values[:, place] for place in range(20)}
    return pa.table({**columns, "patient": np.arange(rows), "outcome": np.where(ill, "M", "B")})


def report_on(folder, table, agreed, sections=None, **train):
    file = job_file(
        [f"m{place}" for place in range(20)],
        train={"target": "outcome", "positive": "M", "seed": 1, **train},
        terms={"withheld_percent": 20, "canaries": agreed},
        **(sections or {}),
    )
    policy = {"reference_trainings": 0, "reexecution": "skip"}
    return report_of(played(file, [table], folder, patient_column="patient", **policy))


def test_a_model_that_knows_people_by_heart_fails(tmp_path):
    report = report_on(
        tmp_path, ward(400, 0.3, 2), 50, model="mlp", hidden=[64], epochs=150, learning_rate="0.01"
    )
    check = report.check("canaries")
    assert check.status == "failed"
    assert float(check.facts["area"][0]) > 0.7
    assert float(check.facts["epsilon_at_least"]) >= 1.0
    assert check.facts["patients_in"] + check.facts["patients_out"] == 80


def test_a_sound_model_passes(tmp_path):
    sound_one = {"model": "logistic_regression", "epochs": 15, "weight_decay": "0.05"}
    assert report_on(tmp_path, ward(1200, 1.0, 1), 20, **sound_one).check("canaries").status == "passed"


@pytest.mark.slow
def test_noise_keeps_canaries_below_what_it_claims_and_counts_them(tmp_path):
    ranges = {f"m{place}": ["-5", "5"] for place in range(20)}
    noise = {"privacy": {"epsilon": "2", "delta": "0.0001", "ranges": ranges}}
    network = {"model": "mlp", "hidden": [32], "epochs": 20, "learning_rate": "0.05", "batch_size": 100}
    report = report_on(tmp_path, ward(1200, 1.0, 1), 50, noise, **network)
    # The noise is drawn anew each time, and no attack comes near a claim: what holds for every draw.
    assert float(report.check("canaries").facts["epsilon_at_least"]) < 2.0
    claim = report.check("differential_privacy")
    assert claim.status == "passed"
    assert claim.facts["patients"] == report.check("sizes").facts["patients"], "canaries are in the account"
    assert claim.facts["patients"] > report.check("membership").facts["patients_in"]

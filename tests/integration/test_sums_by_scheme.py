"""Joint jobs under each way to protect their sums: the same results, and with sums.dropouts no round lost with a member.

The space, the clients, the brokers and the enclaves are real, over mutual TLS; sandboxes are simulated.
"""

import json

import numpy as np
import pytest
from support.enclaves import until
from support.hospitals import TRAIN, Joint
from support.world import World

from trustspace.client import jobs, releases, review
from trustspace.domain.bodies import recovery_words
from trustspace.enclave import opening
from trustspace.errors import PolicyRefused
from trustspace.jobs.tensors import read_tensors

PATIENCE = 60
STATISTICS = """
[job]
title = "Sizes over several hospitals"
purpose = "Planning a study."
kind = "statistics"

[parties]
buyer = "City Clinic"

[statistics]
numeric = ["size", "texture"]
bounds = { size = [0, 60], texture = [0, 5] }
quantiles = ["0.5"]

[terms]
minimum_participants = {minimum}
"""
SCHEMES = ("pairwise-masks", "lattice-s", "lattice-l")


@pytest.fixture(scope="module")
def joint():
    """Four hospitals whose brokers and enclaves attend by themselves."""
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        # Members ask more often than they need to, so that one who is stopped while it asks is not waited for long.
        patch.setattr("trustspace.enclave.meeting.ASK_SECONDS", 1.0)
        made = Joint(world, hospitals=4)
        made.attend()
        yield made
        made.close()
        world.close()


@pytest.fixture(autouse=True)
def afresh(joint):
    yield
    for hospital in joint.hospitals:
        hospital.before = lambda place, phase: None
        if hospital.away.is_set():
            hospital.restart()
    until(lambda: all(hospital.is_idle for hospital in joint.hospitals), PATIENCE)


def ask(joint, text, sums, *, hospitals=(), minimum=3, recovery=False):
    asked = hospitals or joint.hospitals
    joint.submit(f"{text}[sums]\n{sums}\n", minimum=minimum, hospitals=asked)
    for hospital in asked:
        jobs.grant(hospital.home, joint.job, recovery=recovery, threshold=2)


def reviewed(joint):
    record = joint.until("in-review", "failed")
    failures = [f.log for h in joint.hospitals for f in h.enclave.failures() if f.job == joint.job]
    assert record.state == "in-review", failures
    return joint.output().body


def delivered(joint, *hospitals):
    """What the buyer opens when these (or all) have approved, by name."""
    assert joint.approve(*hospitals) == "released"
    return {d.name: d.content for d in releases.fetch(joint.buyer, joint.job)[0]}


def transcript(joint, hospital):
    path = hospital.enclave.path / "rounds" / f"{joint.job}.transcript"
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- the same whatever the scheme


def test_statistics_are_the_same_under_every_scheme(joint):
    three, found = joint.hospitals[:3], {}
    for scheme in SCHEMES:
        ask(joint, STATISTICS, f'scheme = "{scheme}"', hospitals=three)
        reviewed(joint)
        facts = review.open_case(three[0].home, joint.job, three[0].reviewer).report.check("sums").facts
        assert facts["scheme"] == joint.record().body.sums.scheme
        found[facts["scheme"]] = delivered(joint, *three)["statistics.json"]
    assert len(found) == 3
    assert len(set(found.values())) == 1
    # And they are the hospitals' numbers.
    rows = sum(hospital.table.num_rows for hospital in three)
    shown = json.loads(found["lattice-sum-l-v1"])
    assert shown["rows"] == rows


@pytest.mark.slow
def test_training_is_the_same_under_every_scheme_to_its_precision(joint, monkeypatch):
    # Who is withheld hangs on the job's digest; here it is to be the same patients for all three jobs.
    divide = opening.divide
    monkeypatch.setattr(opening, "divide", lambda *given: divide(*given[:-1], b"one job"))
    three, models, metrics = joint.hospitals[:3], [], []
    for scheme in SCHEMES:
        ask(joint, TRAIN, f'scheme = "{scheme}"', hospitals=three)
        reviewed(joint)
        found = delivered(joint, *three)
        models.append(read_tensors(found["model.safetensors"]))
        metrics.append(json.loads(found["metrics.json"]))
    for model, measured in zip(models[1:], metrics[1:], strict=True):
        assert model.keys() == models[0].keys()
        for name, values in model.items():
            # Weights are rounded for export: what differs a little can round to neighbours, 2^-7 apart at most.
            np.testing.assert_allclose(values, models[0][name], atol=1e-4, rtol=2**-7)
        assert measured["participants_per_round"] == metrics[0]["participants_per_round"] == [3, 3, 3]
        assert measured["rows"] == metrics[0]["rows"]


# -- with a member less


@pytest.mark.parametrize(
    ("text", "phase", "participants"),
    [
        pytest.param(TRAIN, "contribution", [4, 3, 3], marks=pytest.mark.slow),
        pytest.param(TRAIN, "check", [4, 4, 3], marks=pytest.mark.slow),
        (TRAIN, "reveal", [4, 4, 3]),
        (STATISTICS, "contribution", 3),
        # The one sum that there is holds its numbers; who is gone before it is opened signs no result, nor is waited for.
        (STATISTICS, "reveal", 4),
    ],
)
def test_a_round_goes_on_without_a_hospital_that_is_lost_in_it(joint, text, phase, participants):
    a, b, c, d = joint.hospitals
    number = 2 if text is TRAIN else 0

    def before(place, said):
        if (place.round, said) == (number, phase):
            d.vanish()

    d.before = before
    ask(joint, text, "dropouts = 1", recovery=True)
    assert d.away.wait(PATIENCE)
    joint.lapse(d)
    output = reviewed(joint)
    # Nobody has begun a round again for it: every sum was opened in its first attempt.
    made = transcript(joint, a)
    assert {entry["attempt"] for entry in made} == {1}
    there = next(entry["members"] for entry in made if entry["round"] == number)
    assert len(there) == (4 if phase != "contribution" else 3)
    assert (d.unit in there) == (phase != "contribution")
    # The last sum is that of the three; it keeps its veto all the same.
    assert output.members == tuple(sorted(h.unit for h in (a, b, c)))
    d.restart()
    found = delivered(joint)
    if text is TRAIN:
        assert json.loads(found["metrics.json"])["participants_per_round"] == participants
    facts = review.open_case(a.home, joint.job, a.reviewer).report.check("sums").facts
    assert facts["opened_by"] == 3


# -- what is granted


def test_dropouts_are_granted_in_words(joint):
    first, second = joint.hospitals[:2]
    joint.submit(f"{TRAIN}[sums]\ndropouts = 1\n", minimum=3)
    asked = jobs.request(first.home, joint.job)
    words = recovery_words(asked.job.body)
    assert words == "any 3 of the 4 source units together can open every single update"
    with pytest.raises(PolicyRefused, match="opened without some source units") as refused:
        jobs.grant(first.home, joint.job, threshold=2)
    assert refused.value.details["field"] == "recovery"
    with pytest.raises(PolicyRefused):
        jobs.draft_grant(first.home, asked)
    assert jobs.draft_grant(first.home, asked, recovery=True).recovery == words
    jobs.grant(first.home, joint.job, recovery=True, threshold=2)
    # A client that does not ask its people is refused by the space.
    silent = jobs.draft_grant(second.home, jobs.request(second.home, joint.job), recovery=True)
    with pytest.raises(PolicyRefused, match="opened without some source units"):
        second.home.submit(silent.model_copy(update={"recovery": ""}), "grant")
    jobs.cancel(joint.developer, joint.job)

"""Blind code over three hospitals: every enclave gets its own release, and nobody's data opens without it."""

import pytest
from support.enclaves import until
from support.hospitals import TRAIN, Joint
from support.world import World

from trustspace.client import review
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.domain.records import OfferRecord

CANARY = "canary-9d0e"
MODEL = f"""
from torch import nn  # {CANARY}


def build(parameters):
    return nn.Linear(parameters["input_shape"][0], parameters["outputs"])
"""
SEALED = (
    TRAIN.replace('model = "logistic_regression"', 'model = "custom"\nmax_parameters = 100').replace(
        "rounds = 3", "rounds = 2"
    )
    + '\n[code]\npath = "code"\nblind = true\nhost_can_read = true\n'
)


@pytest.fixture
def joint():
    world = World()
    made = Joint(world, policy=DEFAULT_POLICY.model_copy(update={"blind_code": "accept"}))
    code = world.path / "job" / "code"
    code.mkdir(parents=True)
    (code / "model.py").write_text(MODEL, encoding="utf-8")
    yield made
    made.close()
    world.close()


def released(joint, kind):
    return [s for s in joint.hospitals[0].home.session.job(joint.job).statements if s.type == kind]


def test_every_enclave_has_its_own_release_and_waits_for_it(joint):
    joint.ask(SEALED)
    joint.attend()
    # Without the developer's broker nothing even begins: an offer answers the developer, too.
    until(lambda: len(released(joint, "run-nonce")) == 9)
    assert not released(joint, "run-offer")
    joint.attend_developer()
    record = joint.until("in-review", "failed")
    assert record.state == "in-review", [h.enclave.failures() for h in joint.hospitals]
    keys = released(joint, "code-release")
    assert sorted(s.body.offer for s in keys) == sorted(record.offers.values())
    assert len({s.body.sealed_key for s in keys}) == 3
    order = [s.type for s in joint.hospitals[0].home.session.job(joint.job).statements]
    assert order.index("code-release") < order.index("key-release")
    view = joint.hospitals[0].home.session.job(joint.job).view
    assert all(view.get(OfferRecord, digest).code_released for digest in record.offers.values())
    for hospital in joint.hospitals:
        programs = dict(hospital.launcher.seen)
        assert CANARY.encode() in bytes(programs["train_rounds"]["code"])
        assert "blind" in programs["train_rounds"]
        assert "blind" in programs["evaluate"]
        report = review.open_case(hospital.home, joint.job, hospital.reviewer).report
        assert report.check("custom_code").facts["blind"] == "yes"
    assert joint.approve() == "released"


def test_an_enclave_that_comes_back_gets_a_release_of_its_own(joint):
    """It was restarted before anything was opened; the developer is not told, and had given a challenge beforehand."""
    joint.ask(SEALED, runs=2)
    lost = joint.hospitals[1]
    joint.attend()
    joint.attend_developer()
    halted = []

    def restart_once(place, phase):
        if not halted:
            halted.append(place)
            lost.vanish()

    lost.before = restart_once
    until(lambda: halted, 120.0)
    lost.restart()
    record = joint.until("in-review", "failed")
    assert record.state == "in-review", [h.enclave.failures() for h in joint.hospitals]
    assert len(released(joint, "code-release")) > 3
    assert not any(record.offers[lost.unit] == s.digest for s in released(joint, "run-offer")[:3])

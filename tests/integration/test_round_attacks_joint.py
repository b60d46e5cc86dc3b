"""Whole joint trainings of four hospitals over a real space, in which the space or one enclave cheats."""

import threading

import pytest
from support.joint import TRAIN, Joint
from support.members import WithoutMasks, words_of
from support.world import World

from trustspace.aggregation.masks import PairwiseMasks
from trustspace.client import releases, review
from trustspace.domain import rules_output
from trustspace.enclave import federated, run, runner
from trustspace.errors import InvalidInput, InvalidTransition, TrustspaceError
from trustspace.jobs.container import RawArtifact
from trustspace.space.relay import Relay
from trustspace.transport.rounds import Exchanged

JOB = TRAIN.replace("rounds = 3", "rounds = 2").replace("wait_seconds = 5", "wait_seconds = 120")


@pytest.fixture(scope="module")
def joint():
    world = World()
    made = None
    try:
        made = Joint(world, hospitals=4)
        made.attend()
        yield made
    finally:
        if made is not None:
            made.close()
        world.close()


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patched:
        yield patched


def state_of(joint, job):
    return joint.world.state(job)


# -- an enclave that signs another model than it helped to train


def other_model(monkeypatch, liar):
    """One enclave's model has another number in it than the rounds made; everything else it does right."""
    honest = run._Run._joint

    def lying(self, *args):
        artifacts = honest(self, *args)
        if self._order.source_unit != liar.unit:
            return artifacts
        # The last bytes of the file are the last tensor's: a small change of a number.
        return [
            RawArtifact(a.name, a.media_type, a.data[:-2] + bytes([a.data[-2] ^ 1]) + a.data[-1:])
            if a.name == "model.safetensors"
            else a
            for a in artifacts
        ]

    monkeypatch.setattr(run._Run, "_joint", lying)


def in_turn(monkeypatch, joint, liar, first):
    """Who hands in first: the others wait until an output is there."""
    hand_in = runner.Runner._hand_in
    there = threading.Event()

    def waiting(self, *args):
        if (self._owner == liar.unit) != first:
            there.wait(60)
        try:
            return hand_in(self, *args)
        finally:
            there.set()

    monkeypatch.setattr(runner.Runner, "_hand_in", waiting)


@pytest.mark.parametrize("first", [True, False])
def test_an_enclave_that_signs_another_model(joint, monkeypatch, first):
    """Whoever comes first, two outputs that differ are none: the run has failed, and everybody sees that."""
    liar = joint.hospitals[1]
    other_model(monkeypatch, liar)
    in_turn(monkeypatch, joint, liar, first)
    job = joint.ask(JOB)
    joint.until("failed", "in-review")
    assert state_of(joint, job) == "failed"
    refused = [
        h
        for h in joint.hospitals
        if any(f.job == job and f.reason == "disagreement" for f in h.enclave.failures())
    ]
    assert refused
    assert (liar in refused) != first
    for hospital in joint.hospitals:
        with pytest.raises(TrustspaceError):
            review.open_case(hospital.home, job, hospital.reviewer)
    with pytest.raises(TrustspaceError):
        releases.fetch(joint.buyer, job)


def test_without_comparing_the_first_ones_model_would_be_reviewed(joint, monkeypatch):
    liar = joint.hospitals[1]
    other_model(monkeypatch, liar)
    in_turn(monkeypatch, joint, liar, first=True)
    # What outputs are compared by says nothing any more.
    monkeypatch.setattr(rules_output, "_blank", lambda artifact: artifact.name)
    monkeypatch.setattr(rules_output, "_only_sealed_by", lambda job, body, by: body.artifacts, raising=True)
    job = joint.ask(JOB)
    joint.until("failed", "in-review")
    assert state_of(joint, job) == "in-review"


# -- a hospital that is dropped on purpose, and what the space has of it all


class Seen:
    """What passed through the space in one job's rounds, and what its enclaves opened."""

    def __init__(self):
        self.sums = {}
        self.sent = []
        self.opened = {}


@pytest.fixture(scope="module", params=[PairwiseMasks, WithoutMasks])
def dropped(request, joint, patch):
    """A training from which the space throws the last hospital out after the preparation."""
    seen, victim = Seen(), joint.hospitals[-1]
    exchange, summed = Relay.exchange, federated.Rounds.sum

    def hostile(self, caller, place, phase, envelope, data, wait_seconds):
        if place.round >= 1 and caller.party == victim.unit:
            return Exchanged("ended", round=place.round, attempt=place.attempt)
        found = exchange(self, caller, place, phase, envelope, data, wait_seconds)
        seen.sent.append(envelope + data)
        if found.data:
            seen.sums[place.round, place.attempt] = found.data
        return found

    def noted(self, number, *args):
        found = summed(self, number, *args)
        seen.opened[number, found.record["attempt"]] = (found.members, found.words.copy())
        return found

    patch.setattr(Relay, "exchange", hostile)
    patch.setattr(federated.Rounds, "sum", noted)
    patch.setattr(runner, "scheme_of", lambda name, needed: request.param())
    try:
        joint.ask(JOB)
        joint.until("in-review", "failed")
    finally:
        patch.undo()
    assert state_of(joint, joint.job) == "in-review", [h.enclave.failures() for h in joint.hospitals]
    return request.param, seen, joint.job


def test_the_space_never_has_a_sum(dropped):
    """In a real run as well: what it added is not what the enclaves opened, but where no mask is left."""
    scheme, seen, _ = dropped
    assert set(seen.opened) == set(seen.sums)
    assert {number for number, _ in seen.opened} == {0, 1, 2, 3}
    for at, (_, words) in seen.opened.items():
        same = (words_of(seen.sums[at]) == words).mean()
        assert same < 0.1 if scheme is PairwiseMasks else same == 1
    everything = b"".join(seen.sent)
    if scheme is PairwiseMasks:
        assert not any(words.tobytes()[:8] in everything for _, words in seen.opened.values())


def test_who_is_dropped_keeps_its_veto(dropped, joint):
    """Its data was opened in the run: what came of it needs its approval, and its rejection ends it."""
    scheme, seen, job = dropped
    victim, others = joint.hospitals[-1], joint.hospitals[:-1]
    dossier = victim.home.session.job(job)
    output = dossier.view.get(rules_output.OutputRecord, dossier.job(job).output)
    assert output.body.members == tuple(sorted(h.unit for h in others))
    assert victim.unit in seen.opened[0, 1][0]
    assert all(victim.unit not in members for (number, _), (members, _) in seen.opened.items() if number)
    for artifact in output.body.artifacts:
        if artifact.role != "log":
            assert artifact.unit_threshold == 4
            assert victim.unit in {unit.source_unit for unit in artifact.units}
    joint.job = job
    joint.approve(*others)
    assert state_of(joint, job) == "in-review"
    with pytest.raises(InvalidTransition):
        releases.fetch(joint.buyer, job)
    opened = review.open_case(victim.home, job, victim.reviewer)
    assert opened.report.check("sums").facts["own_part"] == "some"
    if scheme is PairwiseMasks:
        review.reject(victim.home, opened, comment="not without us")
        assert state_of(joint, job) == "rejected"
        with pytest.raises(InvalidTransition):
            releases.fetch(joint.buyer, job)
        with pytest.raises(InvalidInput, match="rejected"):
            review.approve(victim.home, opened, comment="after all", accept_red=True)
        return
    # Control: its approval is all that was missing.
    assert joint.approve(victim) == "released"
    delivered, _ = releases.fetch(joint.buyer, job)
    assert "model.safetensors" in {d.name for d in delivered}

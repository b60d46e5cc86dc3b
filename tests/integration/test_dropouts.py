"""Hospitals that vanish, come back, are slow, stop or cancel in the middle of a joint run.

Whatever happens, it ends within a bounded time in a clear state, with sums over the minimum or none, and never
with two sums of one round. Nobody waits here for real: once the lost ones alone are waited for, the clock of the
space jumps.
"""

import gc
import json
import os
import threading

import pytest
from support.enclaves import until
from support.hospitals import Joint
from support.world import World

from trustspace.client import jobs, releases, review
from trustspace.domain import rules_run
from trustspace.domain.bodies import RunFailed
from trustspace.errors import InvalidTransition, NotFound, Unavailable

ENDED = ("refused", "expired", "failed", "released", "rejected", "cancelled")
MEASURE = 4
PATIENCE = 60


@pytest.fixture(scope="module")
def place():
    """Four hospitals whose brokers and enclaves attend by themselves."""
    world = World()
    stay(world)
    with pytest.MonkeyPatch.context() as patch:
        # Members ask more often than they need to, so that one who is stopped while it asks is not waited for long.
        patch.setattr("trustspace.enclave.meeting.ASK_SECONDS", 1.0)
        made = Joint(world, hospitals=4)
        made.attend()
        yield made
        made.close()
        world.close()
    busy = [
        t.name for t in threading.enumerate() if t.name.startswith(("session-", "task-", "run_", "Hospital"))
    ]
    assert busy == []


def stay(world):
    """Let the space come back to the same address when it is restarted."""
    path = world.home / "space.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('listen = "127.0.0.1:0"', f'listen = "{world.listen}"', 1), encoding="utf-8")


@pytest.fixture
def joint(place):
    """The hospitals, all of them there, and afterwards no trace of a run anywhere."""
    for hospital in place.hospitals:
        Watch(hospital)
    try:
        yield place
    finally:
        for hospital in place.hospitals:
            hospital.watch.open()
            if hospital.away.is_set():
                hospital.restart()
        if place.record().state not in (*ENDED, "in-review"):
            jobs.cancel(place.developer, place.job)
    until(lambda: all(hospital.is_idle for hospital in place.hospitals), PATIENCE)
    until(lambda: not place.world.server.relay._boards)
    assert not list((place.world.home / "rounds").iterdir())
    until(
        lambda: not [p for h in place.hospitals for p in (h.enclave.path / "rounds").glob("*.checkpoint-*")]
    )


class Watch:
    """Notes which rounds a hospital's worker is asked, which attempts it joins; holds it or does something there."""

    def __init__(self, hospital):
        self.hospital, hospital.watch = hospital, self
        self.asked, self.joined = [], []
        self.moments, self.holds = {}, {}
        hospital.before, hospital.heard = self.before, self.heard

    def before(self, place, phase):
        if phase == "join":
            self.joined.append((place.round, place.attempt))
        act = self.moments.pop((place.round, phase), None)
        if act is not None:
            act()

    def heard(self, program, message):
        if message["do"] != "round":
            return
        self.asked.append(message["round"])
        there, go = self.holds.pop(message["round"], (None, None))
        if there is not None:
            there.set()
            go.wait(PATIENCE)

    def hold(self, number):
        """The worker does not answer in this round until ``open``; waits for it to be asked."""
        self.holds[number] = self.held = threading.Event(), threading.Event()

    def wait(self):
        assert self.held[0].wait(PATIENCE)

    def open(self):
        for _, go in (*self.holds.values(), getattr(self, "held", (None, threading.Event()))):
            go.set()


def vanish_at(hospital, number, phase):
    """It is gone before it says this in that round."""
    hospital.watch.moments[number, phase] = hospital.vanish


def metrics_of(joint):
    return json.loads(
        next(d.content for d in releases.fetch(joint.buyer, joint.job)[0] if d.name == "metrics.json")
    )


def own_part(joint, hospital):
    case = review.open_case(hospital.home, joint.job, hospital.reviewer)
    return case.report.check("sums").facts["own_part"]


def reviewed(joint):
    """The job's record when its output has come for review; why not, if not."""
    record = joint.until("in-review", "failed")
    assert record.state == "in-review", told(joint)
    return record


def told(joint):
    """Why runs of this job ended, as each hospital's own people are told."""
    return [
        [f"{f.reason}: {f.log}" for f in h.enclave.failures() if f.job == joint.job] for h in joint.hospitals
    ]


def units(*hospitals):
    return tuple(sorted(h.unit for h in hospitals))


def revealed(hospital, job):
    """For each round, the sets that this hospital's enclave ever revealed a mask for."""
    path = hospital.enclave.path / "rounds" / f"{job}.reveals"
    sets = {}
    if not path.exists():
        return sets
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        sets.setdefault(entry["round"], []).append(tuple(entry["units"]))
    return sets


def never_two_sums(joint):
    for hospital in joint.hospitals:
        assert all(len(set(sets)) == 1 for sets in revealed(hospital, joint.job).values())
    return True


def reasons(joint):
    """Why runs ended, as the ledger tells the source units."""
    dossier = joint.hospitals[0].home.session.job(joint.job)
    return {s.body.reason for s in dossier.statements if isinstance(s.body, RunFailed)}


# -- vanishing before anything was revealed


@pytest.mark.parametrize(
    ("number", "phase", "part", "participants"),
    [
        (0, "join", "none", [3, 3, 3]),
        pytest.param(1, "agree", "some", [3, 3, 3], marks=pytest.mark.slow),
        pytest.param(2, "join", "some", [4, 3, 3], marks=pytest.mark.slow),
        (2, "contribution", "some", [4, 3, 3]),
        (MEASURE, "contribution", "some", [4, 4, 4]),
    ],
)
def test_without_the_one_that_is_gone(joint, number, phase, part, participants):
    a, b, c, d = joint.hospitals
    vanish_at(d, number, phase)
    joint.ask()
    assert d.away.wait(PATIENCE)
    joint.lapse(d)
    reviewed(joint)
    assert joint.output().body.members == units(a, b, c)
    # Nobody did a round twice for it.
    assert [h.watch.asked for h in (a, b, c)] == [[1, 2, 3]] * 3
    for artifact in joint.output().body.artifacts:
        if artifact.role != "log":
            assert {one.source_unit for one in artifact.units} == {h.unit for h in joint.hospitals}
            assert artifact.unit_threshold == 4
    # It keeps its share, its evidence and its veto.
    assert own_part(joint, d) == part
    assert own_part(joint, a) == "all"
    assert joint.approve(a, b, c) == "in-review"
    with pytest.raises(InvalidTransition):
        releases.fetch(joint.buyer, joint.job)
    assert joint.approve(d) == "released"
    metrics = metrics_of(joint)
    assert metrics["participants_per_round"] == participants
    assert never_two_sums(joint)


def test_the_one_that_is_gone_may_still_refuse_the_result(joint):
    a, b, c, d = joint.hospitals
    vanish_at(d, 2, "contribution")
    joint.ask()
    assert d.away.wait(PATIENCE)
    joint.lapse(d)
    joint.until("in-review")
    joint.approve(a, b, c)
    review.reject(d.home, review.open_case(d.home, joint.job, d.reviewer), comment="not without us")
    assert joint.record().state == "rejected"


# -- vanishing after a reveal


def test_after_a_reveal_the_run_ends_and_all_go_on_in_a_new_one(joint):
    d = joint.hospitals[3]
    # Its enclave has noted that it reveals, the others have revealed; its own seed never comes.
    vanish_at(d, 2, "reveal")
    joint.ask(runs=2)
    assert d.away.wait(PATIENCE)
    first = joint.record().run
    joint.lapse(d)
    assert joint.until("granted", "failed").state == "granted"
    assert reasons(joint) == {"members"}
    d.restart()
    record = reviewed(joint)
    assert record.run != first
    assert joint.output().body.members == units(*joint.hospitals)
    # From the checkpoint after round 1; round 2 again, over the very same set.
    assert [h.watch.asked for h in joint.hospitals] == [[1, 2, 2, 3]] * 4
    assert [len(revealed(h, joint.job)[2]) for h in joint.hospitals] == [2] * 4
    assert never_two_sums(joint)


def test_no_other_set_adds_up_a_round_that_was_revealed(joint):
    """The sum over four and the sum over three would show what the fourth put in."""
    a, b, c, d = joint.hospitals
    vanish_at(d, 2, "reveal")
    joint.ask(runs=2)
    assert d.away.wait(PATIENCE)
    joint.lapse(d)
    joint.until("granted")
    vanish_at(d, 2, "join")
    d.restart()
    assert until(lambda: joint.record().state == "running" and d.away.is_set(), PATIENCE)
    joint.lapse(d)
    assert joint.until("in-review", "failed").state == "failed"
    assert reasons(joint) >= {"members"}
    assert revealed(a, joint.job)[2] == [units(a, b, c, d)]
    assert never_two_sums(joint)


# -- coming back


def test_it_comes_back_while_the_others_wait_for_a_slow_one(joint):
    b, d = joint.hospitals[1], joint.hospitals[3]
    vanish_at(d, 2, "contribution")
    b.watch.hold(2)
    joint.ask(runs=2)
    b.watch.wait()
    assert d.away.wait(PATIENCE)
    run = joint.record().run
    d.restart()

    def gathered():
        current = joint.board._course.current
        return current.spot == (2, 2) and d.unit in current.envelopes["join"]

    until(gathered, PATIENCE)
    b.watch.open()
    assert reviewed(joint).run == run
    # It went on from its checkpoint: only the round that it was lost in was trained again, and only there.
    assert [h.watch.asked for h in joint.hospitals] == [[1, 2, 3]] * 3 + [[1, 2, 2, 3]]
    assert joint.output().body.members == units(*joint.hospitals)
    assert own_part(joint, d) == "all"
    joint.approve()
    assert metrics_of(joint)["participants_per_round"] == [4, 4, 4]
    assert never_two_sums(joint)


@pytest.mark.slow
def test_it_comes_back_too_late(joint):
    """The others are past what its checkpoint knows: it does not come back into this run, and does not disturb it."""
    a, b, c, d = joint.hospitals
    vanish_at(d, 2, "contribution")
    a.watch.hold(3)
    joint.ask(runs=3)
    assert d.away.wait(PATIENCE)
    joint.lapse(d)
    a.watch.wait()
    d.restart()
    until(
        lambda: any(f.job == joint.job and f.reason == "left-behind" for f in d.enclave.failures()), PATIENCE
    )
    until(lambda: d.unit not in joint.record().offers)
    a.watch.open()
    reviewed(joint)
    assert joint.output().body.members == units(a, b, c)
    assert [h.watch.asked for h in (a, b, c)] == [[1, 2, 3]] * 3
    assert d.watch.asked == [1, 2]


@pytest.mark.slow
def test_below_the_minimum_all_resume_in_a_new_run(joint):
    three = joint.hospitals[:3]
    vanish_at(three[2], 3, "contribution")
    joint.ask(hospitals=three, runs=2)
    assert three[2].away.wait(PATIENCE)
    first = joint.record().run
    three[2].restart()
    record = reviewed(joint)
    assert record.run != first
    # Rounds 1 and 2 were done once.
    assert [h.watch.asked for h in three] == [[1, 2, 3, 3]] * 3
    joint.approve(*three)
    assert metrics_of(joint)["participants_per_round"] == [3, 3, 3]


@pytest.mark.slow
def test_lost_with_the_result_in_its_hands(joint):
    """All sums are opened, three have handed in, the fourth is lost before it does: nothing is trained again."""
    d = joint.hospitals[3]

    def lost(*_):
        d.vanish()
        raise Unavailable("gone")

    d.enclave.runner._hand_in = lost
    joint.ask(runs=2)
    assert d.away.wait(PATIENCE)

    def handed_in():
        output = joint.output()
        return output is not None and len(output.signers) == 3

    until(handed_in, PATIENCE)
    assert joint.record().state == "running"
    with pytest.raises(NotFound):
        review.open_case(joint.hospitals[0].home, joint.job, joint.hospitals[0].reviewer)
    d.restart()
    reviewed(joint)
    assert [h.watch.asked for h in joint.hospitals] == [[1, 2, 3]] * 4
    assert joint.approve() == "released"
    assert metrics_of(joint)["participants_per_round"] == [4, 4, 4]


def test_nobody_waits_for_ever_for_a_signature(monkeypatch, joint):
    """Three have handed in, the fourth is gone for good: after an hour the others end the run, and say so."""
    # (The patch outlives the job's last reading: everybody replays the ledger under the same rules.)
    d = joint.hospitals[3]

    def lost(*_):
        d.vanish()
        raise Unavailable("gone")

    d.enclave.runner._hand_in = lost
    joint.ask()
    assert d.away.wait(PATIENCE)
    until(lambda: joint.output() is not None and len(joint.output().signers) == 3, PATIENCE)
    assert joint.record().state == "running"
    monkeypatch.setattr(rules_run, "OVERDUE_SECONDS", -1)
    assert joint.until("failed", "in-review").state == "failed"
    assert reasons(joint) == {"members"}
    d.restart()


# -- slow


def test_slow_but_in_time(joint):
    d = joint.hospitals[3]
    d.watch.hold(2)
    joint.ask()
    d.watch.wait()
    until(lambda: lacking(joint, "contribution") == [d.unit], PATIENCE)
    d.watch.open()
    reviewed(joint)
    assert joint.output().body.members == units(*joint.hospitals)
    # One attempt was enough in every round.
    assert joint.hospitals[0].watch.joined == [(n, 1) for n in range(5)]


def lacking(joint, phase):
    current = joint.board._course.current
    return list(current.lacking(phase)) if current is not None and current.phase == phase else None


@pytest.mark.slow
def test_slower_than_agreed(joint):
    a, b, c, d = joint.hospitals
    d.watch.hold(2)
    joint.ask(runs=2)
    d.watch.wait()
    joint.lapse(d)
    until(lambda: 3 in a.watch.asked, PATIENCE)
    d.watch.open()
    reviewed(joint)
    assert joint.output().body.members == units(a, b, c)
    assert [f.reason for f in d.enclave.failures() if f.job == joint.job] == ["left-behind"]
    assert own_part(joint, d) == "some"
    joint.approve()
    assert metrics_of(joint)["participants_per_round"] == [4, 3, 3]
    assert never_two_sums(joint)


# -- stopping


@pytest.mark.parametrize("who", ["source unit", "developer"])
def test_it_is_stopped_mid_way(joint, who):
    b, d = joint.hospitals[1], joint.hospitals[3]
    d.watch.hold(2)
    joint.ask(runs=3)
    d.watch.wait()
    until(lambda: lacking(joint, "contribution") == [d.unit], PATIENCE)
    sessions = [h.launcher for h in joint.hospitals]
    assert all(launcher._ends for launcher in sessions)
    if who == "developer":
        jobs.cancel(joint.developer, joint.job)
    else:
        jobs.refuse(b.home, joint.job)
    assert joint.record().state == ("cancelled" if who == "developer" else "refused")
    # The run of the one that is still computing ends as well: its worker is killed, not waited for.
    until(lambda: not any(h.enclave.runner._runs for h in joint.hospitals), PATIENCE)
    assert not d.watch.held[1].is_set()
    for hospital in joint.hospitals:
        assert [f.reason for f in hospital.enclave.failures() if f.job == joint.job] == ["stopped"]
        assert 2 not in revealed(hospital, joint.job)
    assert joint.record().offers == {}
    assert joint.output() is None


def test_a_hospital_stops_at_its_own_door_whatever_the_space_shows(joint, monkeypatch):
    """The space takes no statement of this hospital any more; its people say it to their enclave."""
    a, b, c, d = joint.hospitals
    b.watch.hold(2)
    joint.ask(runs=3)
    b.watch.wait()
    until(lambda: lacking(joint, "contribution") == [b.unit], PATIENCE)

    def withheld(*_):
        raise Unavailable("not taken")

    with monkeypatch.context() as patch:
        for session in (b.home.session, b.enclave.runner._session):
            patch.setattr(session, "append", withheld)
        with pytest.raises(Unavailable):
            jobs.refuse(b.home, joint.job)
        assert joint.record().state == "running"
        b.enclave.runner.stop_job(joint.job)
        # Its worker is killed, though it computes and the space knows of nothing.
        until(lambda: joint.job not in b.enclave.runner._runs, PATIENCE)
        assert not b.watch.held[1].is_set()
        assert joint.world.state(joint.job) == "running"
        joint.lapse(b)
        reviewed(joint)
    assert joint.output().body.members == units(a, c, d)
    assert 2 not in revealed(b, joint.job)
    assert never_two_sums(joint)
    # Its broker releases no key of this job again, and its people still decide.
    assert b.watch.asked == [1, 2]
    review.reject(b.home, review.open_case(b.home, joint.job, b.reviewer), comment="we had stopped it")
    assert joint.record().state == "rejected"


# -- the space


@pytest.mark.parametrize("phase", ["contribution", pytest.param("reveal", marks=pytest.mark.slow)])
def test_the_space_restarts_in_the_middle_of_a_round(joint, phase):
    d = joint.hospitals[3]
    d.watch.moments[2, phase] = joint.world.restart
    joint.ask(runs=2)
    reviewed(joint)
    assert joint.output().body.members == units(*joint.hospitals)
    # Before a reveal the attempt is lost; after one the run is, and a new one goes on from the checkpoints.
    again = [1, 2, 3] if phase == "contribution" else [1, 2, 2, 3]
    assert [h.watch.asked for h in joint.hospitals] == [again] * 4
    assert never_two_sums(joint)


# -- everything at once


@pytest.mark.slow
def test_too_many_at_once(joint):
    a, b, c, d = joint.hospitals
    for hospital in (c, d):
        vanish_at(hospital, 2, "contribution")
    joint.ask()
    assert c.away.wait(PATIENCE)
    assert d.away.wait(PATIENCE)
    joint.lapse(c, d)  # of the round
    joint.lapse(c, d)  # and of the gathering that follows, in which all are waited for once more
    assert joint.until("failed", "in-review").state == "failed"
    assert reasons(joint) == {"members"}
    for hospital in (a, b):
        assert [f.reason for f in hospital.enclave.failures() if f.job == joint.job] == ["members"]
        assert 2 not in revealed(hospital, joint.job)
    assert joint.output() is None
    # They come back, and find that it is over.
    for hospital in (c, d):
        hospital.restart()
    until(lambda: all(h.is_idle for h in joint.hospitals), PATIENCE)
    assert joint.record().state == "failed"


@pytest.mark.slow
def test_all_lost_but_one(joint):
    """Three enclaves that are gone say nothing: the one that is left finds too few for a sum, and says so for all."""
    a, *others = joint.hospitals
    for hospital in others:
        vanish_at(hospital, 2, "contribution")
    joint.ask()
    assert all(hospital.away.wait(PATIENCE) for hospital in others)
    joint.lapse(*others)
    joint.lapse(*others)
    until(lambda: any(f.job == joint.job for f in a.enclave.failures()), PATIENCE)
    until(lambda: a.is_idle, PATIENCE)
    assert joint.until("failed").state == "failed"
    assert reasons(joint) == {"members"}
    # They come back, and find that it is over.
    for hospital in others:
        hospital.restart()
    until(lambda: all(h.is_idle for h in joint.hospitals), PATIENCE)


def test_what_is_left(place):
    """After all of the above: no plaintext, shared memory or connection of a run is held by anybody."""
    for hospital in place.hospitals:
        hospital.launcher.seen.clear()
    gc.collect()

    def held():
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                continue
        return [link for link in found if "memfd:" in link]

    until(lambda: gc.collect() >= 0 and not held())

"""Rounds through a real space: members over mutual TLS, the ledger deciding who they are, and nobody else let in."""

import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from support.cast import Cast
from support.units import Consortium
from support.world import World

from trustspace.api.v1 import rounds_pb2, rounds_pb2_grpc
from trustspace.client import jobs
from trustspace.domain.records import GrantRecord, JobRecord, OfferRecord
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    Stale,
    TrustspaceError,
    Unavailable,
)  # fmt: skip
from trustspace.space import relay
from trustspace.space.relay import wait_seconds_of
from trustspace.transport.channel import MAX_MESSAGE_BYTES
from trustspace.transport.rounds import INLINE_BYTES, PHASES, Place, RoundsLink

LARGE = 3 * INLINE_BYTES // 4 + 5


class Members:
    """The enclaves of a running job, each with its link; in the order of their fingerprints."""

    def __init__(self, world, job, run, keys):
        self.world, self.place, self.keys = world, Place(job, run, 0, 1), keys
        self.units = sorted(keys)
        self.links = {unit: self.link(unit, "enclave", keys[unit]) for unit in self.units}

    def link(self, party, kind, key):
        return RoundsLink(self.world.channel(self.world.false_identity(party, kind, key)))

    def reconnect(self):
        self.links = {unit: self.link(unit, "enclave", key) for unit, key in self.keys.items()}

    def say(self, unit, phase, place=None, wait=30.0, data=b"", envelope=None):
        where = place or self.place
        envelope = message(unit, phase, where) if envelope is None else envelope
        return self.links[unit].exchange(where, phase, envelope, data, wait)

    def all_say(self, phase, place=None, units=None, wait=30.0):
        who = list(units or self.units)
        with ThreadPoolExecutor(len(who)) as pool:
            return list(
                pool.map(
                    lambda u: self.say(u, phase, place, wait, vector(u) if phase == "contribution" else b""),
                    who,
                )
            )

    def until(self, phase, place=None, units=None):
        for before in PHASES[: PHASES.index(phase)]:
            assert {t.status for t in self.all_say(before, place, units)} == {"complete"}

    def round(self, place, units=None):
        self.until("reveal", place, units)
        assert {t.status for t in self.all_say("reveal", place, units)} == {"complete"}


def message(unit, phase, place):
    return f"{phase} {place.round}/{place.attempt} of {unit}".encode()


def words(unit, count=100):
    return np.random.default_rng(int(unit[:8], 16)).integers(0, 2**32, count, dtype=np.uint32)


def vector(unit, count=100):
    return words(unit, count).astype("<u4").tobytes()


def added(units, count=100):
    total = sum(words(unit, count).astype(np.uint64) for unit in units)
    return (total % 2**32).astype("<u4").tobytes()


def pieces(data, size=700_000):
    return (data[start : start + size] for start in range(0, len(data), size))


def running(world, units=4, minimum=3):
    """A real job of so many hospitals, up to where their enclaves have the keys."""
    consortium = Consortium(world, units, reviewers=1, threshold=1, minimum=minimum)
    consortium.grant(runs=3)
    consortium.offer()
    consortium.release_keys()
    record = consortium.record()
    assert record.state == "running"
    keys = {u.home.fingerprint: u.enclave for u in consortium.units}
    return consortium, Members(world, consortium.job, record.run, keys)


@pytest.fixture
def joint(world):
    return running(world)


@pytest.fixture
def members(joint):
    return joint[1]


@pytest.fixture
def soon(monkeypatch):
    """A job says after how many seconds nobody is waited for any more; here it is one."""
    monkeypatch.setattr(relay, "wait_seconds_of", lambda parameters: 1)


def test_rounds_from_the_first_join_to_the_last_reveal(members):
    for number in range(3):
        place = replace(members.place, round=number)
        for phase in PHASES:
            answers = members.all_say(phase, place)
            assert {a.status for a in answers} == {"complete"}
            assert len({a.envelopes for a in answers}) == 1
            if phase != "check":
                assert answers[0].envelopes == tuple(message(u, phase, place) for u in members.units)
            if phase == "contribution":
                assert {a.data for a in answers} == {added(members.units)}


def test_large_vectors(members, world):
    members.until("contribution")
    checker = members.units[2]

    def go(unit):
        link, data = members.links[unit], vector(unit, LARGE)
        link.contribute(members.place, b"", len(data), pieces(data))
        told = members.say(unit, "contribution")
        assert (told.status, told.data) == ("complete", b"")
        return b"".join(link.sum(members.place))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(go, members.units)) == {added(members.units, LARGE)}
    seen = list(members.links[checker].contributions(members.place))
    assert [member for member, _ in seen[:5]] == [0, 1, 2, 3, 0]
    for number, unit in enumerate(members.units):
        assert b"".join(piece for member, piece in seen if member == number) == vector(unit, LARGE)
    assert list((world.home / "rounds").iterdir()) == []
    members.all_say("check")
    members.all_say("reveal")
    with pytest.raises(Stale):
        list(members.links[checker].sum(members.place))


def test_an_upload_that_is_cut_off_leaves_nothing_and_can_be_made_again(members):
    members.until("contribution")
    unit, other = members.units[:2]
    data = vector(unit, LARGE)
    for wrong in (data[:-4], data + bytes(4), b""):
        with pytest.raises(InvalidInput):
            members.links[unit].contribute(members.place, b"", len(data), pieces(wrong))
    stub = rounds_pb2_grpc.RoundsStub(
        members.world.channel(members.world.false_identity(unit, "enclave", members.keys[unit]))
    )
    place = members.place
    header = rounds_pb2.ContributeHeader(
        job=place.job, run=place.run, round=0, attempt=1, envelope=b"m", total_bytes=len(data)
    )
    sent, end = threading.Event(), threading.Event()

    def broken():
        yield rounds_pb2.ContributeChunk(first=header)
        yield rounds_pb2.ContributeChunk(data=data[:INLINE_BYTES])
        sent.set()
        end.wait(30)

    call = stub.Contribute.future(broken(), timeout=30)
    assert sent.wait(10)
    call.cancel()
    end.set()
    with pytest.raises(Exception, match="does not say what it is"):
        stub.Contribute(iter([rounds_pb2.ContributeChunk(data=b"1234")]), timeout=10)
    for one in members.units:
        data = vector(one, LARGE)
        members.links[one].contribute(place, message(one, "contribution", place), len(data), pieces(data))
    assert members.say(other, "contribution").status == "complete"
    assert b"".join(members.links[unit].sum(place)) == added(members.units, LARGE)


def test_what_is_refused_is_said(members):
    unit, link = members.units[0], members.links[members.units[0]]
    with pytest.raises(InvalidInput, match="phase"):
        link.exchange(members.place, "sleep", b"m")
    members.say(unit, "join", wait=0)
    with pytest.raises(InvalidTransition):
        members.say(unit, "agree", wait=0)
    with pytest.raises(AlreadyExists):
        members.say(unit, "join", envelope=b"another", wait=0)
    with pytest.raises(InvalidInput):
        link.exchange(members.place, "contribution", b"m", bytes(INLINE_BYTES + 4))
    with pytest.raises(TrustspaceError):
        link.exchange(members.place, "contribution", b"m", bytes(MAX_MESSAGE_BYTES + 4))
    with pytest.raises(InvalidInput):
        link.contribute(members.place, b"", 1 << 40, [])


# -- who may


def test_strangers_are_told_nothing(joint, world):
    consortium, members = joint
    unit = members.units[0]
    nobody = world.party("Hospital Z", "source-unit", reviewers=("Dr Z",)).fingerprint
    strangers = {
        "a client of a member": members.link(unit, "client", ""),
        "a client with the enclave's key": members.link(unit, "client", members.keys[unit]),
        "a reviewer of a member": members.link(unit, "reviewer", members.keys[unit]),
        "another enclave of a member": members.link(unit, "enclave", members.keys[members.units[1]]),
        "another hospital's enclave": members.link(nobody, "enclave", "ab" * 32),
        "the developer": members.link(consortium.developer.fingerprint, "client", ""),
        "the buyer as an enclave": members.link(consortium.buyer.fingerprint, "enclave", members.keys[unit]),
    }
    texts = set()
    for link in strangers.values():
        for place in (
            members.place,
            replace(members.place, run="ab" * 32),
            replace(members.place, job="ab" * 32),
        ):
            for attempt in (
                lambda p=place, s=link: s.exchange(p, "join", b"me", wait_seconds=0),
                lambda p=place, s=link: s.contribute(p, b"", 4, [b"1234"]),
                lambda p=place, s=link: list(s.sum(p)), lambda p=place, s=link: list(s.contributions(p)),
            ):  # fmt: skip
                with pytest.raises(PermissionDenied) as caught:
                    attempt()
                texts.add(caught.value.public_message)
    # Also whether there is such a job.
    assert len(texts) == 1
    with pytest.raises(PermissionDenied):
        members.links[unit].exchange(replace(members.place, job="cd" * 32), "join", b"me")
    # The control: the same calls by who may.
    assert members.links[unit].exchange(members.place, "join", b"me", wait_seconds=0).status == "waiting"


def test_another_run_of_the_job_is_over(members):
    unit = members.units[0]
    old = replace(members.place, run="ab" * 32)
    assert members.say(unit, "join", old).status == "ended"
    members.links[unit].contribute(old, b"", 4, [b"1234"])
    with pytest.raises(PermissionDenied):
        list(members.links[unit].sum(old))


def test_a_job_that_does_not_run(world):
    consortium = Consortium(world, 4, reviewers=1, threshold=1, minimum=3)
    keys = {u.home.fingerprint: u.enclave for u in consortium.units}
    members = Members(world, consortium.job, "", keys)
    with pytest.raises(PermissionDenied):
        members.say(members.units[0], "join", wait=0)
    consortium.grant()
    assert members.say(members.units[0], "join", wait=0).status == "ended"
    consortium.offer()
    assert members.say(members.units[0], "join", wait=0).status == "ended"


# -- who is lost


@pytest.mark.parametrize("how", ["refuse", "cancel"])
def test_a_job_that_is_stopped_while_members_wait(joint, how):
    consortium, members = joint
    members.until("agree")
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(members.say, unit, "agree", None, 120.0) for unit in members.units[:3]]
        time.sleep(0.2)
        if how == "refuse":
            jobs.refuse(consortium.units[0].home, consortium.job)
        else:
            jobs.cancel(consortium.developer, consortium.job)
        assert [w.result(60).status for w in waiting] == ["ended"] * 3
    assert members.say(members.units[0], "agree").status == "ended"
    assert members.world.server.relay._boards == {}


def test_a_member_whose_run_fails_is_not_waited_for(joint):
    consortium, members = joint
    members.until("contribution")
    gone = consortium.units[1].home.fingerprint
    rest = [unit for unit in members.units if unit != gone]
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(members.say, u, "contribution", None, 120.0, vector(u)) for u in rest]
        consortium.fail(1, "job-failed")
        for told in (w.result(60) for w in waiting):
            assert (told.status, told.missing, told.attempt) == ("aborted", (gone,), 2)
    assert members.say(gone, "contribution").status == "ended"
    members.round(replace(members.place, attempt=2), rest)
    # It comes back with a new offer, too late for this attempt, in time for the round that follows.
    consortium.offer([1])
    told = members.say(gone, "join", replace(members.place, attempt=2))
    assert (told.status, told.round, told.attempt) == ("stale", 1, 1)
    following = replace(members.place, round=1)
    assert members.say(gone, "join", following, 0.0).status == "waiting"
    assert {len(told.envelopes) for told in members.all_say("join", following)} == {4}


def test_who_is_slow_is_left_behind(members, soon):
    slow, *rest = members.units
    answers = members.all_say("join", units=rest)
    assert {(a.status, a.missing, len(a.envelopes)) for a in answers} == {("complete", (slow,), 3)}
    told = members.say(slow, "join")
    assert (told.status, told.round, told.attempt) == ("stale", 1, 1)
    members.all_say("agree", units=rest)
    first, second, lost = rest
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(members.say, u, "contribution", None, 60.0, vector(u)) for u in (first, second)
        ]
        assert {(w.result(60).status, w.result().missing) for w in waiting} == {("aborted", (lost,))}


def test_too_few(members, soon):
    answers = members.all_say("join", units=members.units[:2])
    assert {(a.status, a.missing) for a in answers} == {("failed", tuple(members.units[2:]))}


def test_nobody_is_waited_for_when_the_space_stops(members):
    members.until("agree")
    with ThreadPoolExecutor(3) as pool:
        waiting = [
            pool.submit(members.links[u].exchange, members.place, "agree", b"m" + u.encode())
            for u in members.units[:3]
        ]
        time.sleep(0.2)
        started = [not w.done() for w in waiting]
        members.world.stop()
        ended = [w.exception(60) or w.result().status for w in waiting]
    assert all(started)
    # A space that stops has ended nothing: members may ask its successor.
    assert all(e == "waiting" or isinstance(e, Unavailable) for e in ended)


def test_after_a_restart_the_members_meet_again(members):
    members.round(members.place)
    place = replace(members.place, round=1)
    members.until("contribution", place)
    members.world.restart()
    members.reconnect()
    for unit in members.units:
        told = members.say(unit, "contribution", place, 5.0, vector(unit))
        assert (told.status, told.round, told.attempt) == ("aborted", 1, 2)
    members.round(replace(place, attempt=2))
    members.round(replace(place, round=2))


# -- how much it takes


@pytest.mark.slow
def test_thirty_two_members_at_once(world):
    """Their records are put into the space as the ledger would leave them; everything else is real."""
    cast = Cast(units=32, reviewers=1, threshold=1, minimum=3)
    cast.units[25].name = "Hospital 26"  # Z is the stranger's
    cast.until("release_keys")
    for kind in (JobRecord, GrantRecord, OfferRecord):
        world.ledger.view.install(cast.view.all(kind))
    members = Members(
        world, cast.job.statement, cast.job.run, {u.fingerprint: u.public("enclave") for u in cast.units}
    )
    for number in range(2):
        place = replace(members.place, round=number)
        for phase in PHASES:
            answers = members.all_say(phase, place, wait=120.0)
            assert {a.status for a in answers} == {"complete"}
            assert len({a.envelopes for a in answers}) == 1
            assert not answers[0].data or answers[0].data == added(members.units)
    # While all of them wait for one, the space answers others.
    with ThreadPoolExecutor(31) as pool:
        place = replace(members.place, round=2)
        waiting = [pool.submit(members.say, unit, "join", place, 120.0) for unit in members.units[1:]]
        other = world.party("Hospital Z", "source-unit", reviewers=("Dr Z",))
        assert world.link(other).view("jobs") == []
        members.say(members.units[0], "join", place)
        assert {w.result(60).status for w in waiting} == {"complete"}


def test_a_disk_that_is_full(world):
    """The limit on a file's size stands in for it: the system refuses the same call, with another word."""
    world.close()
    apart = World(subprocess=True)
    try:
        _, members = running(apart)
        members.until("contribution")
        unit, data = members.units[0], vector(members.units[0], LARGE)
        _, most = resource.prlimit(apart.child.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(apart.child.pid, resource.RLIMIT_FSIZE, (INLINE_BYTES, most))
        with pytest.raises(Unavailable, match="disk"):
            members.links[unit].contribute(members.place, b"", len(data), pieces(data))
        held = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{apart.child.pid}/fd")]
        assert not [name for name in held if "/rounds/" in name]
        resource.prlimit(apart.child.pid, resource.RLIMIT_FSIZE, (most, most))
        for one in members.units:
            data = vector(one, LARGE)
            members.links[one].contribute(
                members.place, message(one, "contribution", members.place), len(data), pieces(data)
            )
        assert members.say(unit, "contribution").status == "complete"
        assert b"".join(members.links[unit].sum(members.place)) == added(members.units, LARGE)
    finally:
        apart.close()


def resident(pid, what="VmRSS"):
    """Bytes of a process's memory that are its own."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(what))


def test_memory_does_not_grow_with_the_vectors(world):
    world.close()
    apart = World(subprocess=True)
    try:
        _, members = running(apart)
        block = bytes(1 << 20)

        def whole(place, size):
            members.until("contribution", place)

            def go(unit):
                link = members.links[unit]
                link.contribute(place, b"", size, (block for _ in range(size >> 20)))
                assert members.say(unit, "contribution", place, 60.0).status == "complete"
                assert sum(len(piece) for piece in link.sum(place)) == size

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(go, members.units))
            first = members.links[members.units[0]]
            assert sum(len(piece) for _, piece in first.contributions(place)) == 4 * size
            members.all_say("check", place)
            members.all_say("reveal", place)
            return resident(apart.child.pid, "VmHWM")

        # The first round takes what threads and connections take, whatever is sent.
        warm = whole(members.place, 8 << 20)
        # 256 MiB of vectors and 64 of their sum go through: less than one of them shows.
        assert whole(replace(members.place, round=1), 64 << 20) - warm < 64 << 20
    finally:
        apart.close()


@pytest.mark.parametrize(
    ("parameters", "seconds"),
    [
        ({}, 300), ({"federated": {"wait_seconds": 20}}, 20), ({"statistics": {"wait_seconds": 86400}}, 86400),
        ({"federated": {"wait_seconds": 1}}, 300), ({"federated": {"wait_seconds": "20"}}, 300),
        ({"federated": {"wait_seconds": 10**9}}, 300), ({"federated": [20]}, 300),
    ],
)  # fmt: skip
def test_how_long_a_job_says_that_one_waits(parameters, seconds):
    assert wait_seconds_of(parameters) == seconds

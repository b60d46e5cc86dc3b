"""Members that vanish at every moment of a round, under each way to protect its sum.

Either the sum is opened by everybody who is left, over the very members whose vectors are in it, or nothing is opened
and everybody is told why. Nobody waits for real: once the lost alone are waited for, the clock of the space jumps.
"""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.losses import PATIENCE, Fragile, Mortal, Ring, at, opened
from support.members import WORDS, Given, failed

from trustspace.aggregation.lattice.parameters import L, S
from trustspace.aggregation.lattice.scheme import LatticeSum
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.rounds import Rounds
from trustspace.transport.rounds import INLINE_BYTES

# Too many for a message of their own: these are uploaded. The least that is, in whole blocks.
UPLOADED = INLINE_BYTES // 4 + 1
EVENTS = ("join", "agree", "deal", "contribution", "upload", "check", "shares", "reveal", "revealed")
SCHEMES = {
    "masks": PairwiseMasks,
    "lattice": lambda: LatticeSum(S),
    "lattice, 3 of 4": lambda: LatticeSum(S, 3),
}


def count_for(event):
    return UPLOADED if event == "upload" else WORDS


def goes_on(ring, found, vectors):
    """Those that are left add up the next round."""
    left = {unit: vectors[unit] for unit, one in found.items() if not isinstance(one, RoundFailed)}
    assert opened(ring.sum(left, 2), vectors, tuple(left)) == set(left)


# -- everybody's help is needed: an attempt is given up, or the run is over


@pytest.mark.parametrize("name", ["masks", "lattice"])
@pytest.mark.parametrize("event", ["join", "agree", "contribution", "upload"])
def test_without_all_an_attempt_is_given_up_and_another_has_the_sum(tmp_path, name, event):
    ring = Ring(tmp_path, scheme=SCHEMES[name]())
    lost, *left = ring.units[::-1]
    ring.space.fate.rules = [at(event, lost)]
    vectors = ring.vectors(count_for(event))
    found = ring.sum(vectors)
    assert failed(found) == {lost: "lost"}
    assert opened(found, vectors, sorted(left)) == set(left)
    assert {one.attempts for one in found.values() if one is not found[lost]} == {1 if event == "join" else 2}
    goes_on(ring, found, vectors)


@pytest.mark.parametrize("name", ["masks", "lattice"])
def test_without_its_checker_another_attempt_has_the_sum(tmp_path, name):
    ring = Ring(tmp_path, scheme=SCHEMES[name]())
    current = lambda: ring.space.main._course.current  # noqa: E731
    ring.space.fate.rules = [lambda unit, place, event: event == "check" and unit in current().checkers()]
    vectors = ring.vectors()
    found = ring.sum(vectors)
    (lost,) = failed(found)
    assert opened(found, vectors, [u for u in ring.units if u != lost]) == set(ring.units) - {lost}
    goes_on(ring, found, vectors)


@pytest.mark.parametrize("name", ["masks", "lattice"])
@pytest.mark.parametrize("event", ["check", "reveal"])
def test_without_one_reveal_of_all_nothing_is_opened(tmp_path, name, event):
    ring = Ring(tmp_path, scheme=SCHEMES[name]())
    current = lambda: ring.space.main._course.current  # noqa: E731
    ring.space.fate.rules = [
        lambda unit, place, e: e == event and (event != "check" or unit not in current().checkers())
    ]
    found = ring.sum(ring.vectors())
    assert sorted(failed(found).values()) == ["lost", *["members"] * 3]
    # What was revealed opens nothing, and no other set is summed up in this round.
    assert len(ring.space.said("reveal")) == 3
    assert ring.revealed() == {1: {ring.units}}


@pytest.mark.parametrize("name", SCHEMES)
def test_who_has_revealed_may_go(tmp_path, name):
    ring = Ring(tmp_path, scheme=SCHEMES[name]())
    lost = ring.units[1]
    ring.space.fate.rules = [at("revealed", lost)]
    vectors = ring.vectors()
    found = ring.sum(vectors)
    assert failed(found) == {lost: "lost"}
    assert opened(found, vectors, ring.units) == set(ring.units) - {lost}
    goes_on(ring, found, vectors)


# -- some are enough


@pytest.mark.parametrize("told", [False, True], ids=["silent", "said"])
@pytest.mark.parametrize("event", EVENTS[:-1])
def test_with_some_the_round_goes_on(tmp_path, event, told):
    ring = Ring(tmp_path, scheme=LatticeSum(S, 3))
    ring.space.told = told
    lost = ring.units[2]
    ring.space.fate.rules = [at(event, lost)]
    vectors = ring.vectors(count_for(event))
    found = ring.sum(vectors)
    assert failed(found) == {lost: "lost"}
    # Whose vector has come is in the sum, also if it helps no more to open it.
    late = event in ("check", "shares", "reveal")
    members = ring.units if late else tuple(u for u in ring.units if u != lost)
    assert opened(found, vectors, members) == set(ring.units) - {lost}
    # A set that is not signed by all comes to nothing; from then on nobody begins anew.
    attempts = {one.attempts for unit, one in found.items() if unit != lost}
    assert attempts == {2 if event == "agree" else 1}
    assert ring.revealed() == {1: {members}}
    goes_on(ring, found, vectors)


@pytest.mark.parametrize("event", ["contribution", "reveal"])
def test_with_some_of_the_larger_set(tmp_path, event):
    ring = Ring(tmp_path, scheme=LatticeSum(L, 3))
    ring.space.fate.rules = [at(event, ring.units[0])]
    vectors = ring.vectors()
    found = ring.sum(vectors)
    members = ring.units if event == "reveal" else ring.units[1:]
    assert opened(found, vectors, members) == set(ring.units[1:])


def test_the_checker_that_is_lost_is_not_the_only_one(tmp_path):
    ring = Ring(tmp_path, scheme=LatticeSum(S, 3))
    current = lambda: ring.space.main._course.current  # noqa: E731
    ring.space.fate.rules = [lambda unit, place, event: event == "check" and unit == current().checkers()[0]]
    vectors = ring.vectors()
    found = ring.sum(vectors)
    (lost,) = failed(found)
    assert opened(found, vectors, ring.units) == set(ring.units) - {lost}
    assert {one.attempts for one in found.values() if one is not found[lost]} == {1}


def test_a_minimum_above_what_opens_a_sum(tmp_path):
    """Space and members find the same checkers also where fewer could open a sum than it must have members."""
    ring = Ring(tmp_path, 5, 4, scheme=LatticeSum(S, 3))
    ring.space.fate.rules = [at("contribution", ring.units[0])]
    vectors = ring.vectors()
    assert opened(ring.sum(vectors), vectors, ring.units[1:]) == set(ring.units[1:])


def test_one_after_another_in_one_round(tmp_path):
    ring = Ring(tmp_path, 5, scheme=LatticeSum(S, 3))
    a, b = ring.units[0], ring.units[3]
    ring.space.fate.rules = [at("contribution", a), at("reveal", b)]
    vectors = ring.vectors()
    found = ring.sum(vectors)
    assert opened(found, vectors, ring.units[1:]) == set(ring.units[1:]) - {b}
    goes_on(ring, found, vectors)


@pytest.mark.parametrize("event", ["contribution", "reveal"])
def test_fewer_than_open_a_sum_are_left(tmp_path, event):
    ring = Ring(tmp_path, scheme=LatticeSum(S, 3))
    lost = ring.units[:2]
    ring.space.fate.rules = [at(event, unit) for unit in lost]
    found = ring.sum(ring.vectors())
    assert failed(found) == {u: "lost" if u in lost else "members" for u in ring.units}
    assert len(ring.space.said("reveal")) == (2 if event == "reveal" else 0)
    # Two of three that are needed: what they revealed opens nothing, and no other sum of the round is made.
    assert ring.revealed() == ({1: {ring.units}} if event == "reveal" else {})


# -- the members see to it themselves


class Generous(Mortal):
    """Its boards go on with fewer than were agreed."""

    def make_board(self, offers, minimum=None):
        return super().make_board(offers, 3)


class Trusting(Rounds):
    """The defence taken away: nobody counts who is in a sum."""

    def _require_enough(self, group, said, what):
        """As many as the space says."""


@pytest.mark.parametrize("kind", [Rounds, Trusting])
def test_fewer_than_the_agreed_minimum(tmp_path, kind):
    ring = Ring(tmp_path, 5, 4, scheme=LatticeSum(S, 3), space=Generous)
    lost = ring.units[:2]
    ring.space.fate.rules = [at("contribution", unit) for unit in lost]
    vectors = ring.vectors()
    found = ring.sum(vectors, kind=kind)
    if kind is Trusting:
        assert opened(found, vectors, ring.units[2:]) == set(ring.units[2:])
        return
    assert "disagreement" in failed(found).values()
    assert any("fewer than agreed" in one.log for one in found.values())
    assert ring.space.said("reveal") == []


# -- who is only slow


class Slow(Fragile):
    """Waits before something until the others have the sum."""

    def __init__(self, space, unit, event, done):
        super().__init__(space, unit)
        self._event, self._done = event, done

    def _may_die(self, place, event):
        if event == self._event and place.round == 1:
            self._space.lost.add(self._unit)
            assert self._done.wait(PATIENCE)


@pytest.mark.parametrize("event", ["deal", "contribution", "check", "shares", "reveal"])
def test_who_is_late(tmp_path, event):
    ring = Ring(tmp_path, scheme=LatticeSum(S, 3))
    late, vectors, done = ring.units[1], ring.vectors(), threading.Event()
    lock, there = threading.Lock(), []

    def act(unit):
        if unit == late:
            changes = {"relay": Slow(ring.space, unit, event, done)}
            return ring.rounds(unit, **changes).sum(1, "", lambda: Given(vectors[unit]))
        one = ring.rounds(unit).sum(1, "", lambda: Given(vectors[unit]))
        with lock:
            there.append(unit)
            if len(there) == 3:
                done.set()
        return one

    found = ring.play({unit: lambda unit=unit: act(unit) for unit in ring.units})
    is_in = event not in ("deal", "contribution")
    members = ring.units if is_in else tuple(u for u in ring.units if u != late)
    has_it = opened(found, vectors, members)
    if event == "reveal":
        # Its vector is in the sum, and what the others revealed opens it for this one too.
        assert has_it == set(ring.units)
    else:
        assert failed(found) == {late: "left-behind"}
        assert "went on without" in found[late].log
    goes_on(ring, {u: one for u, one in found.items() if u != late}, vectors)


# -- anything


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(["masks", "lattice", "lattice, 3 of 5", "lattice, 4 of 5"]),
    losses=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([e for e in EVENTS if e != "upload"]), st.integers(1, 2)),
        max_size=3, unique_by=lambda loss: loss[0],
    ),
    told=st.booleans(),
)  # fmt: skip
@example(name="lattice, 3 of 5", losses=[(0, "deal", 1), (1, "reveal", 1)], told=False)
@example(name="lattice, 3 of 5", losses=[(0, "shares", 1), (1, "reveal", 1), (2, "revealed", 1)], told=True)
@example(name="lattice, 4 of 5", losses=[(2, "join", 1), (3, "contribution", 1)], told=False)
def test_any_losses(name, losses, told):
    """One sum or none; who opened it has the same words, which are those of its members; nobody hangs."""
    with TemporaryDirectory() as directory:
        kinds = {
            **SCHEMES,
            "lattice, 3 of 5": lambda: LatticeSum(S, 3),
            "lattice, 4 of 5": lambda: LatticeSum(S, 4),
        }
        ring = Ring(Path(directory), 5, 3, scheme=kinds[name]())
        ring.space.told = told
        ring.space.fate.rules = [at(event, ring.units[who], 1, attempt) for who, event, attempt in losses]
        vectors = ring.vectors()
        found = ring.sum(vectors)
        there = [one for one in found.values() if not isinstance(one, RoundFailed)]
        assert set(failed(found).values()) <= {"lost", "members", "stopped", "left-behind"}
        assert all(len(sets) == 1 for sets in ring.revealed().values())
        if not there:
            # Then too few were left: of all, or after the first had revealed.
            assert len(ring.space.fate.lost) > 5 - max(3, ring.scheme.needed(5)) or name in (
                "masks",
                "lattice",
            )
            return
        members = there[0].members
        assert len(members) >= 3
        assert opened(found, vectors, members) == set(ring.units) - set(failed(found))
        assert ring.revealed()[1] == {members}

"""One member's side of secure sums: what it adds up to, whom it waits for, and what it remembers."""

import json
import threading

import numpy as np
import pytest
from support.members import JOB, LOG, MANY_WORDS, RUN, WORDS, Circle, Given, Space, added, failed, some_words

from trustspace.aggregation.fixedpoint import decode_reals
from trustspace.domain.rounds import MemberSet, read_message
from trustspace.domain.rounds import Place as SignedPlace
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.journal import Journal
from trustspace.enclave.rounds import NOTE_BYTES
from trustspace.enclave.vectors import Reals
from trustspace.errors import LogCorrupted, Unavailable
from trustspace.transport.rounds import Exchanged


def test_everybody_opens_the_same_sum(tmp_path):
    circle = Circle(tmp_path)
    vectors = circle.vectors()
    found = circle.sum(vectors)
    assert not failed(found)
    for one in found.values():
        assert (one.words == added(list(vectors.values()))).all()
        assert one.members == circle.units
    # A secret that exactly the members share, and the space has no part of.
    assert len({one.secret for one in found.values()}) == 1
    secret = found[circle.units[0]].secret
    assert all(secret not in h.envelope + h.data for h in circle.space.heard)


def test_a_large_sum_goes_in_pieces(tmp_path):
    circle = Circle(tmp_path)
    vectors = circle.vectors(MANY_WORDS)
    found = circle.sum(vectors)
    assert not failed(found)
    assert all((one.words == added(list(vectors.values()))).all() for one in found.values())


def test_real_numbers_and_notes(tmp_path):
    circle = Circle(tmp_path, 4)
    notes = {unit: bytes([n]) * NOTE_BYTES for n, unit in enumerate(circle.units)}
    found = circle.play({
        unit: lambda unit=unit, n=n: circle.rounds(unit).sum(0, "", lambda: Reals([n + 0.5, -3.0]), notes[unit])
        for n, unit in enumerate(circle.units)
    })  # fmt: skip
    for one in found.values():
        assert decode_reals(one.words, 4) == [8.0, -12.0]
        assert one.notes == tuple(notes.values())


def test_who_is_lost_before_a_reveal_costs_an_attempt(tmp_path):
    """The vector is made once, and protected anew for the new set."""

    class Losing(Space):
        def answered(self, unit, place, phase, found):
            if unit == LAST and place.attempt == 1 and phase == "agree":
                return Exchanged("ended", round=place.round, attempt=place.attempt)
            return found

    circle = Circle(tmp_path, 4, space=Losing)
    LAST = circle.units[-1]
    vectors, made = circle.vectors(), []

    def act(unit):
        def produce():
            made.append(unit)
            return Given(vectors[unit])

        return circle.rounds(unit).sum(1, "", produce)

    found = circle.play({unit: lambda unit=unit: act(unit) for unit in circle.units})
    assert failed(found) == {LAST: "stopped"}
    for unit in circle.units[:-1]:
        assert found[unit].members == circle.units[:-1]
        assert (found[unit].words == added([vectors[u] for u in circle.units[:-1]])).all()
    assert sorted(made) == list(circle.units[:-1])


def test_below_the_minimum_nothing_is_summed(tmp_path):
    class Losing(Space):
        def answered(self, unit, place, phase, found):
            if unit == self.victim and phase == "agree":
                return Exchanged("ended", round=place.round, attempt=place.attempt)
            return found

    circle = Circle(tmp_path, space=Losing)
    circle.space.victim = circle.units[0]
    found = circle.sum(circle.vectors())
    assert set(failed(found)) == set(circle.units)
    assert circle.space.said("reveal") == []


def test_members_that_hold_another_model_are_told(tmp_path):
    circle = Circle(tmp_path)
    vectors = circle.vectors()
    found = circle.play({
        unit: lambda unit=unit, model=model: circle.rounds(unit).sum(3, model, lambda: Given(vectors[unit]))
        for unit, model in zip(circle.units, ("c" * 64, "c" * 64, "d" * 64), strict=True)
    })  # fmt: skip
    assert set(failed(found)) == set(circle.units)
    assert "disagreement" in failed(found).values()
    assert circle.space.said("contribution") == []


def test_stopping_before_the_reveal_reveals_nothing(tmp_path):
    class Stopping(Space):
        def answered(self, unit, place, phase, found):
            if phase == "check":
                self.stop.set()
            return found

    circle = Circle(tmp_path, space=Stopping)
    circle.space.stop = circle.stop
    assert set(failed(circle.sum(circle.vectors())).values()) == {"stopped"}
    assert circle.space.said("reveal") == []
    assert not list(tmp_path.glob("notes-*/*.reveals"))


def test_a_silent_space_is_not_waited_for_for_ever(tmp_path):
    """By the member's own clock: the space's deadlines are the space's word."""
    circle = Circle(tmp_path)
    now = [0.0]

    class Silent:
        asked = 0

        def exchange(self, place, phase, envelope, data=b"", wait_seconds=20.0):
            Silent.asked += 1
            now[0] += wait_seconds
            return Exchanged("waiting", round=place.round, attempt=place.attempt)

    unit = circle.units[0]
    rounds = circle.rounds(unit, relay=Silent(), clock=lambda: now[0])
    with pytest.raises(RoundFailed, match="Nothing came of phase join"):
        rounds.sum(1, "", lambda: Given(some_words(1)))
    assert Silent.asked < 100


def test_a_space_that_is_away_for_a_moment_is_asked_again(tmp_path):
    class Away(Space):
        def __init__(self, *args):
            super().__init__(*args)
            self.away = {"join", "agree", "contribution", "check", "reveal"}

        def taken(self, unit, place, phase, envelope, data):
            if phase in self.away:
                self.away.discard(phase)
                raise Unavailable("The space is closing.")
            return envelope, data

    circle = Circle(tmp_path, space=Away)
    vectors = circle.vectors()
    found = circle.sum(vectors)
    assert not failed(found)
    assert all((one.words == added(list(vectors.values()))).all() for one in found.values())
    assert circle.space.away == set()


def test_every_attempt_has_fresh_secrets(tmp_path):
    """The same vector, sent twice, is never masked alike; nor do two sums' secrets have anything in common."""
    circle = Circle(tmp_path)
    vectors = circle.vectors()
    secrets = set()
    for number in (1, 2):
        found = circle.sum(vectors, number)
        assert not failed(found)
        secrets |= {one.secret for one in found.values()}
    assert len(secrets) == 2
    sent = [h.data for h in circle.space.said("contribution", circle.units[0])]
    assert len(set(sent)) == 2
    joins = [h.envelope for h in circle.space.said("join", circle.units[0])]
    assert len(set(joins)) == 2


def test_the_signed_set_names_what_was_agreed(tmp_path):
    circle = Circle(tmp_path)
    found = circle.sum(circle.vectors())
    envelope = found[circle.units[0]].record["agree"][0].encode()
    said = read_message(envelope, MemberSet, SignedPlace(job=JOB, run=RUN, round=1, attempt=1))
    assert (said.minimum, said.scheme) == (3, "pairwise-masks-v1")
    assert tuple(m.source_unit for m in said.members) == circle.units
    assert [m.offer for m in said.members] == list(circle.offers.values())


# -- what is remembered


UNITS = ("1" * 64, "2" * 64, "3" * 64)


def place(number=1, attempt=1, run=RUN):
    return SignedPlace(job=JOB, run=run, round=number, attempt=attempt)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_reveal_is_remembered(tmp_path, restarted):
    journal = Journal(tmp_path, JOB)
    journal.check(place(), UNITS)
    journal.note(place(), UNITS)
    if restarted:
        journal = Journal(tmp_path, JOB)
    for again in (place(attempt=2), place(run="c" * 64)):
        with pytest.raises(RoundFailed, match="already"):
            journal.check(again, UNITS[:2])
    # Not even the same set, while the run is the same: one sum is enough.
    with pytest.raises(RoundFailed, match="already"):
        journal.check(place(attempt=2), UNITS)
    # In a later run it is the same sum; and another round was never opened.
    journal.check(place(run="c" * 64), UNITS)
    journal.check(place(number=2), UNITS[:2])


def test_what_a_later_run_reveals_binds_as_well(tmp_path):
    journal = Journal(tmp_path, JOB)
    journal.note(place(), UNITS)
    journal.note(place(run="c" * 64), UNITS)
    for known in (journal, Journal(tmp_path, JOB)):
        with pytest.raises(RoundFailed):
            known.check(place(run="d" * 64), UNITS[1:])
        known.check(place(run="d" * 64), UNITS)


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_that_a_crash_tore_hides_no_other(tmp_path, cut):
    journal = Journal(tmp_path, JOB)
    journal.note(place(1), UNITS)
    journal.note(place(2), UNITS)
    (path,) = tmp_path.glob("*.reveals")
    first, second = path.read_bytes().splitlines()
    path.write_bytes(first + b"\n" + second[:cut])
    after = Journal(tmp_path, JOB)
    after.note(place(3), UNITS)
    for known in (after, Journal(tmp_path, JOB)):
        for number in (1, 3):
            with pytest.raises(RoundFailed):
                known.check(place(number, 2), UNITS[:2])
    assert json.loads(path.read_bytes().splitlines()[-1])["round"] == 3


def test_the_note_is_there_before_the_seed_leaves(tmp_path):
    """A crash between the two must not leave a seed that nobody remembers."""

    class Looking(Space):
        def taken(self, unit, place, phase, envelope, data):
            if phase == "reveal" and envelope:
                kept = (tmp_path / f"notes-{unit[-4:]}" / f"{JOB}.reveals").read_bytes()
                self.noted.append(json.loads(kept)["units"])
            return envelope, data

    circle = Circle(tmp_path, space=Looking)
    circle.space.noted = []
    assert not failed(circle.sum(circle.vectors()))
    assert circle.space.noted == [list(circle.units)] * 3


def test_no_note_no_reveal(tmp_path, monkeypatch):
    circle = Circle(tmp_path)

    def full(journal, place, units):
        raise Unavailable("The disk is full.")

    monkeypatch.setattr(Journal, "note", full)
    with pytest.raises(Unavailable):
        circle.sum(circle.vectors())
    assert circle.space.said("reveal") == []


# -- ledgers


def test_a_ledger_that_is_another_ends_it_before_anything_is_sent(tmp_path):
    def other(log):
        raise LogCorrupted("The space shows different parties different ledgers.")

    circle = Circle(tmp_path)
    found = circle.sum(circle.vectors(), 0, compare=other)
    assert "disagreement" in failed(found).values()
    assert circle.space.said("contribution") == []


def test_who_joins_later_is_compared_as_well(tmp_path):
    """An enclave that restarts has seen no round 0 of this run, and its ledger is as good a lie as any other's."""
    circle = Circle(tmp_path)
    vectors, compared, lock = circle.vectors(), {unit: [] for unit in circle.units}, threading.Lock()

    def act(unit):
        def compare(log):
            with lock:
                compared[unit].append(log)

        rounds = circle.rounds(unit, compare=compare)
        return [rounds.sum(number, "", lambda: Given(vectors[unit])) for number in (4, 5)]

    found = circle.play({unit: lambda unit=unit: act(unit) for unit in circle.units})
    assert not failed(found)
    # With everybody else, once each.
    assert compared == {unit: [LOG] * 2 for unit in circle.units}


def test_one_sum_of_many_words_is_right_at_every_word(tmp_path):
    circle = Circle(tmp_path, 5)
    vectors = {unit: np.full(WORDS, 0xFFFFFFFF, np.uint32) for unit in circle.units}
    found = circle.sum(vectors)
    assert all((one.words == np.uint32(2**32 - 5)).all() for one in found.values())

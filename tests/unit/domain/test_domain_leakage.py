"""What a job tells before its release: the bound against everything that can happen, in small."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.domain import leakage, rules_run, states
from trustspace.domain.leakage import bits_per_job, millibits, moments, told_messages
from trustspace.errors import TrustspaceError
from trustspace.jobs.sections import Limits

NEVER = None


def told(moves, slot, horizon):
    """All that somebody sees who asks in every second."""
    return tuple(states.coarse_state(moves, now, slot) for now in range(horizon))


def every_course(start, seconds, runs, gap):
    """The moves of every job whose runs begin at ``start`` and then ``gap`` after the last one's end."""
    ends = [*itertools.product(range(seconds + 1), ("in review", "no output")), (0, NEVER)]
    for courses in itertools.product(ends, repeat=runs):
        moves, at = [], start
        for number, (lasted, how) in enumerate(courses, 1):
            moves.append((at, "running"))
            if how is NEVER:
                break
            if how == "in review":
                moves.append((at + lasted, "in review"))
                break
            moves.append((at + lasted, "waiting" if number < runs else "not released"))
            at += lasted + gap
        yield tuple(moves)


def distinct(start, seconds, runs, gap, slot):
    """How many sequences of told states there are when data alone decides."""
    horizon = start + runs * (seconds + gap) + 3 * slot + 2
    return len({told(moves, slot, horizon) for moves in every_course(start, seconds, runs, gap)})


@pytest.mark.parametrize("slot", [1, 2, 3, 5])
@pytest.mark.parametrize("seconds", [0, 1, 4, 6, 7])
def test_one_run_tells_exactly_what_is_counted(seconds, slot):
    """Every second that it may begin at within its slot: at the worst one the bound is reached, never passed."""
    found = max(distinct(start, seconds, 1, 0, slot) for start in range(slot, 2 * slot))
    assert found == told_messages(seconds, 1, slot)


@pytest.mark.parametrize("slot", [2, 3, 5])
@pytest.mark.parametrize("gap", [0, 1, 3, 4])
@pytest.mark.parametrize(("seconds", "runs"), [(4, 2), (6, 2), (3, 3)])
def test_several_runs_tell_no_more_than_is_counted(seconds, runs, gap, slot):
    """Also where the next run's beginning says more about the last one's end."""
    found = max(distinct(start, seconds, runs, gap, slot) for start in range(slot, 2 * slot))
    assert distinct(slot, seconds, 1, gap, slot) < found <= told_messages(seconds, runs, slot)


def test_a_second_start_says_more_about_the_first_end():
    """Without the factor two for it the count would be too small: the brute force finds more."""
    seconds, slot, gap = 6, 2, 3
    slots = moments(seconds, slot)
    without = slots + 1 + slots * told_messages(seconds, 1, slot)
    assert any(distinct(start, seconds, 2, gap, slot) > without for start in range(slot, 2 * slot))


def test_told_at_once_is_told_in_seconds():
    assert told_messages(60, 2, 0) == told_messages(60, 2, 1)
    assert moments(60, 0) == 61


def test_the_figures_of_an_hour():
    """Ten minutes' slots over one hour are 3.585 bits, and 12.814 in seconds, if it begins as a slot does.

    It seldom does, and may fail to end: that is the difference.
    """
    assert millibits(2 * 3600 // 600) == 3585
    assert millibits(2 * 3600) == 12814
    assert told_messages(3600, 1, 600) == 2 * (6 + 1) + 1
    assert millibits(told_messages(3600, 1, 600)) == 3907
    assert millibits(told_messages(3600, 1, 1)) == 12815


def test_the_ledger_tells_of_an_hour_what_seconds_do():
    """Who watches it grow learns at least what a state told at once would tell."""
    for wall in (60, 600, 3600):
        at_once = bits_per_job(wall_seconds=wall, runs=[1], slot_seconds=0)
        assert bits_per_job(wall_seconds=wall, runs=[1]).ledger_millibits == at_once.told_millibits
    assert bits_per_job(wall_seconds=3600, runs=[1]).ledger_millibits > millibits(2 * 3600)


@given(st.integers(1, 2**70))
def test_millibits_are_never_too_few(messages):
    exact = 1000 * math.log2(messages)
    assert exact - 1e-6 <= millibits(messages) <= exact + 1 + 1e-6


@given(st.integers(2, 40), st.integers(1, 40))
def test_millibits_of_large_numbers_are_rounded_up(base, exponent):
    """Beyond the precision that is kept: at most one part in 2^255 too many."""
    large = (2**base - 1) ** (20 * exponent)
    exact = 20000 * exponent * math.log2(2**base - 1)
    assert exact - 1e-3 <= millibits(large) <= exact + 1.001
    assert millibits(large) <= millibits(large + 1)


def test_millibits_of_powers_of_two_are_exact():
    assert [millibits(2**n) for n in (0, 1, 10, 255, 256, 257, 3000)] == [
        1000 * n for n in (0, 1, 10, 255, 256, 257, 3000)
    ]


walls = st.integers(1, leakage.LONGEST_SECONDS)
grants = st.lists(st.integers(1, 12), min_size=1, max_size=4)
slots = st.integers(0, 7200)


@given(walls, walls, grants, slots, st.booleans())
def test_a_longer_wall_clock_limit_never_tells_less(one, other, runs, slot, blind):
    less, more = (
        bits_per_job(wall_seconds=wall, runs=runs, blind=blind, slot_seconds=slot)
        for wall in sorted((one, other))
    )
    assert less.told_millibits <= more.told_millibits
    assert less.ledger_millibits <= more.ledger_millibits


@given(walls, grants, st.data(), slots, st.booleans())
def test_another_run_never_tells_less(wall, runs, data, slot, blind):
    whose = data.draw(st.integers(0, len(runs) - 1))
    longer = [n + (i == whose) for i, n in enumerate(runs)]
    less, more = (
        bits_per_job(wall_seconds=wall, runs=r, blind=blind, slot_seconds=slot) for r in (runs, longer)
    )
    assert less.told_millibits <= more.told_millibits
    assert less.ledger_millibits <= more.ledger_millibits


@given(walls, grants, slots, slots, st.booleans())
def test_finer_slots_never_tell_less(wall, runs, one, other, blind):
    more, less = (
        bits_per_job(wall_seconds=wall, runs=runs, blind=blind, slot_seconds=slot)
        for slot in sorted((one, other))
    )
    assert less.told_millibits <= more.told_millibits


@given(walls, grants, slots)
def test_blind_code_is_told_of_every_start_after_the_first(wall, runs, slot):
    """Its developer reads the offers: with one run there is none that follows anything."""
    plain = bits_per_job(wall_seconds=wall, runs=runs, slot_seconds=slot)
    blind = bits_per_job(wall_seconds=wall, runs=runs, blind=True, slot_seconds=slot)
    starts = sum(runs) - len(runs)
    if not starts:
        assert blind == plain
    else:
        seconds = 2 * leakage.run_seconds(wall)
        assert blind.told_millibits >= plain.told_millibits + starts * (millibits(seconds) - 1)


@given(walls, grants, slots, st.booleans())
def test_the_ledger_tells_at_least_what_a_developer_is_told(wall, runs, slot, blind):
    found = bits_per_job(wall_seconds=wall, runs=runs, slot_seconds=slot, blind=blind)
    assert found.ledger_millibits >= found.told_millibits > 0


def test_a_job_that_several_share_lasts_longer():
    """Whoever has handed in waits an hour for the others, and an enclave's return makes the run longer."""
    alone, together, returning = (
        bits_per_job(wall_seconds=600, runs=runs).told_millibits for runs in ([2], [1, 1, 1], [2, 1, 1])
    )
    assert together > bits_per_job(wall_seconds=600, runs=[1]).told_millibits
    assert returning > together
    assert alone > bits_per_job(wall_seconds=600, runs=[1]).told_millibits


def test_the_constants_are_those_that_bind_elsewhere():
    assert leakage.OVERDUE_SECONDS == rules_run.OVERDUE_SECONDS
    assert Limits(wall_seconds=leakage.LONGEST_SECONDS)
    with pytest.raises((TrustspaceError, ValueError)):
        Limits(wall_seconds=leakage.LONGEST_SECONDS + 1)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"limits": {"wall_seconds": 60}}, 60),
        ({"limits": {"wall_seconds": 0}}, leakage.LONGEST_SECONDS),
        ({"limits": {"wall_seconds": True}}, leakage.LONGEST_SECONDS),
        ({"limits": {"wall_seconds": "60"}}, leakage.LONGEST_SECONDS),
        ({"limits": {"wall_seconds": 10**9}}, leakage.LONGEST_SECONDS),
        ({"limits": []}, leakage.LONGEST_SECONDS),
        ({}, leakage.LONGEST_SECONDS),
    ],
)
def test_a_job_that_states_no_limit_counts_as_the_longest(at, parameters, expected):
    body = at("ask").job.body.model_copy(update={"parameters": parameters})
    assert leakage.wall_seconds(body) == expected

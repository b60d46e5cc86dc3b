"""The state machines: one table each, in which nothing waits for nobody and every end can be reached."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.domain import states
from trustspace.domain.bodies import BODIES
from trustspace.errors import InvalidTransition

MACHINES = {
    "dataset": (states.DATASET, states.DATASET_STATES, "described", {"withdrawn"}),
    "job": (
        states.JOB,
        states.JOB_STATES,
        "submitted",
        {"refused", "expired", "failed", "rejected", "changes-requested", "revoked", "cancelled"},
    ),
}
every_machine = pytest.mark.parametrize("name", MACHINES)
DOCS = Path(__file__).parents[3] / "docs"


def reachable(table, start):
    found = {start}
    while more := {after for (before, _), after in table.items() if before in found} - found:
        found |= more
    return found


@every_machine
def test_every_state_can_be_reached_and_none_is_unknown(name):
    table, known, start, _ = MACHINES[name]
    assert reachable(table, start) == set(known)
    assert {s for (before, _), after in table.items() for s in (before, after)} == set(known)


@every_machine
def test_exactly_the_ends_lead_nowhere_else(name):
    table, known, _, ends = MACHINES[name]
    assert {
        s for s in known if all(after == s for (before, _), after in table.items() if before == s)
    } == ends


@every_machine
def test_every_event_is_a_statement_or_follows_from_some(name):
    table, _, _, _ = MACHINES[name]
    for _, event in table:
        assert event.startswith("*") or event in BODIES, event


def test_every_job_state_has_an_owner_unless_it_is_an_end():
    ends = {"refused", "expired", "failed", "rejected", "changes-requested", "revoked", "cancelled"}
    assert set(states.JOB_OWNER) == set(states.JOB_STATES)
    assert {state for state, owner in states.JOB_OWNER.items() if not owner} == ends


def test_a_developer_sees_seven_words():
    """Two of them only reviewers cause, by an act that is meant to tell the developer."""
    assert set(states.COARSE) == set(states.JOB_STATES)
    assert set(states.COARSE.values()) == {
        "waiting", "running", "in review", "changes requested", "released", "revoked", "not released",
    }  # fmt: skip
    # Refused, expired, failed, rejected and cancelled look alike.
    assert len({states.COARSE[s] for s in ("refused", "expired", "failed", "rejected", "cancelled")}) == 1


@every_machine
def test_what_the_table_does_not_know_cannot_happen(name):
    table, known, _, _ = MACHINES[name]
    events = {event for _, event in table}
    for state in known:
        for event in events:
            if (state, event) in table:
                assert states.advance(table, state, event, name) == table[state, event]
            else:
                with pytest.raises(InvalidTransition) as caught:
                    states.advance(table, state, event, name)
                assert state in str(caught.value)


@pytest.mark.parametrize("step", ["ask", "grant_all", "release_keys", "hand_in", "approve_all", "release"])
def test_the_story_walks_through_the_table(at, step):
    expected = {
        "ask": "submitted", "grant_all": "granted", "release_keys": "running", "hand_in": "in-review",
        "approve_all": "approved", "release": "released",
    }  # fmt: skip
    assert at(step).job.state == expected[step]


MOVES = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from(sorted(set(states.COARSE.values()) - {"released"}))),
    max_size=6,
).map(sorted)


@given(MOVES, st.integers(0, 6000), st.integers(1, 1000))
def test_what_is_told_changes_at_the_hours_stroke_only(moves, now, slot):
    """Within a slot of time nothing moves, so that when something happened is told no finer than that."""
    begin = now - now % slot
    told = {states.coarse_state(tuple(moves), at, slot) for at in (begin, now, begin + slot - 1)}
    assert len(told) == 1


@given(MOVES, st.integers(0, 6000), st.integers(1, 1000))
def test_what_is_told_was_true_when_the_slot_began(moves, now, slot):
    before = [state for at, state in moves if at < now - now % slot]
    assert states.coarse_state(tuple(moves), now, slot) == (before[-1] if before else "waiting")


def test_a_release_is_told_at_once():
    moves = ((5, "running"), (9, "in review"), (10, "released"))
    assert states.coarse_state(moves, 10, 600) == "released"
    assert states.coarse_state(moves[:2], 10, 600) == "waiting"
    assert states.coarse_state(moves[:2], 10, 0) == "in review"


def test_what_becomes_of_a_release_is_told_at_once_too():
    """Otherwise it would be "in review" again until the slot ends."""
    moves = ((5, "running"), (9, "in review"), (10, "released"), (11, "revoked"))
    assert states.coarse_state(moves, 11, 600) == "revoked"
    before_release = ((5, "running"), (9, "in review"), (11, "revoked"))
    assert states.coarse_state(before_release, 11, 600) == "waiting"
    assert states.coarse_state(before_release, 600, 600) == "revoked"


def diagram(text, first):
    """The arrows of the mermaid state diagram that begins in this state: (from, event) to state."""
    for block in re.findall(r"```mermaid\s+stateDiagram-v2\s+(.*?)```", text, re.DOTALL):
        if re.findall(r"^\s*\[\*\]\s*-->\s*([\w-]+)", block, re.MULTILINE) != [first]:
            continue
        arrows = re.findall(r"^\s*([\w-]+)\s*-->\s*([\w-]+)\s*:\s*(.+?)\s*$", block, re.MULTILINE)
        return {
            (before.replace("_", "-"), event(one)): after.replace("_", "-")
            for before, after, events in arrows
            for one in events.split(",")
        }
    raise AssertionError(f"no state diagram begins in {first}")


def event(drawn):
    """``(all granted)`` follows from several statements: ``*all-granted``. The others are statements."""
    plain = drawn.strip()
    return "*" + plain.strip("()").replace(" ", "-") if plain.startswith("(") else plain


@every_machine
def test_the_published_diagram_is_the_table(name):
    table, _, start, _ = MACHINES[name]
    assert diagram((DOCS / "architecture.md").read_text(encoding="utf-8"), start) == table

"""A joint job in memory: four source units of two reviewers each, one of whom must approve; three suffice for a sum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from support.cast import Actor, Cast
from support.hospitals import NAME, TRAIN, USE, Hospital, Joint  # noqa: F401 - found here by who plays the story over the wire

RUNS = 3


def story(
    last: str = "release_keys", *, units: int = 4, kind: str = "train", minimum: int = 3, runs: int = RUNS
) -> Cast:
    """The story of such a job up to and including a step."""
    return Cast(units, reviewers=2, threshold=1, runs=runs, kind=kind, minimum=minimum).until(last)


def fail(cast: Cast, unit: Actor, reason: str = "host") -> None:
    """A unit's enclave says that its part of the run is over."""
    body = cast.failed_body(unit).model_copy(update={"reason": reason})
    cast.put(cast.sign(unit, "enclave", body))


def hand_in(cast: Cast, unit: Actor, members: tuple[Actor, ...] | None = None, **changes: Any) -> None:
    """A unit's enclave hands its output in; the members are all units, unless told which."""
    cast.put(cast.sign(unit, "enclave", cast.output_body(unit, members, **changes)))


def refused(
    cast: Cast,
    error: type[Exception],
    words: str,
    unit: Actor,
    members: tuple[Actor, ...] | None = None,
    **changes: Any,
) -> None:
    """This output does not stand, and leaves nothing behind."""
    before = cast.job
    statement = cast.sign(unit, "enclave", cast.output_body(unit, members, **changes))
    with pytest.raises(error, match=words) as caught:
        cast.put(statement)
    assert type(caught.value) is error
    assert cast.job == before


def by_name(units: Iterable[Actor]) -> tuple[Actor, ...]:
    """The actors in the order of their fingerprints: the first of them seals for those who dropped out."""
    return tuple(sorted(units, key=lambda u: u.fingerprint))


def come_back(cast: Cast, unit: Actor, *, keys: bool = True) -> None:
    """Fresh challenges by everybody, a fresh offer, and the data key for it."""
    for other in cast.units:
        cast.put(cast.sign(other, "broker", cast.nonce_body(other, unit)))
    cast.put(cast.sign(unit, "enclave", cast.offer_body(unit)))
    if keys:
        cast.put(cast.sign(unit, "broker", cast.release_key_body(unit)))


def approve(cast: Cast, unit: Actor) -> str:
    """A unit approves all but logs; returns the job's state after it."""
    cast.put(cast.sign(unit, "review-1", cast.decision_body(unit, 1)))
    return cast.job.state

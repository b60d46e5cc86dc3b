"""A cheat is a few attempts that must fail, and controls that must not: a lock that nobody can open proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from trustspace.errors import TrustspaceError

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """One thing that was really tried. ``stopped`` is the error that ended it, None if it went through.

    ``key`` names the sentence in words.py that says what was tried; of an attack, ``key.why`` says why it fails.
    """

    key: str
    details: dict[str, str | int]
    control: bool
    stopped: TrustspaceError | None

    @property
    def as_it_should(self) -> bool:
        """An attack was stopped, or a control went through."""
        return (self.stopped is None) == self.control


@dataclass
class Cheat:
    """One way to cheat. ``name`` is what the JSON report calls it."""

    name: str
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Every attack failed, every control worked, and there was one of each."""
        kinds = {attempt.control for attempt in self.attempts}
        return kinds == {True, False} and all(attempt.as_it_should for attempt in self.attempts)

    def attack(
        self, key: str, action: Callable[[], object], *refusals: type[TrustspaceError], **details: str | int
    ) -> None:
        """Try it. Only the named errors count as a refusal: a server that is away refuses nothing."""
        stopped: TrustspaceError | None = None
        try:
            action()
        except refusals as error:
            stopped = error
        self.attempts.append(Attempt(key, details, control=False, stopped=stopped))

    def control(self, key: str, action: Callable[[], T], **details: str | int) -> T | None:
        """Do the same thing as it is meant to be done; it must work, or the attacks prove nothing."""
        stopped: TrustspaceError | None = None
        result: T | None = None
        try:
            result = action()
        except TrustspaceError as error:
            stopped = error
        self.attempts.append(Attempt(key, details, control=True, stopped=stopped))
        return result

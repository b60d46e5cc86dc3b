"""One attempt of a round as its board sees it: who is in it, what was handed in, and how far it is.

Nothing here locks, waits or reads a clock; the board that owns the attempt does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from trustspace.crypto.canonical import parse_canonical, sha256_hex
from trustspace.crypto.statement import Envelope
from trustspace.domain.rounds import MAX_MESSAGE_BYTES, checkers_of
from trustspace.errors import AlreadyExists, InvalidInput, InvalidTransition
from trustspace.space.sums import Vector
from trustspace.transport.rounds import INLINE_BYTES, PHASES, Phase

Spot = tuple[int, int]
# A vector on its way is given time for its size: with 32 Mbit/s a member keeps up.
SLOWEST_BYTES_PER_SECOND = 4 << 20


@dataclass
class Attempt:
    """From its gathering to its last reveal. ``spot``: (round, attempt). Times are the board's clock, in seconds."""

    spot: Spot
    expected: frozenset[str]
    # How many members a sum must keep, and be opened by; 0 where it is lost with any of them.
    needed: int = 0
    members: tuple[str, ...] = ()
    # Whose vectors are in the sum, from when that is settled; and who is not waited for any more.
    included: tuple[str, ...] = ()
    gone: set[str] = field(default_factory=set)
    fate: Literal["", "done", "aborted", "failed"] = ""
    missing: tuple[str, ...] = ()
    envelopes: dict[Phase, dict[str, bytes]] = field(default_factory=lambda: {phase: {} for phase in PHASES})
    results: dict[Phase, tuple[bytes, ...]] = field(default_factory=dict)
    opened: dict[Phase, float] = field(default_factory=dict)
    first: dict[Phase, float] = field(default_factory=dict)
    # Bytes of every vector, once a message says that one counts; before, ``vectors`` are only held.
    length: int = 0
    vectors: dict[str, Vector] = field(default_factory=dict)
    # What is on its way, the newest of each.
    uploads: dict[str, Vector] = field(default_factory=dict)
    # What each member has sealed to each, where a sum can be opened without somebody.
    deals: dict[str, Vector] = field(default_factory=dict)
    total: Vector | None = None
    adding: bool = False
    # The sum itself, where it is small enough to be answered with.
    sum: bytes = b""

    @property
    def phase(self) -> Phase | None:
        """The phase that is open."""
        return next((phase for phase in PHASES if phase not in self.results), None)

    @property
    def gathering(self) -> bool:
        """Whether it may still be joined."""
        return not self.fate and not self.members

    def lacking(self, phase: Phase) -> tuple[str, ...]:
        """The source units whose message of this phase is not there; of a check, which anybody may make, none."""
        if phase == "check":
            return ()
        there = self.envelopes[phase]
        return tuple(unit for unit in self.standing if unit not in there and unit not in self.gone)

    @property
    def standing(self) -> tuple[str, ...]:
        """Who takes part, as far as that is settled: the sum's members, the set's, or who is expected."""
        return self.included or self.members or tuple(sorted(self.expected))

    def enough(self, phase: Phase) -> bool:
        """Whether the phase can be closed without those who are lacking."""
        there = sum(unit in self.envelopes[phase] for unit in self.standing)
        return bool(self.needed) and phase in ("contribution", "reveal") and there >= self.needed

    def can_lose(self, units: Collection[str]) -> bool:
        """Whether the open phase and those after it can still come to their end without these units."""
        phase = self.phase
        if not self.needed or phase not in ("contribution", "check", "reveal"):
            return False
        left = set(self.standing) - self.gone - set(units)
        if phase == "reveal":
            left |= self.envelopes["reveal"].keys()
        return len(left) >= self.needed

    def checkers(self) -> tuple[str, ...]:
        """Who adds the sum up again, as its members work out from the set that they have all signed."""
        signed = Envelope.parse(self.results["agree"][0], MAX_MESSAGE_BYTES).payload
        agreed: Any = parse_canonical(signed, what="The round message", max_bytes=MAX_MESSAGE_BYTES)
        included = [self.members.index(unit) for unit in self.included]
        positions = checkers_of(sha256_hex(signed), len(self.members), agreed["body"]["needed"], included)
        return tuple(self.members[position] for position in positions)

    def narrow(self) -> None:
        """Settle the sum's members: those whose contribution is there."""
        self.included = tuple(unit for unit in self.members if unit in self.envelopes["contribution"])
        self.gone |= set(self.members) - set(self.included)

    def addends(self) -> list[Vector] | None:
        """The vectors that make the sum or, of large ones before that is settled, that will if nothing comes between.

        None while one of them is not even on its way, or they are not of one length.
        """
        said = self.envelopes["contribution"]
        units = self.included or [unit for unit in self.members if unit in said or unit not in self.gone]
        found = [
            (None if unit in said else self.uploads.get(unit)) or self.vectors.get(unit) for unit in units
        ]
        there = [vector for vector in found if vector is not None]
        if len(there) < len(found) or len({vector.size for vector in there}) != 1:
            return None
        return there if self.included or there[0].size > INLINE_BYTES else None

    def known(self, unit: str, phase: Phase, envelope: bytes) -> bool:
        """Whether this very message is there already. Raises AlreadyExists if another one is."""
        there = self.envelopes[phase].get(unit)
        if there is not None and there != envelope:
            raise AlreadyExists("Another message of phase {phase} was handed in here before.", phase=phase)
        return there is not None

    def require_open(self, phase: Phase) -> None:
        """Raises InvalidTransition unless this phase is the one that is open."""
        if phase != self.phase:
            raise InvalidTransition(
                "The phase {phase} of this attempt is not open.", phase=phase,
            )  # fmt: skip

    def require_length(self, length: int) -> None:
        """Raises InvalidInput for a vector that is not as long as those that are there."""
        if self.length not in (0, length):
            raise InvalidInput("The contribution is not as long as the others of its round.")

    def hold(self, unit: str, vector: Vector) -> None:
        """Keep a vector for its message, unless that is there already."""
        if unit not in self.envelopes["contribution"]:
            self.vectors[unit] = vector

    def put(self, unit: str, phase: Phase, envelope: bytes, now: float) -> None:
        """Take a message in."""
        self.envelopes[phase][unit] = envelope
        self.first.setdefault(phase, now)

    def remove_join(self, unit: str, *, awaited: bool) -> None:
        """Let a unit out of the gathering again; nobody waits for it either, unless it is awaited."""
        if not awaited:
            self.expected -= {unit}
        self.envelopes["join"].pop(unit, None)
        if not self.envelopes["join"]:
            self.first.pop("join", None)

    def close(self, now: float) -> None:
        """End the gathering: those who are here are the members, in the order that everybody gets."""
        self.members = tuple(sorted(self.envelopes["join"]))
        self.complete("join", now)

    def complete(self, phase: Phase, now: float) -> None:
        """Fix what a phase brought and open the next."""
        there = self.envelopes[phase]
        self.gone |= set(self.lacking(phase))
        self.results[phase] = tuple(there[unit] for unit in self.standing if unit in there)
        following = self.phase
        if following is not None:
            self.opened[following] = now

    def deadline(self, wait_seconds: float) -> float | None:
        """Until when the open phase is waited for; None while only the job's own end counts."""
        phase = self.phase
        if self.fate or phase is None:
            return None
        since = self.first.get(phase)
        if phase == "contribution" and not self.lacking(phase):
            return None  # nobody is waited for: the space adds
        if since is None and phase not in ("join", "contribution"):
            since = self.opened[phase]
        if since is None:
            return None
        on_the_way = 0
        if self.length > INLINE_BYTES:
            vectors = {"contribution": 1, "check": len(self.members) + 1, "reveal": 1}
            on_the_way = self.length * vectors.get(phase, 0)
        return since + wait_seconds + on_the_way / SLOWEST_BYTES_PER_SECOND

    def let_go(self) -> None:
        """Hold no vector any more: the files behind them are gone once nobody reads them."""
        self.vectors, self.deals, self.total, self.uploads = {}, {}, None, {}

"""The course of a run's rounds: which attempt is open, who is waited for, and what a member is told.

No lock, no clock, no thread: the board (rounds.py) calls it under its lock and says what time it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from trustspace.errors import AlreadyExists, InvalidInput
from trustspace.space.attempt import Attempt, Spot
from trustspace.space.sums import Vector
from trustspace.transport.rounds import Exchanged, Phase, Status


class Course:
    """All rounds of one run. ``now`` is in seconds, on any one clock.

    A gathering that is closed stays closed, and everybody is told the same of it. ``version`` moves with every
    change that somebody may be waiting for.
    """

    def __init__(self, offers: Mapping[str, str], minimum: int, wait_seconds: float, needed: int = 0) -> None:
        """``needed``: how many members' reveals open a sum; 0: all, and an attempt that loses one is given up."""
        self.current: Attempt | None = None
        self.over: Status | None = None
        self.version = 0
        self._offers = dict(offers)
        # Who has an attempt's sum opened must be as many as may have made it, and a set is no smaller than that.
        self._minimum = max(needed, minimum)
        self._needed = self._minimum if needed else 0
        self._wait_seconds = wait_seconds
        self._last: Attempt | None = None
        # Whether a gathering was closed here: before, members may come with a past that is not known here.
        self._settled = False
        self._expected = frozenset(offers)
        # Joins for the place that comes next, of units that are not in the attempt under way.
        self._early: dict[Spot, dict[str, bytes]] = {}
        self._missing: tuple[str, ...] = ()
        # Rounds and the units that are kept out of the rest of them.
        self._barred: set[tuple[int, str]] = set()
        # Units whose enclave starts anew: they are waited for as if they were only slow.
        self._returning: frozenset[str] = frozenset()

    # -- places

    def at(self, spot: Spot) -> Attempt | None:
        """The attempt at this place, if it is the one under way or the one before."""
        for attempt in (self.current, self._last):
            if attempt is not None and attempt.spot == spot:
                return attempt
        return None

    def _where(self, unit: str) -> Spot:
        """Where a unit should go."""
        assert self.current is not None
        (round_, attempt), fate = self.current.spot, self.current.fate
        if fate == "aborted":
            return round_, attempt + 1
        if fate == "done" or not (self.current.gathering or unit in self.current.standing):
            return round_ + 1, 1
        return round_, attempt

    # -- what comes in

    def take(
        self, unit: str, spot: Spot, phase: Phase, envelope: bytes, vector: Vector | None, now: float
    ) -> Attempt | None:
        """Put a message where it belongs, if it belongs anywhere; opens a gathering where one is due.

        Raises AlreadyExists, InvalidInput, InvalidTransition.
        """
        found = self.at(spot)
        if self.over or not envelope:
            return found
        if found is None and phase == "join":
            found = self._join_elsewhere(unit, spot, envelope, now)
        if found is not None:
            self.post(found, unit, phase, envelope, vector, now)
        return found

    def _join_elsewhere(self, unit: str, spot: Spot, envelope: bytes, now: float) -> Attempt | None:
        current = self.current
        if current is None:
            return self._open(spot, now)
        if current.fate:
            return self._open(spot, now) if self._follows(unit, spot) else None
        (round_, attempt), (now_round, now_attempt) = spot, current.spot
        if current.gathering and not self._settled and round_ == now_round and attempt > now_attempt:
            # After a restart of the space: this member knows that the attempt gathering here was lost with it.
            current.fate = "aborted"
            return self._open(spot, now)
        if spot in ((now_round, now_attempt + 1), (now_round + 1, 1)):
            for other, joined in self._early.items():
                if other != spot:
                    joined.pop(unit, None)
            if self._early.setdefault(spot, {}).setdefault(unit, envelope) != envelope:
                raise AlreadyExists(
                    "Another message of phase {phase} was handed in here before.", phase="join"
                )
            self.version += 1
            if round_ == now_round and current.members and unit in current.standing:
                # It has given this attempt up, and will send nothing more in it: nobody need wait to find out.
                self._lose(current, {unit}, now)
        return self.at(spot)

    def _follows(self, unit: str, spot: Spot) -> bool:
        """Whether a gathering may begin there, now that the last attempt is over."""
        assert self.current is not None
        if spot == self._where(unit):
            return True
        # In the preparing round members find out whether they go on from checkpoints of a run before: further on.
        found = self.current
        return (
            found.fate == "done"
            and found.spot[0] == 0
            and unit in found.members
            and spot[1] == 1
            and spot[0] > 0
        )

    def _open(self, spot: Spot, now: float) -> Attempt:
        standing = frozenset(self._offers)
        expected = self._expected & (standing | self._returning)
        # If too few are left to go on alone, those who were lost are waited for again, everybody alike.
        attempt = Attempt(spot, expected if len(expected) >= self._minimum else standing, self._needed)
        self._last, self.current = self.current, attempt
        early, self._early = self._early.get(spot, {}), {}
        for unit, envelope in early.items():
            if (spot[0], unit) not in self._barred:
                attempt.put(unit, "join", envelope, now)
        self._gather(attempt, now)
        self.version += 1
        return attempt

    def post(
        self, found: Attempt, unit: str, phase: Phase, envelope: bytes, vector: Vector | None, now: float
    ) -> None:
        """Put a message into an attempt, if it still counts there; errors as ``take`` has them."""
        if found.fate in ("aborted", "failed"):
            return
        if found.known(unit, phase, envelope):
            mine = found.vectors.get(unit)
            if vector is not None and mine is not None and not mine.same(vector):
                raise AlreadyExists("Another contribution was handed in here before.")
            return
        if phase in found.results or (found.members and unit not in found.standing):
            return
        if found.gathering and phase != "join" and unit not in found.envelopes["join"]:
            return
        if phase == "join" and (found.spot[0], unit) in self._barred:
            return
        found.require_open(phase)
        if phase == "contribution":
            mine = vector or found.vectors.get(unit)
            if mine is None:
                raise InvalidInput("A contribution comes with its vector.", fix="Hand the vector in first.")
            if found.needed and unit not in found.deals:
                raise InvalidInput("A contribution comes with its shares.", fix="Hand the shares in first.")
            found.require_length(mine.size)
            found.length = mine.size
            found.vectors[unit] = mine
        found.put(unit, phase, envelope, now)
        if phase == "join":
            self._gather(found, now)
        elif phase == "contribution":
            self._settle(found, now)
        elif not found.lacking(phase):
            # Contributions are complete when they are added, which is the board's work.
            self.complete(found, phase, now)

    # -- an attempt's way

    def _gather(self, found: Attempt, now: float) -> None:
        joined = found.envelopes["join"].keys()
        if found.gathering and joined >= found.expected and len(joined) >= self._minimum:
            self._close_gathering(found, now)

    def _close_gathering(self, found: Attempt, now: float) -> None:
        found.close(now)
        self._settled = True
        self._expected = frozenset(found.members)
        self.version += 1

    def _lose(self, found: Attempt, units: set[str], now: float) -> None:
        """Go on without units of an attempt where its scheme can, and give it up where not."""
        if not found.can_lose(units):
            self.abort(found, tuple(sorted(units)), now)
            return
        found.gone |= units
        self._settle(found, now)
        self.version += 1

    def _settle(self, found: Attempt, now: float) -> None:
        """Close the open phase if nobody is waited for in it any more."""
        phase = found.phase
        if phase in ("contribution", "reveal") and found.enough(phase) and not found.lacking(phase):
            if phase == "reveal":
                self.complete(found, phase, now)
            elif not found.included:
                found.narrow()  # the board adds

    def complete(self, found: Attempt, phase: Phase, now: float) -> None:
        """Everybody's message of a phase is there, and the sum with the contributions."""
        found.complete(phase, now)
        if found.phase is None:
            found.fate = "done"
            found.let_go()
            self._expected = frozenset(found.standing) - (found.gone - self._returning)
            self._follow(now)
        self.version += 1

    def abort(self, found: Attempt, missing: tuple[str, ...], now: float) -> None:
        """Give an attempt up: another follows, unless somebody has revealed in it; then the run cannot go on."""
        if found.envelopes["reveal"]:
            self._missing = missing
            self.finish("failed")
            return
        found.fate, found.missing = "aborted", missing
        found.let_go()
        self._expected = frozenset(found.members) - (set(missing) - self._returning)
        self._follow(now)
        self.version += 1

    def bar(self, found: Attempt, unit: str, now: float) -> None:
        """Give an attempt up over a unit whose vector is none; what is left of the round is for the others."""
        self._barred.add((found.spot[0], unit))
        self.abort(found, (unit,), now)

    def _follow(self, now: float) -> None:
        """Open the place that comes next if somebody has been waiting for it."""
        spot = self._where("")
        if self._early.get(spot):
            self._open(spot, now)
        self._early = {}

    def finish(self, how: Status) -> None:
        """Nothing more happens in this run."""
        self.over = self.over or how
        self._early = {}
        for attempt in (self.current, self._last):
            if attempt is not None:
                attempt.fate = attempt.fate or "failed"
                attempt.let_go()
        self.version += 1

    def deadline(self) -> float | None:
        """When ``tick`` has something to do, if nobody comes before."""
        return self.current.deadline(self._wait_seconds) if self.current is not None else None

    def tick(self, now: float) -> None:
        """Wait no longer for those whose time is over."""
        current, due = self.current, self.deadline()
        if current is None or due is None or now < due:
            return
        phase = current.phase
        assert phase is not None
        if phase != "join":
            if current.enough(phase):
                current.gone |= set(current.lacking(phase))
                self._settle(current, now)
                self.version += 1
            else:
                self.abort(current, current.lacking(phase), now)
        elif len(current.envelopes["join"]) >= self._minimum:
            self._close_gathering(current, now)
        else:
            self._missing = current.lacking("join")
            self.finish("failed")

    def stand(self, offers: Mapping[str, str], returning: frozenset[str], now: float) -> None:
        """Who stands in the run now. Who stands no longer, or anew, is not waited for any more.

        ``returning`` are units whose enclave was restarted: these are waited for as if they were only slow, so
        that a hospital is not lost to a run for a moment's absence.
        """
        gone = {unit for unit, offer in self._offers.items() if offers.get(unit) != offer}
        back_soon = gone & returning
        self._returning = (self._returning | back_soon) - frozenset(offers)
        self._offers = dict(offers)
        current = self.current
        if current is None:
            self._expected = frozenset(offers)
            return
        self._expected -= gone - back_soon
        for joined in self._early.values():
            for unit in gone:
                joined.pop(unit, None)
        if not gone or current.fate:
            return
        if current.gathering:
            for unit in gone:
                current.remove_join(unit, awaited=unit in back_soon)
            self._gather(current, now)
            return
        lost = gone & set(current.standing) - current.gone
        if current.phase == "reveal":
            lost -= current.envelopes["reveal"].keys()
        if lost:
            self._lose(current, lost, now)

    # -- what a member is told

    def answer(self, found: Attempt | None, unit: str, spot: Spot, phase: Phase) -> Exchanged:
        """How a phase stands for a unit; ``found`` is the attempt that its message went to, if it did."""
        if found is not None and found.fate == "done" and unit in found.standing:
            return _complete(found, phase)
        if self.over:
            return Exchanged(self.over, missing=self._missing, round=spot[0], attempt=spot[1])
        if found is None:
            return self._answer_elsewhere(unit, spot, phase)
        if found.fate == "aborted":
            to = self._where(unit)
            return Exchanged("aborted", missing=found.missing, round=to[0], attempt=to[1])
        if found.members and unit not in found.standing:
            return self._stale(unit)
        if found.gathering and phase != "join" and unit not in found.envelopes["join"]:
            return _lost(spot, phase)
        if phase in found.results:
            return _complete(found, phase)
        return Exchanged("waiting", missing=found.lacking(phase), round=spot[0], attempt=spot[1])

    def _answer_elsewhere(self, unit: str, spot: Spot, phase: Phase) -> Exchanged:
        if self.current is None and phase != "join":
            return _lost(spot, phase)
        if self.current is None or (phase == "join" and unit in self._early.get(spot, {})):
            return Exchanged("waiting", round=spot[0], attempt=spot[1])
        return self._stale(unit)

    def _stale(self, unit: str) -> Exchanged:
        to = self._where(unit)
        return Exchanged("stale", round=to[0], attempt=to[1])


def _complete(found: Attempt, phase: Phase) -> Exchanged:
    missing = tuple(sorted(found.expected - set(found.members))) if phase == "join" else ()
    data = found.sum if phase == "contribution" else b""
    return Exchanged("complete", found.results[phase], missing, data, *found.spot)


def _lost(spot: Spot, phase: Phase) -> Exchanged:
    """What the space knew of this attempt is lost. Who has revealed in it takes part in no other of its round."""
    if phase == "reveal":
        return Exchanged("failed", round=spot[0], attempt=spot[1])
    return Exchanged("aborted", round=spot[0], attempt=spot[1] + 1)

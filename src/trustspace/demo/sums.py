"""Cheats on a secure sum: a space that reads, alters or repeats it, before the enclaves' own code and keys.

The space of the story is honest, so these sums go through a board of the operator's own making, in this process.
Whoever meets there is what an enclave is in a round: its code, its identity key, its run offer in the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from trustspace.aggregation.fixedpoint import decode_reals, encode_reals
from trustspace.aggregation.scheme import Scheme
from trustspace.aggregation.schemes import scheme_of
from trustspace.demo.attempts import Cheat
from trustspace.demo.cast import Hospital, Play
from trustspace.domain.records import JobRecord, OfferRecord
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.home import EnclaveHome
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Identity, Roster, Terms
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.vectors import Reals
from trustspace.errors import InvalidInput, NotFound, Unavailable, VerificationFailed
from trustspace.space.rounds import Board, LocalRounds
from trustspace.space.sums import VectorStore
from trustspace.transport.rounds import WAIT_SECONDS, Exchanged, Phase, Place

_SECONDS = 20.0
_FEWEST = 3
Change = Callable[[bytes], bytes]


class _Overheard(LocalRounds):
    """A member's way to the board, on which the operator listens and, if it likes, writes."""

    def __init__(self, board: Board, unit: str, heard: dict[str, bytes], change: Change | None) -> None:
        super().__init__(board, unit)
        self._as = unit
        self._heard = heard
        self._change = change

    def exchange(
        self, place: Place, phase: Phase, envelope: bytes, data: bytes = b"", wait_seconds: float = WAIT_SECONDS,
    ) -> Exchanged:  # fmt: skip
        """Pass on, but not always what was said."""
        if data:
            self._heard[self._as] = data
            data = self._change(data) if self._change is not None else data
        return super().exchange(place, phase, envelope, data, wait_seconds)


@dataclass
class Gathering:
    """The hospitals' enclaves around a board of the operator's; each adds (patients, malignant findings)."""

    play: Play
    heard: dict[str, bytes] = field(default_factory=dict)

    def scheme(self) -> Scheme:
        """How the story's own job protects its sums."""
        record = self.play.operator.view().get(JobRecord, self.play.job)
        assert record is not None
        return _scheme(record)

    def own(self, hospital: Hospital) -> tuple[float, float]:
        """What a hospital puts in, which nobody else is to learn."""
        return float(len(hospital.rows)), float(hospital.rows.malignant.sum())

    def add_up(
        self, hospitals: Sequence[Hospital], change: Change | None = None, changed: Hospital | None = None
    ) -> list[float]:
        """One sum over these hospitals, as every one of them opens it; ``change`` is done to what one sends.

        Raises:
            VerificationFailed: no enclave opened a sum, because of what the first of them noticed.
            Unavailable: they failed for want of each other.

        """
        record = self.play.operator.view().get(JobRecord, self.play.job)
        assert record is not None
        # The run offers of the story's own run, by which everybody knows the enclaves' keys.
        view = self.play.operator.view()
        known = {unit: view.get(OfferRecord, digest) for unit, digest in record.offers.items()}
        offers = {unit: offer for unit, offer in known.items() if offer is not None}
        gathered = {h.home.fingerprint: offers[h.home.fingerprint].statement for h in hospitals}
        scheme = _scheme(record)
        board = Board(
            VectorStore(self.play.root / "sums" / "board"), gathered, _FEWEST, _SECONDS, scheme=scheme
        )
        stop = threading.Event()
        noticed: list[tuple[Hospital, RoundFailed]] = []

        def member(hospital: Hospital) -> list[float] | None:
            unit = hospital.home.fingerprint
            relay = _Overheard(board, unit, self.heard, change if hospital is changed else None)
            try:
                found = self._member(hospital, relay, record, offers, stop).sum(
                    0, "", lambda: Reals(self.own(hospital))
                )
            except RoundFailed as failed:
                noticed.append((hospital, failed))
                # Nobody waits for the others' patience to end.
                stop.set()
                board.close()
                return None
            return decode_reals(found.words, len(found.members))

        with ThreadPoolExecutor(len(hospitals)) as pool:
            opened = [sums for sums in pool.map(member, hospitals) if sums is not None]
        if opened:
            return opened[0]
        first, why = noticed[0]
        if why.reason not in ("disagreement", "members", "left-behind"):
            raise Unavailable("Nothing came of waiting for {what}.", what=f"sum ({why.log})")
        raise VerificationFailed(
            "No enclave opened a sum; the first to stop was that of {name}.", name=first.name
        )

    def _member(
        self, hospital: Hospital, relay: LocalRounds, job: JobRecord, offers: dict[str, OfferRecord],
        stop: threading.Event,
    ) -> Rounds:  # fmt: skip
        unit, home = hospital.home.fingerprint, EnclaveHome(hospital.enclave)
        roster = Roster({u: (o.statement, bytes.fromhex(o.enclave)) for u, o in offers.items()})
        notes = self.play.root / "sums" / str(hospital.number)
        state = self.play.operator.state()
        return Rounds(
            relay, Identity(unit, offers[unit].statement, home.public(), home.sign),
            Terms(job.statement, job.run, _FEWEST, _SECONDS, time.monotonic() + _SECONDS), lambda _: roster,
            Journal(notes, job.statement), _scheme(job), lambda: state, lambda _: None, stop,
        )  # fmt: skip


def altered_contribution(play: Play) -> Cheat:
    """The space listens in on a sum, changes what one hospital sent, and asks for the sum again without it."""
    cheat, gathering = Cheat("contribution-altered"), Gathering(play)
    (play.root / "sums").mkdir(mode=0o700)
    victim = play.hospitals[-1]
    rest = play.hospitals[:-1]
    true = [sum(pair) for pair in zip(*(gathering.own(h) for h in play.hospitals), strict=True)]
    details: dict[str, str | int] = {"name": victim.name, "patients": int(true[0]), "malignant": int(true[1])}
    cheat.attack(
        "sum.altered",
        lambda: gathering.add_up(play.hospitals, _one_bit, victim),
        VerificationFailed,
        **details,
    )
    cheat.attack(
        "sum.replaced", lambda: gathering.add_up(play.hospitals, lambda data: bytes(len(data)), victim),
        VerificationFailed, **details,
    )  # fmt: skip
    cheat.control("sum.control", lambda: _equal(gathering.add_up(play.hospitals), true), **details)
    cheat.attack("sum.again", lambda: gathering.add_up(rest), VerificationFailed, **details)
    words = [gathering.heard[h.home.fingerprint] for h in play.hospitals]
    cheat.attack(
        "sum.read", lambda: _recognised([words[-1], _added(words, gathering.scheme())], gathering, victim), NotFound,
        words=len(words[-1]) // 4, **details,
    )  # fmt: skip
    plain = encode_reals(gathering.own(victim)).tobytes()
    cheat.control("sum.read-control", lambda: _recognised([plain], gathering, victim), **details)
    return cheat


def _one_bit(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _scheme(job: JobRecord) -> Scheme:
    assert job.body.sums is not None
    return scheme_of(job.body.sums.scheme, job.body.sums.needed)


def _added(vectors: Sequence[bytes], scheme: Scheme) -> bytes:
    total = np.zeros(len(vectors[0]) // 4, np.uint32)
    for vector in vectors:
        scheme.add_into(total, np.frombuffer(vector, dtype="<u4"))
    return total.tobytes()


def _recognised(vectors: Sequence[bytes], gathering: Gathering, hospital: Hospital) -> None:
    """Read what the space holds as numbers; raises NotFound when they say nothing of the hospital."""
    wanted = list(gathering.own(hospital))
    for vector in vectors:
        for members in range(1, len(gathering.play.hospitals) + 1):
            try:
                if decode_reals(np.frombuffer(vector, dtype="<u4"), members) == wanted:
                    return
            except InvalidInput:
                continue
    raise NotFound("None of {files} vectors says what {name} put in.", files=len(vectors), name=hospital.name)


def _equal(found: list[float], true: list[float]) -> None:
    if found != true:
        raise VerificationFailed("The opened sum is not the sum of what was put in.")

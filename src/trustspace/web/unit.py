"""A source unit's overview: its datasets, who used them for what, what is spent, and whether the ledger holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from trustspace.client import audit, budgets, datasets, jobs
from trustspace.client.acting import Acting
from trustspace.domain.budget import in_bits
from trustspace.errors import Unavailable
from trustspace.ledger.checkpoint import open_cosigned

NEWEST: Final = 30
_ENDED: Final = frozenset({"approved", "released", "rejected", "changes-requested", "revoked"})


@dataclass(frozen=True)
class Ledger:
    """The ledger as this home has verified it; ``cosigned`` of ``witnesses`` vouch for its newest checkpoint."""

    size: int
    root: str
    origin: str
    witnesses: int
    cosigned: int
    is_current: bool


@dataclass(frozen=True)
class Checked:
    """A check of the whole ledger, and when it was done."""

    at: int
    found: audit.Audit


@dataclass(frozen=True)
class Spent:
    """What one developer has spent of one dataset's budgets; a limit of 0 forbids."""

    dataset: str
    developer: str
    bits: str
    bits_limit: str
    sums: int
    sums_limit: int


@dataclass(frozen=True)
class Overview:
    """Everything that the page shows."""

    datasets: tuple[dict[str, Any], ...]
    counts_budgets: bool
    spent: tuple[Spent, ...]
    privacy: tuple[tuple[str, str, str], ...]
    unspent: tuple[str, ...]
    used: tuple[dict[str, Any], ...]
    used_total: int
    ended: tuple[dict[str, Any], ...]
    ledger: Ledger
    checked: Checked | None


@dataclass
class Unit:
    """A source unit, seen from one of its homes; remembers the last check of the whole ledger."""

    home: Acting
    clock: Callable[[], float]
    _checked: Checked | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self) -> Overview:
        """The overview, as of now; lists are the space's word, the ledger is verified."""
        own = [d for d in datasets.listing(self.home) if d["source_unit"] == self.home.fingerprint]
        own.sort(key=lambda entry: (str(entry["dataset"]), -int(entry["version"])))
        listed = [job for job in jobs.listing(self.home) if self.home.fingerprint in job["source_units"]]
        listed.sort(key=lambda job: int(job["issued"]), reverse=True)
        counts = "source-unit" in self.home.roles
        spent = tuple(self._spent(own)) if counts else ()
        names = dict.fromkeys(str(entry["dataset"]) for entry in own)
        return Overview(
            datasets=tuple(own),
            counts_budgets=counts,
            spent=spent,
            privacy=tuple(self._privacy(own)) if counts else (),
            unspent=tuple(name for name in names if name not in {one.dataset for one in spent}),
            used=tuple(listed[:NEWEST]),
            used_total=len(listed),
            ended=tuple([job for job in listed if job["state"] in _ENDED][:NEWEST]),
            ledger=self.ledger(),
            checked=self._checked,
        )

    def _spent(self, own: list[dict[str, Any]]) -> list[Spent]:
        """By dataset (its newest version's limits) and developer, most first."""
        found = []
        for name in dict.fromkeys(str(entry["dataset"]) for entry in own):
            rules = next(entry["policy"] for entry in own if entry["dataset"] == name)
            bits, sums = budgets.spent(self.home, name), budgets.sums_spent(self.home, name)
            found += [
                Spent(
                    name, who, in_bits(bits.get(who, 0)), in_bits(int(rules["quiet_millibits_per_developer"])),
                    sums.get(who, 0), int(rules["score_sums_per_developer"]),
                )
                for who in dict.fromkeys([*bits, *sums])
            ]  # fmt: skip
        return found

    def _privacy(self, own: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
        """Epsilon that all jobs have spent of each dataset together, and its newest version's limit."""
        found = []
        for name in dict.fromkeys(str(entry["dataset"]) for entry in own):
            limit = next(int(entry["policy"]["privacy_millis"]) for entry in own if entry["dataset"] == name)
            total = sum(budgets.privacy_spent(self.home, name).values())
            found.append((name, in_bits(total), in_bits(limit)))
        return found

    def ledger(self) -> Ledger:
        """Fetch the newest checkpoint, check that it continues the last one, and count who cosigned it.

        Raises:
            LogCorrupted: it does not continue what was seen before.

        """
        session, trust = self.home.session, self.home.trust()
        try:
            accepted, is_current = session.sync(), True
            note, _proof = session.link.checkpoint(accepted.size)
        except Unavailable:
            accepted, is_current, note = session.accepted(), False, ""
        cosigned = 0
        if note:
            checkpoint, cosigners = open_cosigned(note, trust.space.ledger_key, trust.witnesses)
            # The ledger may have grown between two answers: only lines under the accepted state count.
            cosigned = len(cosigners) if checkpoint.size == accepted.size else 0
        return Ledger(
            accepted.size,
            accepted.root,
            accepted.origin,
            len(trust.witnesses),
            cosigned,
            is_current=is_current,
        )

    def check(self) -> Checked:
        """Hash the whole ledger; errors as :func:`audit.verify_ledger` has them."""
        with self._lock:
            self._checked = None  # what fails now must not stand beside "verified" from before
        checked = Checked(int(self.clock()), audit.verify_ledger(self.home))
        with self._lock:
            self._checked = checked
        return checked

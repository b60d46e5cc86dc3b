"""What shares of a lattice secret cost: time and bytes to deal, check, add and combine them.

    python -m benchmarks.recovery

Up to 10 participants all hold shares of everybody's secret; more choose a committee, once with a share as long as
the secret and once packed. Time is that of one process's processor.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.lattice.parameters import PARAMETERS, LatticeParameters
from trustspace.aggregation.recovery import Checked, Sharing, threshold_for
from trustspace.aggregation.residues import uniform

PARTICIPANTS = (3, 10, 100, 1000)
# (holders, those that may be gone, those that may cheat, packing) for more participants than all share with.
COMMITTEES = ((30, 5, 2, 1), (30, 5, 2, 8), (100, 30, 5, 1), (100, 30, 5, 16))
ALL_SHARE = 10
# Dealers that are measured; a holder's time is linear in them.
DEALERS = 3


def measure(participants: int, parameters: LatticeParameters, turns: int = 3) -> list[dict[str, Any]]:
    """One row for each way to share among ``participants``, none where the set does not take so many.

    Milliseconds are medians of ``turns``: ``deal_ms`` for a dealer, ``check_ms`` and ``add_ms`` for a holder and the
    shares of all participants, ``combine_ms`` with all reveals and ``named_ms`` with as many false ones as can be
    located. Bytes: ``common``, ``share`` and ``reveal`` of each, ``dealer`` what one sends, ``holder`` what one takes,
    if a common part travels to each holder once, and ``proof_percent`` what the proof adds to what a dealer sends.
    """
    if participants > parameters.max_participants:
        return []
    if participants <= ALL_SHARE:
        choices = [(participants, 0 if participants == 3 else 2, 0 if participants == 3 else 1, 1)]
    else:
        choices = [choice for choice in COMMITTEES if choice[0] <= participants]
    return [_measured(participants, parameters, turns, *choice) for choice in choices]


def _measured(
    participants: int, parameters: LatticeParameters, turns: int,
    holders: int, dropouts: int, cheats: int, packing: int,
) -> dict[str, Any]:  # fmt: skip
    threshold = threshold_for(holders, dropouts, cheats, packing)
    sharing = Sharing(
        parameters.primes, parameters.n, threshold, tuple(range(holders)), b"benchmark", packing
    )
    secrets = [
        np.stack([uniform(1, parameters.n, q)[0] for q in parameters.primes]).astype(np.uint32)
        for _ in range(min(DEALERS, participants))
    ]
    sharing.deal(secrets[0], 0)  # makes the matrices, once for all
    times: dict[str, list[float]] = {}
    for _ in range(turns):
        _turn(sharing, secrets, participants / len(secrets), times)
    share, common = sharing.share_bytes, sharing.common_bytes
    rows = sharing.reveal_bytes - 32
    return {
        "set": parameters.name, "participants": participants, "holders": holders, "threshold": threshold,
        "privacy": sharing.privacy, "packing": packing,
        **{f"{name}_ms": round(statistics.median(values), 2) for name, values in times.items()},
        "secret_bytes": 4 * parameters.n * parameters.rows, "common_bytes": common, "share_bytes": share,
        "reveal_bytes": sharing.reveal_bytes, "dealer_bytes": holders * share + common,
        "holder_bytes": participants * (share + common),
        "proof_percent": round(100 * (holders * (share - rows) + common) / (holders * rows), 1),
    }  # fmt: skip


def _turn(
    sharing: Sharing, secrets: list[NDArray[np.uint32]], each: float, times: dict[str, list[float]]
) -> None:
    """One round from dealing to combining; a holder's time is multiplied by ``each``."""

    def timed(name: str, work: Callable[[], Any], part: float = 1.0) -> Any:
        begin = time.process_time()
        result = work()
        times.setdefault(name, []).append((time.process_time() - begin) * 1e3 * part)
        return result

    total = np.stack(
        [sum(s[i].astype(np.uint64) for s in secrets) % np.uint64(q) for i, q in enumerate(sharing.primes)]
    )

    def passes(rows: NDArray[np.uint32]) -> bool:
        return np.array_equal(rows, total)

    dealt = [timed("deal", partial(sharing.deal, secret, at)) for at, secret in enumerate(secrets)]

    def checked(holder: int) -> list[Checked]:
        return [sharing.check(at, holder, d.common, d.shares[holder]) for at, d in enumerate(dealt)]

    reveals = {}
    for holder in sharing.holders:
        shares = timed("check", partial(checked, holder), each)
        reveals[holder] = timed("add", partial(sharing.add, holder, shares), each)
    opened = timed("combine", partial(sharing.combine, reveals, passes))
    false = sharing.holders[: (len(sharing.holders) - sharing.threshold) // 2]
    spoiled = {at: reveals[at][:32] + bytes(4) + reveals[at][36:-4] + bytes(4) for at in false}
    named = timed("named", partial(sharing.combine, {**reveals, **spoiled}, passes))
    if opened.false or named.false != false:
        raise AssertionError("a reveal was judged wrongly")


def main() -> None:
    """Print a table."""
    rows = [row for parameters in PARAMETERS for count in PARTICIPANTS for row in measure(count, parameters)]
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(str(value) for value in row.values()))


if __name__ == "__main__":
    main()

"""An upper bound on what one job tells its developer before release, in millibits (thousandths of a bit).

A developer reads of its job what others do (grants, refusals, the buyer's countersignature), and a coarse state as
of the last slot's beginning (states.coarse_state); a buyer reads the same. Of all this only the end of a run depends
on the data that the run saw. Code that meets the data, or training that stops when it has learned enough, can choose
the moment and whether it fails: every sequence of told states that such a choice can bring about is one message, and
n messages carry at most log2(n) bits. Counted are

- the slot in which a run ends, and whether it ends in review or without an output;
- one message more: it has not ended within the time that a run can take;
- with more runs than one, all of it again after a run without an output. The next run begins a little later, perhaps
  in the next slot, which says of a slot's two parts in which one the last run ended: twice as many messages.

A run takes at most ``run_seconds``: its wall clock limit for its program, once more for what follows it in sandboxes
of their own (judging) and with other members (the sums) together, and time to open the data and to hand in. Where a run
begins within its slot nobody chooses by the data, so its end may fall into one slot more than fit into that time.

Not counted, because no data moves them: when people grant, refuse, review and cancel, and how long brokers and hosts
take, which also decides how late a late run ends. A verdict is its reviewers' own word. So is a demand for changes:
which of 9 reasons it gives (at most 9 bits a decision, and one decision ends the output), and a note of up to 4088
bytes, which is as much as the reviewer writes into it: whoever writes a patient's row into it has told that row. Its
sealed size says nothing, nor whether there is one. A revocation tells that somebody revoked. A developer who tries to
cancel hears whether the job has ended; then it has no later message to read, so this adds none.
Not counted although data may move it: the load that runs put on one another in one enclave; what is released. The
ledger's growth, which everybody enrolled can watch as it happens, is counted apart (``ledger_millibits``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trustspace.domain.bodies import Job

# States are told in steps of at least this: a space tells none finer, and what it tells coarser carries less.
SLOT_SECONDS: Final = 600
# The finest time in which somebody who sees a statement appear is taken to see it.
MOMENT_SECONDS: Final = 1
# A run uses up its wall clock limit in its program, and again in judging and in its sums together.
PARTS_OF_A_RUN: Final = 2
# For opening the data, packing, sealing and handing in; a run that takes longer is late, and the host's doing.
HANDLING_SECONDS: Final = 600
# How long those who have handed in wait for a member that has not, before they may end the run.
OVERDUE_SECONDS: Final = 3600
LONGEST_SECONDS: Final = 7 * 86400

_PRECISION = 256


@dataclass(frozen=True)
class Leakage:
    """Upper bounds for one job: by what its developer is told, and by watching the ledger grow instead.

    Both tell of the same moments, so they do not add up: who watches the ledger learns at most ``ledger_millibits``.
    """

    told_millibits: int
    ledger_millibits: int


def bits_per_job(
    *,
    wall_seconds: int,
    runs: Sequence[int],
    blind: bool = False,
    slot_seconds: int = SLOT_SECONDS,
) -> Leakage:
    """What a job can tell before its release at most.

    ``runs`` is how many runs each source unit's grant allows. Where several take part, an enclave may come back to
    a run that the others have gone on with: each such return makes the run longer. ``slot_seconds`` 0 tells at once.

    With ``blind`` the developer also reads its job's challenges and offers as they are made. An enclave's first offer
    comes before any data was opened; each further one follows the end of a run, and is seen in its second, with the
    code's key taken or too late.
    """
    returns = sum(runs) - len(runs)
    length = run_seconds(wall_seconds)
    period = length * (1 + returns) + OVERDUE_SECONDS if len(runs) > 1 else length
    told = millibits(told_messages(period, min(runs), slot_seconds))
    # Something that is seen in its second, in one of two ways; or it does not happen in time.
    moment = millibits(2 * moments(period, MOMENT_SECONDS) + 1)
    if blind:
        told += returns * moment
    # By the ledger: the end of every start, with an output or without.
    return Leakage(told, max(told, sum(runs) * moment))


def of_job(job: Job, runs: Sequence[int]) -> Leakage:
    """:func:`bits_per_job` of a signed job, under grants that allow so many runs each."""
    return bits_per_job(wall_seconds=wall_seconds(job), runs=runs, blind=job.blind is not None)


def wall_seconds(job: Job) -> int:
    """The wall clock limit that a job's parameters state; the longest that there is where they state none."""
    limits = job.parameters.get("limits")
    found = limits.get("wall_seconds") if isinstance(limits, dict) else None
    return found if type(found) is int and 0 < found < LONGEST_SECONDS else LONGEST_SECONDS


def run_seconds(wall: int) -> int:
    """How long one enclave's run lasts at most, from its key's release to its end."""
    return PARTS_OF_A_RUN * wall + HANDLING_SECONDS


def moments(seconds: int, slot_seconds: int) -> int:
    """Into how many different slots the end of something may fall that lasts at most so long, begun anywhere."""
    slot = max(slot_seconds, MOMENT_SECONDS)
    return -(-seconds // slot) + 1


def told_messages(seconds: int, runs: int, slot_seconds: int) -> int:
    """How many sequences of told states a job can show whose at most ``runs`` runs last at most ``seconds`` each.

    The last run: in review or without an output in one of n slots, or no end in time, so 2 n + 1. Any run before:
    in review in n ways or no end in one, or without an output in n slots, twice over for where the next begins.
    """
    slots = moments(seconds, slot_seconds)
    messages = 2 * slots + 1
    for _ in range(runs - 1):
        messages = slots + 1 + 2 * slots * messages
    return messages


def millibits(messages: int) -> int:
    """``ceil(1000 log2(messages))``, in integers alone: everybody's rules must come to the same number."""
    # Beyond 256 bits the rest is rounded up: the bound stays one.
    shift = max(0, messages.bit_length() - _PRECISION)
    top = -(-messages >> shift)
    return 1000 * shift + (top**1000 - 1).bit_length()

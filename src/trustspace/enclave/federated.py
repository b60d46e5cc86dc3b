"""A joint training in one enclave: the worker computes, the rounds add up, everybody takes the same step.

What leaves this process is a protected vector. Sums are opened here, in the enclaves of the members, and the
model lives in memory that the worker reads: with the worker's update that is two times the model.

With differential privacy a round's update is trained once in a run, whatever becomes of its attempts, and nothing that
rows decided goes up beside it. The secret of its noise is drawn for the run and never kept: an enclave that goes on
from a checkpoint draws another, and the data key that it gets for that counts as a run of the grant, each of which is
paid for.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from trustspace.aggregation.fixedpoint import FixedPoint, decode_reals
from trustspace.aggregation.server import ServerOptimiser
from trustspace.crypto.canonical import canonical_json, commit
from trustspace.enclave.checkpoint import Checkpoint, Checkpoints
from trustspace.enclave.chunks import PIECE_WORDS
from trustspace.enclave.failure import RoundFailed, RunError
from trustspace.enclave.rounds import NOTE_BYTES, Rounds
from trustspace.enclave.sums import Sum
from trustspace.enclave.transcript import Transcript
from trustspace.enclave.vectors import Reals, Update, UpdateSum
from trustspace.enclave.worker import Trained, TrainingWorker
from trustspace.errors import InvalidInput, TrustspaceError, Unavailable
from trustspace.evidence.facts import Repeated
from trustspace.jobs.claim import Part, PrivateTraining, seen
from trustspace.jobs.federation import (
    NOTHING_COUNTED,
    EarlyStop,
    RoundMetrics,
    platform_from_sums,
)
from trustspace.jobs.metrics import decimal_text
from trustspace.jobs.spec import Parameters

_LOG = logging.getLogger(__name__)
Tensors = Mapping[str, NDArray[np.float32]]


@dataclass
class Progress:
    """Where a joint training stands: after ``round``, the secret that the last sum's members share."""

    round: int
    secret: bytes
    platform: dict[str, NDArray[np.float32]]
    rows: int
    history: list[RoundMetrics] = field(default_factory=list)
    sets: list[tuple[str, ...]] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    # Who was there to open the last sum.
    openers: tuple[str, ...] = ()
    # What this member's worker did in all rounds that it trained, where they are private.
    private: Part | None = None

    def note(self, found: Sum) -> None:
        """Remember whose updates a sum holds."""
        self.secret = found.secret
        self.sets.append(found.members)
        self.openers = found.openers


class JointTraining:
    """Drives one worker through the rounds of a run."""

    def __init__(
        self, worker: TrainingWorker, rounds: Rounds, parameters: Parameters, run: str, units: int,
        checkpoints: Checkpoints | None, transcript: Transcript | None = None, *, repeat: bool = False,
    ) -> None:  # fmt: skip
        self._worker = worker
        self._rounds = rounds
        self._parameters = parameters
        self._federated = parameters.federation()
        self._run = run
        self._checkpoints = checkpoints
        self._transcript = transcript
        # Coarse enough for everybody's part, whoever drops out: all members must encode alike.
        self._fixed = FixedPoint(units, float(self._federated.clip), rounds.scheme.largest)
        self._server: ServerOptimiser
        self._saving: threading.Thread | None = None
        self._repeat, self._twice = repeat, 0
        self.repeated: Repeated = "not_run"

    def train(self) -> Progress:
        """All rounds. The trained model then lies in the worker's ``model``.

        Raises:
            RunError, RoundFailed: see there.

        """
        progress = self._begin()
        if self._repeat:
            # One round of those to come, of which the worker knows nothing beforehand, is asked twice.
            last = self._federated.patience or self._federated.rounds
            self._twice = progress.round + 1 + secrets.randbelow(max(1, last - progress.round))
        watch = EarlyStop(self._federated.patience)
        for metrics in progress.history:
            watch.seen(metrics)
        try:
            while progress.round < self._federated.rounds and not watch.over:
                self._round(progress)
                watch.seen(progress.history[-1])
                self._keep(progress)
        finally:
            self._kept()
        return progress

    def measure(self, progress: Progress, numbers: Sequence[float]) -> list[float]:
        """The last sum: what each domain measured on its withheld patients; nothing of them where it is private."""
        if self._parameters.privacy is not None:
            numbers = NOTHING_COUNTED
        if not progress.measured:
            # The next one, also where training stopped early: the members meet round by round.
            number = progress.round + 1
            found = self._rounds.sum(number, self.commitment(progress), lambda: Reals(numbers))
            progress.measured = decode_reals(found.words, len(found.members))
            if self._parameters.privacy is not None and any(progress.measured):
                raise RoundFailed(
                    "disagreement", "A member of a private training measured something for all."
                )
            self._note(progress, found)
            progress.round = number
            self._keep(progress)
            self._kept()
        return progress.measured

    def account(self, progress: Progress, patients: int) -> PrivateTraining | None:
        """What this member's rounds are worth to each of its ``patients``; None where nothing is claimed."""
        part = progress.private
        if self._parameters.privacy is None or part is None:
            return None
        return seen(self._parameters, part, self._worker.account(part.steps), patients)

    def commitment(self, progress: Progress) -> str:
        """What this member holds, so that only the last sum's members can compare it."""
        hashed = hashlib.sha256(_raw(self._worker.model))
        if self._worker.parts == 2:
            hashed.update(_raw(self._worker.control))
        for values in self._server.state().values():
            hashed.update(_raw(values))
        hashed.update(canonical_json([[name, list(shape)] for name, shape in self._worker.layout]))
        for name in sorted(progress.platform):
            hashed.update(name.encode() + progress.platform[name].tobytes())
        return commit(hashed.digest(), derive(progress.secret, b"model"))

    # -- the beginning

    def _begin(self) -> Progress:
        """Round 0, or the checkpoint that a restart of this run goes on from."""
        found = self._checkpoints.rounds() if self._checkpoints is not None else ()
        prepared = self._worker.prepare()
        if found and self._checkpoints is not None:
            checkpoint = self._checkpoints.load(found[0])
            if checkpoint.facts["run"] == self._run:
                _LOG.info("going on after round %d", checkpoint.round)
                return self._resume(checkpoint, self._platform_of(checkpoint), b"")
        note = b"".join(n.to_bytes(8) for n in (*found, 0, 0)[:2])
        opened = self._rounds.sum(0, "", lambda: Reals(prepared), note)
        sums = decode_reals(opened.words, len(opened.members))
        try:
            platform = platform_from_sums(self._parameters, sums)
        except TrustspaceError as error:
            raise RunError("job-failed", error.public_message.encode() + b"\n") from None
        common = _common(opened.notes)
        if common and self._checkpoints is not None:
            # The same members as before (the journal saw to it), cut off at about one moment.
            progress = self._resume(self._checkpoints.load(common), platform, opened.secret)
            self._note(progress, opened)
            return progress
        progress = Progress(0, opened.secret, platform, int(sums[0]))
        self._note(progress, opened)
        weights = self._worker.start(platform)
        self._worker.model[:] = weights
        if self._worker.parts == 2:
            # What the platform's tensors were handed down in lies here still.
            self._worker.control[:] = 0
        self._make_server()
        return progress

    def _note(self, progress: Progress, found: Sum) -> None:
        progress.note(found)
        if self._transcript is not None:
            self._transcript.add(found.record)

    def _make_server(self) -> None:
        terms = self._federated
        self._server = ServerOptimiser.make(
            terms.strategy, self._worker.count, float(terms.server_learning_rate),
            float(terms.server_adaptivity or "0.001"),
        )  # fmt: skip

    def _platform_of(self, checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
        return {
            name.removeprefix("platform/"): values
            for name, values in checkpoint.arrays.items()
            if name.startswith("platform/")
        }

    def _resume(
        self, checkpoint: Checkpoint, platform: dict[str, NDArray[np.float32]], secret: bytes
    ) -> Progress:
        facts = checkpoint.facts
        self._worker.start(platform)
        self._make_server()
        if self._transcript is not None:
            self._transcript.digest = str(facts["transcript"])
        arrays = checkpoint.arrays
        if len(arrays["model"]) != self._worker.count:
            raise RunError("host", b"The checkpoint does not fit the model.\n")
        self._worker.model[:] = arrays["model"]
        if self._worker.parts == 2:
            self._worker.control[:] = arrays["control"]
        self._server.restore(
            {n.removeprefix("server/"): a for n, a in arrays.items() if n.startswith("server/")}
        )
        sets = [tuple(units) for count, units in facts["sets"] for _ in range(count)]
        return Progress(
            checkpoint.round, secret or bytes.fromhex(facts["secret"]), platform, facts["rows"],
            [RoundMetrics(**entry) for entry in facts["history"]], sets, [float(text) for text in facts["measured"]],
            tuple(facts["openers"]), Part.from_json(facts["private"]) if facts["private"] else None,
        )  # fmt: skip

    def _keep(self, progress: Progress) -> None:
        """Write where things stand, while the worker computes: until the next step the model does not change."""
        if self._checkpoints is None:
            return
        arrays: dict[str, NDArray[np.float32]] = {"model": self._worker.model}
        if self._worker.parts == 2:
            arrays["control"] = self._worker.control
        arrays |= {f"server/{name}": values for name, values in self._server.state().items()}
        arrays |= {f"platform/{name}": values for name, values in progress.platform.items()}
        facts = {
            "run": self._run, "secret": progress.secret.hex(), "rows": progress.rows,
            "history": [entry.to_json() for entry in progress.history], "sets": _lengths(progress.sets),
            "transcript": self._transcript.digest if self._transcript is not None else "",
            "measured": [repr(value) for value in progress.measured], "openers": list(progress.openers),
            "private": progress.private.to_json() if progress.private is not None else {},
        }  # fmt: skip
        self._saving = threading.Thread(
            target=_save, args=(self._checkpoints, progress.round, facts, arrays), name="checkpoint"
        )
        self._saving.start()

    def _kept(self) -> None:
        """Wait until the checkpoint that is being written is on the disk."""
        if self._saving is not None:
            self._saving.join()
            self._saving = None

    # -- a round

    def _round(self, progress: Progress) -> None:
        number, terms = progress.round + 1, self._federated

        def produce() -> Update:
            trained = self._worker.round(number)
            if number == self._twice:
                before = hashlib.sha256(_raw(self._worker.update)).digest(), trained
                trained = self._worker.round(number)
                after = hashlib.sha256(_raw(self._worker.update)).digest(), trained
                self.repeated = "same" if before == after else "other"
            weight, extras = self._beside(trained)
            if trained.private is not None:
                progress.private = (
                    progress.private.then(trained.private) if progress.private else trained.private
                )
            try:
                return Update(
                    self._worker.update,
                    self._worker.parts,
                    self._fixed,
                    float(terms.clip),
                    weight,
                    extras,
                    self._worker.layout,
                )
            except InvalidInput as error:
                raise RunError("job-failed", error.public_message.encode() + b"\n") from None

        with self._rounds.sum(number, self.commitment(progress), produce) as found:
            opened = UpdateSum.of(
                found.content, self._worker.count, self._worker.parts, self._fixed, float(terms.clip),
                len(found.members),
            )  # fmt: skip
            if self._parameters.privacy is not None and opened.extras[0] != len(found.members):
                raise RoundFailed(
                    "disagreement", "A member of a private training counts more or less than one."
                )
            self._kept()
            self._step(opened, len(found.members))
        rows, loss, watching, watched = opened.extras[1:] or (0.0,) * 4
        progress.history.append(
            RoundMetrics(
                participants=len(found.members),
                loss=decimal_text(loss / rows if rows else None),
                validation_loss=decimal_text(watched / watching if watching else None),
            )
        )
        self._note(progress, found)
        progress.round = number

    def _beside(self, trained: Trained) -> tuple[float, tuple[float, ...]]:
        """How much this member counts, and the exact numbers that go up with its update: that weight first.

        Beside a private update there is nothing that its rows decided: all members count the same.
        """
        if self._parameters.privacy is not None:
            return 1.0, (1.0,)
        cap = self._federated.weight_cap
        weight = min(trained.rows, cap) / cap
        return weight, (
            weight, float(trained.rows), trained.rows * trained.loss,
            float(trained.validation_rows), trained.validation_rows * trained.validation_loss,
        )  # fmt: skip

    def _step(self, opened: UpdateSum, members: int) -> None:
        """The server's step, taken by every member: bit for bit the same."""
        model = self._worker.model
        try:
            for start in range(0, len(model), PIECE_WORDS):
                self._server.step(start, model[start : start + PIECE_WORDS], opened.mean(0, start))
        except InvalidInput as error:
            raise RunError("job-failed", error.public_message.encode() + b"\n") from None
        if self._worker.parts == 2:
            # Karimireddy et al. 2020, algorithm 1: c += |S|/N times the mean change.
            share = members / self._fixed.participants
            control = self._worker.control
            for start in range(0, len(control), PIECE_WORDS):
                piece = control[start : start + PIECE_WORDS]
                piece[:] = (piece.astype(np.float64) + share * opened.mean(1, start)).astype(np.float32)


def derive(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose from a secret that the members of a sum share (HKDF, RFC 5869)."""
    return HKDF(SHA256(), 32, None, b"trustspace joint v1/" + purpose).derive(secret)


def _common(notes: tuple[bytes, ...]) -> int:
    """The newest round of which every member has a checkpoint, 0 for none."""
    if any(len(note) != NOTE_BYTES for note in notes):
        raise RoundFailed("disagreement", "A member's note is malformed.")
    kept = [{int.from_bytes(note[:8]), int.from_bytes(note[8:])} - {0} for note in notes]
    return max(set.intersection(*kept), default=0)


def _raw(values: NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(values).view(np.uint8).data


def _save(checkpoints: Checkpoints, number: int, facts: dict[str, Any], arrays: Tensors) -> None:
    try:
        checkpoints.save(number, facts, arrays)
    except Unavailable as error:
        # A run goes on without: what a restart could lose is its time.
        _LOG.warning("no checkpoint of round %d: %s", number, error)


def _lengths(sets: list[tuple[str, ...]]) -> list[list[Any]]:
    """Member sets as (how often in a row, units): in a long run they hardly change."""
    return [[len(list(same)), list(units)] for units, same in groupby(sets)]

"""What a review of joint runs found, each as the attack that it made possible."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.hospitals import TRAIN, Joint
from support.joint import by_name, hand_in, story
from support.members import MANY_WORDS, Circle, Given, Line, added, failed
from support.world import World

from trustspace.crypto.canonical import verify_commitment
from trustspace.crypto.padding import unpad
from trustspace.crypto.seal import open_bytes, read_header
from trustspace.domain.binding import EVIDENCE, artifact_context
from trustspace.domain.bodies import Decision
from trustspace.domain.records import OutputRecord
from trustspace.enclave import run as enclave_run
from trustspace.enclave.checkpoint import Checkpoints
from trustspace.enclave.failure import RoundFailed, RunError
from trustspace.enclave.output import Produced, produce
from trustspace.enclave.packing import _Derivation
from trustspace.enclave.worker import TrainingWorker
from trustspace.errors import InvalidInput, Stale, TrustspaceError, Unavailable, VerificationFailed
from trustspace.evidence.report import build_report
from trustspace.space.rounds import UPLOADS_PER_UNIT

# -- what is one hospital's own


class Played:
    """A joint training of three hospitals up to its review, and what each enclave packed with."""

    def __init__(self) -> None:
        self.packed: dict[str, tuple[Any, ...]] = {}
        self.produced: dict[str, Produced] = {}
        self.world = World()
        self.joint = Joint(self.world)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(enclave_run, "produce", self._produce)
            self.joint.ask(TRAIN.replace("rounds = 3", "rounds = 1"))
            self.joint.attend()
            self.joint.until("in-review")

    def _produce(self, order: Any, *more: Any) -> Produced:
        self.packed[order.source_unit] = (order, *more)
        self.produced[order.source_unit] = produce(order, *more)
        return self.produced[order.source_unit]

    def close(self) -> None:
        self.joint.close()
        self.world.close()


@pytest.fixture(scope="module")
def played():
    made = Played()
    yield made
    made.close()


def opened_by(colleague: tuple[Any, ...], name: str, label: str, blob: bytes) -> bytes:
    """What another member's enclave makes of a ciphertext: the space gave it, the keys follow from their secret."""
    order, secret = colleague[0], colleague[4]
    derive = _Derivation(secret, f"{order.job.statement}/{order.job.run}/{name}")
    return unpad(
        open_bytes(derive(b"key", 32), artifact_context(order.job.statement, order.job.run, label), blob)
    )[32:]


def own_blobs(produced: Produced, unit: str) -> dict[str, bytes]:
    """A hospital's log and report as the space holds them: (name that keys are derived for) and ciphertext."""
    blobs = {blob.digest: blob.data for blob in (*produced.joint_blobs, *produced.own_blobs)}
    log = next(a for a in produced.artifacts if a.role == "log")
    report = next(e for e in produced.evidence if e.source_unit == unit)
    return {log.name: blobs[log.blob], f"{EVIDENCE}/{unit}": blobs[report.blob]}


def test_no_member_can_open_what_is_another_ones_own(played):
    """A member's host and the space together: logs hold what the developer's code printed of the rows."""
    for unit, produced in played.produced.items():
        for other, colleague in played.packed.items():
            if other == unit:
                continue
            for name, blob in own_blobs(produced, unit).items():
                label = EVIDENCE if name.startswith(EVIDENCE) else name
                with pytest.raises(VerificationFailed):
                    opened_by(colleague, name, label, blob)


def test_what_is_joint_every_member_can_open(played):
    """The control: the attack above is the right one."""
    first, second = sorted(played.packed)[:2]
    for artifact, blob in zip(
        played.produced[first].artifacts, played.produced[first].joint_blobs, strict=False
    ):
        content = opened_by(played.packed[second], artifact.name, artifact.name, blob.data)
        assert content in [raw.data for raw in played.packed[first][2]]


def test_a_members_commitments_cannot_be_tried_out_by_another(played):
    """The salt of a commitment in the output must not be known to who could guess what was printed."""
    unit, other = sorted(played.packed)[:2]
    order, secret = played.packed[other][0], played.packed[other][4]
    log = next(a for a in played.produced[unit].artifacts if a.role == "log")
    salt = _Derivation(secret, f"{order.job.statement}/{order.job.run}/{log.name}")(b"salt", 32)
    with pytest.raises(VerificationFailed):
        verify_commitment(log.commitment, played.packed[unit][3].log, salt)


def test_a_restart_packs_no_other_log_under_the_same_nonce(played):
    """From a checkpoint after the last sum an enclave packs again, and its worker has printed something else."""
    unit, arguments = next(iter(played.packed.items()))
    order, parameters, artifacts, found, secret, together = arguments
    again = produce(
        order, parameters, artifacts, replace(found, log=b"printed by another worker"), secret, together
    )
    before, after = own_blobs(played.produced[unit], unit), own_blobs(again, unit)
    assert list(before) == list(after)
    for name in before:
        first, second = read_header(before[name])[0], read_header(after[name])[0]
        assert before[name] == after[name] or (first.salt, first.prefix) != (second.salt, second.prefix)
    # What is joint is packed to the same bytes, as often as it is.
    assert again.joint_blobs == played.produced[unit].joint_blobs


def test_a_dropped_units_reviewer_is_not_told_that_the_buyer_has_nothing(played):
    """The first member speaks to the reviewers of who dropped out, and cannot know what those gave this buyer."""
    order, parameters, artifacts, found, secret, together = played.packed[min(played.packed)]
    lost = max(played.packed)
    fewer = replace(together, members=tuple(sorted(set(played.packed) - {lost})))
    facts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "trustspace.enclave.output.build_report",
            lambda told, policy: facts.append((told, policy)) or _REPORT,
        )
        produce(order, parameters, artifacts, found, secret, fewer)
    own, absent = (build_report(*one) for one in facts)
    assert own.check("buyer_history").status == "passed"
    assert absent.check("buyer_history").status == "could_not_run"


def test_who_drops_out_remembers_what_its_part_went_into(played):
    """Later reports must not say that this buyer has nothing from its data: the joint model may come to the buyer."""
    for hospital in played.joint.hospitals:
        runner = hospital.enclave.runner
        job = runner.dossier(played.joint.job).job(played.joint.job)
        (made,) = runner._history.records(lambda record, job=job: record.job == job.statement)
        assert made.bytes > 0
        path = hospital.enclave.path / "history" / job.statement
        kept = path.read_bytes()
        path.unlink()
        with pytest.MonkeyPatch.context() as patch:

            def lost(*_: Any) -> None:
                raise RunError("members")

            patch.setattr("trustspace.enclave.runner.execute", lost)
            run = SimpleNamespace(
                offer=job.offers[hospital.unit], key=None, challenges=(), name="", control=None
            )
            with pytest.raises(RunError):
                runner._execute(played.joint.job, run)
        (started,) = runner._history.records(lambda record, job=job: record.job == job.statement)
        assert (started.buyer, started.developer, started.datasets) == (
            made.buyer,
            made.developer,
            made.datasets,
        )
        assert started.bytes == 0
        path.write_bytes(kept)


_REPORT = SimpleNamespace(to_bytes=lambda: b"a report")


# -- the ledger


def test_a_decision_on_a_part_of_an_output_is_refused_like_any_other():
    """One enclave has handed in; another unit's reviewer decides before its own evidence is there."""
    cast = story()
    first, second, *_ = by_name(cast.units)
    hand_in(cast, second)
    decided = cast.sign(first, "review-1", _early_decision(cast, first, second))
    with pytest.raises(TrustspaceError):
        cast.put(decided)


def _early_decision(cast: Any, unit: Any, seen: Any) -> Any:
    """What a reviewer whose evidence is not there yet can sign: with another unit's in its place."""
    output = cast.view.get(OutputRecord, cast.job.output)
    return Decision(
        job=cast.job.statement, output=output.statement, evidence=output.body.evidence[0].commitment,
        policy="0" * 64, verdict="reject", artifacts=(), buyer_key="", shares=(), comment="",
        expires=output.issued + 86400,
    )  # fmt: skip


# -- the worker


class _Lying:
    """A sandbox whose worker answers as it likes."""

    def __init__(self, *replies: dict[str, Any]) -> None:
        self._replies = list(replies)

    def ask(self, message: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        return self._replies.pop(0)

    def cancel(self) -> None:
        pass


def lying_worker(*replies: dict[str, Any], rows: int = 10) -> TrainingWorker:
    worker = TrainingWorker.__new__(TrainingWorker)
    worker._talk, worker._rows, worker._deadline = _Lying(*replies), rows, float("inf")  # type: ignore[assignment]
    worker._parameters = SimpleNamespace(privacy=None)  # type: ignore[assignment]
    return worker


@pytest.mark.parametrize("validation", ["a text", [1], 7, True])
def test_a_reply_that_is_not_of_the_form_is_the_jobs_fault(validation):
    """Not the host's: who reads "host" looks for what is wrong with its own machine."""
    worker = lying_worker({"rows": 5, "loss": "0.500000", "validation": validation})
    with pytest.raises(RunError) as caught:
        worker.round(1)
    assert caught.value.reason == "job-failed"


# -- checkpoints


@pytest.mark.parametrize("damage", ["flipped", "cut off"])
def test_a_damaged_checkpoint_is_none(tmp_path, damage):
    """Else every later run begins with it, fails as the host's fault, and uses a run of the grant up."""
    checkpoints = Checkpoints(tmp_path / "notes", "a" * 64, b"k" * 32)
    for number in (1, 2):
        checkpoints.save(number, {"run": "one"}, {"model": np.arange(600_000, dtype=np.float32)})
    assert checkpoints.rounds() == (2, 1)
    path = tmp_path / "notes" / f"{'a' * 64}.checkpoint-2"
    content = path.read_bytes()
    path.write_bytes(content[:-1] if damage == "cut off" else content[:-1] + bytes([content[-1] ^ 1]))
    assert checkpoints.rounds() == (1,)
    assert checkpoints.load(1).facts == {"run": "one"}


# -- the rounds


def test_a_space_that_is_away_while_ledgers_are_compared_costs_no_run(tmp_path):
    """It is away for a moment just then: an attempt may be lost, the run is not."""
    circle = Circle(tmp_path)
    vectors, away = circle.vectors(), []

    def compare(other: Any) -> None:
        if not away:
            away.append(other)
            raise Unavailable("the space cannot be reached")

    unit = circle.units[0]
    acts = {
        one: lambda one=one: circle.rounds(one, **({"compare": compare} if one == unit else {})).sum(
            1, "", lambda: Given(vectors[one])
        )
        for one in circle.units
    }
    found = circle.play(acts)
    assert away
    for one in circle.units:
        assert (found[one].words == added(list(vectors.values()))).all()


class _Wire(Line):
    """A line that says of an upload that breaks off what gRPC says of one: that the call ended, and no more."""

    def contribute(self, place: Any, envelope: bytes, total_bytes: int, pieces: Any) -> None:
        def taken() -> Any:
            try:
                yield from pieces
            except Exception as error:
                raise TrustspaceError("The call ended with status {status}.", status="UNKNOWN") from error

        super().contribute(place, envelope, total_bytes, taken())


def test_a_worker_that_is_caught_while_its_update_is_sent_is_named(tmp_path):
    """A long update that changes on its way must not end as the host's fault, which nobody could then look into."""
    circle = Circle(tmp_path)
    caught, *others = circle.units
    vectors = circle.vectors(MANY_WORDS)

    class Changing(Given):
        def pieces(self) -> Any:
            yield from list(super().pieces())[:1]
            raise RoundFailed("job-failed", "The worker changed its update after it was measured.")

    acts = {
        one: lambda one=one: circle.rounds(one, relay=_Wire(circle.space, one)).sum(
            1, "", lambda: (Changing if one == caught else Given)(vectors[one])
        )
        for one in circle.units
    }
    assert failed(circle.play(acts))[caught] == "job-failed"


class _Breaking(Line):
    """A line that breaks in the middle of the first download of each kind, when the others have the sum already."""

    def __init__(self, space: Any, unit: str) -> None:
        super().__init__(space, unit)
        self.broke: list[str] = []

    def _breaking(self, kind: str, pieces: Any) -> Any:
        if kind in self.broke:
            yield from pieces
            return
        yield next(pieces)
        self.broke.append(kind)
        raise Unavailable("the line is cut")

    def sum(self, place: Any) -> Any:
        return self._breaking("sum", super().sum(place))

    def contributions(self, place: Any) -> Any:
        return self._breaking("contributions", super().contributions(place))


def test_a_line_that_breaks_during_a_download_costs_nobody_the_attempt(tmp_path):
    """If it did, and somebody had revealed by then, everybody's run would be over."""
    circle = Circle(tmp_path)
    vectors = circle.vectors(MANY_WORDS)
    lines = {one: _Breaking(circle.space, one) for one in circle.units}
    acts = {
        one: lambda one=one: circle.rounds(one, relay=lines[one]).sum(1, "", lambda: Given(vectors[one]))
        for one in circle.units
    }
    found = circle.play(acts)
    for one in circle.units:
        assert found[one].attempts == 1
        assert (found[one].words == added(list(vectors.values()))).all()
    assert sorted(kind for line in lines.values() for kind in line.broke) == [
        "contributions",
        *["sum"] * (len(circle.units) - 1),
    ]


# -- the space


def test_uploads_that_hang_are_few(tmp_path):
    """An enclave opens one upload after the other and sends nothing more: each takes the disk of a whole vector."""
    circle = Circle(tmp_path)
    board, (unit, *_) = circle.space.main, circle.units
    for one in circle.units:
        board.exchange(one, (1, 1), "join", b"join")
    for one in circle.units:
        board.exchange(one, (1, 1), "agree", b"agree")
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def hanging() -> Any:
        yield bytes(4)
        begun.release()
        assert go_on.wait(30)

    def upload() -> None:
        with pytest.raises((Stale, InvalidInput)):
            board.contribute(unit, (1, 1), b"", 4 * MANY_WORDS, hanging())

    threads = [threading.Thread(target=upload, daemon=True) for _ in range(UPLOADS_PER_UNIT)]
    for thread in threads:
        thread.start()
        assert begun.acquire(timeout=30)
    with pytest.raises(Unavailable):
        board.contribute(unit, (1, 1), b"", 4 * MANY_WORDS, [bytes(4 * MANY_WORDS)])
    # Nobody else is kept from sending, and when they are over, nor is it.
    board.contribute(circle.units[1], (1, 1), b"", 4 * MANY_WORDS, [bytes(4 * MANY_WORDS)])
    go_on.set()
    for thread in threads:
        thread.join(30)
    board.contribute(unit, (1, 1), b"", 4 * MANY_WORDS, [bytes(4 * MANY_WORDS)])

"""Members of joint rounds without sandboxes: threads of this process whose workers answer at once.

Everything between is the product's own: the enclave's drive of a training, its rounds, masks and checkpoints. They
meet on a board in this process, or over mutual TLS in a space's process with a ledger that says who may come.
"""

from __future__ import annotations

import datetime
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from benchmarks.cast import MANY_JOBS, Cast
from benchmarks.spans import Recorder, Round
from trustspace.aggregation.scheme import Scheme
from trustspace.aggregation.schemes import scheme_of
from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.demo.processes import Processes
from trustspace.domain.binding import run_name
from trustspace.domain.bodies import (
    SMALL_SUMS,
    Challenge,
    Countersignature,
    Dataset,
    DatasetUse,
    Evidence,
    Grant,
    Job,
    KeyRelease,
    PartyKey,
    Reviewer,
    RunNonce,
    RunOffer,
)  # fmt: skip
from trustspace.domain.statements import LogReference, Statement
from trustspace.enclave.checkpoint import Checkpoints
from trustspace.enclave.federated import JointTraining
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Identity, Roster, Terms
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.worker import Trained
from trustspace.jobs.agreement import sum_terms
from trustspace.jobs.federation import prepared
from trustspace.jobs.spec import Parameters, parse_job_file
from trustspace.ledger.merkle import EMPTY_ROOT
from trustspace.space.home import SpaceHome, initialise
from trustspace.space.rounds import Board, LocalRounds
from trustspace.space.sums import VectorStore
from trustspace.transport import rounds as wire
from trustspace.transport.channel import Identity as Certified
from trustspace.transport.channel import connect
from trustspace.transport.rounds import RoundsLink
from trustspace.transport.tls import Caller, issue, new_key, new_request

DAY = 86400
WAIT_SECONDS = 300
TIER = "namespaces+landlock+seccomp"
_LOG = LogReference(origin="benchmark", size=1, root="0" * 64)
_JOB = """
[job]
title = "Benchmark"
purpose = "How long a round takes."
kind = "train"
[parties]
buyer = "Buyer"
[train]
model = "custom"
target = "finding"
positive = "ill"
epochs = 1
max_parameters = {parameters}
[federated]
rounds = {rounds}
[code]
path = "code"
[limits]
output_mib = 1024
[terms]
minimum_participants = 2
"""
_USE = """
[[datasets]]
id = "rows"
version = 1
columns = ["size", "texture"]
source_unit = "Unit {number}"
"""


def agreed(members: int, parameters: int, rounds: int, sums: str = "") -> Parameters:
    """What the members of a job over so many source units have agreed; ``sums``: lines of the job's [sums]."""
    uses = "".join(_USE.format(number=number) for number in range(members))
    job = _JOB.format(parameters=parameters, rounds=rounds) + uses + f"[sums]\n{sums}\n"
    return parse_job_file(job).parameters()


def scheme_in(parameters: Parameters) -> Scheme:
    """What the job's sums are protected by."""
    terms = sum_terms(parameters)
    assert terms is not None
    return scheme_of(terms.scheme, terms.needed)


class Instant:
    """A worker that answers at once: its update is drawn beforehand, float32 [parameters]."""

    parts = 1

    def __init__(self, parameters: Parameters, count: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        features = draw.normal(size=(100, 2))
        self._prepared = prepared(parameters, features, np.arange(100.0) % 2, 0)
        self.count = count
        self.layout = (("model.bulk", (count,)),)
        self.model: NDArray[np.float32] = np.zeros(count, np.float32)
        self.update: NDArray[np.float32] = draw.standard_normal(count, np.float32) * np.float32(0.001)

    def prepare(self) -> list[float]:
        """As ``TrainingWorker.prepare``."""
        return [float(value) for value in self._prepared]

    def start(self, platform: Any) -> NDArray[np.float32]:
        """As ``TrainingWorker.start``."""
        return np.zeros(self.count, np.float32)

    def round(self, number: int) -> Trained:
        """As ``TrainingWorker.round``."""
        return Trained(100, 0.5, 0, 0.0)


@dataclass(frozen=True)
class Seat:
    """One member's place: its identity, the offer it stands in the run with, and its way to the space."""

    identity: Identity
    relay: wire.Rounds


@dataclass(frozen=True)
class Meeting:
    """A run, its members, and what they have agreed."""

    job: str
    run: str
    parameters: Parameters
    seats: tuple[Seat, ...]

    def train(self, work: Path, count: int) -> list[list[Round]]:
        """All rounds of the run with models of ``count`` numbers; of every round, what each member noted."""
        stop = threading.Event()
        NOTED.clear()

        def member(number: int) -> None:
            try:
                self.member(number, work, count, stop)
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(len(self.seats)) as pool:
            done = [pool.submit(member, number) for number in range(len(self.seats))]
        for future in done:
            future.result()
        found: dict[int, list[Round]] = {}
        for noted in NOTED:
            found.setdefault(noted.number, []).append(noted)
        rounds = self.parameters.federation().rounds
        if sorted(found) != list(range(1, rounds + 1)) or {len(f) for f in found.values()} != {
            len(self.seats)
        }:
            raise RuntimeError("The members did not come to the end of their rounds.")
        return [found[number] for number in range(1, rounds + 1)]

    def member(self, number: int, work: Path, count: int, stop: threading.Event) -> None:
        """All rounds of one member, in the thread that calls."""
        seat = self.seats[number]
        roster = Roster({s.identity.source_unit: (s.identity.offer, s.identity.public) for s in self.seats})
        terms = Terms(self.job, self.run, 2, WAIT_SECONDS, time.monotonic() + DAY)
        home = work / f"member-{number}"
        home.mkdir(parents=True)
        rounds = Rounds(
            seat.relay, seat.identity, terms, lambda fresh: roster, Journal(home, self.job),
            scheme_in(self.parameters), lambda: _LOG, lambda other: None, stop,
        )  # fmt: skip
        worker: Any = Instant(self.parameters, count, number)
        kept = Checkpoints(home, self.job, os.urandom(32))
        JointTraining(worker, rounds, self.parameters, self.run, len(self.seats), kept).train()


NOTED: list[Round] = []
Recorder(NOTED.append).install(JointTraining, Instant)


def in_process(work: Path, members: int, count: int, rounds: int, sums: str = "") -> list[list[Round]]:
    """A run whose board is in this process: the protocol alone. ``sums``: as ``agreed`` has them."""
    meeting, _ = gathered(work, members, count, rounds, sums)
    return meeting.train(work, count)


def gathered(
    work: Path, members: int, count: int, rounds: int, sums: str, clock: Callable[[], float] = time.monotonic
) -> tuple[Meeting, Board]:
    """Members around a board in this process, which waits for them by ``clock``."""
    job, run = secrets.token_hex(32), secrets.token_hex(32)
    units = sorted(secrets.token_hex(32) for _ in range(members))
    offers = {unit: secrets.token_hex(32) for unit in units}
    parameters = agreed(members, count, rounds, sums)
    board = Board(VectorStore(work / "vectors"), offers, 2, WAIT_SECONDS, clock, scheme=scheme_in(parameters))
    seats = []
    for unit in units:
        key = Ed25519PrivateKey.generate()
        identity = Identity(unit, offers[unit], key.public_key().public_bytes_raw(), key.sign)
        seats.append(Seat(identity, LocalRounds(board, unit)))
    return Meeting(job, run, parameters, tuple(seats)), board


class Remote:
    """A space's process whose ledger holds one running job of so many source units, and their enclaves' channels."""

    def __init__(self, work: Path, members: int, count: int, rounds: int) -> None:
        self._work, self._count = work, count
        self._open = ExitStack()
        ledger = _Ledger(work, members, agreed(members, count, rounds))
        processes = self._open.enter_context(Processes(work / "logs", "en"))
        try:
            child = processes.start("space", work / "space", "space", "serve")
            address = str(child.wait_ready()["listen"])
            self.pid = child.pid
            self.meeting = ledger.meeting(address, self._open)
        except BaseException:
            self.close()
            raise

    def train(self) -> list[list[Round]]:
        """All rounds of the run."""
        return self.meeting.train(self._work / "members", self._count)

    def close(self) -> None:
        """End the process and the channels."""
        self._open.close()


class _Ledger(Cast):
    """A ledger written without a process: many source units' job up to the moment at which its run begins."""

    def __init__(self, work: Path, members: int, parameters: Parameters) -> None:
        initialise(work / "space", "Space", "127.0.0.1:0", "127.0.0.1:0", ())
        self._home = SpaceHome(work / "space")
        self.space, self.ledger = self._home.open()
        self.units = [
            PartyHome.create(work / f"unit-{n}", f"Unit {n}", ("source-unit",), reviewers=("Dr Example",))
            for n in range(members)
        ]
        self.developer = PartyHome.create(work / "developer", "Developer", ("developer",))
        self.buyer = PartyHome.create(work / "buyer", "Buyer", ("buyer",))
        self._names = {
            (home.fingerprint, use): home.key_name(use)
            for home, uses in (
                *((unit, ("act", "grant", "broker")) for unit in self.units),
                (self.developer, ("act",)), (self.buyer, ("act",)),
            )
            for use in uses
        }  # fmt: skip
        self._keys = {unit.fingerprint: unit.keys.create_signing_key("enclave") for unit in self.units}
        self._parameters = parameters
        self._enrol_all()
        self._until_the_run()
        self._authority, self._server = self._home.authority(), self._home.identity().certificate
        self.close()

    def _enrol_all(self) -> None:
        log = LogReference(origin=self._home.settings.origin, size=0, root=EMPTY_ROOT.hex())
        for home in (*self.units, self.developer, self.buyer):
            body = home.party
            if home.fingerprint in self._keys:
                enclave = PartyKey(use="enclave", public=self._keys[home.fingerprint].hex(), holder="enclave")
                body = body.model_copy(update={"keys": (*body.keys, enclave)})
            self.ledger.submit(self.sign(home, "root", body, log))

    def _until_the_run(self) -> None:
        units, keys = self.units, {unit: key.hex() for unit, key in self._keys.items()}
        (bundle,) = self._put(self.developer, b"code")
        datasets = {u.fingerprint: self._dataset_of(u) for u in units}
        self.append(datasets.values())
        (buyer_key,) = (key.public for key in self.buyer.party.keys if key.use == "receive")
        asked = Job(
            title="Benchmark", kind="train", purpose="A benchmark.",
            source_units=tuple(u.fingerprint for u in units), developer=self.developer.fingerprint,
            buyer=self.buyer.fingerprint, buyer_key=buyer_key, code=bundle, minimum_participants=2,
            datasets=tuple(
                DatasetUse(dataset=datasets[u.fingerprint].digest, source_unit=u.fingerprint, columns=("size",
                           "texture", "finding"))
                for u in units
            ),
            parameters=self._parameters.to_json(), release_quorum="all", evidence_kind="software",
            expires=int(time.time()) + 30 * DAY, sums=sum_terms(self._parameters),
        )  # fmt: skip
        job = self.sign(self.developer, "act", asked)
        self.append([job])
        self.job = job.digest
        self.append([self.sign(self.buyer, "act", Countersignature(job=self.job, buyer_key=buyer_key))])
        grants = {u.fingerprint: self._granted(u, datasets[u.fingerprint].digest) for u in units}
        self.append(grants.values())
        log = self.log()
        asked_of = {
            u.fingerprint: [
                self.sign(other, "broker", RunNonce(job=self.job, enclave=keys[u.fingerprint],
                                                    challenge=os.urandom(32).hex()), log)
                for other in units
            ]
            for u in units
        }  # fmt: skip
        self.append(nonce for nonces in asked_of.values() for nonce in nonces)
        offers = {u.fingerprint: self._offered(u, asked_of[u.fingerprint]) for u in units}
        self.append(offers.values())
        self.append(
            self.sign(
                u, "broker",
                KeyRelease(job=self.job, grant=grants[u.fingerprint].digest, offer=offers[u.fingerprint].digest,
                           dataset=datasets[u.fingerprint].digest, run_number=1,
                           sealed_key=os.urandom(80).hex()),
            )
            for u in units
        )  # fmt: skip
        self._offers = {unit: offer.digest for unit, offer in offers.items()}

    def _put(self, home: PartyHome, content: bytes) -> Sequence[str]:
        digest = sha256_hex(content)
        self.space.put_blob(self.caller(home), digest, len(content), [content])
        return (digest,)

    def _dataset_of(self, unit: PartyHome) -> Statement:
        (mock,) = self._put(unit, canonical_json({"mock": unit.fingerprint}))
        body = Dataset(
            dataset="rows", version=1, manifest=secrets.token_hex(32), description={"title": "Rows"}, mock=mock,
            policy=MANY_JOBS, custody="own", enclave=self._keys[unit.fingerprint].hex(),
        )  # fmt: skip
        return self.sign(unit, "act", body)

    def _granted(self, unit: PartyHome, dataset: str) -> Statement:
        keys = {key.use: key.public for key in unit.party.keys if key.holder == "Dr Example"}
        body = Grant(
            job=self.job, datasets=(dataset,), enclave=self._keys[unit.fingerprint].hex(),
            reviewers=(Reviewer(holder="Dr Example", review=keys["review"], review_open=keys["review-open"]),),
            reviewer_threshold=1, evidence_kind="software", sandbox_tier="any", runs=1,
            expires=int(time.time()) + 20 * DAY, small_sums=SMALL_SUMS,
        )  # fmt: skip
        return self.sign(unit, "grant", body)

    def _offered(self, unit: PartyHome, nonces: Sequence[Statement]) -> Statement:
        answered = tuple(
            Challenge(key_holder=nonce.by, challenge=nonce.body.challenge)  # type: ignore[attr-defined]
            for nonce in nonces
        )
        evidence = Evidence(
            kind="software", measurement="0" * 64, sandbox_tier=TIER, platform="benchmark", custody="own"
        )
        body = RunOffer(job=self.job, run_key=os.urandom(32).hex(), challenges=answered, evidence=evidence)
        return self.sign(unit, "enclave", body)

    def meeting(self, address: str, stack: ExitStack) -> Meeting:
        """The enclaves' places, each with a channel of its own to the space."""
        seats = []
        for unit in sorted(self.units, key=lambda u: u.fingerprint):
            public = self._keys[unit.fingerprint]
            key, caller = new_key(), Caller(unit.fingerprint, "enclave", public.hex())
            now = datetime.datetime.now(datetime.UTC)
            certificate = issue(
                new_request(key), caller, self._authority.certificate, self._authority.key, now
            )
            channel: grpc.Channel = connect(
                address, self._server, Certified(key, certificate), "trustspace-space"
            )
            stack.callback(channel.close)
            identity = Identity(
                unit.fingerprint, self._offers[unit.fingerprint], public,
                lambda message, unit=unit: unit.keys.sign("enclave", message),  # type: ignore[misc]
            )  # fmt: skip
            seats.append(Seat(identity, RoundsLink(channel)))
        run = run_name(self.job, list(self._offers.values()))
        return Meeting(self.job, run, self._parameters, tuple(seats))

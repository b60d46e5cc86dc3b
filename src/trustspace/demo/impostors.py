"""Cheats with false names and changed papers: a false buyer, a false enclave, a job changed after its grant."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trustspace.client import jobs
from trustspace.client.broker import Broker
from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.keys import MemoryKeyStore
from trustspace.crypto.seal import Opener, take_header
from trustspace.crypto.wrap import OneTimeKey
from trustspace.demo.asking import job_text
from trustspace.demo.attempts import Cheat
from trustspace.demo.cast import Hospital, Play, wait_until
from trustspace.demo.lockpick import binding_of
from trustspace.demo.powers import altered, clone
from trustspace.domain.binding import dataset_context
from trustspace.domain.bodies import Challenge, Evidence, Job, KeyRelease, PartyKey, RunOffer
from trustspace.domain.records import ChallengeRecord, DatasetRecord, GrantRecord, OfferRecord
from trustspace.domain.replay import MemoryView
from trustspace.domain.statements import Statement
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.home import EnclaveHome
from trustspace.errors import LogCorrupted, NotFound, PermissionDenied, PolicyRefused, VerificationFailed
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import SpaceLink
from trustspace.transport.tls import Caller


def false_buyer(play: Play) -> Cheat:
    """The operator enrols somebody under the buyer's name, and a developer who plays along names that one."""
    cheat, name = Cheat("false-buyer"), play.buyer.party.name
    operator = play.operator
    impostor = PartyHome.create(play.root / "impostor", name, ("buyer",))
    impostor.enrol(operator.space.invite(name, ("buyer",), *operator.space.addresses()))
    file = play.root / "impostor.toml"
    file.write_text(job_text(play, impostor.fingerprint), encoding="utf-8")
    details: dict[str, str | int] = {"name": name, "false": impostor.fingerprint[:12]}
    cheat.attack("false-buyer.developer", lambda: jobs.submit(play.developer, file), NotFound, **details)
    partner = clone(play.developer, play.root / "developer-colluding", play.developer.session.link)
    for home in (impostor, partner):
        for party in (*(h.home for h in play.hospitals), play.developer):
            if party.fingerprint != home.fingerprint:
                home.pin(party.party.name, party.fingerprint)
    partner.pin(f"{name} (2)", impostor.fingerprint)
    job = jobs.submit(partner, file)
    jobs.countersign(impostor, job)
    for hospital in play.hospitals:
        cheat.attack(
            "false-buyer.hospital", partial(jobs.grant, hospital.home, job), VerificationFailed, **details
        )
        cheat.control("false-buyer.control", partial(jobs.request, hospital.home, play.job), **details)
    return cheat


@dataclass(frozen=True)
class HeldRun:
    """A granted job whose enclaves are held still, so that a run of it can be looked at from inside.

    ``challenges`` are the real brokers' to the first hospital's enclave, ``evidence`` is what that enclave reports.
    """

    job: str
    hospital: Hospital
    challenges: tuple[Challenge, ...]
    evidence: Evidence
    run_key: OneTimeKey

    def offer(self, job: str) -> RunOffer:
        """What the enclave would offer for a job."""
        return RunOffer(
            job=job, run_key=self.run_key.public.hex(), challenges=self.challenges, evidence=self.evidence
        )


@contextmanager
def held_run(play: Play) -> Iterator[HeldRun]:
    """Ask for the same job once more and have it granted, while every enclave is paused."""
    hospital = play.hospitals[0]
    evidence = next(
        offer.body.evidence
        for offer in play.operator.view().all(OfferRecord)
        if offer.source_unit == hospital.home.fingerprint
    )
    with ExitStack() as stack:
        for each in play.hospitals:
            stack.enter_context(each.enclave_process.paused())
        job = jobs.submit(play.developer, play.job_file)
        jobs.countersign(play.buyer, job)
        for each in play.hospitals:
            jobs.grant(each.home, job, reviewers=(each.reviewer,))
        challenges = wait_until(lambda: _challenges(play, hospital, job), "challenges")
        yield HeldRun(job, hospital, challenges, evidence, OneTimeKey.generate())
        # Taken back while the enclaves are still: none that wakes up now begins a run.
        jobs.cancel(play.developer, job)


def _challenges(play: Play, hospital: Hospital, job: str) -> tuple[Challenge, ...] | None:
    view = hospital.home.session.job(job).view
    enclave = EnclaveHome(hospital.enclave).public().hex()
    given = {
        c.key_holder: c.challenge for c in view.all(ChallengeRecord) if (c.job, c.enclave) == (job, enclave)
    }
    units = [each.home.fingerprint for each in play.hospitals]
    if set(given) != set(units):
        return None
    return tuple(Challenge(key_holder=unit, challenge=given[unit]) for unit in units)


def false_enclave(play: Play, held: HeldRun) -> Cheat:
    """The operator makes an enclave, certifies it in the hospital's name, and has it offer a run."""
    cheat, operator, hospital = Cheat("false-enclave"), play.operator, held.hospital.home
    keys = MemoryKeyStore()
    public = keys.create_signing_key("identity").hex()
    caller = Caller(hospital.fingerprint, "enclave", public)
    link = operator.connect_as(caller)
    offer = operator.sign(held.offer(held.job), hospital.fingerprint, keys, "identity")
    party = hospital.party
    widened = party.model_copy(
        update={
            "sequence": party.sequence + 1,
            "keys": (*party.keys, PartyKey(use="enclave", public=public, holder=party.name)),
        }
    )
    described = operator.sign(widened, hospital.fingerprint)
    name = party.name
    cheat.control("false-enclave.connection", lambda: link.checkpoint(0), name=name)
    cheat.attack(
        "false-enclave.offer", lambda: link.submit(offer.envelope.to_bytes()), VerificationFailed, name=name
    )
    cheat.attack(
        "false-enclave.described",
        lambda: link.submit(described.envelope.to_bytes()),
        VerificationFailed,
        name=name,
    )
    cheat.attack(
        "false-enclave.broker", lambda: _lied_to(play, held, "a", offer), VerificationFailed, name=name
    )
    cheat.attack(
        "false-enclave.both",
        lambda: _lied_to(play, held, "b", described, offer),
        VerificationFailed,
        name=name,
    )
    own = operator.sign(
        held.offer(held.job), hospital.fingerprint, EnclaveHome(held.hospital.enclave).keys, "identity"
    )
    cheat.control("false-enclave.control", lambda: _lied_to(play, held, "c", own), name=name)
    return cheat


def _lied_to(play: Play, held: HeldRun, which: str, *forged: Statement) -> None:
    """Have the hospital's broker, on a copy of its home, attend to a ledger that holds forged statements.

    Raises:
        TrustspaceError: why it releases no key.

    """
    link = play.operator.fork(*forged)
    broker = Broker(clone(held.hospital.home, play.root / f"hospital-lied-to-{which}", link))
    # attend() notes an error and goes on to the next job; here the error is what we came for.
    broker._attend(held.job)
    if not isinstance(link.forged[-1].body, KeyRelease):
        raise PolicyRefused("The broker released no key.")


def changed_job(play: Play, held: HeldRun) -> Cheat:
    """The operator swaps what was granted: in its database, under the old grant, under the released key."""
    cheat = Cheat("job-changed-after-grant")
    _in_the_database(play, held, cheat)
    _under_the_old_grant(play, held, cheat)
    _under_the_released_key(play, held, cheat)
    return cheat


def _greedier(job: Job) -> dict[str, Any]:
    """The same job's parameters with a hundred times the rounds and hardly anything withheld."""
    parameters = copy.deepcopy(job.parameters)
    parameters["federated"]["rounds"] = 100 * int(parameters["federated"]["rounds"])
    parameters["terms"]["withheld_percent"] = 5
    return parameters


def _in_the_database(play: Play, held: HeldRun, cheat: Cheat) -> None:
    operator, hospital = play.operator, held.hospital.home
    job = next(s for s in operator.statements() if s.digest == held.job)
    assert isinstance(job.body, Job)
    with operator.rewritten(held.job, altered(job, parameters=_greedier(job.body))):
        cheat.attack("changed-job.database", lambda: jobs.request(hospital, held.job), LogCorrupted)
    cheat.control("changed-job.database-control", lambda: jobs.request(hospital, held.job))


def _under_the_old_grant(play: Play, held: HeldRun, cheat: Cheat) -> None:
    operator, hospital = play.operator, held.hospital.home
    statements = {s.digest: s for s in operator.statements()}
    old = statements[held.job].body
    assert isinstance(old, Job)
    # The developer plays along and signs the changed job: as a new one, which nobody has granted.
    changed = play.developer.submit(old.model_copy(update={"parameters": _greedier(old)}), "act").digest
    jobs.countersign(play.buyer, changed)
    grant = next(
        statements[g.statement] for g in operator.view().all(GrantRecord) if (g.body.job, g.source_unit) ==
        (held.job, hospital.fingerprint)
    )  # fmt: skip
    client = operator.connect_as(Caller(hospital.fingerprint, "client", ""))
    cheat.attack(
        "changed-job.grant", lambda: client.submit(altered(grant, job=changed)), VerificationFailed
    )  # fmt: skip
    enclave = EnclaveHome(held.hospital.enclave)
    offer = operator.sign(held.offer(changed), hospital.fingerprint, enclave.keys, "identity")
    cheat.attack(
        "changed-job.offer", lambda: _enclave_link(held).submit(offer.envelope.to_bytes()), PermissionDenied
    )


def _under_the_released_key(play: Play, held: HeldRun, cheat: Cheat) -> None:
    """The real broker releases the real key to a run key that we hold: it opens for what was granted alone."""
    hospital = held.hospital
    enclave = EnclaveHome(hospital.enclave)
    offer = play.operator.sign(held.offer(held.job), hospital.home.fingerprint, enclave.keys, "identity")
    _enclave_link(held).submit(offer.envelope.to_bytes())
    release, view = wait_until(lambda: _released(hospital.home, held.job), "key release")
    sealed = bytes.fromhex(release.sealed_key)

    def opened(**changed: str) -> bytes:
        return held.run_key.open(sealed, binding_of(view, release, **changed))

    job = next(s.body for s in play.operator.statements() if s.digest == held.job)
    assert isinstance(job, Job)
    swaps = {
        "changed-job.parameters": {"parameters": sha256_hex(canonical_json(_greedier(job)))},
        "changed-job.code": {"code": sha256_hex(b"def build(parameters): ...")},
        "changed-job.buyer": {"buyer_key": _impostors_key(play)},
    }
    for key, changed in swaps.items():
        cheat.attack(key, partial(opened, **changed), VerificationFailed)
    cheat.control("changed-job.control", lambda: _opens_dataset(hospital, view, release, opened()))
    held.run_key.destroy()


def _impostors_key(play: Play) -> str:
    impostor = PartyHome(play.root / "impostor")
    return impostor.keys.public(impostor.key_name("receive")).hex()


def _released(home: PartyHome, job: str) -> tuple[KeyRelease, MemoryView] | None:
    dossier = home.session.job(job)
    mine = [s.body for s in dossier.statements if s.by == home.fingerprint and isinstance(s.body, KeyRelease)]
    return (mine[0], dossier.view) if mine else None


def _opens_dataset(hospital: Hospital, view: MemoryView, release: KeyRelease, key: bytes) -> None:
    """Check that this is the data key: the sealed dataset on the enclave's disk commits to it."""
    record = view.get(DatasetRecord, release.dataset)
    assert record is not None
    manifest, file = DatasetStore(hospital.enclave, hospital.home.fingerprint).open(record.body.manifest)
    with file:
        Opener(
            key,
            take_header(file.read),
            dataset_context(record.source_unit, manifest.dataset, manifest.version),
        )


def _enclave_link(held: HeldRun) -> SpaceLink:
    """The paused enclave's own connection, made anew from its home."""
    path: Path = held.hospital.enclave
    adoption = EnclaveHome(path).adoption()
    identity = Identity((path / "tls/space.key").read_bytes(), adoption.certificate.encode())
    return SpaceLink(
        connect(adoption.space_address, adoption.space_certificate.encode(), identity, "trustspace-space")
    )

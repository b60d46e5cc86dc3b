"""A source unit's broker: releases data keys to the runs that its grants cover, without a human, and to no other.

It believes only what it has proven, and counts a run durably before it seals a key for it. What its own
people refused or withdrew binds it whether or not the space has logged it.
"""

from __future__ import annotations

import logging
import os
import threading

from trustspace.client.datasets import key_of
from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.binding import run_binding
from trustspace.domain.bodies import KeyRelease, RunNonce
from trustspace.domain.records import ChallengeRecord, DatasetRecord, GrantRecord, JobRecord, OfferRecord
from trustspace.domain.statements import dump
from trustspace.errors import BudgetExhausted, PolicyRefused, TrustspaceError, Unavailable, VerificationFailed
from trustspace.sandbox.config import tier_satisfies
from trustspace.transport.session import Dossier

_LOG = logging.getLogger(__name__)
_EVIDENCE_STRENGTH = {"software": 0, "snp": 1, "tdx": 1, "nvgpu": 1}


class Broker:
    """Attends to the jobs that one source unit has granted."""

    def __init__(self, home: PartyHome, measurements: frozenset[str] | None = None) -> None:
        self._home = home
        # The enclave software that this source unit accepts; None accepts what its own enclave reports.
        self._measurements = measurements

    def serve(self, stop: threading.Event) -> None:
        """Attend until told to stop."""
        position, pause = 0, 0.5
        while not stop.is_set():
            try:
                self.attend()
                _, position = self._home.session.link.read(position, 256, 15.0)
                pause = 0.5
            except Unavailable as error:
                _LOG.warning("the space cannot be reached: %s", error)
                stop.wait(pause)
                pause = min(pause * 2, 30.0)
            except TrustspaceError:
                _LOG.exception("attending failed")
                stop.wait(5.0)

    def attend(self) -> int:
        """Look at every granted job once; returns how many keys were released."""
        released = 0
        for job in self._home.session.link.view("jobs"):
            mine = self._home.fingerprint in job["source_units"]
            if not mine or job["state"] != "granted":
                continue
            try:
                released += self._attend(str(job["statement"]))
            except Unavailable:
                raise
            except TrustspaceError as error:
                _LOG.warning("job %s: %s", str(job["statement"])[:12], error)
        return released

    def _attend(self, digest: str) -> int:
        if self._home.remembered("refused", digest):
            return 0
        dossier = self._home.session.job(digest)
        job = dossier.job(digest)
        grant = dossier.view.get(GrantRecord, job.grants.get(self._home.fingerprint, ""))
        if grant is None:
            return 0
        self._challenge(dossier, job)
        offer = dossier.view.get(OfferRecord, job.offers.get(self._home.fingerprint, ""))
        if offer is None or offer.ended:
            return 0
        wanted = [dataset for dataset in grant.body.datasets if dataset not in offer.released]
        for dataset in wanted:
            self._release(dossier, job, grant, offer, dataset)
        return len(wanted)

    def _challenge(self, dossier: Dossier, job: JobRecord) -> None:
        """Give every enclave of the job a fresh challenge that it has yet to answer."""
        for grant in (dossier.view.get(GrantRecord, digest) for digest in job.grants.values()):
            if grant is None or grant.source_unit in job.offers:
                continue
            waiting = any(
                (c.source_unit, c.enclave, c.used) == (self._home.fingerprint, grant.body.enclave, False)
                for c in dossier.view.all(ChallengeRecord)
            )
            if not waiting:
                challenge = os.urandom(32).hex()
                self._home.remember(
                    "challenges", challenge, {"job": job.statement, "enclave": grant.body.enclave}
                )
                body = RunNonce(job=job.statement, enclave=grant.body.enclave, challenge=challenge)
                self._home.submit(body, "broker")

    def _release(
        self, dossier: Dossier, job: JobRecord, grant: GrantRecord, offer: OfferRecord, dataset: str
    ) -> None:
        record = dossier.view.get(DatasetRecord, dataset)
        assert record is not None
        self._check(job, grant, offer, dataset)
        number = self._count(grant, offer)
        info = run_binding(
            job=job.statement,
            grant=grant.statement,
            offer=offer.statement,
            dataset=dataset,
            manifest=record.body.manifest,
            code=job.body.code,
            parameters=sha256_hex(canonical_json(job.body.parameters)),
            evidence=sha256_hex(canonical_json(dump(offer.body.evidence))),
            buyer_key=job.body.buyer_key,
            challenges=tuple(c.challenge for c in offer.body.challenges),
        )
        name = key_of(record.body.dataset, record.body.version)
        sealed = self._home.keys.seal_data_key_to(name, bytes.fromhex(offer.body.run_key), info)
        body = KeyRelease(
            job=job.statement, grant=grant.statement, offer=offer.statement, dataset=dataset, run_number=number,
            sealed_key=sealed.hex(),
        )  # fmt: skip
        self._home.submit(body, "broker")

    def _check(self, job: JobRecord, grant: GrantRecord, offer: OfferRecord, dataset: str) -> None:
        home, evidence = self._home, offer.body.evidence
        if home.remembered("withdrawn", dataset):
            raise PolicyRefused("The dataset is withdrawn.")
        if home.session.now() > min(grant.body.expires, job.body.expires):
            raise PolicyRefused("The grant has expired.")
        own = next(c.challenge for c in offer.body.challenges if c.source_unit == home.fingerprint)
        given = home.remembered("challenges", own)
        if (
            given != {"job": job.statement, "enclave": grant.body.enclave}
            or offer.enclave != grant.body.enclave
        ):
            raise VerificationFailed("The run offer answers a challenge that this broker did not give.")
        demanded = _EVIDENCE_STRENGTH[grant.body.evidence_kind]
        if demanded and evidence.kind != grant.body.evidence_kind:
            raise PolicyRefused("The run offer's platform evidence is weaker than the grant demands.")
        if not tier_satisfies(evidence.sandbox_tier, grant.body.sandbox_tier):
            raise PolicyRefused("The run offer's sandbox is weaker than the grant demands.")
        if self._measurements is not None and evidence.measurement not in self._measurements:
            raise PolicyRefused("The enclave's software is not a version that this source unit accepts.")

    def _count(self, grant: GrantRecord, offer: OfferRecord) -> int:
        """Count the run under its grant, durably, before any key is sealed for it."""
        counted: dict[str, int] = self._home.remembered("runs", grant.statement) or {}
        if offer.statement not in counted:
            if len(counted) >= grant.body.runs:
                raise BudgetExhausted("The grant's {runs} runs are used up.", runs=grant.body.runs)
            counted[offer.statement] = len(counted) + 1
            self._home.remember("runs", grant.statement, counted)
        return counted[offer.statement]

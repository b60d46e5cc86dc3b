"""A source unit's broker: releases data keys to the runs that its grants cover, without a human, and to no other.

It believes only what it has proven, and counts a run durably before it seals a key for it. What its own
people refused or withdrew binds it whether or not the space has logged it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

from trustspace.client import budgets
from trustspace.client.datasets import key_of
from trustspace.client.home import PartyHome
from trustspace.client.jobs import refuse
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain import budget
from trustspace.domain.binding import run_binding
from trustspace.domain.bodies import Dataset, KeyRelease, RunNonce
from trustspace.domain.records import ChallengeRecord, DatasetRecord, GrantRecord, JobRecord, OfferRecord
from trustspace.domain.statements import dump
from trustspace.domain.tiers import tier_satisfies
from trustspace.errors import BudgetExhausted, PolicyRefused, TrustspaceError, Unavailable, VerificationFailed
from trustspace.transport.session import Dossier, watch

_LOG = logging.getLogger(__name__)


class _UsedUp(BudgetExhausted):
    """By this broker's own count: what the space says of budgets must not make it refuse a job for good."""


class Broker:
    """Attends to the jobs that one source unit has granted, also while they run: an enclave may come back."""

    def __init__(self, home: PartyHome, measurements: frozenset[str] | None = None) -> None:
        self._home = home
        # The enclave software that this source unit accepts; None accepts what its own enclave reports.
        self._measurements = measurements

    def serve(self, stop: threading.Event) -> None:
        """Attend until told to stop.

        Raises:
            Unavailable: another broker of this party is running.

        """
        with self._home.only_broker("broker"):
            watch(self._home.session, stop, self.attend)

    def attend(self) -> int:
        """Look at every job that is granted or runs once; returns how many keys were released."""
        released = 0
        for job in self._home.session.link.view("work"):
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
        if grant is None or job.state not in ("granted", "running"):
            return 0
        self._challenge(dossier, job)
        offer = dossier.view.get(OfferRecord, job.offers.get(self._home.fingerprint, ""))
        if offer is None or offer.ended:
            return 0
        if job.body.blind is not None and not offer.code_released:
            return 0  # neither side opens its half before the other: the developer's key comes first
        wanted = [dataset for dataset in grant.body.datasets if dataset not in offer.released]
        try:
            for dataset in wanted:
                self._release(dossier, job, grant, offer, dataset)
        except _UsedUp as error:
            if job.state == "running":
                # The run of the others goes on; this source unit's enclave has come back once too often.
                raise
            # A run that was counted but never released is lost; with none left the job must end visibly. So must
            # one that could tell more than its developer may still learn.
            _LOG.warning("job %s is refused: %s", digest[:12], error)
            refuse(self._home, digest)
            return 0
        return len(wanted)

    def _challenge(self, dossier: Dossier, job: JobRecord) -> None:
        """Give every enclave that is not in the job's run, and may come back, a fresh challenge to answer."""
        for grant in (dossier.view.get(GrantRecord, digest) for digest in job.grants.values()):
            if grant is None or grant.source_unit in job.offers or grant.used_up:
                continue
            waiting = any(
                (c.key_holder, c.enclave, c.used) == (self._home.fingerprint, grant.body.enclave, False)
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
        self._check(job, grant, offer)
        told = budget.price(dossier.view, job).told_millibits
        own = (dossier.view.get(DatasetRecord, digest) for digest in grant.body.datasets)
        number = self._count(job, grant, offer, dataset, [(r.body, told) for r in own if r is not None])
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

    def _check(self, job: JobRecord, grant: GrantRecord, offer: OfferRecord) -> None:
        evidence = offer.body.evidence
        if self._home.session.now() > min(grant.body.expires, job.body.expires):
            raise PolicyRefused("The grant has expired.")
        if offer.enclave != grant.body.enclave:
            raise VerificationFailed("The run offer is not by the enclave that the grant names.")
        if evidence.kind != grant.body.evidence_kind:
            raise PolicyRefused("The run offer's platform evidence is weaker than the grant demands.")
        if not tier_satisfies(evidence.sandbox_tier, grant.body.sandbox_tier):
            raise PolicyRefused("The run offer's sandbox is weaker than the grant demands.")
        if self._measurements is not None and evidence.measurement not in self._measurements:
            raise PolicyRefused("The enclave's software is not a version that this source unit accepts.")

    def _count(
        self, job: JobRecord, grant: GrantRecord, offer: OfferRecord, dataset: str,
        quiet: Iterable[tuple[Dataset, int]],
    ) -> int:  # fmt: skip
        """Count the run under its grant, durably, before any key is sealed for it; and what the job may tell.

        ``quiet`` are the grant's datasets, each with the millibits that the job may tell about it.

        In one step with what this party's people have decided meanwhile, whatever the space shows or hides.
        """
        own = next(c.challenge for c in offer.body.challenges if c.key_holder == self._home.fingerprint)
        with self._home.changing() as state:
            if job.statement in state.get("refused", {}):
                raise PolicyRefused("This source unit has refused the job.")
            if dataset in state.get("withdrawn", {}):
                raise PolicyRefused("The dataset is withdrawn.")
            if state.get("challenges", {}).get(own) != {"job": job.statement, "enclave": grant.body.enclave}:
                raise VerificationFailed("The run offer answers a challenge that this broker did not give.")
            counted: dict[str, int] = state.setdefault("runs", {}).setdefault(grant.statement, {})
            if offer.statement not in counted:
                if len(counted) >= grant.body.runs:
                    raise _UsedUp("The grant's {runs} runs are used up.", runs=grant.body.runs)
                counted[offer.statement] = len(counted) + 1
            for own_dataset, told in quiet:
                try:
                    sums = budget.sums_of(job.body)
                    spent = budget.privacy_of(job.body) * grant.body.runs
                    budgets.count(state, own_dataset, job.body.developer, job.statement, told, sums, spent)
                except BudgetExhausted as error:
                    raise _UsedUp(error.message, fix=error.fix, **error.details) from None
            return counted[offer.statement]

"""A developer's broker: releases the key of its blind code to the runs of its job, without a human, and to no other.

It believes only what it has proven, and counts a release durably before it seals the key. A source unit's broker
(broker.py) releases no data key to a run that this one has not released the code to, nor this one any code before
every source unit has granted the job: neither side opens its half before the other has agreed.
"""

from __future__ import annotations

import logging
import os
import threading

from trustspace.client import blindcode
from trustspace.client.home import PartyHome
from trustspace.client.jobs import cancel
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain import states
from trustspace.domain.binding import code_binding
from trustspace.domain.bodies import CodeRelease, Dataset, RunNonce
from trustspace.domain.records import ChallengeRecord, DatasetRecord, GrantRecord, JobRecord, OfferRecord
from trustspace.domain.statements import dump
from trustspace.domain.tiers import tier_satisfies
from trustspace.errors import BudgetExhausted, PolicyRefused, TrustspaceError, Unavailable, VerificationFailed
from trustspace.jobs.agreement import agreed_parameters
from trustspace.transport.session import Dossier, watch

_LOG = logging.getLogger(__name__)
# Coarse states after which nothing is opened any more.
_OVER = frozenset({"in review", "changes requested", "released", "revoked", "not released"})


class _RunsUsedUp(BudgetExhausted):
    """By this broker's own count."""


class CodeBroker:
    """Attends to the jobs that one developer has submitted with blind code, until they are over."""

    def __init__(self, home: PartyHome, measurements: frozenset[str] | None = None) -> None:
        self._home = home
        # The enclave software that this developer accepts; None accepts what the source units' enclaves report.
        self._measurements = measurements

    def serve(self, stop: threading.Event) -> None:
        """Attend until told to stop.

        Raises:
            Unavailable: another broker of this party is running.

        """
        with self._home.only_broker("code-broker"):
            blindcode.destroy_expired(self._home)  # also when the space cannot be reached at all
            watch(self._home.session, stop, self.attend)

    def attend(self) -> int:
        """Look at every job of one's own with blind code once; returns how many keys were released.

        They are known from this party's own records, not from what the space lists.
        """
        blindcode.destroy_expired(self._home)
        waiting = blindcode.kept(self._home)
        if not waiting:
            return 0
        told = {str(job["statement"]): str(job["state"]) for job in self._home.session.link.view("jobs")}
        released = 0
        for digest in waiting:
            try:
                if self._is_over(digest, told.get(digest, "")):
                    blindcode.destroy(self._home, digest)
                else:
                    released += self._attend(digest)
            except Unavailable:
                raise
            except TrustspaceError as error:
                _LOG.warning("job %s: %s", digest[:12], error)
        return released

    def _is_over(self, digest: str, told: str) -> bool:
        # For the end of a job the space's word will do: all it gains by a lie is a job that does not run.
        return bool(self._home.remembered("cancelled", digest)) or states.COARSE.get(told, told) in _OVER

    def _attend(self, digest: str) -> int:
        dossier = self._home.session.job(digest)
        job = dossier.job(digest)
        if job.state in ("refused", "cancelled"):
            blindcode.destroy(self._home, digest)
            return 0
        # How a run ends is not shown to a developer: as far as it can see, a job that has been granted stays so.
        if job.state not in ("granted", "running"):
            return 0
        self._challenge(dossier, job)
        released = 0
        for unit, standing in job.offers.items():
            offer = dossier.view.get(OfferRecord, standing)
            grant = dossier.view.get(GrantRecord, job.grants[unit])
            if offer is None or grant is None or offer.ended or offer.code_released:
                continue
            try:
                self._release(dossier, job, grant, offer)
                released += 1
            except Unavailable:
                raise
            except _RunsUsedUp as error:
                if len(job.body.source_units) == 1:
                    # A release that was counted and got lost: with none left the job must end visibly.
                    cancel(self._home, digest)
                _LOG.warning("job %s: %s", digest[:12], error)
            except TrustspaceError as error:
                # The other enclaves of the run are judged by themselves.
                _LOG.warning("job %s: %s", digest[:12], error)
        return released

    def _challenge(self, dossier: Dossier, job: JobRecord) -> None:
        """See that every enclave has a fresh challenge of ours to answer.

        Also one that is in a run already: that it has failed and needs another is not shown to a developer.
        """
        for grant in (dossier.view.get(GrantRecord, digest) for digest in job.grants.values()):
            if grant is None:
                continue
            waiting = any(
                (c.key_holder, c.enclave, c.used) == (self._home.fingerprint, grant.body.enclave, False)
                for c in dossier.view.all(ChallengeRecord)
            )
            if not waiting:
                challenge = os.urandom(32).hex()
                given = {"job": job.statement, "enclave": grant.body.enclave}
                self._home.remember("challenges", challenge, given)
                body = RunNonce(job=job.statement, enclave=grant.body.enclave, challenge=challenge)
                self._home.submit(body, "broker")

    def _release(self, dossier: Dossier, job: JobRecord, grant: GrantRecord, offer: OfferRecord) -> None:
        blind = job.body.blind
        assert blind is not None
        self._check(dossier, job, grant, offer)
        self._count(job, grant, offer)
        info = code_binding(
            job=job.statement,
            offer=offer.statement,
            code=job.body.code,
            commitment=blind.commitment,
            parameters=sha256_hex(canonical_json(job.body.parameters)),
            evidence=sha256_hex(canonical_json(dump(offer.body.evidence))),
            challenges=tuple(c.challenge for c in offer.body.challenges),
            grants=job.grants.values(),
            enclave=grant.body.enclave,
        )
        key = blindcode.key_of(self._home, job.statement)
        sealed = self._home.keys.seal_data_key_to(key, bytes.fromhex(offer.body.run_key), info)
        body = CodeRelease(job=job.statement, offer=offer.statement, sealed_key=sealed.hex())
        self._home.submit(body, "broker")

    def _check(self, dossier: Dossier, job: JobRecord, grant: GrantRecord, offer: OfferRecord) -> None:
        evidence, blind = offer.body.evidence, job.body.blind
        assert blind is not None
        if set(job.grants) != set(job.body.source_units):
            raise PolicyRefused(
                "The key of blind code is released once every source unit has granted the job."
            )
        if self._home.session.now() > min(grant.body.expires, job.body.expires):
            raise PolicyRefused("The grant has expired.")
        if (offer.source_unit, offer.enclave) != (grant.source_unit, grant.body.enclave):
            raise VerificationFailed("The run offer is not by the enclave that the grant names.")
        if job.body.evidence_kind not in ("software", evidence.kind):
            raise PolicyRefused("The run offer's platform evidence is weaker than the job demands.")
        if evidence.kind == "software" and not blind.host_can_read:
            raise PolicyRefused("The job does not say that the host of an enclave can read its code.")
        if not tier_satisfies(evidence.sandbox_tier, _demanded_tier(dossier, job)):
            raise PolicyRefused("The run offer's sandbox is weaker than the job demands.")
        if self._measurements is not None and evidence.measurement not in self._measurements:
            raise PolicyRefused("The enclave's software is not a version that this developer accepts.")

    def _count(self, job: JobRecord, grant: GrantRecord, offer: OfferRecord) -> None:
        """Count the release under the enclave's grant, durably, before the key is sealed for it.

        In one step with what the developer has decided meanwhile, whatever the space shows or hides.
        """
        own = next((c.challenge for c in offer.body.challenges if c.key_holder == self._home.fingerprint), "")
        with self._home.changing() as state:
            if job.statement in state.get("cancelled", {}):
                raise PolicyRefused("The developer has cancelled the job.")
            if state.get("challenges", {}).get(own) != {"job": job.statement, "enclave": grant.body.enclave}:
                raise VerificationFailed("The run offer answers a challenge that this broker did not give.")
            counted: list[str] = state.setdefault("code_releases", {}).setdefault(grant.statement, [])
            if offer.statement not in counted:
                if len(counted) >= grant.body.runs:
                    raise _RunsUsedUp("The grant's {runs} runs are used up.", runs=grant.body.runs)
                counted.append(offer.statement)


def _demanded_tier(dossier: Dossier, job: JobRecord) -> str:
    def dataset(digest: str) -> Dataset | None:
        record = dossier.view.get(DatasetRecord, digest)
        return record.body if record is not None else None

    return agreed_parameters(job.body, dataset).terms.sandbox_tier

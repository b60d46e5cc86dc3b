"""The trust file: what somebody compared out of band once, and believes from then on.

Everything that a client or an enclave verifies ends here: at the fingerprints of the parties it deals
with, the key of the space's ledger, and the witnesses it relies on. Nothing the space says adds to it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from trustspace.domain.bodies import Count, Fingerprint, Line
from trustspace.errors import InvalidInput, NotFound, VerificationFailed


class TrustedParty(BaseModel):
    """A pinned party: the name one calls it by, and its fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: Line
    fingerprint: Fingerprint


class TrustedSpace(BaseModel):
    """The space: its log's origin and verification key, and its operator's fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: Line
    origin: Line
    ledger_key: Line
    operator: Fingerprint


class TrustFile(BaseModel):
    """Pinned space, parties and witnesses; ``witness_quorum`` cosignatures make a checkpoint count."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal["trustspace-trust-v1"] = "trustspace-trust-v1"
    space: TrustedSpace
    parties: tuple[TrustedParty, ...] = ()
    witnesses: tuple[Line, ...] = ()
    witness_quorum: Count = 0

    def fingerprints(self) -> frozenset[str]:
        """Everybody pinned, the operator among them."""
        return frozenset({self.space.operator, *(p.fingerprint for p in self.parties)})

    def with_party(self, name: str, fingerprint: str) -> TrustFile:
        """Pin one more party.

        Raises:
            InvalidInput: the name stands for another fingerprint already.

        """
        for party in self.parties:
            if party.name == name and party.fingerprint != fingerprint:
                raise InvalidInput(
                    "The trust file has another fingerprint for {name}.",
                    fix="Remove the old one first, after comparing both with that party.", name=name,
                )  # fmt: skip
        kept = tuple(p for p in self.parties if p.fingerprint != fingerprint)
        return self.model_copy(update={"parties": (*kept, TrustedParty(name=name, fingerprint=fingerprint))})

    def with_witness(self, verifier_key: str, quorum: int) -> TrustFile:
        """Rely on one more witness; ``quorum`` of all of them must have cosigned what a certificate rests on.

        Raises:
            InvalidInput: the quorum is more than there are witnesses.

        """
        witnesses = tuple(dict.fromkeys((*self.witnesses, verifier_key)))
        if not 0 <= quorum <= len(witnesses):
            raise InvalidInput("The quorum exceeds the {count} witnesses.", count=len(witnesses))
        return self.model_copy(update={"witnesses": witnesses, "witness_quorum": quorum})

    def resolve(self, name_or_fingerprint: str) -> str:
        """The fingerprint for a pinned name or fingerprint.

        Raises:
            NotFound: nobody of that name is pinned.

        """
        for party in self.parties:
            if name_or_fingerprint in (party.name, party.fingerprint):
                return party.fingerprint
        raise NotFound(
            "{name} is not in the trust file.",
            fix="Compare its fingerprint out of band, then run `trustspace trust add`.", name=name_or_fingerprint,
        )  # fmt: skip

    def name_of(self, fingerprint: str) -> str:
        """The name somebody pinned, or a short form of the fingerprint."""
        if fingerprint == self.space.operator:
            return self.space.name
        return next((p.name for p in self.parties if p.fingerprint == fingerprint), fingerprint[:12])

    def require(self, fingerprint: str) -> None:
        """Refuse a party that nobody compared.

        Raises:
            VerificationFailed: it is not pinned.

        """
        if fingerprint not in self.fingerprints():
            raise VerificationFailed(
                "The party {party} is not in the trust file.",
                fix="Compare its fingerprint out of band, then run `trustspace trust add`.", party=fingerprint[:12],
            )  # fmt: skip

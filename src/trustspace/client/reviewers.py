"""A reviewer's own home, and how a source unit takes one in: four eyes as a fact, not as a rule.

The keys with which a person opens evidence and shares, and signs decisions, are made on that person's machine and never
leave it. The unit's root vouches for their public halves, and the space certifies the connection; nothing else of the
unit lies here: no root, no grant, no data key, no door to an enclave. So of a unit with two reviewers, neither home
alone opens an output, and the unit's own home opens none at all.

card.json     what the source unit vouches for      adoption.json   what the source unit handed back
keys/review, keys/review-open                       tls/, trust.json, ledger.json, state.json as acting.py has them
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography import x509
from pydantic import Field, StringConstraints

from trustspace.client.acting import Acting, Clock
from trustspace.client.home import REVIEWER, Name, PartyHome, require_name
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.statement import key_id, verify_signature
from trustspace.domain.bodies import Digest, Fingerprint, Key, KeyUse, Line, Part, PartyKey, Role
from trustspace.domain.statements import dump, read
from trustspace.domain.trust import TrustFile
from trustspace.errors import AlreadyExists, InvalidInput, NotFound, Unavailable, VerificationFailed
from trustspace.storage.files import write_atomic
from trustspace.storage.keystore import FileKeyStore
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import SpaceLink
from trustspace.transport.session import Session
from trustspace.transport.tls import new_key, new_request

CARD: Final = "trustspace-reviewer-card-v1"
ADOPTION: Final = "trustspace-reviewer-adoption-v1"
_USES: tuple[KeyUse, ...] = ("review", "review-open")
_Pem = Annotated[str, Field(max_length=16384)]
_Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class ReviewerCard(Part):
    """What a reviewer shows the source unit once: name, public keys, and a certificate request (PEM)."""

    format: Literal["trustspace-reviewer-card-v1"]
    name: Name
    review: Key
    review_open: Key
    request: _Pem

    @property
    def fingerprint(self) -> str:
        """What both sides compare: SHA-256 over all of it, so that nothing in it can be exchanged on the way."""
        return sha256_hex(canonical_json(dump(self)))

    @property
    def keys(self) -> tuple[PartyKey, PartyKey]:
        """The keys as the source unit's description names them."""
        return (
            PartyKey(use="review", public=self.review, holder=self.name),
            PartyKey(use="review-open", public=self.review_open, holder=self.name),
        )


class ReviewerAdoption(Part):
    """What the source unit hands back: who it is, whom it has pinned, and how the space is reached (PEM).

    Its ``root`` signs all of it, so that whoever compares the unit's fingerprint has compared the pins as well.
    """

    format: Literal["trustspace-reviewer-adoption-v1"]
    card: Digest
    unit: Fingerprint
    unit_name: Line
    trust: TrustFile
    space_address: str
    space_certificate: _Pem
    certificate: _Pem
    root: Key
    signature: _Signature = "0" * 128

    @property
    def signed(self) -> bytes:
        """What the signature is over; it begins like no statement (crypto/statement.py, pae)."""
        return ADOPTION.encode() + b"\n" + canonical_json(dump(self.model_copy(update={"signature": ""})))

    def require_signed(self) -> None:
        """Raises VerificationFailed where the root of the source unit that it names has not signed this."""
        try:
            root = bytes.fromhex(self.root)
            if key_id(root) != self.unit:
                raise VerificationFailed("The root key does not match the party's fingerprint.")
            verify_signature(root, self.signed, bytes.fromhex(self.signature))
        except VerificationFailed:
            raise VerificationFailed(
                "The adoption is not as the source unit that it names has signed it.",
                fix="Ask for it again, by another way.",
            ) from None


@dataclass(frozen=True)
class Removed:
    """A reviewer whom the unit no longer vouches for; ``destroyed`` are the names of the keys that lay in its home."""

    name: str
    destroyed: tuple[str, ...]


class ReviewerHome(Acting):
    """A reviewer's own home, opened. It decides on outputs; it cannot grant, submit or publish anything."""

    def __init__(self, path: Path, passphrase: str | None = None, clock: Clock = time.time) -> None:
        if not is_reviewer(path):
            raise NotFound(
                "There is no reviewer in {home}.", fix="Run `trustspace reviewer new` first.", home=str(path)
            )
        super().__init__(path, passphrase, clock)

    @classmethod
    def create(
        cls, path: Path, name: str, *, passphrase: str | None = None, clock: Clock = time.time
    ) -> ReviewerHome:
        """Make a reviewer's keys and the card that says who they are.

        Raises:
            AlreadyExists: somebody's keys lie in this directory.
            InvalidInput: the name is none.

        """
        require_name(name)
        if any((path / file).exists() for file in ("card.json", "adoption.json", "party.json", "space.toml")):
            raise AlreadyExists(
                "There is another home in {home} already.",
                fix="Give --home another directory.",
                home=str(path),
            )
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        transport = new_key()
        keys = FileKeyStore(path / "keys", passphrase)
        # The card is written last: keys without one are of an attempt that broke off. They are not kept, since they may
        # be locked otherwise than is wanted now, and nobody vouches for them.
        for begun in {*keys.names()} & {*_USES}:
            keys.destroy(begun)
        card = ReviewerCard(
            format=CARD, name=name, review=keys.create_signing_key("review").hex(),
            review_open=keys.create_opening_key("review-open").hex(), request=new_request(transport).decode(),
        )  # fmt: skip
        (path / "tls").mkdir(mode=0o700, exist_ok=True)
        write_atomic(path / "tls/client.key", transport)
        content = json.dumps(dump(card), ensure_ascii=False, indent=2)
        write_atomic(path / "card.json", content.encode(), 0o644)
        return cls(path, passphrase, clock)

    @property
    def card(self) -> ReviewerCard:
        """Name and public keys."""
        return read(ReviewerCard, json.loads((self.path / "card.json").read_bytes()), "reviewer's card")

    @property
    def name(self) -> str:
        """Who reviews here."""
        return self.card.name

    @property
    def adoption(self) -> ReviewerAdoption:
        """The source unit's answer.

        Raises:
            Unavailable: there is none yet.

        """
        try:
            content = json.loads((self.path / "adoption.json").read_bytes())
        except FileNotFoundError:
            raise self._not_enrolled() from None
        return read(ReviewerAdoption, content, "adoption")

    @property
    def fingerprint(self) -> str:
        """The source unit's: a reviewer speaks for it, with a key that its root vouches for."""
        return self.adoption.unit

    @property
    def roles(self) -> tuple[Role, ...]:
        """None: what a source unit signs otherwise takes keys that are not here."""
        return ()

    @property
    def reviewers_here(self) -> tuple[str, ...]:
        """One person."""
        return (self.name,)

    def key_name(self, use: KeyUse, holder: str | None = None) -> str:
        """The key store's name of this reviewer's key."""
        if use not in _USES:
            raise NotFound(
                "A reviewer's own home has no key for {use}: it reviews, and does nothing else.",
                fix="Do it at the source unit's own home.", use=use,
            )  # fmt: skip
        if holder not in (None, self.name):
            raise NotFound(
                "This is the home of {reviewer}, and {other} is somebody else.",
                fix="Let that person do it in a home of their own.", reviewer=self.name, other=holder,
            )  # fmt: skip
        return use

    def _not_enrolled(self) -> Unavailable:
        return Unavailable(
            "No source unit has taken this reviewer in yet.",
            fix="Take card.json to it, for `trustspace reviewer adopt`; then run `trustspace reviewer join`.",
        )

    def join(self, adoption: ReviewerAdoption) -> None:
        """Take the source unit's answer, and see in the ledger that its root vouches for these keys.

        Given again, with a newer answer: addresses, the certificate and pins are taken over. A reviewer's home
        belongs to one source unit for good.

        Raises:
            AlreadyExists: it belongs to another one.
            VerificationFailed: the answer is to another card or not signed by the unit that it names, or the ledger
                does not hold these keys.

        """
        if (self.path / "adoption.json").exists() and self.adoption.unit != adoption.unit:
            raise AlreadyExists(
                "This reviewer belongs to another source unit.",
                fix="Make a new home with `trustspace reviewer new`.",
            )
        key = x509.load_pem_x509_csr(self.card.request.encode()).public_key()
        if adoption.card != self.card.fingerprint or _public(adoption.certificate) != key:
            raise VerificationFailed("The adoption is for another reviewer's card than this one's.")
        if not any(party.fingerprint == adoption.unit for party in adoption.trust.parties):
            raise VerificationFailed("The adoption's trust file does not name the source unit itself.")
        adoption.require_signed()
        trust = self._widened(adoption.trust)
        self._require_vouched(adoption, trust)
        write_atomic(self.path / "tls/space.pem", adoption.certificate.encode(), 0o644)
        write_atomic(self.path / "tls/space-server.pem", adoption.space_certificate.encode(), 0o644)
        self.move_space(adoption.space_address)
        self.save_trust(trust)
        write_atomic(self.path / "adoption.json", adoption.model_dump_json(indent=2).encode())

    def _require_vouched(self, adoption: ReviewerAdoption, trust: TrustFile) -> None:
        """Ask the ledger, before anything of the answer is kept; what it says is remembered once it is believed."""
        ledger = self.path / "ledger.json"
        first = not ledger.exists()
        path = self.path / "joining.json" if first else ledger
        identity = Identity((self.path / "tls/client.key").read_bytes(), adoption.certificate.encode())
        channel = connect(
            adoption.space_address, adoption.space_certificate.encode(), identity, "trustspace-space"
        )
        try:
            with channel:
                session = Session(SpaceLink(channel), lambda: trust, adoption.unit, path, self.clock)
                vouched = set(session.party_body(adoption.unit).keys)
            if not set(self.card.keys) <= vouched:
                raise VerificationFailed(
                    "The ledger does not show that the source unit vouches for this reviewer's keys.",
                    fix="Ask it to run `trustspace reviewer adopt` again.",
                )
            if first:
                path.replace(ledger)
        finally:
            if first:
                for left in (path, path.with_suffix(".lock")):
                    left.unlink(missing_ok=True)

    def _widened(self, theirs: TrustFile) -> TrustFile:
        """What is pinned here, and what the source unit has pinned: it compared fingerprints for its people."""
        if not (self.path / "trust.json").exists():
            return theirs
        trust = self.trust()
        if trust.space != theirs.space:
            raise VerificationFailed("The adoption names another space than the one that is pinned here.")
        for party in theirs.parties:
            trust = trust.with_party(party.name, party.fingerprint)
        for witness in theirs.witnesses:
            trust = trust.with_witness(witness, max(trust.witness_quorum, theirs.witness_quorum))
        return trust


def is_reviewer(path: Path) -> bool:
    """Whether a directory is a reviewer's own home."""
    try:
        content = json.loads((path / "card.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == CARD


def _public(certificate: str) -> object:
    try:
        return x509.load_pem_x509_certificate(certificate.encode()).public_key()
    except ValueError:
        raise InvalidInput("The adoption's certificate is malformed.") from None


# -- at the source unit


def adopt(home: PartyHome, card: ReviewerCard, *, replace: bool = False) -> ReviewerAdoption:
    """Vouch for a reviewer whose card came by a trusted way; returns the answer to hand back. Again, it renews it.

    With ``replace``, keys that the person had so far count no longer: what waits for a decision under them has to be
    decided by others.

    Raises:
        InvalidInput: this party is no source unit, or a key of the card is another's.
        AlreadyExists: there is a reviewer of this name with other keys.

    """
    if "source-unit" not in home.roles:
        raise InvalidInput("A source unit, and nobody else, has reviewers.")
    known = set(home.party.keys)
    others = {home.party.root, *(k.public for k in known if k.use not in _USES or k.holder != card.name)}
    if others & {card.review, card.review_open}:
        raise InvalidInput(
            "A key of the card belongs to somebody else already.",
            fix="Ask that person for a card of their own.",
        )
    old = [k for k in home.party.keys if k.use in _USES and k.holder == card.name and k not in card.keys]
    if old and not replace:
        raise AlreadyExists(
            "There is a reviewer {name} with other keys already.",
            fix="If that is the same person, add --replace: the keys so far then count no longer.", name=card.name,
        )  # fmt: skip
    if old or not set(card.keys) <= known:
        home.publish(card.keys, without=old)
    _destroy_given_up(home)
    certificate = home.session.link.enrol_machine(card.request.encode(), card.review)
    adoption = ReviewerAdoption(
        format=ADOPTION, card=card.fingerprint, unit=home.fingerprint, unit_name=home.party.name, trust=home.trust(),
        space_address=home.space_address(), space_certificate=(home.path / "tls/space-server.pem").read_text(),
        certificate=certificate.decode(), root=home.party.root,
    )  # fmt: skip
    return adoption.model_copy(update={"signature": home.keys.sign("root", adoption.signed).hex()})


def remove(home: PartyHome, name: str) -> Removed:
    """Vouch no longer for a reviewer: nothing new is believed of the keys, and the connection is shown nothing more.

    What was signed stays. Keys that lie in this home are destroyed.

    Raises:
        NotFound: there is no reviewer of this name.

    """
    old = [k for k in home.party.keys if k.use in _USES and k.holder == name]
    if not old:
        _destroy_given_up(home)
        raise NotFound("This source unit has no reviewer {name}.", name=name[:64])
    home.publish(without=old)
    return Removed(name, _destroy_given_up(home))


def _destroy_given_up(home: PartyHome) -> tuple[str, ...]:
    """Destroy the reviewers' keys in this home that the unit vouches for no longer, also of an attempt that broke off.

    By what the description says now, not by what changes: a break between the two would leave them for good. A key
    counts while either description names it, the ledger's or the one that lies here: what is destroyed stays so.
    """
    standing = home.session.party_body(home.fingerprint)
    vouched = {key.public for key in (*standing.keys, *home.party.keys)}
    names = [
        n for n in home.keys.names() if n.startswith(REVIEWER) and home.keys.public(n).hex() not in vouched
    ]
    for name in names:
        home.keys.destroy(name)
    return tuple(names)

"""An enclave's home directory: made by ``enclave init``, adopted by its source unit, read once by ``serve``.

keys/identity     signs run offers and outputs      card.json       what the source unit vouches for
tls/              the enclave's own door            adoption.json   what the source unit handed back
datasets/         sealed datasets and manifests     uploads/        unfinished uploads
history/          what was made for whom, sealed
ledger.json       the last checkpoint verified      address.json    where it listens now
enclave.toml      how its sandboxes are made
"""

from __future__ import annotations

import datetime
import json
import socket
from pathlib import Path
from typing import Any

import grpc

from trustspace.domain.bodies import Custody, Fingerprint, Key, Part
from trustspace.domain.statements import read
from trustspace.domain.trust import TrustedParty, TrustedSpace, TrustFile
from trustspace.enclave import settings
from trustspace.errors import AlreadyExists, InvalidInput, NotFound
from trustspace.storage.files import write_atomic
from trustspace.storage.keystore import FileKeyStore
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import SpaceLink
from trustspace.transport.session import Session
from trustspace.transport.tls import new_key, new_request, self_signed


class Card(Part):
    """What an enclave shows its source unit once: its identity key, its door's certificate, a request (PEM)."""

    format: str = "trustspace-enclave-card-v1"
    name: str
    enclave_key: Key
    certificate: str
    request: str
    listen: str


class Adoption(Part):
    """What the source unit hands back: who it is, the space, and the certificates for both connections (PEM)."""

    format: str = "trustspace-enclave-adoption-v1"
    owner: Fingerprint
    owner_name: str
    owner_certificate: str
    custody: Custody
    space: TrustedSpace
    space_address: str
    space_certificate: str
    certificate: str


def initialise(home: Path, name: str, listen: str, hosts: tuple[str, ...]) -> Card:
    """Make an enclave's identity and its door, and write its card.

    Raises:
        AlreadyExists: there is one in this directory.

    """
    if (home / "card.json").exists():
        raise AlreadyExists("There is an enclave in {home} already.", home=str(home))
    for directory in ("datasets", "uploads", "tls"):
        (home / directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    identity = FileKeyStore(home / "keys", None).create_signing_key("identity")
    door_key, space_key = new_key(), new_key()
    names = ("localhost", "127.0.0.1", "trustspace-enclave", socket.gethostname(), *hosts)
    certificate = self_signed("trustspace enclave", door_key, datetime.datetime.now(datetime.UTC), names)
    write_atomic(home / "tls/door.key", door_key)
    write_atomic(home / "tls/door.pem", certificate, 0o644)
    write_atomic(home / "tls/space.key", space_key)
    card = Card(
        name=name, enclave_key=identity.hex(), certificate=certificate.decode(),
        request=new_request(space_key).decode(), listen=listen,
    )  # fmt: skip
    write_atomic(home / settings.FILE, settings.DEFAULT_TEXT.encode(), 0o644)
    write_atomic(home / "card.json", card.model_dump_json(indent=2).encode(), 0o644)
    return card


def accept(home: Path, adoption: Adoption) -> None:
    """Take the source unit's answer. An enclave belongs to one source unit for good."""
    enclave = EnclaveHome(home)
    if (home / "adoption.json").exists() and enclave.adoption().owner != adoption.owner:
        raise AlreadyExists(
            "This enclave belongs to another source unit.", fix="Make a new one with `enclave init`."
        )
    write_atomic(home / "adoption.json", adoption.model_dump_json(indent=2).encode())


def read_file(kind: type[Any], path: Path, what: str) -> Any:
    """A JSON file as one of the models above, with an error that names the file."""
    try:
        return read(kind, json.loads(path.read_bytes()), what)
    except FileNotFoundError:
        raise NotFound("There is no {what} at {path}.", what=what, path=str(path)) from None
    except (ValueError, UnicodeDecodeError):
        raise InvalidInput("The file {path} is no {what}.", what=what, path=str(path)) from None


class EnclaveHome:
    """An enclave's home, opened."""

    def __init__(self, home: Path) -> None:
        self.path = home
        self.card: Card = read_file(Card, home / "card.json", "enclave card")
        self.keys = FileKeyStore(home / "keys", None)

    def adoption(self) -> Adoption:
        """The source unit's answer.

        Raises:
            NotFound: no source unit has adopted this enclave.

        """
        adoption: Adoption = read_file(Adoption, self.path / "adoption.json", "adoption")
        return adoption

    def public(self) -> bytes:
        """The identity key's public half."""
        return self.keys.public("identity")

    def sign(self, message: bytes) -> bytes:
        """Sign with the identity key."""
        return self.keys.sign("identity", message)

    def door(self) -> Identity:
        """Key and certificate of the enclave's own server."""
        return Identity((self.path / "tls/door.key").read_bytes(), (self.path / "tls/door.pem").read_bytes())

    def channel(self) -> grpc.Channel:
        """A connection to the space: enclaves dial out, and nothing dials in to them from there."""
        adoption = self.adoption()
        identity = Identity((self.path / "tls/space.key").read_bytes(), adoption.certificate.encode())
        return connect(
            adoption.space_address, adoption.space_certificate.encode(), identity, "trustspace-space"
        )

    def session(self, channel: grpc.Channel) -> Session:
        """A verified session with the space, which pins the owner and the operator."""
        adoption = self.adoption()
        owner = TrustedParty(name=adoption.owner_name, fingerprint=adoption.owner)
        trust = TrustFile(space=adoption.space, parties=(owner,))
        return Session(SpaceLink(channel), lambda: trust, adoption.owner, self.path / "ledger.json")

"""A source unit and its own enclaves: vouching for one, and reaching its door."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trustspace.client.home import PartyHome
from trustspace.domain.bodies import Custody, PartyKey
from trustspace.errors import InvalidInput, NotFound
from trustspace.storage.files import write_atomic
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import EnclaveLink


@dataclass(frozen=True)
class OwnEnclave:
    """An enclave that this source unit vouches for: where its door is and which certificate it shows."""

    name: str
    enclave_key: str
    address: str
    certificate: str
    custody: Custody


def adopt(home: PartyHome, card: dict[str, Any], address: str, *, custody: Custody = "own") -> dict[str, Any]:
    """Vouch for an enclave whose card came by a trusted way; returns the adoption to hand back to it.

    The root signs the enclave's identity key: from then on data keys may be sealed to its runs.
    """
    fields = ("name", "enclave_key", "certificate", "request")
    if card.get("format") != "trustspace-enclave-card-v1" or not all(
        isinstance(card.get(f), str) for f in fields
    ):
        raise InvalidInput("The file is not an enclave card.")
    key = PartyKey(use="enclave", public=card["enclave_key"], holder=card["name"])
    if key not in home.party.keys:
        home.publish([key])
    certificate = home.session.link.enrol_machine(card["request"].encode(), card["enclave_key"])
    own = OwnEnclave(card["name"], card["enclave_key"], address, card["certificate"], custody)
    directory = home.path / "enclaves"
    directory.mkdir(mode=0o700, exist_ok=True)
    write_atomic(directory / f"{card['enclave_key'][:16]}.json", json.dumps(asdict(own)).encode())
    return {
        "format": "trustspace-enclave-adoption-v1",
        "owner": home.fingerprint,
        "owner_name": home.party.name,
        "owner_certificate": (home.path / "tls/domain.pem").read_text(),
        "custody": custody,
        "space": home.trust().space.model_dump(),
        "space_address": home.space_address(),
        "space_certificate": (home.path / "tls/space-server.pem").read_text(),
        "certificate": certificate.decode(),
    }


def own_enclave(home: PartyHome, name: str | None, *, key: str | None = None) -> OwnEnclave:
    """The source unit's enclave of this name or key; the only one, when neither is given.

    Raises:
        NotFound: there is none.
        InvalidInput: there are several and none was named.

    """
    matching = [e for e in own_enclaves(home) if name in (None, e.name) and key in (None, e.enclave_key)]
    if not matching:
        raise NotFound("This source unit has no such enclave.", fix="Run `trustspace enclave adopt` first.")
    if len(matching) > 1:
        raise InvalidInput("This source unit has several enclaves.", fix="Name one with --enclave.")
    return matching[0]


def own_enclaves(home: PartyHome) -> list[OwnEnclave]:
    """Every enclave that this source unit vouches for."""
    return [_read(path) for path in sorted((home.path / "enclaves").glob("*.json"))]


def move(home: PartyHome, enclave: OwnEnclave, address: str) -> None:
    """Note that the same enclave is reached at another address."""
    content = {**asdict(enclave), "address": address}
    path = home.path / "enclaves" / f"{enclave.enclave_key[:16]}.json"
    write_atomic(path, json.dumps(content).encode())


def enclave_link(home: PartyHome, enclave: OwnEnclave) -> EnclaveLink:
    """A connection to the enclave's door, both certificates pinned."""
    tls = home.path / "tls"
    identity = Identity((tls / "client.key").read_bytes(), (tls / "domain.pem").read_bytes())
    return EnclaveLink(connect(enclave.address, enclave.certificate.encode(), identity, "trustspace-enclave"))


def _read(path: Path) -> OwnEnclave:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return OwnEnclave(**content)

"""A developer's blind code: sealed on its own machine under a key that stays in its key store.

What is kept of it, by the job's digest, in the party's state: the key's name, and the salt with which the developer
can show what was committed to, also after the key is destroyed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import SALT_BYTES, commit
from trustspace.domain.binding import code_context
from trustspace.domain.bodies import BlindCode, PartyKey
from trustspace.errors import NotFound
from trustspace.jobs.blind import declared, seal_bundle
from trustspace.jobs.spec import Parameters

_KIND = "blind"


@dataclass(frozen=True)
class SealedBundle:
    """Code sealed for a job that is still to be submitted."""

    key: str
    salt: bytes
    ciphertext: bytes
    declared: BlindCode


def seal(home: PartyHome, bundle: bytes, parameters: Parameters, *, host_can_read: bool) -> SealedBundle:
    """Seal a bundle under a fresh key.

    Raises:
        NotFound: this developer has no broker's key, with which it would release the code's.

    """
    require_broker_key(home)
    salt = os.urandom(SALT_BYTES)
    commitment = commit(bundle, salt)
    key = f"code-{commitment[:32]}"
    home.keys.create_data_key(key)
    sealer = home.keys.sealer(key, code_context(home.fingerprint, commitment))
    ciphertext = seal_bundle(sealer, bundle, salt)
    said = declared(parameters, bundle, salt, len(ciphertext), host_can_read=host_can_read)
    return SealedBundle(key, salt, ciphertext, said)


def keep(home: PartyHome, job: str, sealed: SealedBundle, expires: int) -> None:
    """Remember which key opens the job's code, and until when (seconds since 1970), before the job is sent."""
    home.remember(_KIND, job, {"key": sealed.key, "salt": sealed.salt.hex(), "expires": expires})


def kept(home: PartyHome) -> dict[str, dict[str, Any]]:
    """The jobs with blind code whose key is still here, and what is kept of them."""
    known: dict[str, dict[str, Any]] = home.state().get(_KIND, {})
    return {job: entry for job, entry in known.items() if not entry.get("over")}


def destroy_expired(home: PartyHome) -> None:
    """Destroy the keys of jobs that have expired, by this side's own clock: no space can put that off."""
    for job, entry in kept(home).items():
        if home.session.now() > entry["expires"]:
            destroy(home, job)


def key_of(home: PartyHome, job: str) -> str:
    """The key store's name of the key that opens a job's code.

    Raises:
        NotFound: there is none, or none any more.

    """
    entry = kept(home).get(job)
    if entry is None:
        raise NotFound("There is no key to the code of job {job} here.", job=job[:12])
    return str(entry["key"])


def destroy(home: PartyHome, job: str) -> None:
    """Destroy the key of a job's code, if there is one: from then on nobody can open what was uploaded."""
    with home.changing() as state:
        entry = state.get(_KIND, {}).get(job)
        if entry is None or entry.get("over"):
            return
        if entry["key"] in home.keys.names():
            home.keys.destroy(entry["key"])
        entry["over"] = True


def require_broker_key(home: PartyHome) -> None:
    """Raises NotFound for a party that has no key to release others with: one made before developers had them."""
    try:
        home.key_name("broker")
    except NotFound:
        raise NotFound(
            "This party has no broker's key, with which it would release the key of its code.",
            fix="Run `trustspace broker key` once.",
        ) from None


def add_broker_key(home: PartyHome) -> bool:
    """Make a broker's key and vouch for it with the root; returns whether there was none before."""
    if any(key.use == "broker" for key in home.party.keys):
        return False
    # One that a break left behind before it was published will do.
    there = "broker" in home.keys.names()
    public = home.keys.public("broker") if there else home.keys.create_signing_key("broker")
    home.publish([PartyKey(use="broker", public=public.hex(), holder=home.party.name)])
    return True

"""A statement: a signed act in a DSSE envelope, in the shape of an in-toto Statement (v1).

Payload (canonical JSON)::

    {"_type": in-toto, "predicateType": "urn:trustspace:statement:<type>:v1", "subject": [...],
     "predicate": {"by", "issued", "nonce", "log": {"origin", "size", "root"}, "body": {...}}}

``nonce`` is 32 random bytes: it makes the ledger's leaf, SHA-256 of the envelope, a salted digest.
``log`` names the last checkpoint that the signer had verified, so that a forked log is found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.crypto.statement import Envelope, key_id, sign_statement, verify_statement
from trustspace.domain.bodies import BODIES, Body, Count, Digest, Fingerprint, Line
from trustspace.errors import InvalidInput, VerificationFailed

IN_TOTO = "https://in-toto.io/Statement/v1"
MAX_BYTES = 1 << 20
Model = TypeVar("Model", bound=BaseModel)


class LogReference(BaseModel):
    """A checkpoint as a statement names it: which log, how long, its root hash in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    origin: Line
    size: Count
    root: Digest


class _Predicate(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    by: Fingerprint
    issued: Count
    nonce: Digest
    log: LogReference
    body: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A parsed statement. Parsing does not verify its signature: see :func:`verify`."""

    by: str
    issued: int
    nonce: str
    log: LogReference
    body: Body
    envelope: Envelope

    @property
    def type(self) -> str:
        """The kind of act, such as ``grant``."""
        return self.body.type

    @property
    def digest(self) -> str:
        """SHA-256 of the envelope, in hex: the statement's name and its leaf in the ledger."""
        return self.envelope.digest

    @property
    def signer(self) -> str:
        """Key id of the one key that signed it (checked by :func:`verify`)."""
        return self.envelope.signatures[0].key_id


def dump(model: BaseModel) -> dict[str, Any]:
    """A model as JSON values: tuples become lists."""
    value: dict[str, Any] = model.model_dump(mode="json")
    return value


def read(kind: type[Model], value: Any, what: str) -> Model:
    """Parse JSON values into a closed model.

    Raises:
        InvalidInput: naming the first field that does not fit, never its value.

    """
    try:
        return kind.model_validate_json(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field, problem = ".".join(str(part) for part in first["loc"]) or "(whole)", first["type"]
    except (ValueError, RecursionError):  # NaN and infinities, which Python's parser lets through
        field, problem = "(whole)", "json_invalid"
    raise InvalidInput(
        "The {what} is not well formed: field {field} ({problem}).",
        what=what, field=field, problem=problem,
    )  # fmt: skip


def make(
    body: Body,
    *,
    by: str,
    issued: int,
    nonce: bytes,
    log: LogReference,
    public: bytes,
    sign: Callable[[bytes], bytes],
) -> Statement:
    """Sign a body. ``nonce`` is 32 random bytes, ``sign`` the raw Ed25519 signature by ``public``'s key."""
    if len(nonce) != 32:
        raise InvalidInput("A statement's nonce has 32 bytes.")
    payload = canonical_json(
        {
            "_type": IN_TOTO,
            "predicateType": f"urn:trustspace:statement:{body.type}:v1",
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in body.subject()],
            "predicate": {
                "by": by, "issued": issued, "nonce": nonce.hex(), "log": dump(log), "body": dump(body),
            },
        }
    )  # fmt: skip
    return parse(sign_statement(payload, public, sign).to_bytes())


def parse(data: bytes) -> Statement:
    """Parse an envelope strictly; an unknown type or version, or a field too many, is refused.

    Raises:
        VerificationFailed: the bytes are not canonical.
        InvalidInput: the content is not a statement that we know.

    """
    envelope = Envelope.parse(data, max_bytes=MAX_BYTES)
    value = parse_canonical(envelope.payload, what="statement", max_bytes=MAX_BYTES)
    if not isinstance(value, dict) or set(value) != {"_type", "predicateType", "subject", "predicate"}:
        raise InvalidInput("The statement is not an in-toto statement.")
    if value["_type"] != IN_TOTO:
        raise InvalidInput("The statement is not an in-toto statement of version 1.")
    named = value["predicateType"]
    parts = named.split(":") if isinstance(named, str) else []
    if (
        len(parts) != 5
        or parts[:3] != ["urn", "trustspace", "statement"]
        or parts[4] != "v1"
        or parts[3] not in BODIES
    ):
        raise InvalidInput("The statement's type or version is not known here.", fix="Update trustspace.")
    predicate = read(_Predicate, value["predicate"], "statement")
    body = read(BODIES[parts[3]], predicate.body, parts[3])
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in body.subject()]
    if value["subject"] != subject:
        raise VerificationFailed("The statement's subject does not match its body.")
    if dump(body) != predicate.body:
        raise VerificationFailed("The statement's body leaves out fields that it must spell out.")
    if len(envelope.signatures) != 1:
        raise VerificationFailed("A statement carries exactly one signature.")
    return Statement(
        by=predicate.by,
        issued=predicate.issued,
        nonce=predicate.nonce,
        log=predicate.log,
        body=body,
        envelope=envelope,
    )


def verify(statement: Statement, public: bytes) -> None:
    """Check that ``public``'s key signed it.

    Raises:
        VerificationFailed: it did not.

    """
    verify_statement(statement.envelope, public)


def fingerprint(root_public: bytes) -> str:
    """A party's fingerprint: SHA-256 of its raw root public key, in hex."""
    return key_id(root_public)

"""Blind code: a bundle that its developer has sealed, so that only the enclaves of a run open it.

Sealed is ``pad(salt, bundle)``: 32 random bytes, which make the commitment that the job names one that nobody can
guess the code by, then the bundle, padded so that its size says little. Whoever opens it checks all that was
declared; the developer who keeps the salt can show later what ran.
"""

from __future__ import annotations

import hmac
import io
import re

from trustspace.crypto.canonical import SALT_BYTES, commit
from trustspace.crypto.padding import pad, size_class, unpad
from trustspace.crypto.seal import HEADER_MAX_BYTES, Sealer, iter_sealed, open_bytes, sealed_size
from trustspace.domain.binding import code_context
from trustspace.domain.bodies import HOST_CAN_READ, BlindCode
from trustspace.errors import VerificationFailed
from trustspace.jobs.bundle import MAX_BYTES, parse_bundle
from trustspace.jobs.parameters import Parameters

# A padded content has eight bytes more, for its length.
MAX_SEALED_BYTES = sealed_size(size_class(8 + SALT_BYTES + MAX_BYTES), HEADER_MAX_BYTES)
_ARGUMENTS = {"build": "parameters", "run": "inputs, outputs"}


def interface(parameters: Parameters) -> str:
    """What of the developer's code is called, such as ``main.py: run(inputs, outputs)``; "" where there is none."""
    if parameters.entry is None:
        return ""
    file, function = parameters.entry
    return f"{file}: {function}({_ARGUMENTS[function]})"


def seal_bundle(sealer: Sealer, bundle: bytes, salt: bytes) -> bytes:
    """The bundle as it is uploaded. ``salt`` is 32 random bytes, the sealer's context :func:`code_context`'s."""
    return b"".join(iter_sealed(sealer, io.BytesIO(pad(salt, bundle)).read))


def declared(
    parameters: Parameters, bundle: bytes, salt: bytes, sealed_bytes: int, *, host_can_read: bool
) -> BlindCode:
    """What the job says of a bundle that nobody can read."""
    return BlindCode(
        commitment=commit(bundle, salt),
        entry=interface(parameters),
        files=len(parse_bundle(bundle)),
        sealed_bytes=sealed_bytes,
        host_can_read=HOST_CAN_READ if host_can_read else "",
    )


def open_bundle(key: bytes, developer: str, blind: BlindCode, parameters: Parameters, sealed: bytes) -> bytes:
    """The bundle of blind code, once it is what its developer declared.

    Nothing of it is run or parsed as Python here: that is for the sandbox.

    Raises:
        VerificationFailed: it does not open, or is something else than was committed to and declared.

    """
    if len(sealed) != blind.sealed_bytes:
        raise VerificationFailed("The blind code is not of the size that its job declares.")
    content = unpad(open_bytes(key, code_context(developer, blind.commitment), sealed))
    salt, bundle = content[:SALT_BYTES], content[SALT_BYTES:]
    if len(salt) != SALT_BYTES or not hmac.compare_digest(commit(bundle, salt), blind.commitment):
        raise VerificationFailed("The blind code is not what its developer committed to.")
    files = parse_bundle(bundle)
    if len(files) != blind.files or not _has_entry(files, parameters) or blind.entry != interface(parameters):
        raise VerificationFailed("The blind code is not what its job declares.")
    return bundle


def _has_entry(files: dict[str, str], parameters: Parameters) -> bool:
    if parameters.entry is None:
        return False
    file, function = parameters.entry
    return re.search(rf"^def {function}\b", files.get(file, ""), re.MULTILINE) is not None

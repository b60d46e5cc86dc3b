"""A developer's encrypted model as one file: its public key, the proof of its modulus, the weights with theirs.

It takes the place of a code bundle: the job names it by digest, and its proofs hold for that job alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey
from trustspace.aggregation.paillier.proofs import (
    EncryptedWeights,
    ProvenWeights,
    encrypt_weights,
    prove_modulus,
    verify_modulus,
    verify_weights,
)
from trustspace.errors import VerificationFailed
from trustspace.jobs.container import RawArtifact, pack, unpack
from trustspace.jobs.sections_score import Score

MAX_MODEL_BYTES = 8 << 20
_PARTS = ("key", "modulus", "weights")
_BINARY = "application/octet-stream"


def encrypt_model(private: PrivateKey, integers: Sequence[int], score: Score, context: bytes) -> bytes:
    """The file, with proofs that hold in ``context`` only. Raises InvalidInput for a weight of too many bits."""
    weights = encrypt_weights(private.public, integers, score.weight_bits - 1, context)
    parts = (private.public.to_bytes(), prove_modulus(private, context), weights.to_bytes(private.public))
    return pack([RawArtifact(name, _BINARY, data) for name, data in zip(_PARTS, parts, strict=True)])


def open_model(data: bytes, score: Score, context: bytes) -> ProvenWeights:
    """The weights, still encrypted, once every proof holds.

    Raises:
        VerificationFailed: a proof does not, it is of another job, or it is no such file.

    """
    parts = unpack(data, max_artifacts=len(_PARTS), max_bytes=MAX_MODEL_BYTES)
    if tuple((part.name, part.media_type) for part in parts) != tuple((name, _BINARY) for name in _PARTS):
        raise VerificationFailed("The encrypted model does not have the parts of one.")
    key, modulus, packed = (part.data for part in parts)
    public = PublicKey.from_bytes(key)
    verify_modulus(public, modulus, context)
    weights = EncryptedWeights.from_bytes(public, packed)
    if (len(weights.ciphertexts), weights.bits) != (len(score.features), score.weight_bits - 1):
        raise VerificationFailed("The encrypted model has other weights than its job declares.")
    return verify_weights(public, weights, context)

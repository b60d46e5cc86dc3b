"""What a developer's encrypted model, a worker's scores and a developer's answer may be made into by somebody else."""

from __future__ import annotations

import json

import pytest
from fuzz_mutations import REFUSED, canonical, refused, spoilt_bytes, spoilt_json
from support.scores import small_keys

from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.aggregation.paillier.proofs import proven_bits
from trustspace.client.scoring import _masked
from trustspace.errors import InvalidInput
from trustspace.jobs.artifacts import encode_json, parse_json
from trustspace.jobs.encrypted_model import encrypt_model, open_model
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.scores import Blinds, Scores, carried, read_scores
from trustspace.jobs.weights import quantise, read_weights

SCORE = {
    "model": "linear",
    "features": {"age": [0, 100], "size": [0, 9]},
    "group": "sex",
    "groups": ["f", "m"],
}
PARAMETERS = Parameters.model_validate(
    {
        "kind": "score",
        "datasets": [{"id": "ward-a", "version": 1, "columns": ["age", "size", "sex"]}],
        "score": SCORE,
        "terms": {"withheld_percent": 0},
    }
)
CONTEXT = b"job one".ljust(32)
MASKED = {
    "format": "trustspace-masked-scores-v1", "job": "a" * 64, "key": "b" * 64, "numbers": "00" * 128, "model": "linear",
    "step": "0x1.0p-3", "offset": "-0x1.8p+1",
}  # fmt: skip


@pytest.fixture(scope="module")
def key():
    with pytest.MonkeyPatch.context() as patch:
        small_keys(patch)
        yield PrivateKey.generate(1024)


def test_encrypted_models(hunt, key):
    """Whatever is changed, it is refused: a proof that still held would be one of something else."""
    sound = encrypt_model(key, (3, -4), PARAMETERS.scoring(), CONTEXT)

    def attack(data):
        assert refused(open_model, data, PARAMETERS.scoring(), CONTEXT) is REFUSED or data == sound

    hunt(spoilt_bytes([sound]), attack, 300)


def test_scores(hunt, key):
    ciphertexts = (key.public.encrypt(5),)
    sound = Scores(
        key.public, proven_bits(15, 2), 12, 2, (12, 14, 0, None), 10, ciphertexts, "group-sums", "c" * 64
    )
    value = sound.to_json(PARAMETERS.scoring().labels)
    assert read_scores(value, PARAMETERS) == sound

    def attack(changed):
        found = refused(lambda v: read_scores(parse_json(encode_json(v)), PARAMETERS), changed)
        if found is not REFUSED:
            assert found.to_json(PARAMETERS.scoring().labels) == changed
            carried(changed, PARAMETERS)

    hunt(spoilt_json([value]), attack, 800)


def test_blinds(hunt, key):
    value = Blinds(key.public, 16, 8, 2, 5, (7,)).to_json()
    assert Blinds.from_json(value).to_json() == value

    def attack(changed):
        found = refused(Blinds.from_json, changed)
        assert found is REFUSED or found.to_json() == changed

    hunt(spoilt_json([value]), attack, 600)


def test_masked_scores(hunt):
    def attack(changed):
        found = refused(_masked, canonical(changed), "a" * 64, "b" * 64)
        assert found is REFUSED or set(found) == set(MASKED)

    hunt(spoilt_json([MASKED]), attack, 600)


def test_weights(hunt):
    sound = json.dumps({"weights": {"age": 0.5, "size": -3}, "intercept": 1e3}).encode()
    score = PARAMETERS.scoring()

    def attack(data):
        weights = refused(read_weights, data, score, errors=(InvalidInput,))
        if weights is not REFUSED:
            refused(quantise, score, ("age", "size"), weights, errors=(InvalidInput,))

    hunt(spoilt_bytes([sound]), attack, 800)

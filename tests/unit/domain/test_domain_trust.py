"""The trust file: what was compared once, and what follows from nothing else."""

import json

import pytest
from support.cast import Cast, digest

from trustspace.domain.statements import read
from trustspace.domain.trust import TrustFile
from trustspace.errors import InvalidInput, NotFound, VerificationFailed

CAST = Cast(units=1)
TRUST = CAST.trust()
UNIT = CAST.units[0]


def test_it_is_read_as_it_was_written():
    assert read(TrustFile, json.loads(TRUST.model_dump_json()), "trust file") == TRUST


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"format": "trustspace-trust-v2"}, {"parties": [{"name": "x"}]}, {"space": {}}]
)
def test_anything_else_is_refused(change):
    with pytest.raises(InvalidInput):
        read(TrustFile, {**json.loads(TRUST.model_dump_json()), **change}, "trust file")


def test_names_and_fingerprints_lead_to_the_same_party():
    assert TRUST.resolve(UNIT.name) == TRUST.resolve(UNIT.fingerprint) == UNIT.fingerprint
    assert TRUST.name_of(UNIT.fingerprint) == UNIT.name
    assert TRUST.name_of(CAST.operator.fingerprint) == "Space"
    assert TRUST.name_of(digest("nobody")) == digest("nobody")[:12]
    with pytest.raises(NotFound):
        TRUST.resolve("Somebody else")


def test_only_who_is_pinned_is_believed():
    TRUST.require(UNIT.fingerprint)
    TRUST.require(CAST.operator.fingerprint)
    with pytest.raises(VerificationFailed, match="not in the trust file"):
        TRUST.require(digest("nobody"))


def test_a_name_never_moves_to_another_fingerprint():
    with pytest.raises(InvalidInput, match="another fingerprint"):
        TRUST.with_party(UNIT.name, digest("an impostor"))
    assert TRUST.with_party(UNIT.name, UNIT.fingerprint).fingerprints() == TRUST.fingerprints()


def test_a_party_may_be_renamed_and_stays_one():
    renamed = TRUST.with_party("A better name", UNIT.fingerprint)
    assert renamed.resolve("A better name") == UNIT.fingerprint
    with pytest.raises(NotFound):
        renamed.resolve(UNIT.name)


def test_a_quorum_of_witnesses_is_one_that_can_be_had():
    two = TRUST.with_witness("w1", 1).with_witness("w2", 2).with_witness("w2", 2)
    assert (two.witnesses, two.witness_quorum) == (("w1", "w2"), 2)
    for quorum in (-1, 2):
        with pytest.raises(InvalidInput):
            TRUST.with_witness("w1", quorum)

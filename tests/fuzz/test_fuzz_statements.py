"""Everything that is signed: canonical JSON, envelopes, statements, the messages of a round, certificates."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
from fuzz_mutations import REFUSED, canonical, refused, spoilt_bytes, spoilt_json
from support.cast import Cast

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.crypto.keys import MemoryKeyStore
from trustspace.crypto.statement import Envelope, sign_statement, verify_statement
from trustspace.domain import rounds, statements
from trustspace.domain.bodies import BODIES
from trustspace.domain.certificate import load, verify
from trustspace.errors import TrustspaceError, VerificationFailed

KEYS = MemoryKeyStore()
PUBLIC = KEYS.create_signing_key("liar")


@pytest.fixture(scope="module")
def told():
    """A whole story, one with blind code, and of each kind of statement one."""
    story, blind = Cast().until("receive"), Cast(blind=True).until("receive")
    unit = story.units[0]
    others = [  # of stories that end otherwise
        story.sign(unit, "act", story.withdrawal_body(unit)),
        story.sign(unit, "grant", story.refusal_body()),
        story.sign(unit, "enclave", story.failed_body(unit)),
        story.sign(story.developer, "act", story.cancellation_body()),
        story.sign(unit, "review-1", story.revocation_body()),
    ]
    by_type = {statement.type: statement for statement in (*blind.statements, *story.statements, *others)}
    return SimpleNamespace(
        story=story,
        blind=blind,
        types=set(by_type),
        envelopes=[statement.envelope.to_bytes() for statement in by_type.values()],
        payloads=[json.loads(statement.envelope.payload) for statement in by_type.values()],
    )


def sign(message: bytes) -> bytes:
    return KEYS.sign("liar", message)


def test_the_corpus_knows_every_kind_of_statement(told):
    assert told.types == set(BODIES)


def test_canonical_json(hunt, told):
    def attack(data):
        found = refused(lambda d: parse_canonical(d, what="It"), data)
        assert found is REFUSED or canonical_json(found) == data

    hunt(spoilt_bytes([canonical_json(value) for value in told.payloads]), attack, 600)
    hunt(spoilt_json(told.payloads), lambda value: attack(canonical(value)), 400)


def test_envelopes(hunt, told):
    def attack(data):
        found = refused(Envelope.parse, data)
        assert found is REFUSED or found.to_bytes() == data

    hunt(spoilt_bytes(told.envelopes), attack, 600)
    hunt(spoilt_json([json.loads(data) for data in told.envelopes]), lambda value: attack(canonical(value)))


def test_a_signed_statement_that_was_changed_does_not_verify(hunt, told):
    """The control: unchanged, each verifies under the key that signed it."""
    signers = {
        key.public: bytes.fromhex(key.public)
        for story in (told.story, told.blind)
        for actor in story.actors
        for key in actor.body.keys
    }
    by_id = {rounds.sha256_hex(public): public for public in signers.values()}
    sound = [data for data in told.envelopes if Envelope.parse(data).signatures[0].key_id in by_id]
    assert len(sound) > 8
    for data in sound:
        envelope = Envelope.parse(data)
        verify_statement(envelope, by_id[envelope.signatures[0].key_id])

    def attack(data):
        found = refused(Envelope.parse, data)
        if found is REFUSED or data in sound:
            return
        for public in by_id.values():
            with pytest.raises(VerificationFailed):
                verify_statement(found, public)

    hunt(spoilt_bytes(sound, most=1), attack, 300)


def test_statements_by_a_liar(hunt, told):
    """Well signed, and saying anything."""

    def attack(value):
        data = sign_statement(canonical(value), PUBLIC, sign).to_bytes()
        found = refused(statements.parse, data)
        if found is not REFUSED:
            assert found.envelope.to_bytes() == data
            body = statements.dump(found.body)
            assert body == json.loads(found.envelope.payload)["predicate"]["body"]
            statements.verify(found, PUBLIC)

    hunt(spoilt_json(told.payloads), attack, 1000)


def _messages():
    place = rounds.Place(job="a" * 64, run="b" * 64, round=1, attempt=0)
    log = {"origin": "space.example/ledger", "size": 5, "root": "c" * 64}
    member = {"source_unit": "d" * 64, "offer": "e" * 64, "ephemeral": "f" * 64}
    content = {
        rounds.Join: {**member, "model": "", "log": log},
        rounds.MemberSet: {
            "scheme": "pairwise-masks-v1",
            "needed": 2,
            "minimum": 2,
            "members": [member] * 2,
            "model": "a" * 64,
        },
        rounds.Contribution: {
            "members": "a" * 64,
            "member": 1,
            "vector": "b" * 64,
            "words": 9,
            "reveal": "",
            "shares": ["c" * 64, "d" * 64],
        },
        rounds.Check: {"members": "a" * 64, "member": 1, "included": [0, 1], "sum": "b" * 64},
        rounds.Reveal: {
            "members": "a" * 64,
            "member": 0,
            "included": [0, 1],
            "sum": "b" * 64,
            "content": "AAECAw==",
            "sealed": {"d" * 64: "00ff"},
        },
    }
    for kind, fields in content.items():
        body = {"place": place.model_dump(mode="json"), **fields}
        yield kind, place, {"format": rounds.FORMAT, "phase": kind.phase, "body": body}


MESSAGES = list(_messages())


@pytest.mark.parametrize(("kind", "place", "sound"), MESSAGES, ids=[kind.phase for kind, _, _ in MESSAGES])
def test_round_messages(hunt, kind, place, sound):
    """From a member, and so well signed, or changed on the way."""
    good = sign_statement(canonical(sound), PUBLIC, sign).to_bytes()
    assert rounds.open_message(good, kind, place, PUBLIC).place == place

    def lie(value):
        data = sign_statement(canonical(value), PUBLIC, sign).to_bytes()
        found = refused(lambda d: rounds.open_message(d, kind, place, PUBLIC), data)
        if found is not REFUSED:
            assert found.place == place
            assert rounds.sign_message(found, PUBLIC, sign) == data

    def change(data):
        found = refused(lambda d: rounds.open_message(d, kind, place, PUBLIC), data)
        assert found is REFUSED or data == good

    hunt(spoilt_json([sound]), lie, 300)
    hunt(spoilt_bytes([good]), change, 150)


def _meaning(found):
    return (
        found.job.statement, found.artifacts, found.sandbox_tier, found.evidence_kind, found.source_units,
        sorted(found.reviewers), found.ledger_size,
    )  # fmt: skip


def test_certificates(hunt, told):
    """A changed one is refused, or proves the same release."""
    trust = told.story.trust()
    strangers = {
        a.fingerprint
        for a in (
            told.story.other_unit,
            told.story.other_developer,
            told.story.other_buyer,
            told.story.auditor,
        )
    }
    whole = told.story.certificate([s for s in told.story.statements if s.by not in strangers])
    meant = _meaning(verify(whole, trust))
    sound = whole.to_bytes()

    def attack(data):
        found = refused(load, data)
        if found is not REFUSED:
            proven = refused(lambda c: verify(c, trust), found, errors=(TrustspaceError,))
            assert proven is REFUSED or _meaning(proven) == meant

    hunt(spoilt_bytes([sound]), attack, 150)
    hunt(spoilt_json([json.loads(sound)]), lambda value: attack(json.dumps(value).encode()), 150)


def test_statements_inside_a_certificate(hunt, told):
    """The envelopes in it changed, each then as base64 again."""
    trust = told.story.trust()
    value = json.loads(told.story.certificate(told.story.statements).to_bytes())
    places = range(len(value["statements"]))
    envelopes = [base64.b64decode(value["statements"][at]["envelope"]) for at in places]
    meant = _meaning(verify(load(json.dumps(value).encode()), trust)) if _verifies(value, trust) else None

    def attack(data):
        if data in envelopes:
            return
        at = len(data) % len(envelopes)
        changed = {**value, "statements": list(value["statements"])}
        changed["statements"][at] = {**value["statements"][at], "envelope": base64.b64encode(data).decode()}
        certificate = load(json.dumps(changed).encode())
        proven = refused(lambda c: verify(c, trust), certificate, errors=(TrustspaceError,))
        assert proven is REFUSED or (meant is not None and _meaning(proven) == meant)

    hunt(spoilt_bytes(envelopes, most=2), attack, 100)


def _verifies(value, trust) -> bool:
    return (
        refused(lambda c: verify(c, trust), load(json.dumps(value).encode()), errors=(TrustspaceError,))
        is not REFUSED
    )

"""Statements: one way to write each, and nothing in it that a reader would not see."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cast import ORIGIN, Actor, Cast, digest

from trustspace.crypto.canonical import canonical_json
from trustspace.crypto.statement import PAYLOAD_TYPE, Envelope, Signature, key_id, sign_statement
from trustspace.domain.bodies import BODIES, Refusal, RunNonce
from trustspace.domain.statements import LogReference, fingerprint, make, parse, read, verify
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed

LOG = LogReference(origin=ORIGIN, size=0, root=digest(""))
ACTOR = Actor("Hospital", "source-unit", reviewers=1)


def sign_payload(value) -> bytes:
    payload = value if isinstance(value, bytes) else canonical_json(value)
    return sign_statement(payload, ACTOR.root, lambda m: ACTOR.keys.sign("root", m)).to_bytes()


def payload_of(statement) -> dict:
    return json.loads(statement.envelope.payload)


@pytest.fixture
def statement():
    body = RunNonce(job=digest("job"), enclave=digest("enclave"), challenge=digest("challenge"))
    return make(
        body, by=ACTOR.fingerprint, issued=7, nonce=b"n" * 32, log=LOG, public=ACTOR.root,
        sign=lambda m: ACTOR.keys.sign("root", m),
    )  # fmt: skip


@pytest.fixture(scope="module")
def all_statements():
    """One of every kind: a story that ends well, with a failure, a refusal and other ends beside it."""
    cast = Cast(blind=True).until("release_keys")
    unit = cast.units[0]
    others = [
        cast.sign(unit, "enclave", cast.failed_body(unit)),
        cast.sign(unit, "grant", cast.refusal_body()),
        cast.sign(cast.developer, "act", cast.cancellation_body()),
        cast.sign(unit, "act", cast.withdrawal_body(unit)),
    ]
    cast.hand_in()
    others += [
        cast.sign(unit, "review-1", cast.changes_body(unit)),
        cast.sign(unit, "review-1", cast.revocation_body()),
    ]
    cast.approve_all().release().receive()
    return cast.statements + others


def test_what_is_parsed_is_what_was_made(statement):
    again = parse(statement.envelope.to_bytes())
    assert again == statement
    assert (again.type, again.by, again.issued, again.body.job) == (
        "run-nonce",
        ACTOR.fingerprint,
        7,
        digest("job"),
    )
    verify(again, ACTOR.root)


def test_every_statement_of_a_whole_story_survives_writing_and_reading(all_statements):
    kinds = set()
    for statement in all_statements:
        again = parse(statement.envelope.to_bytes())
        assert again.envelope.to_bytes() == statement.envelope.to_bytes()
        assert again.body == statement.body
        kinds.add(statement.type)
    assert kinds == set(BODIES)


def test_its_subject_names_what_it_is_about(all_statements):
    for statement in all_statements:
        subject = payload_of(statement)["subject"]
        assert subject == [{"name": n, "digest": {"sha256": d}} for n, d in statement.body.subject()]
        assert subject, f"a {statement.type} statement is about something"


def test_the_nonce_makes_equal_acts_different_leaves():
    def one(nonce):
        return make(
            Refusal(job=digest("job")), by=ACTOR.fingerprint, issued=7, nonce=nonce, log=LOG, public=ACTOR.root,
            sign=lambda m: ACTOR.keys.sign("root", m),
        )  # fmt: skip

    assert one(b"a" * 32).digest != one(b"b" * 32).digest
    assert one(b"a" * 32).digest == one(b"a" * 32).digest
    for wrong in (b"", b"a" * 31, b"a" * 33):
        with pytest.raises(InvalidInput):
            one(wrong)


def test_a_signature_by_another_key_is_none(statement):
    stranger = Actor("Stranger", "developer")
    with pytest.raises(VerificationFailed):
        verify(statement, stranger.root)
    # Nor one that claims the right key.
    (signature,) = statement.envelope.signatures
    forged = Envelope(statement.envelope.payload, PAYLOAD_TYPE, (Signature(signature.key_id, bytes(64)),))
    with pytest.raises(VerificationFailed):
        verify(parse(forged.to_bytes()), ACTOR.root)


def test_a_fingerprint_is_that_of_the_root_key():
    assert fingerprint(ACTOR.root) == key_id(ACTOR.root) == ACTOR.fingerprint


def change(path, value):
    """The honest payload with one place changed; ``value`` None takes it away."""

    def changed(statement):
        payload = payload_of(statement)
        place = payload
        for step in path[:-1]:
            place = place[step]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return payload

    return changed


KIND = "urn:trustspace:statement:"
STRANGE = {
    "another in-toto version": change(["_type"], "https://in-toto.io/Statement/v2"),
    "an unknown type": change(["predicateType"], KIND + "wish:v1"),
    "an unknown version": change(["predicateType"], KIND + "run-nonce:v2"),
    "a type of another family": change(["predicateType"], "https://slsa.dev/provenance/v1"),
    "a type that is no text": change(["predicateType"], 7),
    "no type": change(["predicateType"], None),
    "a field too many in the statement": change(["extra"], "x"),
    "a field too many in the predicate": change(["predicate", "extra"], "x"),
    "a field too many in the body": change(["predicate", "body", "extra"], "x"),
    "a field too many in the log": change(["predicate", "log", "extra"], "x"),
    "no nonce": change(["predicate", "nonce"], None),
    "a short nonce": change(["predicate", "nonce"], "ab"),
    "no log": change(["predicate", "log"], None),
    "a number as text": change(["predicate", "issued"], "7"),
    "a truth value as a number": change(["predicate", "issued"], True),
    "a negative time": change(["predicate", "issued"], -1),
    "a body field missing": change(["predicate", "body", "challenge"], None),
    "a digest in capitals": change(["predicate", "body", "job"], digest("job").upper()),
    "a body of another type": change(["predicate", "body"], {"job": digest("job")}),
    "a body that is none": change(["predicate", "body"], []),
    "a predicate that is none": change(["predicate"], "x"),
    "another subject": change(["subject", 0, "digest", "sha256"], digest("other")),
    "another subject's name": change(["subject", 0, "name"], "thing"),
    "a subject less": change(["subject"], []),
    "a subject too many": lambda s: {**payload_of(s), "subject": payload_of(s)["subject"] * 2},
    "no subject": change(["subject"], None),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_strange_is_refused(statement, name):
    """All are signed by the right key and canonical: only their content is wrong."""
    with pytest.raises((InvalidInput, VerificationFailed)):
        parse(sign_payload(STRANGE[name](statement)))
    parse(sign_payload(payload_of(statement)))


@pytest.mark.parametrize("field", ["custody", "policy"])
def test_defaults_are_spelled_out(field):
    """A default that is left out would be signed unseen; positive control: written out, it is read."""
    cast = Cast(units=1).until("describe")
    statement = next(s for s in cast.statements if s.type == "dataset")
    payload = payload_of(statement)
    if field == "policy":
        payload["predicate"]["body"]["policy"] = {}
    else:
        del payload["predicate"]["body"]["custody"]
    with pytest.raises((VerificationFailed, InvalidInput)):
        parse(sign_payload(payload))


def test_a_job_says_what_it_supersedes_even_when_that_is_nothing():
    cast = Cast(units=1).until("ask")
    payload = payload_of(cast.statements[-1])
    assert payload["predicate"]["body"]["supersedes"] == ""
    del payload["predicate"]["body"]["supersedes"]
    with pytest.raises(VerificationFailed, match="leaves out"):
        parse(sign_payload(payload))


@pytest.mark.parametrize("text", [b" {}", b"{}\n", b"", b"[]", b"null", b'{"a":1.5}', b"\xff", b"{" * 70])
def test_bytes_that_are_no_canonical_envelope_are_refused(text):
    with pytest.raises(TrustspaceError):
        parse(text)


def test_a_payload_in_another_order_is_refused(statement):
    payload = payload_of(statement)
    shuffled = json.dumps(dict(reversed(payload.items())), separators=(",", ":")).encode()
    assert json.loads(shuffled) == payload
    with pytest.raises(VerificationFailed):
        parse(sign_payload(shuffled))


def test_two_signatures_are_one_too_many(statement):
    (one,) = statement.envelope.signatures
    for signatures in ((), (one, one)):
        envelope = Envelope(statement.envelope.payload, PAYLOAD_TYPE, signatures)
        with pytest.raises(VerificationFailed):
            parse(envelope.to_bytes())


def test_a_payload_of_another_kind_is_not_verified_as_a_statement(statement):
    envelope = Envelope(statement.envelope.payload, "application/json", statement.envelope.signatures)
    with pytest.raises(VerificationFailed):
        verify(parse(envelope.to_bytes()), ACTOR.root)


@pytest.mark.parametrize("text", ["two\nlines", "bell\x07", "turned \u202eback", "x" * 201])
def test_a_line_is_one_readable_line(text):
    cast = Cast(units=1).until("describe")
    payload = payload_of(Cast(units=1).until("ask").statements[-1])
    payload["predicate"]["body"]["title"] = text
    with pytest.raises(InvalidInput):
        parse(sign_payload(payload))
    assert cast.job_body(title="一行 one line").title


def test_errors_name_the_field_and_never_its_value(statement):
    payload = change(["predicate", "body", "job"], "Patient Zhang San")(statement)
    with pytest.raises(InvalidInput) as caught:
        parse(sign_payload(payload))
    assert "job" in str(caught.value)
    assert "Zhang" not in str(caught.value)


def test_a_model_is_read_strictly():
    with pytest.raises(InvalidInput):
        read(Refusal, {"job": digest("x"), "why": "secret"}, "refusal")
    with pytest.raises(InvalidInput):
        read(Refusal, {"job": 7}, "refusal")
    assert read(Refusal, {"job": digest("x")}, "refusal") == Refusal(job=digest("x"))


ENVELOPE = make(
    Refusal(job=digest("job")), by=ACTOR.fingerprint, issued=7, nonce=b"a" * 32, log=LOG, public=ACTOR.root,
    sign=lambda m: ACTOR.keys.sign("root", m),
).envelope.to_bytes()  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place, flip):
    """What parses after all is not what the key signed."""
    data = bytearray(ENVELOPE)
    data[place] ^= flip
    try:
        changed = parse(bytes(data))
    except TrustspaceError:
        return
    with pytest.raises(VerificationFailed):
        verify(changed, ACTOR.root)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_no_json_whatever_crashes_the_parser(value):
    with pytest.raises(TrustspaceError):
        parse(sign_payload(canonical_json(value)))

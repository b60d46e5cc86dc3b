"""A certificate: verified with a trust file alone, and by no other story, ledger, bytes or people."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cast import ORIGIN, Actor, Cast, digest

from trustspace.crypto.canonical import commit
from trustspace.domain.certificate import Certificate, ReleasedArtifact, build, load, verify, verify_content
from trustspace.domain.statements import parse
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed
from trustspace.ledger.checkpoint import Checkpoint, sign_checkpoint
from trustspace.ledger.cosign import add_cosignature, cosign
from trustspace.ledger.merkle import MerkleTree
from trustspace.ledger.note import KeyKind, NoteKey

STORY = Cast().until("receive")
TRUST = STORY.trust()
# What the space proves about a job: not what strangers to it have said, though it is in the same ledger.
STRANGERS = {
    a.fingerprint for a in (STORY.other_unit, STORY.other_developer, STORY.other_buyer, STORY.auditor)
}
SHOWN = [s for s in STORY.statements if s.by not in STRANGERS]
WHOLE = STORY.certificate(SHOWN)


def without(index: int) -> Certificate:
    return WHOLE.model_copy(
        update={"statements": (*WHOLE.statements[:index], *WHOLE.statements[index + 1 :])}
    )


def with_statement(place: int, **changes) -> Certificate:
    changed = WHOLE.statements[place].model_copy(update=changes)
    statements = (*WHOLE.statements[:place], changed, *WHOLE.statements[place + 1 :])
    return WHOLE.model_copy(update={"statements": statements})


def refused(certificate: Certificate, trust=TRUST) -> TrustspaceError:
    with pytest.raises(TrustspaceError) as caught:
        verify(certificate, trust)
    return caught.value


def test_it_says_what_was_released_by_whom_and_where_it_ran():
    found = verify(load(WHOLE.to_bytes()), TRUST)
    assert found.artifacts == ("model.safetensors", "metrics.json")
    assert found.source_units == tuple(u.fingerprint for u in STORY.units)
    assert found.reviewers == tuple(u.people[n] for u in STORY.units for n in (0, 1))
    assert (found.sandbox_tier, found.evidence_kind) == (STORY.output.body.sandbox_tier, "software")
    assert found.ledger_size == len(STORY.statements)


@pytest.mark.parametrize("index", range(len(SHOWN)), ids=[s.type for s in SHOWN])
def test_no_statement_can_be_left_out(index):
    """Not the receipt either: none stands after a revocation."""
    refused(without(index))


@pytest.mark.parametrize("index", range(len(SHOWN)), ids=[s.type for s in SHOWN])
def test_no_statement_can_be_altered(index):
    """Signed by nobody: a bit of the signature. Signed by somebody else: the place in the ledger is not its own."""
    envelope = json.loads(base64.b64decode(WHOLE.statements[index].envelope))
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[0] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    text = json.dumps(envelope, separators=(",", ":"), sort_keys=True).encode()
    refused(with_statement(index, envelope=base64.b64encode(text).decode()))


def test_statements_cannot_change_places():
    for index in range(len(WHOLE.statements) - 1):
        one, other = WHOLE.statements[index : index + 2]
        swapped = (*WHOLE.statements[:index], other, one, *WHOLE.statements[index + 2 :])
        refused(WHOLE.model_copy(update={"statements": swapped}))


def test_a_statement_cannot_stand_twice():
    for index, statement in enumerate(WHOLE.statements):
        doubled = (*WHOLE.statements[:index], statement, *WHOLE.statements[index:])
        refused(WHOLE.model_copy(update={"statements": doubled}))


def test_a_proof_is_for_its_own_place():
    for index in (0, 7, len(WHOLE.statements) - 1):
        proof = WHOLE.statements[index].inclusion
        refused(with_statement(index, index=WHOLE.statements[index].index + 1))
        refused(with_statement(index, inclusion=proof[:-1]))
        refused(with_statement(index, inclusion=(*proof, digest("more"))))
        refused(with_statement(index, inclusion=(digest("other"), *proof[1:])))


def test_a_statement_that_is_not_in_the_ledger_proves_nothing():
    """Rightly signed decisions that the space never logged do not make a release."""
    cast = Cast().until("hand_in")
    logged = cast.certificate()
    cast.approve_all().release().receive()
    real = cast.certificate()
    assert verify(real, cast.trust()).artifacts
    # The same statements against the checkpoint of the ledger as it is without the last of them.
    place = logged.statements[-1]
    borrowed = [
        s.model_copy(update={"inclusion": place.inclusion}) for s in real.statements[len(logged.statements) :]
    ]
    for index in (lambda s: s.index, lambda _: place.index):
        placed = [s.model_copy(update={"index": index(s)}) for s in borrowed]
        error = refused(logged.model_copy(update={"statements": (*logged.statements, *placed)}), cast.trust())
        assert "inclusion proof" in str(error)


@pytest.mark.parametrize("last", ["ask", "grant_all", "release_keys", "hand_in", "approve_all"])
def test_an_unfinished_story_is_no_release(last):
    cast = Cast().until(last)
    assert "not released" in str(refused(cast.certificate(), cast.trust()))


def test_it_is_about_its_own_job():
    refused(WHOLE.model_copy(update={"job": digest("another job")}))


@pytest.mark.parametrize("actor", [*STORY.units, STORY.developer, STORY.buyer], ids=lambda a: a.name)
def test_a_trust_file_without_one_of_them_refuses_it(actor):
    kept = tuple(p for p in TRUST.parties if p.fingerprint != actor.fingerprint)
    error = refused(WHOLE, TRUST.model_copy(update={"parties": kept}))
    assert "trust file" in str(error)


def test_a_trust_file_with_another_ledger_or_operator_refuses_it():
    other = Cast()
    key = NoteKey(ORIGIN, other.ledger.public("ledger")).encode()
    refused(WHOLE, TRUST.model_copy(update={"space": TRUST.space.model_copy(update={"ledger_key": key})}))
    stranger = {"operator": Actor("Other space", "operator").fingerprint}
    refused(WHOLE, TRUST.model_copy(update={"space": TRUST.space.model_copy(update=stranger)}))


def test_a_reviewer_whose_approval_is_forged_by_the_operator():
    """All but the pinned roots are the operator's: ledger, order, proofs. A forged approval is still found."""
    cast = Cast().until("hand_in")
    for unit in cast.units:
        for reviewer in (1, 2):
            forger = Actor("Forger", "source-unit", reviewers=3)
            body = cast.decision_body(unit, reviewer)
            cast.statements.append(cast.sign(forger, f"review-{reviewer}", body, by=unit.fingerprint))
    error = refused(cast.certificate(), cast.trust())
    assert "not signed by a key" in str(error)


# -- one ledger for everybody


def forked_checkpoint() -> str:
    """The ledger's own key signs another tree of the same size."""
    tree = MerkleTree()
    for number in range(len(STORY.statements)):
        tree.append(bytes.fromhex(digest(f"another leaf {number}")))
    return STORY.checkpoint(tree)


def test_another_checkpoint_is_not_the_one_the_proofs_lead_to():
    refused(WHOLE.model_copy(update={"checkpoint": forked_checkpoint()}))
    refused(WHOLE.model_copy(update={"checkpoint": STORY.checkpoint(STORY.tree(STORY.statements[:-1]))}))


def test_a_checkpoint_signed_by_somebody_else_is_none():
    stranger, tree = Actor("Stranger", "auditor"), STORY.tree()
    forged = sign_checkpoint(
        Checkpoint(ORIGIN, tree.size, tree.root()),
        ORIGIN,
        stranger.root,
        lambda m: stranger.keys.sign("root", m),
    )
    refused(WHOLE.model_copy(update={"checkpoint": forged}))


def test_a_forked_ledger_is_found_out_by_its_witness():
    """Positive control: who relies on no witness accepts the fork, for all its proofs are right."""
    witness = Actor("Auditor", "auditor")
    vkey = NoteKey("witness/a", witness.root, KeyKind.COSIGNATURE).encode()

    def cosigned(note: str) -> str:
        return add_cosignature(
            note, cosign(note, "witness/a", witness.root, lambda m: witness.keys.sign("root", m), 7)
        )

    watched = TRUST.with_witness(vkey, 1)
    seen = WHOLE.model_copy(update={"checkpoint": cosigned(WHOLE.checkpoint)})
    assert verify(seen, watched).artifacts
    # The fork: the same story without somebody who has no part in it, and with one more leaf, which the witness has
    # never seen.
    left_out = next(s for s in STORY.statements if s.by in STRANGERS)
    fork = [
        *(s for s in STORY.statements if s is not left_out),
        STORY.sign(STORY.developer, "act", STORY.job_body()),
    ]
    shown = STORY.certificate(SHOWN, log=fork)
    assert verify(shown, TRUST).artifacts
    assert "cosigned by 0" in str(refused(shown, watched))
    other = WHOLE.model_copy(update={"checkpoint": cosigned(forked_checkpoint())})
    refused(other, watched)


# -- the artifact that it is about


def opened(cast: Cast, content: bytes) -> tuple[Certificate, str]:
    """A certificate whose one artifact opens: its salt is known, as the buyer knows it."""
    artifact = cast.output.body.artifacts[0]
    salt = next(
        salt for salt in [_salt(cast)] if commit(content, salt) == artifact.commitment
    )  # the helper packs from a known secret
    part = ReleasedArtifact(name=artifact.name, salt=salt.hex(), content_bytes=len(content))
    return cast.certificate().model_copy(update={"artifacts": (part,)}), artifact.name


def _salt(cast: Cast) -> bytes:
    from trustspace.enclave.packing import _Derivation

    body = cast.output.body
    return _Derivation(b"s" * 32, f"{body.job}/{body.run}/{body.artifacts[0].name}")(b"salt", 32)


def test_a_file_is_the_one_that_was_reviewed_or_it_is_not():
    content = b"weights" * 100
    certificate, name = opened(STORY, content)
    found = verify(certificate, TRUST)
    verify_content(certificate, found, name, content)
    for other in (content[:-1], content + b"\0", bytes([content[0] ^ 1]) + content[1:], b""):
        with pytest.raises(VerificationFailed):
            verify_content(certificate, found, name, other)
    with pytest.raises(VerificationFailed, match="no artifact"):
        verify_content(certificate, found, "metrics.json", content)


def test_another_salt_or_an_artifact_that_was_not_released():
    certificate, name = opened(STORY, b"weights" * 100)
    (part,) = certificate.artifacts
    wrong = certificate.model_copy(update={"artifacts": (part.model_copy(update={"salt": digest("s")}),)})
    with pytest.raises(VerificationFailed):
        verify_content(wrong, verify(wrong, TRUST), name, b"weights" * 100)
    log = certificate.model_copy(update={"artifacts": (part.model_copy(update={"name": "run.log"}),)})
    assert "was not released" in str(refused(log))


# -- the file


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format":"trustspace-certificate-v2"}']
)
def test_what_is_no_certificate_is_refused(data):
    with pytest.raises(InvalidInput):
        load(data)


def test_a_field_too_many_is_refused():
    value = json.loads(WHOLE.to_bytes())
    assert load(json.dumps(value).encode()) == WHOLE
    value["note"] = "trust me"
    with pytest.raises(InvalidInput):
        load(json.dumps(value).encode())


DATA = Cast(units=1, reviewers=1, threshold=1).until("receive")
SMALL, SMALL_TRUST = DATA.certificate().to_bytes(), DATA.trust()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_of_the_file_is_found_or_changes_nothing(data):
    """A changed file either fails, or is the same certificate written differently (spaces between fields)."""
    place = data.draw(st.integers(0, len(SMALL) - 1))
    changed = bytearray(SMALL)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        certificate = load(bytes(changed))
        verify(certificate, SMALL_TRUST)
    except TrustspaceError:
        return
    assert certificate.to_bytes() == SMALL


def test_it_can_be_built_from_what_it_holds():
    entries = [
        (base64.b64decode(s.envelope), s.index, tuple(bytes.fromhex(h) for h in s.inclusion))
        for s in WHOLE.statements
    ]
    assert build(WHOLE.job, entries, WHOLE.checkpoint, ()) == WHOLE
    assert parse(entries[0][0]).type == "party"

"""Proof files: they verify offline, for one entry, and not after any change."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger_parties import (
    LOG,
    NOW,
    STRANGER,
    WITNESS_VKEYS,
    WITNESSES,
    checkpoint_of,
    entry,
    mutations,
    proof_file,
    signed,
    tree_of,
)

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger import (
    LogProof,
    add_cosignature,
    cosign,
    encode_proof,
    parse_proof,
    sign_note,
    verify_proof,
)
from trustspace.ledger.encoding import encode_base64
from trustspace.ledger.merkle import MAX_PROOF_HASHES, MAX_SIZE

TREE = tree_of(11)
PROOF = proof_file(TREE, 6, WITNESSES)
NOTE = signed(checkpoint_of(TREE), WITNESSES)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 11])
def test_every_entry_has_a_proof_that_verifies_for_it_alone(size):
    tree = tree_of(size)
    for index in range(size):
        text = proof_file(tree, index, WITNESSES)
        assert verify_proof(text, entry(index), LOG.vkey, WITNESS_VKEYS, 3) == checkpoint_of(tree)
        for other in (entry(index + 1), entry(index)[:31], entry(index) + b"\x00", b""):
            with pytest.raises(VerificationFailed, match="does not lead to the root"):
                verify_proof(text, other, LOG.vkey, WITNESS_VKEYS, 3)


def test_the_layout_is_that_of_the_specification():
    hashes = [encode_base64(h) for h in TREE.inclusion_proof(6)]
    assert PROOF == "\n".join(["c2sp.org/tlog-proof@v1", "index 6", *hashes, "", NOTE])
    parsed = parse_proof(PROOF)
    assert parsed == LogProof(6, TREE.inclusion_proof(6), NOTE)
    assert verify_proof(parsed, entry(6), LOG.vkey) == checkpoint_of(TREE)


def test_a_log_of_one_entry_has_an_empty_proof():
    text = proof_file(tree_of(1), 0)
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 0\n\nspace.example/ledger\n1\n")
    verify_proof(text, entry(0), LOG.vkey)


def test_no_one_byte_change_verifies():
    text = proof_file(TREE, 6, WITNESSES[:2])
    verify_proof(text, entry(6), LOG.vkey, WITNESS_VKEYS[:2], 2)
    count = 0
    for mutated in mutations(text):
        count += 1
        with pytest.raises(VerificationFailed):
            verify_proof(mutated, entry(6), LOG.vkey, WITNESS_VKEYS[:2], 2)
    assert count > 5000


def test_the_quorum_holds_for_proofs_too():
    text = proof_file(TREE, 6, WITNESSES[:1])
    verify_proof(text, entry(6), LOG.vkey, WITNESS_VKEYS, 1)
    with pytest.raises(VerificationFailed, match="by 1 of the 2"):
        verify_proof(text, entry(6), LOG.vkey, WITNESS_VKEYS, 2)
    with pytest.raises(VerificationFailed):
        verify_proof(text, entry(6), STRANGER.vkey)


def test_a_proof_under_another_checkpoint_is_refused():
    parsed = parse_proof(PROOF)
    for size in range(1, 11):
        moved = LogProof(6, parsed.hashes, signed(checkpoint_of(TREE, size)))
        with pytest.raises(VerificationFailed):
            verify_proof(moved, entry(6), LOG.vkey)


HEAD, _, REST = PROOF.partition("\n\n")
HASH = HEAD.split("\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        HEAD,
        HEAD + "\n",
        HEAD + "\n\n",
        PROOF[:-1],
        PROOF + "\n",
        PROOF + PROOF,
        "\n" + PROOF,
        " " + PROOF,
        PROOF.replace("\n", "\r\n"),
        PROOF.replace("proof@v1", "proof@v2"),
        PROOF.replace("c2sp.org/tlog-proof@v1\n", ""),
        PROOF.replace("index 6\n", ""),
        PROOF.replace("index 6\n", "index 06\n"),
        PROOF.replace("index 6\n", "index +6\n"),
        PROOF.replace("index 6\n", "index -6\n"),
        PROOF.replace("index 6\n", "index  6\n"),
        PROOF.replace("index 6\n", "index 6 \n"),
        PROOF.replace("index 6\n", "index ６\n"),
        PROOF.replace("index 6\n", "index\n"),
        PROOF.replace("index 6\n", "index notanumber\n"),
        PROOF.replace("index 6\n", f"index {MAX_SIZE}\n"),
        PROOF.replace("index 6\n", "index " + "6" * 5000 + "\n"),
        PROOF.replace("index 6\n", "index 6\n!!notbase64!!\n"),
        PROOF.replace("index 6\n", f"index 6\n{encode_base64(bytes(31))}\n"),
        PROOF.replace("index 6\n", f"index 6\n{encode_base64(bytes(64))}\n"),
        PROOF.replace("index 6\n", "index 6\n" + "A" * 42 + "B=\n"),
        PROOF.replace("index 6\n", "index 6\n" + f"{HASH}\n" * MAX_PROOF_HASHES),
        PROOF.replace(HASH, HASH + " "),
        PROOF.replace(HASH, HASH.rstrip("=")),
        PROOF.replace("\n\nspace", "\n\n\nspace"),
        PROOF.replace("\n\nspace", "\nspace"),
        PROOF.replace("space.example", "s" * 200_000),
    ],
)
def test_malformed_proofs_are_refused(text):
    with pytest.raises(VerificationFailed):
        parse_proof(text)


def test_a_proof_longer_than_any_note_is_refused_unread():
    with pytest.raises(VerificationFailed, match="longer than"):
        parse_proof(PROOF.replace("index 6\n", "index 6\n" + f"{HASH}\n" * 5000))


def test_extra_data_is_refused_because_nothing_authenticates_it():
    for extra in ("", "AAAA", "!!notbase64!!"):
        with pytest.raises(VerificationFailed, match="extra data"):
            parse_proof(PROOF.replace("index 6", f"extra {extra}\nindex 6"))


PIECES = ["\n", "\n\n", "c2sp.org/tlog-proof@v1", "index ", "0", "6", HASH, REST, PROOF, "extra ", " ", "="]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=10).map("".join))
@example(PROOF)
@settings(max_examples=400, deadline=None)
def test_what_parses_serialises_to_the_same_text(text):
    try:
        parsed = parse_proof(text)
    except VerificationFailed:
        return
    assert encode_proof(parsed) == text


@given(st.integers(0, MAX_SIZE - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF_HASHES))
@settings(deadline=None)
def test_what_is_written_parses_back(index, hashes):
    proof = LogProof(index, tuple(hashes), NOTE)
    assert parse_proof(encode_proof(proof)) == proof


def test_what_a_proof_cannot_hold_is_not_written():
    hashes = TREE.inclusion_proof(6)
    for bad in (
        LogProof(-1, hashes, NOTE),
        LogProof(MAX_SIZE, hashes, NOTE),
        LogProof(6, (b"\x00" * 31,), NOTE),
        LogProof(6, (bytes(32),) * (MAX_PROOF_HASHES + 1), NOTE),
        LogProof(6, hashes, NOTE[:-1]),
        LogProof(6, hashes, ""),
        LogProof(6, hashes, sign_note("hello\n", LOG.key, LOG.sign)),
    ):
        with pytest.raises(InvalidInput):
            encode_proof(bad)


def test_the_largest_note_fits_a_proof():
    note = signed(checkpoint_of(TREE))
    for _ in range(63):
        note += cosign(note, "n" * 255, STRANGER.public, STRANGER.sign, NOW)
    text = encode_proof(LogProof(6, TREE.inclusion_proof(6), note))
    assert parse_proof(text).checkpoint == note
    with pytest.raises(VerificationFailed):
        add_cosignature(note, cosign(note, "m", WITNESSES[0].public, WITNESSES[0].sign, NOW))

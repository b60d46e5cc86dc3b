"""Witnesses: they follow a log that only grows, and refuse a fork that a careless one would sign."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parties import (
    LOG,
    NOW,
    STRANGER,
    WITNESS_VKEYS,
    WITNESSES,
    checkpoint_of,
    entry,
    signed,
    tree_of,
)

from trustspace.errors import InvalidInput, LogCorrupted, Stale, VerificationFailed
from trustspace.ledger import (
    EMPTY_ROOT,
    Checkpoint,
    MerkleTree,
    WitnessState,
    add_cosignature,
    advance,
    cosign,
    open_checkpoint,
    open_cosigned,
    parse_note,
    sign_note,
)

WITNESS = WITNESSES[0]
TREE = tree_of(20)


def state_at(size: int, tree: MerkleTree = TREE) -> WitnessState:
    return WitnessState(size, tree.root(size), LOG.name)


def forked(at: int, size: int) -> MerkleTree:
    """A tree that shares its first ``at`` leaves with TREE and no later one."""
    tree = tree_of(at)
    for number in range(at, size):
        tree.append(entry(1000 + number))
    return tree


def line_of(note: str, witness=WITNESS, time_seconds: int = NOW) -> str:
    return cosign(note, witness.name, witness.public, witness.sign, time_seconds)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).map(sorted))
@settings(deadline=None)
def test_a_witness_follows_a_growing_log(sizes):
    state = WitnessState()
    for size in sizes:
        state = advance(
            state, state.size, checkpoint_of(TREE, size), TREE.consistency_proof(state.size, size)
        )
        assert state == state_at(size)


@given(st.integers(1, 20), st.integers(0, 19), st.integers(1, 25))
@settings(deadline=None, max_examples=300)
def test_no_witness_follows_a_fork(held, at, size):
    at = min(at, held - 1)
    fork = forked(at, max(size, held))
    new = checkpoint_of(fork)
    proofs = [
        (),
        fork.consistency_proof(held),
        fork.consistency_proof(at),
        TREE.consistency_proof(held, min(20, new.size)) if new.size >= held else (),
    ]
    for proof in proofs:
        with pytest.raises(LogCorrupted, match="forked or the proof is wrong"):
            advance(state_at(held), held, new, proof)
    # The honest log of that size is followed: it is the fork that is refused, not the step.
    honest = tree_of(new.size)
    advance(state_at(held), held, checkpoint_of(honest), honest.consistency_proof(held))


def test_a_witness_without_the_check_would_let_two_clients_see_two_logs():
    held, fork = 10, forked(7, 12)
    notes = [signed(checkpoint_of(TREE, 12)), signed(checkpoint_of(fork, 12))]
    # The control: cosign alone signs both, and each client's quorum is met over a different log.
    careless = [add_cosignature(note, line_of(note)) for note in notes]
    seen = [open_checkpoint(note, LOG.vkey, [WITNESS.witness_vkey], 1) for note in careless]
    assert seen[0].size == seen[1].size
    assert seen[0].root != seen[1].root
    # The defence: from what it holds, the witness can go to one of them, and from there not to the other.
    state = advance(state_at(held), held, seen[0], TREE.consistency_proof(held, 12))
    for proof in ((), fork.consistency_proof(held, 12)):
        with pytest.raises(LogCorrupted):
            advance(state, 12, seen[1], proof)
        with pytest.raises(LogCorrupted):
            advance(state_at(held), held, seen[1], proof)


def test_a_log_that_shrinks_is_refused():
    for size in range(10):
        for proof in ((), TREE.consistency_proof(size, 10)):
            with pytest.raises(Stale, match=f"shrunk from 10 to {size}"):
                advance(state_at(10), 10, checkpoint_of(TREE, size), proof)


def test_a_sender_who_believes_another_size_is_told_what_is_held():
    for believed in (0, 9, 11):
        with pytest.raises(Stale) as caught:
            advance(state_at(10), believed, checkpoint_of(TREE, 12), TREE.consistency_proof(10, 12))
        assert caught.value.details["size"] == 10
        assert "Prove consistency from 10." in caught.value.public_message


def test_the_same_checkpoint_again_changes_nothing():
    state = state_at(10)
    assert advance(state, 10, checkpoint_of(TREE, 10), ()) == state
    with pytest.raises(LogCorrupted):
        advance(state, 10, checkpoint_of(TREE, 10), (EMPTY_ROOT,))


def test_another_root_of_the_same_size_is_a_fork():
    with pytest.raises(LogCorrupted):
        advance(state_at(10), 10, checkpoint_of(forked(9, 10)), ())


def test_the_first_checkpoint_needs_an_empty_proof_and_binds_the_origin():
    first = checkpoint_of(TREE, 10)
    state = advance(WitnessState(), 0, first, ())
    assert state.origin == LOG.name
    with pytest.raises(LogCorrupted):
        advance(WitnessState(), 0, first, (EMPTY_ROOT,))
    other = checkpoint_of(TREE, 12, origin="other.example/ledger")
    with pytest.raises(VerificationFailed, match="another log"):
        advance(state, 10, other, TREE.consistency_proof(10, 12))
    empty = advance(WitnessState(), 0, checkpoint_of(TREE, 0), ())
    with pytest.raises(VerificationFailed, match="another log"):
        advance(empty, 0, other, ())


def test_every_mutation_of_the_proof_is_refused():
    proof = TREE.consistency_proof(7, 20)
    new = checkpoint_of(TREE, 20)
    advance(state_at(7), 7, new, proof)
    for i, value in enumerate(proof):
        for j in range(32):
            changed = value[:j] + bytes([value[j] ^ 0x80]) + value[j + 1 :]
            with pytest.raises(LogCorrupted):
                advance(state_at(7), 7, new, (*proof[:i], changed, *proof[i + 1 :]))
        with pytest.raises(LogCorrupted):
            advance(state_at(7), 7, new, (*proof[:i], *proof[i + 1 :]))
    with pytest.raises(LogCorrupted):
        advance(state_at(7), 7, new, (*proof, bytes(32)))


def test_a_state_that_no_log_has_is_refused():
    for state in (
        {"size": 0, "root": bytes(32)},
        {"size": 5, "root": TREE.root(5)},
        {"size": 5},
        {"size": 5, "root": bytes(31), "origin": "log"},
        {"size": -1, "root": bytes(32), "origin": "log"},
        {"size": 0, "root": bytes(32), "origin": "log"},
        {"size": 5, "root": bytes(32), "origin": "a b"},
    ):
        with pytest.raises(InvalidInput):
            WitnessState(**state)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda w: w.name)
@pytest.mark.parametrize("time_seconds", [0, NOW, 2**63 - 1])
def test_a_cosignature_goes_round(witness, time_seconds):
    note = signed(checkpoint_of(TREE))
    line = line_of(note, witness, time_seconds)
    assert line.startswith(f"— {witness.name} ")
    assert line.endswith("\n")
    cosigned = add_cosignature(note, line)
    assert cosigned == note + line
    checkpoint, times = open_cosigned(cosigned, LOG.vkey, WITNESS_VKEYS, 1)
    assert checkpoint == checkpoint_of(TREE)
    assert times == {witness.witness_vkey: time_seconds}


def test_a_cosignature_is_for_one_checkpoint():
    line = line_of(signed(checkpoint_of(TREE, 10)))
    moved = add_cosignature(signed(checkpoint_of(TREE, 11)), line)
    with pytest.raises(VerificationFailed, match="does not fit"):
        open_checkpoint(moved, LOG.vkey, WITNESS_VKEYS, 0)


def test_a_witness_signs_checkpoints_only():
    for text in ("hello\n", checkpoint_of(TREE).body() + "extension\n"):
        with pytest.raises(VerificationFailed):
            line_of(sign_note(text, LOG.key, LOG.sign))
    with pytest.raises(VerificationFailed):
        line_of(checkpoint_of(TREE).body())


def test_impossible_times_names_and_keys_are_refused():
    note = signed(checkpoint_of(TREE))
    for time_seconds in (-1, 2**63):
        with pytest.raises(InvalidInput, match="time"):
            line_of(note, time_seconds=time_seconds)
    with pytest.raises(InvalidInput, match="key name"):
        cosign(note, "a b", WITNESS.public, WITNESS.sign, NOW)
    with pytest.raises(InvalidInput, match="not the one that belongs"):
        cosign(note, WITNESS.name, WITNESS.public, STRANGER.sign, NOW)


def test_a_later_cosignature_takes_the_place_of_an_earlier_one():
    note = signed(checkpoint_of(TREE), WITNESSES)
    again = add_cosignature(note, line_of(note, WITNESSES[1], NOW + 60))
    assert len(parse_note(again).signatures) == 4
    times = open_cosigned(again, LOG.vkey, WITNESS_VKEYS, 3)[1]
    assert times[WITNESSES[1].witness_vkey] == NOW + 60
    assert add_cosignature(again, line_of(note, WITNESSES[1], NOW + 60)) == again


def test_what_is_added_must_be_a_cosignature_line():
    note = signed(checkpoint_of(TREE))
    own = "— " + note.partition("— ")[2]
    line = line_of(note)
    for bad in (own, line[:-1], line + "\n", line + line, "\n" + line, line.replace("— ", ""), ""):
        with pytest.raises(VerificationFailed):
            add_cosignature(note, bad)


def test_the_logs_own_signature_cannot_be_pushed_out():
    note = signed(checkpoint_of(TREE))
    mine = parse_note(note).signatures[0]
    posing = type(mine)(mine.name, mine.key_hash, bytes(72)).line()
    assert parse_note(add_cosignature(note, posing)).signatures[0] == mine


def test_a_note_does_not_grow_without_bound():
    note = signed(checkpoint_of(TREE))
    full = note + line_of(note, STRANGER) * 63
    with pytest.raises(VerificationFailed, match="more than 64"):
        add_cosignature(full + line_of(note, STRANGER), line_of(note))
    # Replacing makes room.
    assert len(parse_note(add_cosignature(full, line_of(note, STRANGER))).signatures) == 2


def test_the_witness_protocol_on_text_alone():
    """What a witness does with what arrives: open, advance, keep, cosign; the client then opens."""
    state = WitnessState()
    for size in (3, 3, 9, 20):
        note = signed(checkpoint_of(TREE, size))
        proof = TREE.consistency_proof(state.size, size)
        checkpoint = open_checkpoint(note, LOG.vkey)
        state = advance(state, state.size, checkpoint, proof)
        cosigned = add_cosignature(note, line_of(note))
        assert open_checkpoint(cosigned, LOG.vkey, [WITNESS.witness_vkey], 1) == Checkpoint(
            state.origin, state.size, state.root
        )

"""Encrypted scores: exact, hidden from the key's owner, within proven slots; and what crafted weights gain unproven."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paillier import private_key

from trustspace.aggregation.paillier import scoring
from trustspace.aggregation.paillier.keys import _encrypt
from trustspace.aggregation.paillier.packing import Slots
from trustspace.aggregation.paillier.proofs import (
    EncryptedWeights,
    ProvenWeights,
    encrypt_weights,
    proven_bits,
    verify_weights,
)
from trustspace.aggregation.paillier.scoring import (
    Scorer,
    column_sum_bits,
    column_sums,
    open_blinded,
    open_scores,
    score_slots,
    unblind,
)
from trustspace.errors import InvalidInput, VerificationFailed

PRIVATE = private_key()
KEY = PRIVATE.public


def encrypted(weights, bits):
    """Weights as if their range had been proven."""
    return ProvenWeights(KEY, tuple(KEY.encrypt(weight) for weight in weights), bits)


def exact(rows, weights):
    return [sum(int(x) * w for x, w in zip(row, weights, strict=True)) for row in rows]


@settings(max_examples=25)
@given(st.data())
def test_scores_are_exact(data):
    value_bits, weight_bits = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    features, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    largest, heaviest = (1 << value_bits) - 1, (1 << weight_bits) - 1
    weights = data.draw(st.lists(st.integers(-heaviest, heaviest), min_size=features, max_size=features))
    value = st.one_of(st.integers(-largest, largest), st.sampled_from((largest, -largest, 0)))
    rows = data.draw(
        st.lists(st.lists(value, min_size=features, max_size=features), min_size=count, max_size=count)
    )
    scorer = Scorer(encrypted(weights, weight_bits), value_bits)
    scores = scorer.score(np.array(rows, np.int64))
    assert open_scores(PRIVATE, scorer.slots, scores, count) == exact(rows, weights)


@pytest.mark.parametrize(("widths", "strides"), [([12], 1), ([1] * 12, 2), ([5, 7], 4), ([4, 4, 4], 8)])
@pytest.mark.parametrize("count", [1, 42, 43, 100])
def test_every_plan_gives_the_same(widths, strides, count, monkeypatch):
    monkeypatch.setattr(scoring, "_plan", lambda *sizes: (widths, strides))
    weights = [4095, -4095, 1]
    rows = np.random.default_rng(count).integers(-2047, 2048, (count, 3))
    rows[0], rows[-1] = 2047, -2047
    scorer = Scorer(encrypted(weights, 32), 11)
    assert scorer.slots.width == 48
    found = scorer.score(rows)
    assert len(found) == -(-count // 42)
    assert open_scores(PRIVATE, scorer.slots, found, count) == exact(rows, weights)


@settings(max_examples=80)
@given(st.integers(1, 60), st.integers(1, 62), st.integers(0, 100_000))
def test_plans_cover_every_value(features, value_bits, rows):
    slots = score_slots(KEY, features, 20, value_bits)
    widths, strides = scoring._plan(features, value_bits, slots, rows)
    assert sum(widths) == value_bits + 1
    assert 1 <= strides <= slots.count
    assert strides == 1 or features * sum(1 << width for width in widths) * strides <= scoring._MAX_POWERS


def test_more_rows_get_larger_tables():
    slots = score_slots(KEY, 30, 25, 15)
    few, many = (scoring._plan(30, 15, slots, rows) for rows in (10, 100_000))
    assert len(few[0]) > len(many[0])
    assert few[1] < many[1]


def test_proven_weights_score_end_to_end():
    weights = [5, -7, 4095]
    proven = verify_weights(KEY, encrypt_weights(KEY, weights, 12, b"job"), b"job")
    rows = np.array([[1, 2, 3], [0, 0, 0], [-7, 7, -1]], np.int64)
    scorer = Scorer(proven, 3)
    assert scorer.slots == score_slots(KEY, 3, proven_bits(12, 3), 3)
    assert open_scores(PRIVATE, scorer.slots, scorer.score(rows), 3) == exact(rows, weights)


def test_the_largest_scores_stay_within_their_slots():
    bits, value_bits, features = 16, 16, 4
    heaviest, largest = (1 << bits) - 1, (1 << value_bits) - 1
    scorer = Scorer(encrypted([heaviest] * features, bits), value_bits)
    rows = np.array([[largest] * features, [-largest] * features] * scorer.slots.count, np.int64)
    found = open_scores(PRIVATE, scorer.slots, scorer.score(rows), len(rows))
    assert found == [features * heaviest * largest, -features * heaviest * largest] * scorer.slots.count


def test_sizes_that_fit_no_slot_are_refused():
    assert score_slots(KEY, 1, 1900, 62).count == 1
    for sizes in ((1, 2000, 62), (0, 8, 8), (4097, 8, 8), (1, 8, 0), (1, 8, 63), (1, 0, 8)):
        with pytest.raises(InvalidInput):
            score_slots(KEY, *sizes)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[8, 0]], np.int64),
        np.array([[0, -8]], np.int64),
        np.array([[np.iinfo(np.int64).min, 0]], np.int64),
        np.array([[1, 2, 3]], np.int64),
        np.array([1, 2], np.int64),
        np.array([[1, 2]], np.int32),
        np.array([[1.0, 2.0]]),
    ],
)
def test_rows_beyond_what_was_declared_are_refused(rows):
    with pytest.raises(InvalidInput):
        Scorer(encrypted([1, 1], 8), 3).score(rows)


def test_no_rows_give_no_ciphertexts():
    assert Scorer(encrypted([1, 1], 8), 3).score(np.zeros((0, 2), np.int64)) == []


def test_the_owner_cannot_tell_rows_of_one_score_apart():
    """The owner knows the noise of every weight: unhidden, a score's ciphertext shows which row it is of."""
    weights, exponents = [1, 1], [1234567, 7654321]
    ciphertexts = tuple(_encrypt(KEY, w, r) for w, r in zip(weights, exponents, strict=True))
    scorer = Scorer(ProvenWeights(KEY, ciphertexts, 8), 3)
    guesses = {
        (a, 5 - a): KEY.add(KEY.plain(5), KEY.noise(a * 1234567 + (5 - a) * 7654321)) for a in range(6)
    }
    for row in guesses:
        rows = np.array([row], np.int64)
        scores = scorer.score(rows)
        bare = scorer._tables.packed(rows)
        assert [guess for guess, ciphertext in guesses.items() if ciphertext == bare] == [row]
        assert scores[0] not in guesses.values()
        assert open_scores(PRIVATE, scorer.slots, scores, 1) == [5]
        assert scorer.score(rows) != scores


def test_a_crafted_weight_carries_a_second_column_unless_ranges_are_proven():
    age, secret = np.array([[71, 1], [34, 0], [55, 1]], np.int64).T
    rows = np.stack([age, secret], axis=1)
    crafted = [1, 1 << 20]  # the score's low bits are the age, its high bits the other column
    # Without a proof the enclave would count with whatever bits its owner states.
    scorer = Scorer(encrypted(crafted, 21), 7)
    found = open_scores(PRIVATE, scorer.slots, scorer.score(rows), 3)
    assert [(score % (1 << 20), score >> 20) for score in found] == list(zip(age, secret, strict=True))
    # With it: no honest proof exists for weights of 4 bits, and none of other weights will do.
    with pytest.raises(InvalidInput, match="4 bits"):
        encrypt_weights(KEY, crafted, 4, b"job")
    honest = encrypt_weights(KEY, [1, 1], 4, b"job")
    swapped = EncryptedWeights((honest.ciphertexts[0], KEY.encrypt(crafted[1])), 4, honest.proof)
    with pytest.raises(VerificationFailed):
        verify_weights(KEY, swapped, b"job")
    # What is proven leaves too few bits: the ages would run into the other column.
    assert proven_bits(4, 2) < 20


def test_blinded_scores_open_for_the_holder_of_the_blinds_only():
    weights = [3, -2]
    scorer = Scorer(encrypted(weights, 8), 7)
    rows = np.random.default_rng(7).integers(-127, 128, (150, 2))
    blinded, blinds = scorer.blind(scorer.score(rows))
    assert len(blinded) == len(blinds) == 2
    opened = open_blinded(PRIVATE, blinded)
    assert all(0 <= plaintext < KEY.n for plaintext in opened)
    assert unblind(KEY, scorer.slots, opened, blinds, 150) == exact(rows, weights)
    # A uniform number modulo n leaves the slots of which some are known to be near zero.
    with pytest.raises(VerificationFailed):
        scorer.slots.unpack(opened, 150)
    with pytest.raises(VerificationFailed):
        unblind(KEY, scorer.slots, opened, blinds[::-1], 150)
    with pytest.raises(InvalidInput, match="as many blinds"):
        unblind(KEY, scorer.slots, opened, blinds[:1], 150)


def test_blinds_are_drawn_anew_from_the_whole_range(monkeypatch):
    asked = []
    monkeypatch.setattr(scoring, "below", lambda limit: asked.append(limit) or len(asked))
    scorer = Scorer(encrypted([1], 8), 3)
    scores = scorer.score(np.array([[3]], np.int64)) * 2
    blinded, blinds = scorer.blind(scores)
    assert asked == [KEY.n, KEY.n]
    assert blinds == [1, 2]
    assert PRIVATE.decrypt_many(blinded) == [4, 5]


@settings(max_examples=10)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-15, 15), st.integers(-15, 15)), min_size=1, max_size=30
    )
)
def test_scores_of_column_sums_are_sums_of_scores(told):
    table = np.array(told, np.int64)
    groups, rows = table[:, 0].copy(), table[:, 1:].copy()
    weights = [9, -4]
    sums = column_sums(rows, groups, 3)
    scorer = Scorer(encrypted(weights, 8), column_sum_bits(4, len(rows)))
    found = open_scores(PRIVATE, scorer.slots, scorer.score(sums), 3)
    scores = np.array(exact(rows, weights))
    assert found == [int(scores[groups == group].sum()) for group in range(3)]


def test_column_sums_refuse_what_has_no_group():
    rows, groups = np.ones((2, 2), np.int64), np.array([0, 1], np.int64)
    assert column_sums(rows, groups, 3).tolist() == [[1, 1], [1, 1], [0, 0]]
    assert column_sums(rows[:0], groups[:0], 2).tolist() == [[0, 0], [0, 0]]
    for bad in (groups[:1], groups - 1, groups + 2, groups.astype(np.int32)):
        with pytest.raises(InvalidInput):
            column_sums(rows, bad, 3)
    with pytest.raises(InvalidInput):
        column_sums(rows.astype(float), groups, 3)


def test_bits_of_column_sums():
    assert [column_sum_bits(4, rows) for rows in (0, 1, 2, 3, 4, 5, 1024)] == [4, 4, 5, 6, 6, 7, 14]
    assert all(rows * 15 < 1 << column_sum_bits(4, rows) for rows in range(1, 300))
    with pytest.raises(InvalidInput, match="62 bits"):
        column_sum_bits(60, 9)


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(VerificationFailed):
        open_scores(PRIVATE, Slots(24, 85), [KEY.encrypt(1 << 24)], 1)

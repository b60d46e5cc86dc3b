"""Pairwise masks: what is sent is noise, the sum opens, and nothing is protected twice."""

import copy
import itertools
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.aggregation import masks
from trustspace.aggregation.blocks import BLOCK_WORDS
from trustspace.aggregation.fixedpoint import MAX_PARTICIPANTS, FixedPoint
from trustspace.aggregation.keystream import SEGMENT_WORDS
from trustspace.aggregation.masks import PairwiseMasks, Taken
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

CONTEXT = b"digest of the set"


def pair_secrets(members, salt=b""):
    return {
        pair: (salt + bytes([pair[0], pair[1], 1])).ljust(32, b"s")
        for pair in itertools.combinations(range(members), 2)
    }


def begin(members, context=CONTEXT, secrets=None):
    secrets = secrets or pair_secrets(members)
    return [
        PairwiseMasks().begin(
            own, {o: secrets[min(own, o), max(own, o)] for o in range(members) if o != own}, context
        )
        for own in range(members)
    ]


def reveal(side, members=2):
    return side.reveal(range(members), {})


def revealed(sides):
    return {at: reveal(side, len(sides)) for at, side in enumerate(sides)}


def opened(side, start, total, seeds):
    assert side.unlock(range(len(seeds)), seeds, total) == ()
    return side.open(start, total)


def random_words(count, seed=1):
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)


def looks_uniform(words):
    """Each bit of a few thousand words is set about half the time (10 standard deviations of slack)."""
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    return bool(np.all(np.abs(bits - 0.5) < 5 / np.sqrt(len(words))))


def added(vectors):
    total = np.zeros(len(vectors[0]), np.uint32)
    for vector in vectors:
        PairwiseMasks().add_into(total, vector)
    return total


@settings(max_examples=25, deadline=None)
@given(members=st.integers(2, 6), count=st.integers(0, 40), start=st.integers(0, 2 * SEGMENT_WORDS))
def test_the_sum_opens_exactly_for_everybody(members, count, start):
    sides = begin(members)
    vectors = [random_words(count, seed) for seed in range(members)]
    total = added([side.protect(start, vector) for side, vector in zip(sides, vectors, strict=True)])
    seeds = revealed(sides)
    for side in sides:
        assert np.array_equal(opened(side, start, total, seeds), added(vectors))


def test_a_full_set_of_256_members_at_the_bound():
    form = FixedPoint(MAX_PARTICIPANTS, 1.0)
    own = form.encode(np.array([1, -1, 0.5, 5], np.float32), 1.0)
    sides = begin(MAX_PARTICIPANTS)
    total = added([side.protect(0, own) for side in sides])
    seeds = revealed(sides)
    sums = form.decode(opened(sides[200], 0, total, seeds))
    assert np.all(np.abs(sums - [256, -256, 128, 256]) <= 256 * 0.5001 / form.scale)
    with pytest.raises(InvalidInput):
        PairwiseMasks().begin(0, {o: bytes(32) for o in range(1, 257)}, CONTEXT)


def test_what_is_sent_is_noise_and_so_is_every_partial_sum():
    sides = begin(3)
    sent = [side.protect(0, np.zeros(5000, np.uint32)) for side in sides]
    for words in (*sent, added(sent[:2]), added(sent[1:]), added(sent)):
        assert looks_uniform(words)
    assert not looks_uniform(np.zeros(5000, np.uint32))
    # The private masks alone keep the complete sum closed: without one of them it stays noise.
    seeds = revealed(sides)
    wrong = seeds | {1: bytes(32)}
    assert looks_uniform(opened(sides[0], 0, added(sent), wrong))
    assert not np.any(opened(sides[0], 0, added(sent), seeds))


def test_a_wrong_secret_gives_noise():
    secrets = pair_secrets(3)
    sides = begin(3)
    sides[2] = PairwiseMasks().begin(2, {0: secrets[0, 2], 1: bytes(32)}, CONTEXT)
    total = added([side.protect(0, np.zeros(5000, np.uint32)) for side in sides])
    seeds = revealed(sides)
    assert looks_uniform(opened(sides[0], 0, total, seeds))


def test_masks_depend_on_context_positions_and_attempt():
    zeros = np.zeros(64, np.uint32)
    sent = [
        masks._begin(own, secrets, context, seed).protect(0, zeros).tobytes()
        for own, secrets, context, seed in [
            (0, {1: b"s" * 32}, b"one", b"p" * 32),
            (0, {1: b"s" * 32}, b"two", b"p" * 32),
            (1, {0: b"s" * 32}, b"one", b"p" * 32),
            (0, {1: b"t" * 32}, b"one", b"p" * 32),
            (0, {1: b"s" * 32}, b"one", b"q" * 32),
        ]
    ]
    assert len(set(sent)) == len(sent)
    # Two pairs with one secret, were there such, would still have two masks.
    three = masks._begin(0, {1: b"s" * 32, 2: b"s" * 32}, b"one", b"p" * 32)
    alone = [masks._begin(0, {1: b"s" * 32}, b"one", b"p" * 32) for _ in range(2)]
    private = masks._begin(1, {0: b"s" * 32}, b"one", b"p" * 32)
    assert three.protect(0, zeros).tobytes() not in {a.protect(0, zeros).tobytes() for a in (*alone, private)}
    # The same beginning twice: a fresh private seed each time.
    again = [PairwiseMasks().begin(0, {1: b"s" * 32}, b"one") for _ in range(2)]
    assert again[0].protect(0, zeros).tobytes() != again[1].protect(0, zeros).tobytes()
    assert reveal(again[0]) != reveal(again[1])


def test_vector_by_independent_means():
    """The words derived here from RFC 5869 and AES-256 alone."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def stream(secret, info):
        extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
        key = hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()
        data = Cipher(algorithms.AES256(key), modes.CTR(bytes(15) + b"\x02")).encryptor().update(bytes(16))
        return [int.from_bytes(data[at : at + 4], "little") for at in range(0, 16, 4)]

    digest = hashlib.sha256(CONTEXT).digest()
    below = stream(b"a" * 32, b"trustspace pair mask v1" + digest + b"\x00\x00\x00\x01")
    above = stream(b"b" * 32, b"trustspace pair mask v1" + digest + b"\x00\x01\x00\x02")
    private = stream(b"p" * 32, b"trustspace private mask v1" + digest + b"\x00\x01")
    side = masks._begin(1, {0: b"a" * 32, 2: b"b" * 32}, CONTEXT, b"p" * 32)
    words = side.protect(0, np.array([1, 2, 3, 4], np.uint32))
    expected = [
        (w - lo + hi + own) % 2**32
        for w, lo, hi, own in zip([1, 2, 3, 4], below, above, private, strict=True)
    ]
    assert words.tolist() == expected
    # Kept, so that a change of the format is seen: version v1 of the scheme has these words.
    assert words.tolist() == KEPT


KEPT = [1903929802, 537396173, 1780754723, 1595910325]


def test_any_chunking_in_any_order_gives_the_same_words():
    count = SEGMENT_WORDS + BLOCK_WORDS + 13
    vector = random_words(count)
    whole = masks._begin(0, {1: b"s" * 32, 2: b"t" * 32}, CONTEXT, b"p" * 32).protect(3, vector)
    for cuts, order in [
        ([0, 1, 2, 7, 1000, BLOCK_WORDS + 1, SEGMENT_WORDS - 4, count], [0, 1, 2, 3, 4, 5, 6]),
        ([0, 5, BLOCK_WORDS, SEGMENT_WORDS - 3, SEGMENT_WORDS + 2, count], [3, 0, 4, 2, 1]),
    ]:
        side = masks._begin(0, {1: b"s" * 32, 2: b"t" * 32}, CONTEXT, b"p" * 32)
        result = np.zeros(count, np.uint32)
        for at in order:
            a, b = cuts[at], cuts[at + 1]
            result[a:b] = side.protect(3 + a, vector[a:b])
        assert np.array_equal(result, whole)


def test_opening_by_chunks_and_again():
    sides = begin(3)
    vectors = [random_words(3000, seed) for seed in range(3)]
    total = added([side.protect(0, vector) for side, vector in zip(sides, vectors, strict=True)])
    seeds = revealed(sides)
    for a, b in [(0, 3000), (10, 13), (2000, 3000), (0, 7), (0, 0)]:
        assert np.array_equal(opened(sides[1], a, total[a:b], seeds), added(vectors)[a:b])


def test_a_position_is_protected_once():
    side = begin(2)[0]
    side.protect(10, random_words(10))
    side.protect(30, random_words(10))
    for start, count in [(10, 10), (19, 1), (0, 11), (15, 2), (20, 11), (39, 5), (0, 100)]:
        with pytest.raises(InvalidTransition):
            side.protect(start, random_words(count, seed=2))
    side.protect(20, random_words(10))
    side.protect(0, random_words(10))
    side.protect(12, random_words(0))
    with pytest.raises(InvalidTransition):
        side.protect(25, random_words(1))
    side.protect(40, random_words(1))


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=40))
def test_taken_positions_are_those_of_a_plain_set(stretches):
    taken, plain = Taken(), set()
    for start, count in stretches:
        wanted = set(range(start, start + count))
        if wanted & plain:
            with pytest.raises(InvalidTransition):
                taken.take(start, start + count)
        else:
            taken.take(start, start + count)
            plain |= wanted
    assert {p for a, b in zip(taken._starts, taken._ends, strict=True) for p in range(a, b)} == plain
    # Neighbours are one stretch: a pass in order keeps a single one, however long.
    assert all(end < start for end, start in zip(taken._ends, taken._starts[1:], strict=False))


def test_nothing_is_protected_after_revealing():
    side = begin(2)[0]
    side.protect(0, random_words(4))
    seed = reveal(side)
    assert len(seed) == 32
    assert reveal(side) == seed
    for members, shares in (((0,), {}), (range(3), {}), (range(2), {0: b""})):
        with pytest.raises(InvalidInput):
            side.reveal(members, shares)
    with pytest.raises(InvalidTransition):
        side.protect(4, random_words(4))


def test_nothing_is_left_after_destroying():
    sides = begin(2)
    total = added([side.protect(0, random_words(4)) for side in sides])
    protecting = [weakref.ref(stream) for side in sides for stream in side._adding + side._subtracting]
    seeds = revealed(sides)
    opened(sides[0], 0, total, seeds)
    opening = [weakref.ref(stream) for stream in sides[0]._opening]
    assert (len(protecting), len(opening)) == (4, 2)
    assert all(stream() for stream in opening)
    assert not any(stream() for stream in protecting)
    sides[0].destroy()
    sides[0].destroy()
    assert not any(stream() for stream in opening)
    assert not sides[0]._seed
    assert not sides[0]._buffer.raw.any()
    for act in (
        lambda: sides[0].protect(4, random_words(4)),
        lambda: reveal(sides[0]),
        lambda: opened(sides[0], 0, total, seeds),
    ):
        with pytest.raises(InvalidTransition):
            act()


def test_a_side_cannot_be_copied():
    side = begin(2)[0]
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            act(side)


def test_seeds_of_all_members_open_and_nothing_else():
    sides = begin(3)
    total = added([side.protect(0, random_words(4)) for side in sides])
    seeds = revealed(sides)
    for bad in (
        {},
        {0: seeds[0], 1: seeds[1]},
        seeds | {3: bytes(32)},
        seeds | {1: bytes(31)},
        seeds | {0: bytes(32)},  # the own one, altered
    ):
        with pytest.raises(VerificationFailed):
            opened(sides[0], 0, total, bad)
    # A refused mapping leaves no trace.
    assert np.array_equal(opened(sides[0], 0, total, seeds), added([random_words(4)] * 3))


@pytest.mark.parametrize(
    ("own", "secrets"),
    [
        (0, {}),
        (0, {0: bytes(32)}),
        (0, {2: bytes(32)}),
        (2, {0: bytes(32)}),
        (-1, {0: bytes(32)}),
        (0, {1: bytes(31)}),
        (0, {1: bytes(32), 2: bytes(33)}),
    ],
)
def test_positions_and_secrets_are_checked(own, secrets):
    with pytest.raises(InvalidInput):
        PairwiseMasks().begin(own, secrets, CONTEXT)


def test_words_and_positions_are_checked():
    side = begin(2)[0]
    for start, words in [
        (-1, random_words(4)),
        (0, random_words(4).view(np.int32)),
        (0, random_words(4).astype(np.uint64)),
        (0, random_words(8)[::2]),
        (0, random_words(8).reshape(2, 4)),
    ]:
        with pytest.raises(InvalidInput):
            side.protect(start, words)
    side.protect(0, random_words(4))  # refused words take no position


def test_the_input_is_left_alone():
    side = begin(2)[0]
    words = random_words(100)
    before = words.copy()
    words.flags.writeable = False
    side.protect(0, words)
    assert np.array_equal(words, before)


def test_adding_wraps_and_checks():
    total = np.array([2**32 - 1, 5], np.uint32)
    PairwiseMasks().add_into(total, np.array([2, 6], np.uint32))
    assert total.tolist() == [1, 11]
    for bad in (np.zeros(3, np.uint32), np.zeros(2, np.int32), np.zeros(4, np.uint32)[::2]):
        with pytest.raises(InvalidInput):
            PairwiseMasks().add_into(total, bad)
    with pytest.raises(InvalidInput):
        PairwiseMasks().add_into(np.zeros(2), np.zeros(2, np.uint32))


def test_the_scheme_has_the_name_that_members_sign():
    assert PairwiseMasks().name == "pairwise-masks-v1"

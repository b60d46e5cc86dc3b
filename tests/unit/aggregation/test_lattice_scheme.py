"""The lattice sum as a scheme: sums open exactly, false reveals do not, and nothing is protected twice."""

import copy
import dataclasses
import inspect
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lattice import packed, public_row, random_words, secret_of, signed, transform

from trustspace.aggregation import residues
from trustspace.aggregation.lattice import keys, reference, scheme
from trustspace.aggregation.lattice.backend import available_backends
from trustspace.aggregation.lattice.parameters import PARAMETERS, L, S
from trustspace.aggregation.lattice.reference import NumpyBackend
from trustspace.aggregation.lattice.scheme import LatticeSum
from trustspace.aggregation.scheme import commitment_of
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

CONTEXT = b"digest of the set"
SETS = pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: p.name)


def pair_secrets(own, members):
    return {o: bytes([min(own, o), max(own, o)]).ljust(32, b"s") for o in range(members) if o != own}


def begin(kind, members, context=CONTEXT):
    return [kind.begin(own, pair_secrets(own, members), context) for own in range(members)]


def added(kind, vectors):
    total = np.zeros(len(vectors[0]), np.uint32)
    for vector in vectors:
        kind.add_into(total, vector)
    return total


def revealed(sides, among, holders=None):
    """What each of the holders reveals for these members, after all have shared what there is to share."""
    shares = [side.shares() for side in sides]
    return {
        holder: sides[holder].reveal(among, {m: shares[m][holder] for m in among if shares[m]})
        for holder in (range(len(sides)) if holders is None else holders)
    }


def summed(kind, members, blocks=1, seed=0):
    """A set of sides whose protected vectors are in a sum, with that sum and the one it should open to."""
    sides = begin(kind, members)
    bound = kind.largest // members
    vectors = [random_words(kind.parameters, seed + at, blocks, bound) for at in range(members)]
    total = added(kind, [side.protect(0, vector) for side, vector in zip(sides, vectors, strict=True)])
    return sides, total, sum(signed(vector) for vector in vectors)


# -- Sums ------------------------------------------------------------------------------------------------------


@SETS
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_the_sum_opens_exactly_for_everybody(parameters, data):
    members = data.draw(st.integers(2, 7))
    backend = data.draw(st.sampled_from(available_backends()))
    threshold = data.draw(st.sampled_from([0, members // 2 + 1, members])) if members > 2 else 0
    kind, least = LatticeSum(parameters, threshold, backend), 2 if threshold else 1
    blocks = data.draw(st.integers(least, 4))
    # Those whose vectors are in the sum, and those who help to open it: all, unless a threshold lets some be lost.
    among = (
        sorted(data.draw(st.sets(st.sampled_from(range(members)), min_size=threshold)))
        if threshold
        else range(members)
    )
    holders = (
        sorted(data.draw(st.sets(st.sampled_from(range(members)), min_size=threshold)))
        if threshold
        else range(members)
    )
    sides, bound, size = begin(kind, members), kind.largest // members, parameters.block
    seeds = data.draw(st.integers(0, 2**20))
    vectors = [random_words(parameters, seeds + at, blocks, bound) for at in range(members)]
    sent = [np.empty(blocks * size, np.uint32) for _ in sides]
    for at, side in enumerate(sides):
        for block in data.draw(st.permutations(range(blocks))):
            here = slice(block * size, (block + 1) * size)
            if data.draw(st.booleans()):
                side.prepare(here.start, size)
            sent[at][here] = side.protect(here.start, vectors[at][here])
    total = added(kind, [sent[at] for at in among])
    expected = sum(signed(vectors[at]) for at in among)
    reveals = revealed(sides, list(among), holders)
    for holder in holders:
        assert sides[holder].unlock(list(among), reveals, total[: least * size]) == ()
        last = sides[holder].open((blocks - 1) * size, total[-size:])
        assert np.array_equal(signed(last), expected[-size:])
    assert np.array_equal(signed(sides[holders[0]].open(0, total)), expected)


@SETS
def test_ten_members_at_their_bounds(parameters):
    kind = LatticeSum(parameters)
    for sign in (1, -1):
        sides = begin(kind, 10)
        own = np.full(kind.block, sign * (kind.largest // 10), np.int32).view(np.uint32)
        total = added(kind, [side.protect(0, own) for side in sides])
        reveals = revealed(sides, range(10))
        sides[4].unlock(range(10), reveals, total)
        assert np.all(signed(sides[4].open(0, total)) == sign * kind.largest)


def test_what_the_scheme_says_of_itself():
    small, large = LatticeSum(S), LatticeSum(L, 6)
    assert (small.name, small.block, small.largest) == ("lattice-sum-s-v1", 4096, 5242880)
    assert (large.name, large.block, large.largest) == ("lattice-sum-l-v1", 12288, 32768000)
    assert [small.needed(n) for n in (2, 10)] == [2, 10]
    assert [large.needed(n) for n in (6, 11)] == [6, 6]
    for threshold in (1, -3, 1001):
        with pytest.raises(InvalidInput):
            LatticeSum(L, threshold)


def test_what_a_member_sends_is_noise_and_so_is_every_partial_sum():
    kind, zeros = LatticeSum(S), np.zeros(S.block, np.uint32)
    sides = begin(kind, 3)
    sent = [side.protect(0, zeros) for side in sides]
    for words in (*sent, added(kind, sent[:2]), added(kind, sent)):
        middle = [
            float(np.mean(row / prime)) for row, prime in zip(words.reshape(2, -1), S.primes, strict=True)
        ]
        assert all(abs(mean - 0.5) < 5 / np.sqrt(12 * S.n) for mean in middle)
    assert np.mean(zeros) == 0


def test_every_attempt_has_its_own_secret_and_public_residues():
    kind, zeros = LatticeSum(S), np.zeros(S.block, np.uint32)
    again = [kind.begin(0, pair_secrets(0, 2), CONTEXT).protect(0, zeros) for _ in range(2)]
    assert not np.array_equal(*again)
    given_secret, noise = secret_of(S, b"s"), b"n" * 16
    under = [
        scheme._begin(kind, 0, pair_secrets(0, 2), context, given_secret.copy(), noise).protect(0, zeros)
        for context in (b"one", b"one", b"two")
    ]
    assert np.array_equal(under[0], under[1])
    assert not np.array_equal(under[1], under[2])
    # Drawn secrets are residues, uniform in the mean, and no two alike.
    drawn = [scheme.draw_secret(L) for _ in range(2)]
    for secret in drawn:
        assert secret.dtype == np.uint32
        assert secret.shape == (4, 4096)
        for row, prime in zip(secret, L.primes, strict=True):
            assert row.max() < prime
            assert abs(float(np.mean(row / prime)) - 0.5) < 10 / np.sqrt(12 * L.n)
    assert not np.array_equal(*drawn)


# -- The same secret twice ----------------------------------------------------------------------------------------


@SETS
def test_the_same_secret_twice_gives_away_the_difference(parameters):
    """The attack, by ways that the interface does not have."""
    kind = LatticeSum(parameters)
    words = [random_words(parameters, seed, 1, kind.largest // 2) for seed in range(2)]

    def sent(at, noise):
        secret = secret_of(parameters, b"the same")
        return scheme._begin(kind, 0, pair_secrets(0, 2), CONTEXT, secret, noise).protect(0, words[at])

    # c1 - c2 under secret, noise and public residues that are the same: the secret zero opens it.
    for noises, loud in (((b"n" * 16, b"n" * 16), 0), ((b"n" * 16, b"m" * 16), 80)):
        first, second = (reference._unpack(parameters, sent(at, noise)) for at, noise in enumerate(noises))
        difference = [
            (a + (q - b)) % q
            for a, b, q in zip(first, second, map(np.uint64, parameters.primes), strict=True)
        ]
        wire, opened = np.empty(parameters.block, np.uint32), np.empty(parameters.block, np.uint32)
        reference._pack(parameters, difference, wire)
        nothing = np.zeros((parameters.rows, parameters.n), np.uint32)
        assert NumpyBackend().open(parameters, b"p" * 16, nothing, 0, wire, loud, opened)
        assert np.array_equal(signed(opened), signed(words[0]) - signed(words[1]))


def test_the_interface_gives_no_way_to_use_a_secret_twice():
    kind, words = LatticeSum(S), random_words(S, 1, 2, 1000)
    # Two attempts under all the same arguments have nothing to subtract: their secrets differ.
    sent = [kind.begin(0, pair_secrets(0, 2), CONTEXT).protect(0, words) for _ in range(2)]
    rows = [reference._unpack(S, one) for one in sent]
    difference = [(a + (q - b)) % q for a, b, q in zip(*rows, map(np.uint64, S.primes), strict=True)]
    wire = np.empty(2 * S.block, np.uint32)
    reference._pack(S, difference, wire)
    nothing = np.zeros((S.rows, S.n), np.uint32)
    assert not NumpyBackend().open(S, b"p" * 16, nothing, 0, wire, S.noise_bound(10), np.empty_like(wire))
    # No argument brings a secret or noise in.
    assert list(inspect.signature(kind.begin).parameters) == ["own", "secrets", "context"]
    side = kind.begin(0, pair_secrets(0, 2), CONTEXT)
    side.prepare(0, S.block)
    side.protect(0, words[: S.block])
    side.prepare(0, S.block)
    for piece in (words[: S.block], words, np.zeros(S.block, np.uint32)):
        with pytest.raises(InvalidTransition):
            side.protect(0, piece)
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            act(side)
    side.protect(S.block, words[: S.block])
    side.reveal([0, 1], {})
    for act in (lambda: side.protect(2 * S.block, words), lambda: side.prepare(2 * S.block, S.block)):
        with pytest.raises(InvalidTransition):
            act()


def test_a_word_that_is_refused_has_used_its_position_up():
    """What ``apply`` has begun to write must not be asked for a second time with other words."""
    for ahead in (False, True):
        side, bad = LatticeSum(S).begin(0, pair_secrets(0, 2), CONTEXT), np.zeros(S.block, np.int32)
        bad[-1] = S.largest + 1
        if ahead:
            side.prepare(0, S.block)
        with pytest.raises(InvalidInput):
            side.protect(0, bad.view(np.uint32))
        with pytest.raises(InvalidTransition):
            side.protect(0, np.zeros(S.block, np.uint32))


# -- Masks computed ahead -----------------------------------------------------------------------------------------


@SETS
def test_a_prepared_mask_gives_the_same_words_and_is_used_once(parameters):
    kind, words = LatticeSum(parameters), random_words(parameters, 3, 3, 1000)

    def side():
        return scheme._begin(kind, 1, pair_secrets(1, 3), CONTEXT, secret_of(parameters, b"s"), b"n" * 16)

    plain, size = side().protect(0, words), parameters.block
    ahead = side()
    ahead.prepare(0, size)
    ahead.prepare(size, 2 * size)
    assert set(ahead._prepared) == {0, size}
    assert np.array_equal(ahead.protect(0, words[:size]), plain[:size])
    assert np.array_equal(ahead.protect(size, words[size:]), plain[size:])
    assert ahead._prepared == {}
    # A piece of another length than the prepared one is computed as if there were none.
    other = side()
    other.prepare(0, 2 * size)
    assert np.array_equal(other.protect(0, words), plain)
    assert other._prepared == {}


def test_what_a_prepared_mask_became_is_not_written_again():
    side = LatticeSum(S).begin(0, pair_secrets(0, 2), CONTEXT)
    side.prepare(0, S.block)
    mask = side._prepared[0]
    sent = side.protect(0, np.zeros(S.block, np.uint32))
    assert sent is mask  # no copy was made
    before = sent.copy()
    side.reveal([0, 1], {})
    side.destroy()
    assert np.array_equal(sent, before)


@pytest.mark.parametrize("end", ["reveal", "destroy"])
def test_masks_and_secrets_are_wiped(end):
    side = LatticeSum(S).begin(0, pair_secrets(0, 2), CONTEXT)
    side.prepare(S.block, S.block)
    mask, secret = side._prepared[S.block], side._secret
    assert mask.any()
    assert secret.any()
    side.reveal([0, 1], {}) if end == "reveal" else side.destroy()
    assert not mask.any()
    assert not secret.any()
    assert side._prepared == {}
    assert side._secret is None
    assert not side._noise


def test_nothing_is_left_after_destroying():
    sides, total, _ = summed(LatticeSum(S), 2)
    reveals = revealed(sides, [0, 1])
    sides[0].unlock([0, 1], reveals, total)
    together = sides[0]._opening[0]
    sides[0].destroy()
    sides[0].destroy()
    assert not together.any()
    assert {name for name, kept in vars(sides[0]).items() if kept is not None and name not in {"_taken"}} == {
        "_parameters", "_backend", "_members", "_public", "_noise", "_prepared",
    }  # fmt: skip
    for act in (
        lambda: sides[0].commitment(),
        lambda: sides[0].shares(),
        lambda: sides[0].prepare(S.block, S.block),
        lambda: sides[0].protect(S.block, total),
        lambda: sides[0].reveal([0, 1], {}),
        lambda: sides[0].unlock([0, 1], reveals, total),
        lambda: sides[0].open(0, total),
    ):
        with pytest.raises(InvalidTransition):
            act()


# -- All together ------------------------------------------------------------------------------------------------


def test_reveals_hide_the_secrets_until_all_are_there():
    kind = LatticeSum(S)
    sides, total, expected = summed(kind, 3)
    secrets = [side._secret.copy() for side in sides]
    reveals = revealed(sides, range(3))
    primes = np.array(S.primes, np.uint64)[:, None]
    rows = [np.frombuffer(reveals[at], "<u4").reshape(2, -1).astype(np.uint64) for at in range(3)]
    for few in itertools.chain(itertools.combinations(range(3), 1), itertools.combinations(range(3), 2)):
        part = sum(rows[at] for at in few) % primes
        assert not np.array_equal(part, sum(secrets[at].astype(np.uint64) for at in few) % primes)
    assert np.array_equal(sum(rows) % primes, sum(s.astype(np.uint64) for s in secrets) % primes)
    sides[2].unlock(range(3), reveals, total)
    assert np.array_equal(signed(sides[2].open(0, total)), expected)


def test_masks_of_reveals_by_independent_means():
    """RFC 5869 and the stream's definition, for two members."""
    import hashlib
    import hmac

    secret = secret_of(S, b"s")
    side = scheme._begin(LatticeSum(S), 1, {0: b"a" * 32, 2: b"b" * 32}, CONTEXT, secret.copy(), b"n" * 16)
    rows = np.frombuffer(side.reveal(range(3), {}), "<u4").reshape(2, -1)
    for row, prime in enumerate(S.primes):
        expected = secret[row].astype(object)
        for pair_secret, positions, sign in ((b"a" * 32, b"\0\0\0\1", -1), (b"b" * 32, b"\0\1\0\2", 1)):
            extracted = hmac.new(bytes(32), pair_secret, hashlib.sha256).digest()
            info = b"trustspace lattice reveal v1" + hashlib.sha256(CONTEXT).digest() + positions
            key = hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()[:16]
            expected = expected + sign * np.array(public_row(S, key, 0, row), object)
        assert np.array_equal(rows[row], expected % prime)


def altered(reveal, parameters, row):
    rows = np.frombuffer(reveal, "<u4").reshape(parameters.rows, -1).copy()
    rows[row, 9] = (int(rows[row, 9]) + 1) % parameters.primes[row]
    return rows.tobytes()


@SETS
def test_a_false_reveal_does_not_open_whatever_row_it_is_false_in(parameters):
    sides, total, expected = summed(LatticeSum(parameters), 3)
    reveals = revealed(sides, range(3))
    for row in range(parameters.rows):
        with pytest.raises(VerificationFailed):
            sides[0].unlock(range(3), reveals | {1: altered(reveals[1], parameters, row)}, total)
        with pytest.raises(InvalidTransition):
            sides[0].open(0, total)  # what failed has opened nothing
    sides[0].unlock(range(3), reveals, total)
    assert np.array_equal(signed(sides[0].open(0, total)), expected)


def test_without_a_gap_above_the_largest_word_a_false_reveal_would_pass():
    """The positive control for set L's ``largest``: with the whole range of the last prime nothing is noticed."""
    wide = dataclasses.replace(L, largest=(L.primes[3] - 1) // 2)
    for parameters, notices in ((L, True), (wide, False)):
        sides, total, expected = summed(LatticeSum(parameters, backend=NumpyBackend()), 3)
        reveals = revealed(sides, range(3))
        false = reveals | {1: altered(reveals[1], parameters, 3)}
        if notices:
            with pytest.raises(VerificationFailed):
                sides[0].unlock(range(3), false, total)
        else:
            sides[0].unlock(range(3), false, total)
            assert not np.array_equal(signed(sides[0].open(0, total)), expected)


def shifting(public, prime, words, weight=1):
    """What to take from a sum of secrets, in S's row 1, so that block 0 opens to so much more in slot 1."""
    change = transform(S, 1, [word % prime for word in words])
    inverse = np.array([pow(int(a) * weight, -1, prime) for a in public_row(S, public, 0, 1)], np.uint64)
    return (prime - change * inverse % np.uint64(prime)) % np.uint64(prime)


@pytest.mark.parametrize("blocks", [1, 2])
def test_whoever_reveals_last_could_steer_a_sum_of_one_block_and_has_committed_before(blocks):
    kind = LatticeSum(S)
    sides, total, expected = summed(kind, 3, blocks)
    commitments = [side.commitment() for side in sides]
    reveals, prime = revealed(sides, range(3)), S.primes[1]
    rows = np.frombuffer(reveals[2], "<u4").reshape(2, -1).astype(np.uint64)
    rows[1] = (rows[1] + shifting(scheme.public_key(CONTEXT), prime, [1000] + [0] * (S.n - 1))) % np.uint64(
        prime
    )
    false = rows.astype("<u4").tobytes()
    sides[0].unlock(range(3), reveals | {2: false}, total[: S.block])
    if blocks > 1:
        with pytest.raises(VerificationFailed):
            sides[0].unlock(range(3), reveals | {2: false}, total)
        with pytest.raises(VerificationFailed):
            sides[0].open(0, total)
    else:
        expected[S.n] += 1000
        assert np.array_equal(signed(sides[0].open(0, total)), expected)  # the attack, undisturbed
    # What members compare before they unlock names the third.
    assert [commitment_of(CONTEXT, at, reveals[at]) for at in range(3)] == commitments
    assert commitment_of(CONTEXT, 2, false) != commitments[2]
    assert (
        len(
            {
                *commitments,
                commitment_of(b"another set", 2, reveals[2]),
                commitment_of(CONTEXT, 1, reveals[2]),
            }
        )
        == 5
    )


def test_reveals_must_be_whole_and_of_all():
    sides, total, expected = summed(LatticeSum(S), 3)
    reveals = revealed(sides, range(3))
    too_large = np.frombuffer(reveals[1], "<u4").copy()
    too_large[S.n + 3] = S.primes[1]
    for bad, why in (
        ({}, "own reveal"),
        ({1: reveals[1], 2: reveals[2]}, "own reveal"),
        (reveals | {0: reveals[1]}, "own reveal"),
        ({0: reveals[0], 1: reveals[1]}, "of all 3"),
        (reveals | {3: bytes(4 * S.rows * S.n)}, "of all 3"),  # which would change nothing
        (reveals | {1: reveals[1][:-1]}, "position 1"),
        (reveals | {1: reveals[1] + bytes(4)}, "position 1"),
        (reveals | {1: b""}, "position 1"),
        (reveals | {1: too_large.tobytes()}, "position 1"),
        (reveals | {1: reveals[2]}, "does not open"),
    ):
        with pytest.raises(VerificationFailed) as refused:
            sides[0].unlock(range(3), bad, total)
        assert why in str(refused.value)
    sides[0].unlock(range(3), reveals, total)
    assert np.array_equal(signed(sides[0].open(0, total)), expected)


def test_a_secret_of_another_pair_does_not_open():
    kind = LatticeSum(S)
    sides = begin(kind, 3)
    sides[2] = kind.begin(2, {0: pair_secrets(2, 3)[0], 1: bytes(32)}, CONTEXT)
    total = added(kind, [side.protect(0, np.zeros(S.block, np.uint32)) for side in sides])
    reveals = revealed(sides, range(3))
    for side in sides:
        with pytest.raises(VerificationFailed):
            side.unlock(range(3), reveals, total)


# -- Enough of them ------------------------------------------------------------------------------------------------


@SETS
def test_members_may_be_lost_before_and_after_their_vector_is_in(parameters):
    kind = LatticeSum(parameters, 4)
    sides = begin(kind, 6)
    vectors = [random_words(parameters, at, 2, kind.largest // 6) for at in range(6)]
    sent = [side.protect(0, vector) for side, vector in zip(sides, vectors, strict=True)]
    among = [0, 1, 3, 4, 5]  # 2 was lost before, 1 and 5 are lost after
    total = added(kind, [sent[at] for at in among])
    reveals = revealed(sides, among, [0, 2, 3, 4])
    expected = sum(signed(vectors[at]) for at in among)
    for holder in reveals:
        assert sides[holder].unlock(among, reveals, total) == ()
        assert np.array_equal(signed(sides[holder].open(0, total)), expected)
    with pytest.raises(VerificationFailed):
        sides[0].unlock(among, {at: reveals[at] for at in (0, 3, 4)}, total)


@SETS
def test_a_false_reveal_is_named_where_there_are_more_than_needed(parameters):
    kind = LatticeSum(parameters, 4)
    sides, total, expected = summed(kind, 7, 2)
    reveals = revealed(sides, range(7))
    for row in range(parameters.rows):
        size = len(reveals[2])
        false = bytearray(reveals[2])
        false[size * (2 * row + 1) // (2 * parameters.rows)] ^= 1
        assert sides[0].unlock(range(7), reveals | {2: bytes(false)}, total) == (2,)
        assert np.array_equal(signed(sides[0].open(0, total)), expected)
    with pytest.raises(VerificationFailed):
        sides[0].unlock(range(7), {at: reveals[at] for at in (0, 1, 3)} | {2: bytes(false)}, total)


def test_a_false_share_names_its_giver():
    kind = LatticeSum(S, 3)
    sides, total, expected = summed(kind, 4, 2)
    shares = [side.shares() for side in sides]
    assert [side.shares() for side in sides] == shares
    given_to_0 = {at: shares[at][0] for at in range(4)}
    for bad in (
        shares[2][1],
        shares[1][0],
        shares[2][0][:-1],
        b"",
        shares[2][0][:-1] + bytes([shares[2][0][-1] ^ 1]),
    ):
        with pytest.raises(VerificationFailed) as refused:
            sides[0].reveal(range(4), given_to_0 | {2: bad})
        assert refused.value.details.get("dealer") == 2
    # Another sharing in its own name is as well made as its own, and would take its vector out of the sum.
    for bad in (shares[0][1], kind.begin(0, pair_secrets(0, 4), CONTEXT).shares()[0]):
        with pytest.raises(VerificationFailed):
            sides[0].reveal(range(4), given_to_0 | {0: bad})
    with pytest.raises(InvalidInput):
        sides[0].reveal(range(4), {at: shares[at][0] for at in range(3)})
    # The others may have revealed for these members: so it reveals for no others, though it has not yet done so.
    with pytest.raises(InvalidTransition):
        sides[0].reveal([0, 1, 3], {at: shares[at][0] for at in (0, 1, 3)})
    # Who has nothing to reveal opens the sum with what the others do; and reveals, should the right share come.
    reveals = revealed(sides, range(4), [1, 2, 3])
    assert sides[0].unlock(range(4), reveals, total) == ()
    assert np.array_equal(signed(sides[0].open(0, total)), expected)
    assert len(sides[0].reveal(range(4), given_to_0)) == len(reveals[1])


@pytest.mark.parametrize("threshold", [0, 3])
def test_a_member_reveals_for_one_set_only(threshold):
    kind = LatticeSum(S, threshold)
    sides, total, _ = summed(kind, 4)
    shares = [side.shares() for side in sides]

    def reveal(among):
        return sides[0].reveal(among, {at: shares[at][0] for at in among} if threshold else {})

    first = reveal([0, 1, 2, 3])
    assert reveal([3, 2, 1, 0]) == first
    with pytest.raises(InvalidTransition):
        reveal([0, 1, 2])
    with pytest.raises(InvalidTransition):
        sides[0].unlock([0, 1, 2], {}, total)
    with pytest.raises(InvalidTransition):
        sides[1].unlock([0, 1, 2, 3], {}, total)  # it has not revealed itself


def test_with_a_threshold_a_false_reveal_cannot_steer_a_sum():
    """Three of three reveal, two are needed: the third makes its share so that it and the second open as it likes."""
    kind = LatticeSum(S, 2)
    sides, total, expected = summed(kind, 3, 2)
    reveals, prime = revealed(sides, range(3)), S.primes[1]
    weight = int(residues.interpolation([2, 3], [0], prime)[0, 1])  # of holder 2 between holders 1 and 2
    change = shifting(scheme.public_key(CONTEXT), prime, [1000] + [0] * (S.n - 1), weight)
    sizes = [residues.packed_bytes(S.n, q) for q in S.primes]
    start = len(reveals[2]) - sizes[1]
    own = residues.unpack(reveals[2][start:], S.n, prime)
    false = reveals[2][:start] + residues.pack((own + change) % np.uint64(prime), prime)
    # The control: a key that was only to open block 0 would be the steered one.
    room = np.empty(S.block, np.uint32)

    def opens_one(secret):
        return NumpyBackend().open(
            S, scheme.public_key(CONTEXT), secret, 0, total[: S.block], S.noise_bound(3), room
        )

    steered = sides[0]._keys.combine({1: reveals[1], 2: false}, opens_one)[0]
    assert opens_one(steered)
    assert (signed(room) - expected[: S.block])[S.n] == 1000
    with pytest.raises(InvalidInput):
        sides[0].unlock(range(3), reveals | {2: false}, total[: S.block])
    assert 0 not in sides[0].unlock(range(3), reveals | {2: false}, total)
    assert np.array_equal(signed(sides[0].open(0, total)), expected)
    with pytest.raises(VerificationFailed):
        sides[1].unlock(range(3), {1: reveals[1], 2: false}, total)


def test_two_sets_would_give_away_a_member():
    """The positive control: a holder that could be asked twice would open the vector of the one left out."""
    kind = LatticeSum(S, 3)
    sides = begin(kind, 4)
    words = random_words(S, 1, 2, 1000)
    sent = [
        side.protect(0, words if at == 3 else np.zeros(len(words), np.uint32))
        for at, side in enumerate(sides)
    ]
    shares = [side.shares() for side in sides]
    sums = []
    for among in ([0, 1, 2, 3], [0, 1, 2]):
        reveals = {}
        for holder in range(3):
            sides[holder]._answer = None  # the defence, taken away
            reveals[holder] = sides[holder].reveal(among, {at: shares[at][holder] for at in among})
        sides[0].unlock(among, reveals, added(kind, [sent[at] for at in among]))
        sums.append(sides[0]._opening[0].astype(np.uint64))
    primes, opened = np.array(S.primes, np.uint64)[:, None], np.empty(2 * S.block, np.uint32)
    alone = ((sums[0] + primes - sums[1]) % primes).astype(np.uint32)
    assert NumpyBackend().open(S, scheme.public_key(CONTEXT), alone, 0, sent[3], 40, opened)
    assert np.array_equal(opened, words)


def test_a_threshold_suits_its_members():
    for threshold, members in ((2, 4), (3, 6), (5, 4)):
        with pytest.raises(InvalidInput):
            begin(LatticeSum(S, threshold), members)
    kind = LatticeSum(S, 3)
    sides, _, _ = summed(kind, 4)
    shares = [side.shares() for side in sides]
    with pytest.raises(InvalidInput):
        sides[0].reveal([0, 1], {at: shares[at][0] for at in (0, 1)})
    with pytest.raises(InvalidInput):
        begin(LatticeSum(S), 3)[0].reveal([0, 1], {})  # without a threshold all are in the sum
    with pytest.raises(InvalidInput):
        begin(LatticeSum(S), 3)[0].reveal(range(3), {1: b"share"})
    assert begin(LatticeSum(S), 3)[0].shares() == {}


# -- What is altered, and what is ill-formed ------------------------------------------------------------------------


@SETS
def test_a_sum_of_other_vectors_does_not_open(parameters):
    """A vector dropped, doubled, exchanged for another attempt's, moved or torn: noise or words leave their range."""
    kind, size = LatticeSum(parameters), parameters.block
    sides = begin(kind, 3)
    sent = [side.protect(0, random_words(parameters, at, 2, 1000)) for at, side in enumerate(sides)]
    old = kind.begin(1, pair_secrets(1, 3), b"an attempt before").protect(0, np.zeros(2 * size, np.uint32))
    reveals = revealed(sides, range(3))
    moved = np.concatenate((sent[1][size:], sent[1][:size]))
    right = added(kind, sent)
    for vectors in (sent[:2], [*sent, sent[1]], [sent[0], old, sent[2]], [sent[0], moved, sent[2]]):
        total = added(kind, vectors)
        with pytest.raises(VerificationFailed):
            sides[0].unlock(range(3), reveals, total[:size])
        sides[0].unlock(range(3), reveals, right[:size])
        with pytest.raises(VerificationFailed):
            sides[0].open(0, total)
        torn = np.concatenate((right[:size], total[size:]))
        with pytest.raises(VerificationFailed):
            sides[0].open(0, torn)
    sides[0].open(0, right)


def test_the_limit_words_added_to_a_protected_sum_are_not_noticed():
    """Known, and said in ``scheme``: whoever adds up can add more, and is audited by adding again."""
    sides, total, expected = summed(LatticeSum(L), 2)
    reveals = revealed(sides, [0, 1])
    more = np.zeros(L.block, np.int32)
    more[77] = 5 if expected[77] < 0 else -5
    changed = total.copy()
    NumpyBackend().apply(L, more.view(np.uint32), changed)
    sides[0].unlock([0, 1], reveals, changed)
    assert np.array_equal(signed(sides[0].open(0, changed)), expected + more)


def test_words_that_no_protection_makes_are_not_added():
    kind, bad = LatticeSum(L), packed(L, [np.full(L.n, prime) for prime in L.primes])
    for words in (bad, np.full(L.block, 2**32 - 1, np.uint32)):
        with pytest.raises(InvalidInput):
            kind.add_into(np.zeros(L.block, np.uint32), words)
    for words in (
        np.zeros(L.block - 1, np.uint32),
        np.zeros(2 * L.block, np.uint32),
        np.zeros(L.block, np.int32),
    ):
        with pytest.raises(InvalidInput):
            kind.add_into(np.zeros(L.block, np.uint32), words)


@pytest.mark.parametrize(
    ("own", "secrets"),
    [
        (0, {}),
        (0, {0: bytes(32)}),
        (0, {2: bytes(32)}),
        (2, {0: bytes(32)}),
        (-1, {0: bytes(32)}),
        (0, {1: bytes(31)}),
        (0, {other: bytes(32) for other in range(1, 11)}),
    ],
)
def test_positions_and_secrets_are_checked(own, secrets):
    with pytest.raises(InvalidInput):
        LatticeSum(S).begin(own, secrets, CONTEXT)


def test_words_and_positions_are_checked():
    sides = begin(LatticeSum(S), 2)
    block = np.zeros(S.block, np.uint32)
    for start, words in [
        (-S.block, block),
        (1, block),
        (S.n, block),
        (0, block[:-1]),
        (0, block.view(np.int32)),
        (0, block.astype(np.uint64)),
        (0, np.zeros(2 * S.block, np.uint32)[::2]),
        (0, block.reshape(2, -1)),
    ]:
        with pytest.raises(InvalidInput):
            sides[0].protect(start, words)
    for start, length in ((1, S.block), (0, S.block - 1), (-S.block, S.block), (0, -S.block)):
        with pytest.raises(InvalidInput):
            sides[0].prepare(start, length)
    total = added(LatticeSum(S), [side.protect(0, block) for side in sides])  # refused words take no position
    for members in ([], [0, 0], [0, 2], [-1, 0]):
        with pytest.raises(InvalidInput):
            sides[0].reveal(members, {})
    reveals = revealed(sides, [0, 1])
    for sample in (total[:0], total[:-1], total.view(np.int32)):
        with pytest.raises(InvalidInput):
            sides[0].unlock([0, 1], reveals, sample)
    with pytest.raises(InvalidTransition):
        sides[0].open(0, total)
    sides[0].unlock([0, 1], reveals, total)
    with pytest.raises(InvalidInput):
        sides[0].open(5, total)
    with pytest.raises(InvalidInput):
        sides[0].open(0, total[:-1])


def test_the_input_is_left_alone():
    side, words = LatticeSum(S).begin(0, pair_secrets(0, 2), CONTEXT), random_words(S, 1, 2, 1000)
    before = words.copy()
    words.flags.writeable = False
    side.prepare(0, S.block)
    side.protect(0, words[: S.block])
    side.protect(S.block, words[S.block :])
    assert np.array_equal(words, before)


def test_both_ways_to_the_key_fit_what_protections_ask_for():
    for kind in (keys.AllTogether, keys.AnyEnough):
        for name in ("commitment", "shares", "reveal", "combine"):
            assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(keys.Keys, name))

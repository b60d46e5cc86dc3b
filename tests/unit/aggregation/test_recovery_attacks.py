"""Attacks on shared secrets: what fewer learn, dealers and holders that cheat, two sets for one round, hostile bytes."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from trustspace.aggregation import fingerprints, recovery, reveals
from trustspace.aggregation.fingerprints import fingerprint
from trustspace.aggregation.recovery import Sharing
from trustspace.aggregation.residues import interpolation, pack, product, uniform
from trustspace.errors import InvalidInput, VerificationFailed

S = (4294955009, 11272193)
L = (40961, 67084289, 67043329, 66994177)
CONTEXT = bytes(range(32))


def secret(sharing):
    return np.stack([uniform(1, sharing.length, q)[0] for q in sharing.primes]).astype(np.uint32)


def summed(sharing, secrets):
    return np.stack(
        [sum(s[i].astype(np.uint64) for s in secrets) % np.uint64(q) for i, q in enumerate(sharing.primes)]
    )


def reveal(sharing, holder, dealt):
    return sharing.add(
        holder, (sharing.check(at, holder, d.common, d.shares[holder]) for at, d in dealt.items())
    )


def round_of(sharing, members=(0, 1, 2)):
    secrets = {at: secret(sharing) for at in members}
    dealt = {at: sharing.deal(rows, at) for at, rows in secrets.items()}
    return summed(sharing, secrets.values()), {h: reveal(sharing, h, dealt) for h in sharing.holders}


class Passes:
    """A test that only these rows pass, and how often it was asked."""

    def __init__(self, rows):
        self.rows = rows
        self.asked = 0

    def __call__(self, found):
        self.asked += 1
        return np.array_equal(found, self.rows)


def read(sharing, data):
    return [row.copy() for row in sharing._read(data)]


def written(sharing, data, rows):
    return data[:32] + b"".join(pack(row, q) for row, q in zip(rows, sharing.primes, strict=True))


def altered(sharing, data, row=0, column=0, by=1):
    """A reveal with one residue moved."""
    rows = read(sharing, data)
    rows[row][column] = (int(rows[row][column]) + by) % sharing.primes[row]
    return written(sharing, data, rows)


# -- what fewer than enough learn


def views(sharing, holders, value, columns=1, repeats=0, padded=True):
    """How often each view of these holders comes about over all choices of a dealer, for one secret (prime 5)."""
    q = 5
    words = np.array([3, 4][: columns + repeats - 1] or [3], np.uint64)
    counted = Counter()
    free = (sharing.threshold - sharing.packing) * columns + sharing.threshold * repeats * padded
    for choice in itertools.product(range(q), repeat=free):
        left = list(choice)
        drawn = np.zeros((sharing.threshold, columns + repeats), np.uint64)
        drawn[: sharing.packing, :columns] = value
        for row in range(sharing.packing, sharing.threshold):
            for column in range(columns):
                drawn[row, column] = left.pop()
        if padded:
            for row in range(sharing.threshold):
                for column in range(columns, columns + repeats):
                    drawn[row, column] = left.pop()
        shares = product(sharing._matrices[q], drawn, q)
        seen = [tuple(map(int, shares[sharing.holders.index(h)])) for h in holders]
        if repeats:
            seen.append(tuple(map(int, fingerprint(drawn, columns, words, q).reshape(-1))))
        counted[tuple(seen)] += 1
    return counted


def test_fewer_than_the_threshold_see_the_same_whatever_the_secret():
    sharing = Sharing((5,), 1, 3, (0, 1, 2), CONTEXT)
    for holders in itertools.combinations(sharing.holders, 2):
        assert len({frozenset(views(sharing, holders, s).items()) for s in range(5)}) == 1
    # The control: what three see is different for every secret, and no view comes about for two of them.
    seen = [set(views(sharing, sharing.holders, s)) for s in range(5)]
    assert all(not a & b for a, b in itertools.combinations(seen, 2))


def test_packed_secrets_are_hidden_from_as_many_as_the_privacy_says():
    sharing = Sharing((5,), 2, 3, (0, 1, 2), CONTEXT, packing=2)
    assert sharing.privacy == 1
    secrets = [np.array([[a], [b]], np.uint64) for a in range(5) for b in range(5)]

    def distributions(holders):
        return {frozenset(views(sharing, holders, s).items()) for s in secrets}

    for holder in sharing.holders:
        assert len(distributions((holder,))) == 1
    # The control, and the price of packing: between privacy and threshold, holders learn a part.
    for holders in itertools.combinations(sharing.holders, 2):
        assert len(distributions(holders)) == 5
    assert len(distributions(sharing.holders)) == 25


def test_the_proof_adds_nothing_to_what_fewer_see():
    sharing = Sharing((5,), 1, 2, (0, 1, 2), CONTEXT)
    for holder in sharing.holders:
        with_proof = [views(sharing, (holder,), s, repeats=1) for s in range(5)]
        assert all(counted == with_proof[0] for counted in with_proof)
        # The control: without pads the published polynomial gives the secret away, to anybody.
        bare = [set(views(sharing, (holder,), s, repeats=1, padded=False)) for s in range(5)]
        assert all(not a & b for a, b in itertools.combinations(bare, 2))


# -- dealers


def test_a_dealer_that_gives_one_holder_another_share_is_named_by_it():
    sharing = Sharing(L, 8, 3, (0, 1, 2, 3), CONTEXT)
    for row, column in [(0, 0), (0, 7), (1, 3), (3, 7)]:
        cheat = cheating(sharing, holder=2, row=row, column=column)
        for holder in (0, 1, 3):
            sharing.check(7, holder, cheat.common, cheat.shares[holder])
        with pytest.raises(VerificationFailed, match="member 7") as blamed:
            sharing.check(7, 2, cheat.common, cheat.shares[2])
        assert blamed.value.details["dealer"] == 7


def cheating(sharing, holder, row, column, words=None, dealer=7):
    """Deals with one value moved; given the challenge beforehand, with pads that make up for it."""
    drawn = [uniform(sharing.threshold, sharing._columns + sharing._pads(q), q) for q in sharing.primes]
    values = [product(sharing._matrices[q], c, q) for q, c in zip(sharing.primes, drawn, strict=True)]
    q, at = sharing.primes[row], sharing.holders.index(holder)
    before = values[row][at : at + 1].copy()
    values[row][at, column] = (values[row][at, column] + np.uint64(1)) % np.uint64(q)
    if words is not None:
        there, here = (fingerprint(v, sharing._columns, words, q) for v in (before, values[row][at : at + 1]))
        pads = values[row][at, sharing._columns :]
        pads[:] = (pads + there[0] + np.uint64(q) - here[0]) % np.uint64(q)
    return sharing._proven(values, drawn, dealer)


def test_the_challenge_of_what_a_dealer_tried_before_does_not_help_it():
    sharing = Sharing(L, 8, 3, (0, 1, 2, 3), CONTEXT)
    root = bytes(32)
    for _ in range(3):
        cheat = cheating(sharing, 2, row=0, column=3, words=sharing._challenge(7, root))
        with pytest.raises(VerificationFailed, match="member 7"):
            sharing.check(7, 2, cheat.common, cheat.shares[2])
        root = cheat.common[:32]


def test_a_dealer_that_knew_the_challenge_before_it_commits_would_get_away_with_it(monkeypatch):
    sharing = Sharing(L, 8, 3, (0, 1, 2, 3), CONTEXT)
    count = sharing._columns + max(sharing._pads(q) for q in L) - 1
    known = fingerprints.challenge(b"known", count)
    cheat = cheating(sharing, 2, row=1, column=3, words=known)
    with pytest.raises(VerificationFailed, match="member 7"):
        sharing.check(7, 2, cheat.common, cheat.shares[2])
    # The control: the same deal where the challenge does not hang on what was committed to.
    monkeypatch.setattr(recovery, "challenge", lambda seed, count: known[:count])
    cheat = cheating(sharing, 2, row=1, column=3, words=known)
    for holder in sharing.holders:
        sharing.check(7, holder, cheat.common, cheat.shares[holder])


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_random_matrix_takes_no_difference_to_any_value_more_often_than_chance(repeats):
    # Every Toeplitz matrix there is, modulo 5, with two columns: whatever the difference, each value once in 5^R.
    q, columns = 5, 2
    matrices = list(itertools.product(range(q), repeat=columns + repeats - 1))
    for difference in itertools.product(range(q), repeat=columns):
        if not any(difference):
            continue
        row = np.array([[*difference, *[0] * repeats]], np.uint64)
        counted = Counter(
            tuple(map(int, fingerprint(row, columns, np.array(words, np.uint64), q)[0])) for words in matrices
        )
        assert set(counted.values()) == {len(matrices) // q**repeats}
        assert len(counted) == q**repeats


def test_a_share_counts_for_its_dealer_holder_and_attempt_only():
    sharing = Sharing(S, 8, 2, (0, 1, 2), CONTEXT)
    dealt, again = sharing.deal(secret(sharing), 1), sharing.deal(secret(sharing), 1)
    sharing.check(1, 2, dealt.common, dealt.shares[2])
    for where, dealer, holder, common, share in [
        (sharing, 0, 2, dealt.common, dealt.shares[2]),
        (sharing, 1, 0, dealt.common, dealt.shares[2]),
        (sharing, 1, 2, again.common, dealt.shares[2]),
        (replace(sharing, context=bytes(32)), 1, 2, dealt.common, dealt.shares[2]),
        (replace(sharing, holders=(0, 1, 2, 3), threshold=3), 1, 2, dealt.common, dealt.shares[2]),
    ]:
        with pytest.raises(VerificationFailed, match=f"member {dealer}"):
            where.check(dealer, holder, common, share)


def test_no_byte_of_a_share_or_of_the_common_part_can_be_changed():
    sharing = Sharing(L, 2, 2, (0, 1, 2), CONTEXT)
    dealt = sharing.deal(secret(sharing), 1)
    for data, changes_share in ((dealt.shares[2], True), (dealt.common, False)):
        for at in range(len(data)):
            wrong = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            share, common = (wrong, dealt.common) if changes_share else (dealt.shares[2], wrong)
            with pytest.raises(VerificationFailed, match="member 1"):
                sharing.check(1, 2, common, share)
    for share, common in [
        (b"", dealt.common), (dealt.shares[2][:-1], dealt.common), (dealt.shares[2] + b"\0", dealt.common),
        (dealt.shares[2], b""), (dealt.shares[2], dealt.common[:-1]), (dealt.shares[2], dealt.common + b"\0"),
    ]:  # fmt: skip
        with pytest.raises(VerificationFailed, match="member 1"):
            sharing.check(1, 2, common, share)


def test_a_share_with_numbers_that_are_no_residues_is_refused():
    sharing = Sharing(S, 4, 2, (0, 1, 2), CONTEXT)
    drawn = [uniform(2, 4 + sharing._pads(q), q) for q in S]
    values = [product(sharing._matrices[q], c, q) for q, c in zip(S, drawn, strict=True)]
    values[1][2, 0] = 0
    raised = [v.copy() for v in values]
    raised[1][2, 0] = S[1]  # the same residue, written in another way
    dealt = sharing._proven(raised, drawn, 0)
    with pytest.raises(VerificationFailed, match="member 0"):
        sharing.check(0, 2, dealt.common, dealt.shares[2])


def test_a_dealer_that_deals_twice_cannot_make_honest_holders_look_false():
    sharing = Sharing(S, 8, 4, tuple(range(7)), CONTEXT)
    secrets = {at: secret(sharing) for at in range(4)}
    dealt = {at: sharing.deal(rows, at) for at, rows in secrets.items()}
    twice = {**dealt, 2: sharing.deal(secret(sharing), 2)}
    test = Passes(summed(sharing, secrets.values()))
    given = {h: reveal(sharing, h, twice if h in (0, 4) else dealt) for h in sharing.holders}
    combined = sharing.combine(given, test)
    assert (combined.false, combined.unsure, combined.apart) == ((), (), (0, 4))
    # The control: without the agreement in the reveals, the one would be named as false.
    given[0] = reveal(sharing, 0, dealt)
    blind = {h: given[1][:32] + data[32:] for h, data in given.items()}
    assert sharing.combine(blind, test).false == (4,)
    # Where neither half is enough, nothing opens.
    halves = {h: reveal(sharing, h, twice if h < 3 else dealt) for h in range(6)}
    with pytest.raises(VerificationFailed, match="belong together"):
        sharing.combine(halves, lambda rows: True)


# -- holders


@pytest.mark.parametrize("primes", [S, L])
def test_false_reveals_are_found_and_named(primes):
    sharing = Sharing(primes, 8, 4, tuple(range(7)), CONTEXT)
    total, given = round_of(sharing)
    last = len(primes) - 1
    for wrong in [
        {0: altered(sharing, given[0])},
        {6: altered(sharing, given[6], row=last, column=7)},
        {1: altered(sharing, given[1]), 5: altered(sharing, given[5], row=last)},
        {2: written(sharing, given[2], [uniform(1, 8, q)[0] for q in primes])},
        {3: given[4]},
    ]:
        test = Passes(total)
        combined = sharing.combine({**given, **wrong}, test)
        assert np.array_equal(combined.rows, total)
        assert (combined.false, combined.unsure, combined.apart) == (tuple(wrong), (), ())
        assert test.asked == 1


def test_false_reveals_in_different_rows_are_found_together():
    # For each prime at most one of nine is false, so all four are located although only two may be for one prime.
    sharing = Sharing(L, 8, 5, tuple(range(9)), CONTEXT)
    total, given = round_of(sharing)
    wrong = {at: altered(sharing, given[at], row=at) for at in range(4)}
    combined = sharing.combine({**given, **wrong}, Passes(total))
    assert np.array_equal(combined.rows, total)
    assert set(combined.false + combined.unsure) == {0, 1, 2, 3}


def test_with_exactly_enough_a_false_reveal_is_noticed_and_nobody_is_named():
    sharing = Sharing(S, 8, 4, tuple(range(7)), CONTEXT)
    total, given = round_of(sharing)
    enough = {at: given[at] for at in range(4)}
    sharing.combine(enough, Passes(total))
    with pytest.raises(VerificationFailed, match="nobody can be named"):
        sharing.combine({**enough, 2: altered(sharing, given[2])}, Passes(total))


def test_one_more_than_enough_shows_which_by_trying():
    sharing = Sharing(S, 8, 4, tuple(range(7)), CONTEXT)
    total, given = round_of(sharing)
    five = {at: given[at] for at in range(5)}
    test = Passes(total)
    combined = sharing.combine({**five, 3: altered(sharing, given[3])}, test)
    assert np.array_equal(combined.rows, total)
    assert combined.false == (3,)
    assert 1 < test.asked <= 5


def test_more_false_reveals_than_can_be_named_still_open_the_sum():
    sharing = Sharing(S, 8, 6, tuple(range(10)), CONTEXT)
    total, given = round_of(sharing)
    wrong = {at: altered(sharing, given[at], column=at % 8) for at in (0, 3, 4, 9)}
    combined = sharing.combine({**given, **wrong}, Passes(total))
    assert np.array_equal(combined.rows, total)
    assert (combined.false, combined.unsure) == ((), (0, 3, 4, 9))
    worse = {at: altered(sharing, given[at], column=at % 8) for at in (0, 3, 4, 8, 9)}
    with pytest.raises(VerificationFailed, match="Too many"):
        sharing.combine({**given, **worse}, Passes(total))


def forged(sharing, given, honest, cheats, value):
    """Reveals of ``cheats`` on other polynomials: through those of ``honest``, and with ``value`` as the secret."""
    through = [*honest, *cheats][: sharing.threshold - 1]
    points, targets = [0, *(at + 1 for at in through)], [at + 1 for at in cheats]
    rows = {at: [] for at in cheats}
    for row, q in enumerate(sharing.primes):
        known = np.stack(
            [value[row].astype(np.uint64)]
            + [
                read(sharing, given[at])[row] if at in honest else uniform(1, sharing.length, q)[0]
                for at in through
            ]
        )
        found = product(interpolation(points, targets, q), known, q)
        for at, values in zip(cheats, found, strict=True):
            rows[at].append(values)
    return {at: written(sharing, given[at], rows[at]) for at in cheats}


def test_colluding_holders_cannot_put_another_secret_in_the_sums_place():
    sharing = Sharing(S, 8, 4, tuple(range(7)), CONTEXT)
    total, given = round_of(sharing)
    other = secret(sharing)
    cheats = forged(sharing, given, honest=(0, 1, 2), cheats=(3, 4, 5), value=other)
    # Six of seven lie on the forged polynomials, and only the test tells that they are not the sum's.
    control = sharing.combine({**given, **cheats}, lambda rows: True)
    assert np.array_equal(control.rows, other)
    combined = sharing.combine({**given, **cheats}, Passes(total))
    assert np.array_equal(combined.rows, total)
    assert (combined.false, combined.unsure) == ((), (3, 4, 5))
    # With fewer honest ones than the threshold nothing opens.
    cheats = forged(sharing, given, honest=(0, 1, 2), cheats=(3, 4, 5, 6), value=other)
    with pytest.raises(VerificationFailed):
        sharing.combine({**given, **cheats}, Passes(total))
    # With an honest majority beyond the threshold they are found out.
    cheats = forged(sharing, given, honest=(0, 1, 2), cheats=(3,), value=other)
    assert sharing.combine({**given, **cheats}, Passes(total)).false == (3,)


def test_holders_that_keep_the_secret_right_cannot_make_an_honest_one_look_false():
    # Two of eight, with the true secret and five honest reveals, make polynomials that miss the sixth honest one.
    sharing = Sharing(S, 8, 7, tuple(range(10)), CONTEXT)
    total, given = round_of(sharing)
    cheats = forged(sharing, given, honest=(0, 1, 2, 3, 4), cheats=(6, 7), value=total)
    eight = {**{at: given[at] for at in range(6)}, **cheats}
    combined = sharing.combine(eight, Passes(total))
    assert np.array_equal(combined.rows, total)
    assert combined.false == ()
    assert combined.unsure
    assert sharing.cheats >= 2
    # The control: had the two told the truth, one false reveal among nine would be named.
    nine = {**{at: given[at] for at in range(9)}, 5: altered(sharing, given[5])}
    assert sharing.combine(nine, Passes(total)).unsure == (5,)
    ten = {**given, 5: altered(sharing, given[5])}
    assert sharing.combine(ten, Passes(total)).false == (5,)


def test_a_false_reveal_that_chance_hides_is_found_all_the_same(monkeypatch):
    sharing = Sharing(L, 8, 3, tuple(range(5)), CONTEXT)
    total, given = round_of(sharing)
    wrong = {**given, 1: altered(sharing, given[1], row=0, column=0)}
    drawn = []

    def unlucky(rows, columns, prime):
        values = uniform(rows, columns, prime)
        if len(drawn) < len(L):
            values[0] = 0  # the first combination does not see the column
        drawn.append(prime)
        return values

    monkeypatch.setattr(reveals, "uniform", unlucky)
    test = Passes(total)
    assert sharing.combine(wrong, test).false == (1,)
    assert (len(drawn), test.asked) == (2 * len(L), 1)


def test_malformed_reveals_are_named_and_do_not_count():
    sharing = Sharing(S, 8, 3, tuple(range(5)), CONTEXT)
    total, given = round_of(sharing)
    spoiled = read(sharing, given[1])
    spoiled[1][3] = S[1]
    for wrong in (b"", given[1][:-1], given[1] + b"\0", bytes(1 << 20), written(sharing, given[1], spoiled)):
        combined = sharing.combine({**given, 1: wrong}, Passes(total))
        assert combined.false == (1,)
        assert np.array_equal(combined.rows, total)
        with pytest.raises(VerificationFailed, match="are needed"):
            sharing.combine({at: {**given, 1: wrong}[at] for at in (0, 1, 2)}, Passes(total))


def test_reveals_of_another_attempt_do_not_belong():
    sharing = Sharing(S, 8, 3, tuple(range(5)), CONTEXT)
    total, given = round_of(sharing)
    _, old = round_of(replace(sharing, context=bytes(32)))
    combined = sharing.combine({**given, 4: old[4]}, Passes(total))
    assert (combined.false, combined.apart) == ((), (4,))
    with pytest.raises(VerificationFailed, match="are needed"):
        sharing.combine({0: given[0], 1: given[1], 4: old[4]}, lambda rows: True)


def test_hostile_reveals_cost_a_bounded_amount_of_work():
    sharing = Sharing((40961,), 4, 20, tuple(range(39)), CONTEXT)
    total, given = round_of(sharing)
    wrong = {at: altered(sharing, given[at], column=at % 4, by=at + 1) for at in range(12)}
    test = Passes(total)
    # There are 27 honest reveals, but C(39, 12) sets to look for them in.
    with pytest.raises(VerificationFailed, match="Too many"):
        sharing.combine({**given, **wrong}, test)
    assert test.asked == 0
    small = Sharing((40961,), 4, 6, tuple(range(10)), CONTEXT)
    total, given = round_of(small)
    test = Passes(total + 1)
    with pytest.raises(VerificationFailed, match="Too many"):
        small.combine({**given, 0: altered(small, given[0])}, test)
    assert test.asked <= reveals._WORK // small.threshold


# -- what the scheme does not prevent, and why a holder signs one set only


def test_two_sets_of_one_round_would_give_a_member_away():
    sharing = Sharing(S, 8, 3, (0, 1, 2, 3), CONTEXT)
    secrets = {at: secret(sharing) for at in range(4)}
    dealt = {at: sharing.deal(rows, at) for at, rows in secrets.items()}
    without = {at: dealt[at] for at in (0, 1, 2)}
    everybody, fewer = ({h: reveal(sharing, h, d) for h in range(3)} for d in (dealt, without))
    difference = {}
    for h in range(3):
        rows = [
            (a + np.uint64(q) - b) % np.uint64(q)
            for a, b, q in zip(read(sharing, everybody[h]), read(sharing, fewer[h]), S, strict=True)
        ]
        difference[h] = written(sharing, everybody[h], rows)
    stolen = sharing.combine(difference, lambda rows: True).rows
    assert np.array_equal(stolen, secrets[3])
    # The defence: reveals for two sets do not go together, and a threshold above half leaves room for one set only.
    with pytest.raises(VerificationFailed, match="belong together"):
        sharing.combine({0: everybody[0], 1: everybody[1], 2: fewer[2]}, lambda rows: True)
    with pytest.raises(InvalidInput, match="not safe"):
        Sharing(S, 8, 2, (0, 1, 2, 3), CONTEXT)


def test_all_but_one_always_know_the_last_ones_secret():
    # Inherent in a sum, with or without shares; here so that nobody claims otherwise.
    sharing = Sharing(S, 8, 3, (0, 1, 2), CONTEXT)
    secrets = {at: secret(sharing) for at in range(3)}
    dealt = {at: sharing.deal(rows, at) for at, rows in secrets.items()}
    total = sharing.combine({h: reveal(sharing, h, dealt) for h in range(3)}, lambda rows: True).rows
    others = summed(sharing, [secrets[0], secrets[1]])
    q = np.array(S, np.uint64)[:, None]
    assert np.array_equal((total.astype(np.uint64) + q - others) % q, secrets[2])


def test_threshold_holders_that_pool_their_shares_of_one_member_learn_its_secret():
    # The limit that a grant shows with its threshold; one fewer does not get there.
    sharing = Sharing(S, 8, 3, tuple(range(5)), CONTEXT)
    rows = secret(sharing)
    dealt = {4: sharing.deal(rows, 4)}
    alone = {h: reveal(sharing, h, dealt) for h in (0, 1, 2)}
    assert np.array_equal(sharing.combine(alone, lambda found: True).rows, rows)
    with pytest.raises(VerificationFailed, match="are needed"):
        sharing.combine({h: alone[h] for h in (0, 1)}, lambda found: True)

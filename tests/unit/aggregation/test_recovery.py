"""Secrets in shares: what opens, for whom, and how large it is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.aggregation.recovery import MAX_HOLDERS, Sharing, threshold_for
from trustspace.aggregation.residues import uniform
from trustspace.errors import InvalidInput, VerificationFailed

S = (4294955009, 11272193)
L = (40961, 67084289, 67043329, 66994177)
CONTEXT = bytes(range(32))


def secret(sharing):
    return np.stack([uniform(1, sharing.length, q)[0] for q in sharing.primes]).astype(np.uint32)


def summed(sharing, secrets):
    rows = [sum(s[i].astype(np.uint64) for s in secrets) % np.uint64(q) for i, q in enumerate(sharing.primes)]
    return np.stack(rows)


def revealed(sharing, dealt, by=None):
    """What every holder reveals of what the members at these positions dealt."""
    return {
        holder: sharing.add(
            holder, (sharing.check(at, holder, d.common, d.shares[holder]) for at, d in dealt.items())
        )
        for holder in (sharing.holders if by is None else by)
    }


def round_of(sharing, members):
    """The sum of fresh secrets of these members, and what every holder reveals of them."""
    secrets = {at: secret(sharing) for at in members}
    dealt = {at: sharing.deal(rows, at) for at, rows in secrets.items()}
    return summed(sharing, secrets.values()), revealed(sharing, dealt)


def equals(rows):
    return lambda found: np.array_equal(found, rows)


def opened(sharing, reveals, rows):
    """What ``combine`` finds with a test that nothing but ``rows`` passes."""
    combined = sharing.combine(reveals, equals(rows))
    assert combined.rows.dtype == np.uint32
    assert np.array_equal(combined.rows, rows)
    return combined


@pytest.mark.parametrize("primes", [S, L])
@pytest.mark.parametrize("packing", [1, 2])
def test_any_enough_holders_open_the_sum_and_fewer_do_not(primes, packing):
    sharing = Sharing(primes, 8, 2 + packing, (0, 1, 2, 3), CONTEXT, packing)
    total, reveals = round_of(sharing, [0, 1, 2, 3])
    for size in range(5):
        for chosen in itertools.combinations(range(4), size):
            some = {at: reveals[at] for at in chosen}
            if size >= sharing.threshold:
                combined = opened(sharing, some, total)
                assert (combined.false, combined.unsure, combined.apart) == ((), (), ())
            else:
                with pytest.raises(VerificationFailed, match="are needed"):
                    sharing.combine(some, lambda rows: True)


def test_a_member_that_drops_out_before_the_set_is_fixed_costs_nothing():
    sharing = Sharing(S, 8, 3, (0, 1, 2, 3), CONTEXT)
    secrets = {at: secret(sharing) for at in range(4)}
    dealt = {at: sharing.deal(rows, at) for at, rows in secrets.items()}
    staying = {at: dealt[at] for at in (0, 1, 3)}
    total = summed(sharing, [secrets[at] for at in staying])
    # It dropped as a dealer; its holder may be there or not.
    opened(sharing, revealed(sharing, staying, by=(0, 1, 3)), total)
    opened(sharing, revealed(sharing, staying), total)


def test_a_committee_opens_what_others_dealt():
    sharing = Sharing(L, 16, 4, (2, 5, 11, 17, 900), CONTEXT)
    total, reveals = round_of(sharing, range(0, 1000, 100))
    assert set(reveals) == {2, 5, 11, 17, 900}
    opened(sharing, reveals, total)
    with pytest.raises(InvalidInput, match="holds no share"):
        sharing.combine({**reveals, 3: reveals[2]}, equals(total))
    with pytest.raises(InvalidInput, match="holds no share"):
        sharing.add(3, [])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([S, L]), st.integers(2, 12), st.sampled_from([1, 2, 4]), st.data())
def test_any_numbers(primes, holders, packing, data):
    lowest = holders // 2 + packing
    if lowest > holders:
        return
    threshold = data.draw(st.integers(lowest, holders))
    sharing = Sharing(primes, 4, threshold, tuple(range(holders)), CONTEXT, packing)
    total, reveals = round_of(sharing, data.draw(st.sets(st.integers(0, 20), min_size=1, max_size=4)))
    chosen = data.draw(st.permutations(range(holders)))[: data.draw(st.integers(threshold, holders))]
    opened(sharing, {at: reveals[at] for at in chosen}, total)


@pytest.mark.parametrize(("packing", "holders"), [(1, (0, 3, 7, 8)), (2, (0, 3, 7, 8, 9, 20))])
def test_shares_are_values_of_the_polynomials_written_down(packing, holders):
    sharing = Sharing(L, 8, 3 if packing == 1 else 6, holders, CONTEXT, packing)
    columns = sharing.length // sharing.packing
    drawn = [uniform(sharing.threshold, columns + sharing._pads(q), q) for q in sharing.primes]
    dealt = sharing._dealt(drawn, 1)
    for holder in sharing.holders:
        shares = sharing.check(1, holder, dealt.common, dealt.shares[holder])
        x = holder + 1
        for q, coefficients, values in zip(sharing.primes, drawn, shares.values, strict=True):
            for column in range(columns):
                c = [int(v) for v in coefficients[:, column]]
                if sharing.packing == 1:
                    expected = sum(v * x**power for power, v in enumerate(c)) % q
                else:  # through c0 at 0 and c1 at -1, and beyond them a multiple of x (x + 1)
                    expected = (c[0] * (x + 1) - c[1] * x + x * (x + 1) * sum(
                        v * x**power for power, v in enumerate(c[2:])
                    )) % q  # fmt: skip
                assert int(values[column]) == expected


def test_sizes_are_as_said_and_the_proof_is_small():
    for primes, length, threshold, holders in [
        (S, 2048, 2, 3), (S, 2048, 6, 10), (L, 4096, 6, 10), (L, 4096, 17, 30),
    ]:  # fmt: skip
        sharing = Sharing(primes, length, threshold, tuple(range(holders)), CONTEXT)
        rows = {S: 14 << 10, L: 47 << 10}[primes]
        assert sharing.reveal_bytes == rows + 32
        assert sharing.common_bytes + sharing.share_bytes <= 1.05 * rows
    # Large committees: the common part goes to all of them at once.
    for threshold, holders, packing, larger in [(52, 100, 1, 1.01), (24, 30, 8, 1.06), (68, 100, 16, 1.2)]:
        sharing = Sharing(L, 4096, threshold, tuple(range(holders)), CONTEXT, packing)
        rows = (47 << 10) // packing
        assert sharing.common_bytes / holders + sharing.share_bytes <= larger * rows


def test_dealt_bytes_have_those_sizes():
    sharing = Sharing(L, 64, 6, tuple(range(9)), CONTEXT, 2)
    dealt = sharing.deal(secret(sharing), 8)
    assert len(dealt.common) == sharing.common_bytes
    assert {len(share) for share in dealt.shares.values()} == {sharing.share_bytes}
    assert {len(data) for data in revealed(sharing, {8: dealt}).values()} == {sharing.reveal_bytes}


def test_the_proof_is_strong_enough_for_every_prime_and_committee():
    from math import comb, log2

    for primes, holders, threshold in [
        (S, 3, 2),
        (S, 10, 6),
        (L, 10, 10),
        (L, 30, 17),
        (L, 100, 52),
        (L, 256, 129),
    ]:
        sharing = Sharing(primes, 1, threshold, tuple(range(holders)), CONTEXT)
        chance = sum((1 / q + 2.0**-63) ** sharing._pads(q) for q in primes)
        assert log2(chance) + log2(comb(holders, threshold + 1) or 1) <= -128


def test_a_secret_deals_other_shares_every_time():
    sharing = Sharing(S, 4, 2, (0, 1, 2), CONTEXT)
    rows = secret(sharing)
    first, second = sharing.deal(rows, 0), sharing.deal(rows, 0)
    assert all(first.shares[at] != second.shares[at] for at in sharing.holders)
    assert first.common != second.common
    assert "shares" not in repr(first)


def test_the_lowest_safe_threshold():
    assert [threshold_for(n, 0, 0) for n in (2, 3, 4, 5, 10)] == [2, 2, 3, 3, 6]
    assert threshold_for(10, 3, 2) == 7
    assert threshold_for(10, 2, 3) == 7
    assert threshold_for(30, 5, 2, packing=8) == 24
    for holders in range(2, 40):
        for cheats in range(holders - 1):
            threshold = threshold_for(holders, 0, cheats)
            assert 2 * threshold > holders + cheats >= 2 * (threshold - 1)
            assert threshold_for(holders, holders - threshold, cheats) == threshold
            assert Sharing(S, 1, threshold, tuple(range(holders)), CONTEXT).cheats >= cheats
            with pytest.raises(InvalidInput, match="dropouts") as refused:
                threshold_for(holders, holders - threshold + 1, cheats)
            assert refused.value.details["most"] == holders - threshold
            assert "{most}" in refused.value.fix


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((3, 0, 4), "cheats"), ((4, 0, 0, 4), "packing"), ((4, -1, 0), "dropouts"), ((4, 0, -1), "cheats"),
     ((4, 0, 0, 0), "packing"), ((1, 0, 0), "holders"), ((MAX_HOLDERS + 1, 0, 0), "holders")],
)  # fmt: skip
def test_thresholds_that_cannot_be_are_refused_by_name(arguments, named):
    with pytest.raises(InvalidInput, match=named):
        threshold_for(*arguments)


@pytest.mark.parametrize(
    "changed",
    [{"primes": ()}, {"primes": (2,)}, {"primes": (2**32 + 15,)}, {"holders": (0,)}, {"holders": (0, 0, 1)},
     {"holders": (2, 1, 0)}, {"holders": (-1, 0, 1)}, {"holders": (0, 1, 40961)}, {"length": 0}, {"packing": 3},
     {"packing": 0}, {"threshold": 1}, {"threshold": 4}, {"packing": 2, "threshold": 2},
     {"holders": tuple(range(MAX_HOLDERS + 1)), "threshold": 200}],
)  # fmt: skip
def test_sharings_that_cannot_be_are_refused(changed):
    right = {"primes": L, "length": 4, "threshold": 2, "holders": (0, 1, 2), "context": CONTEXT}
    Sharing(**right)
    with pytest.raises(InvalidInput):
        Sharing(**{**right, **changed})


def test_secrets_that_do_not_fit_are_refused():
    sharing = Sharing(S, 4, 2, (0, 1, 2), CONTEXT)
    rows = secret(sharing)
    large = rows.copy()
    large[1, 2] = S[1]
    for wrong in (rows[:1], rows[:, :3], rows.astype(np.uint64), large):
        with pytest.raises(InvalidInput, match="residues for each prime"):
            sharing.deal(wrong, 0)
    with pytest.raises(InvalidInput, match="dealer"):
        sharing.deal(rows, -1)


def test_shares_are_added_once_and_where_they_belong():
    sharing = Sharing(S, 4, 2, (0, 1, 2), CONTEXT)
    dealt = sharing.deal(secret(sharing), 0)
    share = sharing.check(0, 1, dealt.common, dealt.shares[1])
    sharing.add(1, [share])
    other = Sharing(S, 4, 2, (0, 1, 2), bytes(32))
    for where, position, shares in [
        (sharing, 1, [share, share]), (sharing, 2, [share]), (other, 1, [share]), (sharing, 1, []),
    ]:  # fmt: skip
        with pytest.raises(InvalidInput):
            where.add(position, shares)


def test_a_thousand_members_do_not_overflow_a_sum():
    sharing = Sharing(S, 2, 2, (0, 1), CONTEXT)
    highest = np.array([[q - 1] * 2 for q in S], np.uint32)
    dealt = sharing.deal(highest, 0)
    shares = {at: sharing.check(0, at, dealt.common, dealt.shares[at]) for at in (0, 1)}
    from dataclasses import replace

    reveals = {
        at: sharing.add(at, (replace(share, dealer=d) for d in range(1000))) for at, share in shares.items()
    }
    opened(sharing, reveals, np.array([[q - 1000] * 2 for q in S], np.uint32))

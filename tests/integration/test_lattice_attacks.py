"""A space, members and colluding members that cheat under the lattice sum; each attack also without its defence.

Members' side and board are the product's own, in one process. What the members of a sum can do together against one
of them is stated as it is: see "what colluders learn".
"""

import base64
import dataclasses
import hashlib
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.lattice import public_row, secret_of, signed, transform
from support.losses import Ring, at, opened
from support.losses import updates as updates_for
from support.members import Circle, Given, Space, added, failed, words_of

from trustspace.aggregation import recovery, reveals
from trustspace.aggregation.fixedpoint import FixedPoint, encode_reals
from trustspace.aggregation.lattice import keys
from trustspace.aggregation.lattice import scheme as lattice
from trustspace.aggregation.lattice.parameters import L, S
from trustspace.aggregation.lattice.reference import NumpyBackend
from trustspace.aggregation.lattice.scheme import LatticeSum
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.aggregation.residues import interpolation, pack, packed_bytes, unpack
from trustspace.domain.rounds import Check, MemberSet, Place, Reveal, checkers_of, read_message
from trustspace.enclave import rounds as side
from trustspace.enclave import vectors as updates
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.meeting import derive, unseal
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.sums import received
from trustspace.enclave.vectors import Update, UpdateSum
from trustspace.errors import PermissionDenied, VerificationFailed
from trustspace.space.attempt import Attempt
from trustspace.space.rounds import LocalRounds
from trustspace.transport.rounds import Exchanged

# One block of the small set, its second slot begun.
ONE_BLOCK = 3000
ALL = pytest.mark.parametrize("threshold", [0, 3], ids=["all of 4", "3 of 4"])


def ring_of(path, threshold=0, count=4, minimum=3, **more):
    return Ring(path, count, minimum, scheme=LatticeSum(S, threshold), **more)


def signed_place(place):
    return Place(job=place.job, run=place.run, round=place.round, attempt=place.attempt)


def logs(found):
    return " ".join(one.log for one in found.values() if isinstance(one, RoundFailed))


def nothing_was_opened(ring):
    return ring.space.said("reveal") == []


# -- the space changes what members sent


class Unchecked(Rounds):
    """The defence taken away: whoever is picked signs that the sum is right without looking."""

    def _sum(self, group, contributions, inline):
        pieces = [inline] if inline else self._fetched(group, self._relay.sum)
        return received(pieces, self._kept(group, contributions))

    def _checked(self, group, digest, *args):
        check = Check(
            place=group.place, members=group.digest, member=group.own, included=group.included, sum=digest
        )
        picked = group.own in group.checkers
        found = self._exchange(group.place, "check", self._signed(check) if picked else b"")
        assert found.envelopes


def word(vector, change):
    old = int.from_bytes(vector.read(0, 4), "little")
    vector.write(0, change(old).to_bytes(4, "little"))


def altered(vectors):
    """One more in the first word of a member's update: its noise stays what it was."""
    word(vectors[min(vectors)], lambda old: (old + S.scale) % S.primes[0])


def dropped(vectors):
    unit = max(vectors)
    vectors[unit].write(0, bytes(vectors[unit].size))


def duplicated(vectors):
    first, *_, last = sorted(vectors)
    vectors[last].write(0, vectors[first].read(0, vectors[first].size))


def swapped(vectors):
    first, *_, last = sorted(vectors)
    vectors[first], vectors[last] = vectors[last], vectors[first]


@ALL
@pytest.mark.parametrize("lie", [altered, dropped, duplicated, swapped])
def test_a_space_that_changes_what_a_member_sent(tmp_path, lie, threshold):
    ring = ring_of(tmp_path, threshold)
    ring.space.main.change = lie
    found = ring.sum(ring.vectors())
    assert set(failed(found)) == set(ring.units)
    assert "is not what it signed" in logs(found)
    assert nothing_was_opened(ring)


@ALL
@pytest.mark.parametrize("lie", [altered, dropped, duplicated, swapped])
def test_without_the_check_the_lattice_notices_some_of_it_only(tmp_path, lie, threshold):
    """Ciphertexts can be added to: the check is what keeps a sum whole, opening it is not."""
    ring = ring_of(tmp_path, threshold)
    ring.space.main.change = lie
    vectors = ring.vectors()
    found = ring.sum(vectors, kind=Unchecked)
    if lie in (dropped, duplicated):
        # Then the secrets of all do not belong to the sum.
        assert set(failed(found)) == set(ring.units)
        return
    assert not failed(found)
    for one in found.values():
        off = signed(one.words) - signed(added(list(vectors.values())))
        assert off.tolist() == [int(lie is altered)] + [0] * (len(off) - 1)


# -- the space announces two sets


class TwoSets(Space):
    """Announces all four members to some, and to others three of them."""

    def answered(self, unit, place, phase, found):
        if unit in sorted(self.offers)[:2] or found.status != "complete" or len(found.envelopes) < 4:
            return found
        if phase in ("join", "agree", "contribution"):
            return Exchanged("complete", found.envelopes[1:], (), found.data, found.round, found.attempt)
        return found


class Believing(Rounds):
    def _all_sign(self, message, envelopes, keys):
        """Somebody has signed something."""


@pytest.mark.parametrize("kind", [Rounds, Believing])
def test_two_member_sets(tmp_path, kind):
    """Of four, three may be announced to some: nobody has sent a share before all signed the same set."""
    circle = Circle(tmp_path, 4, 3, space=TwoSets, scheme=LatticeSum(S, 3))
    found = circle.sum(updates_for(circle.units), kind=kind)
    assert "disagreement" in failed(found).values()
    sent = [h for h in circle.space.said("contribution") if h.place.attempt == 1]
    assert bool(sent) == (kind is Believing)


class TwoSums(Space):
    """Shows some of its members a sum of all five, and to others one without the last of them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.needed = 3

    def turn(self, place):
        """Units from the first checker on; the last one is left out of the second sum."""
        digest = read_message(self.said("agree")[0].envelope, MemberSet, signed_place(place)).digest
        units = sorted(self.offers)
        order = checkers_of(digest, 5, 1, range(5))
        return [units[position] for position in order]

    def of_all(self, place):
        turn = self.turn(place)
        return {turn[0], turn[4]}

    def answered(self, unit, place, phase, found):
        if found.status != "complete" or phase in ("join", "agree"):
            return found
        turn, whole = self.turn(place), self.of_all(place)
        mine = whole if unit in whole else set(turn[1:4])
        if phase == "contribution" and unit in mine - whole:
            sent = {h.unit: h for h in self.said("contribution") if h.unit != turn[4]}
            total = np.zeros(len(found.data) // 4, np.uint32)
            for one in sent.values():
                self.scheme.add_into(total, words_of(one.data))
            shown = tuple(sent[u].envelope for u in sorted(sent))
            return dataclasses.replace(found, envelopes=shown, data=total.tobytes())
        if phase == "check":
            checker, end = turn[0] if unit in whole else turn[1], time.monotonic() + 30
            while not self.said("check", checker) and time.monotonic() < end:
                time.sleep(0.005)
            return dataclasses.replace(found, envelopes=(self.said("check", checker)[0].envelope,))
        if phase == "reveal":
            shown = tuple(h.envelope for u in sorted(mine) for h in self.said("reveal", u))
            return dataclasses.replace(found, envelopes=shown)
        return found

    def shown(self, unit, place, pieces):
        if unit in self.of_all(place):
            return pieces
        left_out = sorted(self.offers).index(self.turn(place)[4])
        return ((position, piece) for position, piece in pieces if position != left_out)


def two_sums(path, needed, monkeypatch):
    # This space shows everybody what only those who check are to see.
    monkeypatch.setattr(Attempt, "checkers", lambda self: self.members)
    circle = Circle(path, 5, needed, space=TwoSums, scheme=LatticeSum(S, needed))
    vectors = updates_for(circle.units)
    return circle, vectors, circle.sum(vectors)


def test_two_sums_are_not_opened(tmp_path, monkeypatch):
    """A holder reveals for one sum; so of two sums one is lacking reveals."""
    circle, vectors, found = two_sums(tmp_path, 3, monkeypatch)
    there = {unit: one for unit, one in found.items() if unit not in failed(found)}
    assert len(there) == 3
    assert len({one.members for one in there.values()}) == 1
    assert "2 reveals, fewer than agreed" in logs(found)
    assert len(circle.space.said("reveal")) == 5


class AnyFew(keys.AnyEnough):
    """The defence taken away: so few may open a sum that two groups of them have nobody in common."""

    def __init__(self, parameters, threshold, own, members, context, secret):
        self.own = own
        self._sharing = recovery.Sharing(
            parameters.primes, parameters.n, threshold, tuple(range(members)), context
        )
        dealt = self._sharing.deal(secret, own)
        self._shares = {position: dealt.common + share for position, share in dealt.shares.items()}


def test_with_a_low_threshold_two_sums_give_a_member_away(tmp_path, monkeypatch):
    monkeypatch.setattr(lattice, "AnyEnough", AnyFew)
    monkeypatch.setattr(recovery, "threshold_for", lambda *numbers: 1)
    circle, vectors, found = two_sums(tmp_path, 2, monkeypatch)
    assert not failed(found)
    sums = {len(one.members): one for one in found.values()}
    (alone,) = set(sums[5].members) - set(sums[4].members)
    assert (sums[5].words - sums[4].words == vectors[alone]).all()


# -- the space says old things again


class OldShares(Space):
    """Hands out in round 2 what was sealed in round 1."""

    kept: dict

    def shared(self, unit, place, pieces):
        found = dict(pieces)
        if place.round == 1:
            self.kept.setdefault(unit, found)
        return iter((found if place.round == 1 else self.kept[unit]).items())


class Unsigned(Rounds):
    """The defence taken away: shares are taken as they come, whatever their giver signed."""

    def _shares(self, group, contributions):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(side, "hmac", Alike)
            return super()._shares(group, contributions)


class Alike:
    compare_digest = staticmethod(lambda *_: True)


class Anything(str):
    """Equal to whatever it is compared with."""

    __slots__ = ()

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


@pytest.mark.parametrize("kind", [Rounds, Unsigned])
def test_shares_of_an_old_round(tmp_path, kind, caplog):
    circle = Circle(tmp_path, 4, 3, space=OldShares, scheme=LatticeSum(S, 3))
    circle.space.kept = {}
    vectors = updates_for(circle.units)
    assert not failed(circle.sum(vectors, 1))
    found = circle.sum(vectors, 2, kind=kind)
    assert set(failed(found)) == set(circle.units)
    if kind is Rounds:
        assert "another share than its member signed" in logs(found)
        assert [h for h in circle.space.said("reveal") if h.place.round == 2] == []
    else:
        # Honest dealers are blamed for what the space did.
        assert "that member" in caplog.text


# -- members that lie about what opens the sum


def changed(parameters, reveal, change):
    """A threshold's reveal with its rows changed."""
    rows, start = [], recovery.DIGEST_BYTES
    for row, prime in enumerate(parameters.primes):
        size = packed_bytes(parameters.n, prime)
        rows.append(change(row, unpack(reveal[start : start + size], parameters.n, prime)) % np.uint64(prime))
        start += size
    packed = (pack(row, prime) for row, prime in zip(rows, parameters.primes, strict=True))
    return reveal[: recovery.DIGEST_BYTES] + b"".join(packed)


class Lying(Rounds):
    """Reveals what ``lie`` makes of what it should."""

    lie = staticmethod(lambda group, reveal: reveal)

    def _reveal(self, group, *args):
        honest = group.protection.reveal
        group.protection.reveal = lambda members, shares: self.lie(group, honest(members, shares))
        return super()._reveal(group, *args)


def with_liar(ring, lie, vectors=None, liar=1):
    vectors = ring.vectors() if vectors is None else vectors
    kind = type("Liar", (Lying,), {"lie": staticmethod(lie)})
    kinds = {ring.units[liar]: kind}
    return vectors, ring.play({
        unit: lambda unit=unit: ring.rounds(unit, kinds.get(unit, Rounds)).sum(1, "", lambda: Given(vectors[unit]))
        for unit in vectors
    })  # fmt: skip


def one_more(group, reveal):
    return changed(S, reveal, lambda row, values: values + np.uint64(row == 1))


def test_a_holder_with_a_wrong_share_of_the_sum_is_named_and_the_sum_opens(tmp_path):
    ring = ring_of(tmp_path, 3)
    vectors, found = with_liar(ring, one_more)
    liar, *honest = ring.units[1], ring.units[0], *ring.units[2:]
    right = added(list(vectors.values()))
    for unit in honest:
        assert (found[unit].words == right).all()
        assert found[unit].record["false"] == [liar]
    assert failed(found) == {liar: "disagreement"}


def test_without_looking_for_it_the_sum_is_lost(tmp_path, monkeypatch):
    def first(self, test):
        rows, wrong = self._fitted(range(len(self.points)))
        if not test(rows):
            raise VerificationFailed("No.")
        return rows, wrong

    monkeypatch.setattr(reveals.Reveals, "open", first)
    _, found = with_liar(ring_of(tmp_path, 3), one_more)
    assert set(failed(found).values()) == {"disagreement"}
    assert len(failed(found)) == 4


def test_with_exactly_enough_a_wrong_one_is_noticed_and_nobody_is_blamed(tmp_path):
    ring = ring_of(tmp_path, 3)
    ring.space.fate.rules = [at("reveal", ring.units[3])]
    _, found = with_liar(ring, one_more)
    assert set(failed(found)) == set(ring.units)
    assert "nobody can be named" in logs(found)


class BadDealer(Rounds):
    """Deals one holder a share that is none of its secret's."""

    victim = 0

    def _deal(self, group):
        honest = group.protection.shares()
        bad = bytearray(honest[self.victim])
        bad[-7] ^= 1
        group.protection.shares = lambda: {**honest, self.victim: bytes(bad)}
        return super()._deal(group)


def with_dealer(ring):
    vectors = ring.vectors()
    kinds = {ring.units[2]: BadDealer}
    return vectors, ring.play({
        unit: lambda unit=unit: ring.rounds(unit, kinds.get(unit, Rounds)).sum(1, "", lambda: Given(vectors[unit]))
        for unit in ring.units
    })  # fmt: skip


def test_a_dealer_that_deals_a_bad_share(tmp_path, caplog):
    ring = ring_of(tmp_path, 3)
    vectors, found = with_dealer(ring)
    # The holder knows whose it is, reveals nothing, and has the sum from the others.
    assert opened(found, vectors, ring.units) == set(ring.units)
    assert "The share that member 2 dealt is not one of its secret's." in caplog.text


def test_without_checking_shares_its_holder_looks_false(tmp_path, monkeypatch):
    def trusting(self, dealer, position, common, share):
        body, values, start = share[-sum(self._sizes()) :], [], 0
        for prime, size in zip(self.primes, self._sizes(), strict=True):
            row = np.asarray(unpack(body[start : start + size], self._columns + self._pads(prime), prime))
            values.append(row[: self._columns])
            start += size
        return recovery.Checked(dealer, position, self._terms, hashlib.sha256(common).digest(), tuple(values))

    def sizes(self):
        return [packed_bytes(self._columns + self._pads(prime), prime) for prime in self.primes]

    monkeypatch.setattr(recovery.Sharing, "_sizes", sizes, raising=False)
    monkeypatch.setattr(recovery.Sharing, "check", trusting)
    ring = ring_of(tmp_path, 3)
    _, found = with_dealer(ring)
    assert found[ring.units[1]].record["false"] == [ring.units[0]]


def test_a_bad_share_where_everybody_is_needed_names_its_dealer(tmp_path):
    ring = ring_of(tmp_path, 3)
    ring.space.fate.rules = [at("join", ring.units[3])]
    _, found = with_dealer(ring)
    assert found[ring.units[0]].reason == "disagreement"
    assert "member 2 dealt" in found[ring.units[0]].log
    assert not [one for one in found.values() if not isinstance(one, RoundFailed)]


@pytest.mark.parametrize("scheme", [PairwiseMasks, lambda: LatticeSum(S)], ids=["masks", "lattice"])
def test_a_reveal_that_was_not_committed_to_names_its_member(tmp_path, scheme, monkeypatch):
    def other(group, reveal):
        return bytes([reveal[0] ^ 1]) + reveal[1:]

    ring = Ring(tmp_path / "with", scheme=scheme())
    _, found = with_liar(ring, other)
    assert set(failed(found).values()) == {"disagreement"}
    for unit in (ring.units[0], *ring.units[2:]):
        assert found[unit].log == f"{ring.units[1][:12]} reveals something else than it committed to."
    # Without the comparison masks give noise for a sum, and the lattice can name nobody.
    monkeypatch.setattr(side, "commitment_of", lambda *_: Uncompared())
    ring = Ring(tmp_path / "without", scheme=scheme())
    vectors, found = with_liar(ring, other)
    if ring.scheme.name == "pairwise-masks-v1":
        assert not (found[ring.units[0]].words == added(list(vectors.values()))).any()
    else:
        assert ring.units[1][:12] not in logs(found)


class Uncompared(bytes):
    def hex(self):
        return Anything()


# -- whoever reveals last would like to choose the sum


def steering(weight=1):
    """Opens the first block to 1000 more in the first word of its second slot."""

    def lie(group, reveal):
        public, prime = lattice.public_key(bytes.fromhex(group.digest)), S.primes[1]
        # The key is taken away from the sum: what the block gains is a change of the key times its public residues.
        gain = transform(S, 1, [1000] + [0] * (S.n - 1))
        inverse = [pow(int(a) * weight, -1, prime) for a in public_row(S, public, 0, 1)]
        shift = np.uint64(prime) - gain * np.array(inverse, np.uint64) % np.uint64(prime)
        if group.protection.shares():
            return changed(S, reveal, lambda row, values: values + shift * np.uint64(row == 1))
        rows = np.frombuffer(reveal, "<u4").reshape(S.rows, -1).astype(np.uint64)
        rows[1] = (rows[1] + shift) % np.uint64(prime)
        return rows.astype("<u4").tobytes()

    return lie


def steered(found, vectors):
    """By how much the sum of one that believes it is off."""
    off = signed(found.words) - signed(added(list(vectors.values())))
    return {int(place): int(off[place]) for place in np.flatnonzero(off)}


def test_who_reveals_cannot_choose_a_sum_that_it_committed_to_open(tmp_path, monkeypatch):
    ring = ring_of(tmp_path / "with")
    vectors, found = with_liar(ring, steering(), ring.vectors(ONE_BLOCK))
    assert set(failed(found)) == set(ring.units)
    assert "reveals something else than it committed to" in logs(found)
    # Without the commitment it chooses.
    monkeypatch.setattr(side, "commitment_of", lambda *_: Uncompared())
    ring = ring_of(tmp_path / "without")
    vectors, found = with_liar(ring, steering(), ring.vectors(ONE_BLOCK))
    assert steered(found[ring.units[0]], vectors) == {S.n: 1000}


def test_who_reveals_cannot_choose_a_sum_that_some_can_open(tmp_path, monkeypatch):
    """Also where of so few all are needed: the sum is of two blocks, whatever it holds."""

    def play(path):
        # Three are left of four; the liar knows with whose shares its own will be put together.
        ring = ring_of(path, 3)
        ring.space.fate.rules = [at("join", ring.units[3])]
        weight = int(interpolation([1, 2, 3], [0], S.primes[1])[0, 1])
        vectors, found = with_liar(ring, steering(weight), ring.vectors(ONE_BLOCK))
        del vectors[ring.units[3]]
        return ring, vectors, found

    ring, vectors, found = play(tmp_path / "with")
    assert set(failed(found)) == set(ring.units)
    # With one block it would choose, and nobody has committed to anything.
    monkeypatch.setattr(side, "padded", lambda words, block, least: -(-words // block) * block)
    monkeypatch.setattr(keys.AnyEnough, "sample_blocks", 1)
    ring, vectors, found = play(tmp_path / "without")
    assert steered(found[ring.units[0]], vectors) == {S.n: 1000}


def test_who_reveals_cannot_make_an_honest_member_look_false(tmp_path, monkeypatch):
    """With more reveals than are needed one that steers would have had another named in its place."""
    weight = int(interpolation([2, 3, 4], [0], S.primes[1])[0, 0])
    ring = ring_of(tmp_path / "with", 3)
    vectors, found = with_liar(ring, steering(weight), ring.vectors(ONE_BLOCK))
    honest = [u for u in ring.units if u != ring.units[1]]
    assert all(found[u].record["false"] == [ring.units[1]] for u in honest)
    assert all(steered(found[u], vectors) == {} for u in honest)


# -- one secret, twice


class Restless(Space):
    """Says three times that an attempt was given up."""

    def answered(self, unit, place, phase, found):
        if phase == "contribution" and place.attempt < 4:
            return Exchanged("aborted", round=place.round, attempt=place.attempt + 1)
        return found


@ALL
@pytest.mark.parametrize("reused", [False, True])
def test_every_attempt_draws_its_secrets(tmp_path, monkeypatch, threshold, reused):
    drawn, begin = [], lattice._begin

    def noted(scheme, own, secrets, context, secret, noise):
        if reused:
            secret, noise, context = secret_of(S, bytes([own])), bytes([own]) * 16, b"the same"
        drawn.append((secret.tobytes(), noise))
        return begin(scheme, own, secrets, context, secret, noise)

    monkeypatch.setattr(lattice, "_begin", noted)
    circle = Circle(tmp_path, 4, 3, space=Restless, scheme=LatticeSum(S, threshold))
    vectors = updates_for(circle.units)
    found = circle.sum(vectors)
    sent = {(h.unit, h.place.attempt): h.data for h in circle.space.said("contribution")}
    attempts = max(attempt for _, attempt in sent)
    assert attempts == 4
    if reused:
        # The control: the same update looks the same again; another would show the difference.
        assert sent[circle.units[0], 1] == sent[circle.units[0], 4]
        return
    assert not failed(found)
    assert len(drawn) == 16
    assert len({secret for secret, _ in drawn}) == len({noise for _, noise in drawn}) == 16
    assert len(set(sent.values())) == len(sent)


# -- vectors that are none, or too large


class Malforming(Rounds):
    """Sends words that no protection makes."""

    def _contribute(self, group, *args):
        honest = group.protection.protect

        def protect(start, words):
            made = honest(start, words).copy()
            made[0] = 0xFFFFFFFF
            return made

        group.protection.protect = protect
        return super()._contribute(group, *args)


class Careless(LatticeSum):
    """Adds what comes."""

    def add_into(self, total, addend):
        rows = addend.copy()
        rows[rows >= 0xFFFFFFF0] = 0
        super().add_into(total, rows)


def with_malformed(ring):
    vectors = ring.vectors()
    kinds = {ring.units[1]: Malforming}
    return vectors, ring.play({
        unit: lambda unit=unit: ring.rounds(unit, kinds.get(unit, Rounds)).sum(1, "", lambda: Given(vectors[unit]))
        for unit in ring.units
    })  # fmt: skip


@ALL
def test_words_that_are_no_residues_cost_their_sender_its_place(tmp_path, threshold, caplog):
    ring = ring_of(tmp_path, threshold)
    vectors, found = with_malformed(ring)
    bad = ring.units[1]
    assert failed(found) == {bad: "left-behind"}
    assert opened(found, vectors, [u for u in ring.units if u != bad]) == set(ring.units) - {bad}
    assert {one.attempts for u, one in found.items() if u != bad} == {2}
    assert f"the vector of {bad[:12]} is none" in caplog.text
    assert sorted(h.place.attempt for h in ring.space.said("contribution", bad)) == [1]


@ALL
def test_a_space_that_does_not_look_at_them(tmp_path, threshold):
    """The member that adds up again does."""
    ring = ring_of(tmp_path, threshold)
    ring.space.main._scheme = Careless(S, threshold)
    _, found = with_malformed(ring)
    assert "disagreement" in failed(found).values()
    assert "Member 1: " in logs(found)
    # Nobody reveals for a sum with that member in it, who might have been the one that was to check.
    assert all(ring.units[1] not in members for sets in ring.revealed().values() for members in sets)


def adding(much):
    """A member that adds to its protected vector what no honest enclave would protect."""

    class Adding(Rounds):
        def _contribute(self, group, *args):
            honest = group.protection.protect

            def protect(start, words):
                made = honest(start, words).copy()
                made[0] = (int(made[0]) + S.scale * much) % S.primes[0]
                return made

            group.protection.protect = protect
            return super()._contribute(group, *args)

    return Adding


@ALL
@pytest.mark.parametrize("much", [S.largest + 3_000_000, 1000], ids=["beyond", "within"])
def test_words_beyond_what_a_sum_can_hold(tmp_path, threshold, much):
    """Noticed where the sum leaves its range. Within it, anybody can add what it likes to its own part."""
    ring = ring_of(tmp_path, threshold)
    vectors = ring.vectors()
    kinds = {ring.units[0]: adding(much)}
    found = ring.play({
        unit: lambda unit=unit: ring.rounds(unit, kinds.get(unit, Rounds)).sum(1, "", lambda: Given(vectors[unit]))
        for unit in ring.units
    })  # fmt: skip
    if much > S.largest:
        assert set(failed(found).values()) == {"disagreement"}
        assert len(failed(found)) == 4
    else:
        assert steered(found[ring.units[1]], vectors) == {0: much}


CLIP, UNITS, SIZE = 10.0, 3, 400


class Beyond:
    """An update that an enclave with other software has not clipped."""

    def __init__(self, fixed, length):
        self.fixed, self.length = fixed, length
        self.words = SIZE + len(encode_reals((0.5, 1.0)))

    def pieces(self):
        each = self.length * 0.5 / np.sqrt(SIZE) * self.fixed.scale
        yield np.full(SIZE, int(np.clip(each, 0, self.fixed.largest)), np.uint32)
        yield encode_reals((0.5, 1.0))


@pytest.mark.parametrize("parameters", [S, L], ids=lambda p: p.name)
@pytest.mark.parametrize("length", [50 * CLIP, CLIP])
def test_an_update_beyond_the_clip(tmp_path, monkeypatch, parameters, length):
    ring = Ring(tmp_path, 3, 3, scheme=LatticeSum(parameters))
    fixed = FixedPoint(UNITS, CLIP, ring.scheme.largest)

    def honest(seed):
        update = np.random.default_rng(seed).normal(0, 0.01, SIZE).astype(np.float32)
        return Update(update, 1, fixed, CLIP, 0.5, (0.5, 1.0))

    made = dict(zip(ring.units, (honest(1), honest(2), Beyond(fixed, length)), strict=True))
    found = ring.play({u: lambda u=u, v=v: ring.rounds(u).sum(1, "", lambda: v) for u, v in made.items()})
    assert not failed(found)
    for one in found.values():
        if length == CLIP:
            assert np.linalg.norm(UpdateSum.of(one.words, SIZE, 1, fixed, CLIP, UNITS).mean(0, 0)) <= CLIP
            continue
        with pytest.raises(RoundFailed, match="beyond"):
            UpdateSum.of(one.words, SIZE, 1, fixed, CLIP, UNITS)
    if length > CLIP:
        # Without looking at its length, everybody would have taken the step.
        monkeypatch.setattr(updates, "_largest_norm", lambda *_: float("inf"))
        moved = UpdateSum.of(found[ring.units[0]].words, SIZE, 1, fixed, CLIP, UNITS).mean(0, 0)
        assert np.linalg.norm(moved) > CLIP


# -- who may see protected vectors


class Curious(Space):
    """Notes for whom it would hand out the members' vectors, before anything is revealed."""

    served: dict

    def answered(self, unit, place, phase, found):
        if phase == "contribution" and found.status == "complete" and unit not in self.served:
            try:
                self.served[unit] = len(list(LocalRounds(self.main, unit).contributions(place)))
            except PermissionDenied:
                self.served[unit] = 0
        return found


def curious(path, threshold):
    circle = Circle(path, 4, 3, space=Curious, scheme=LatticeSum(S, threshold))
    circle.space.served = {}
    assert not failed(circle.sum(updates_for(circle.units)))
    return circle.space


def test_vectors_are_for_those_who_check(tmp_path, monkeypatch):
    """Whoever has them all and enough helpers needs nobody else to open each."""
    space = curious(tmp_path / "with", 3)
    agreed = space.said("agree")[0]
    digest = read_message(agreed.envelope, MemberSet, signed_place(agreed.place)).digest
    expected = {sorted(space.offers)[at] for at in checkers_of(digest, 4, 3, range(4))}
    assert {unit for unit, count in space.served.items() if count} == expected
    assert len(expected) == 2
    monkeypatch.setattr(Attempt, "checkers", lambda self: self.members)
    assert all(curious(tmp_path / "without", 3).served.values())


# -- what colluders learn


class Talking(Rounds):
    """Keeps what a member knows, for those that it colludes with."""

    told: dict

    def _shares(self, group, contributions):
        found = super()._shares(group, contributions)
        self.told[group.place.round, group.own] = (group, dict(found), dict(group.shared))
        return found


def talking(told):
    return type("Colluding", (Talking,), {"told": told})


def ciphertext(ring, number, unit):
    return next(words_of(h.data) for h in ring.space.said("contribution", unit) if h.place.round == number)


def reads(group, secret, sent):
    """What a protected vector opens to with a secret; None where that is not its own."""
    out = np.empty(len(sent), np.uint32)
    public = lattice.public_key(bytes.fromhex(group.digest))
    good = NumpyBackend().open(S, public, secret, 0, sent, S.noise_bound(1), out)
    return out if good else None


def test_all_but_one_learn_the_last_ones_part_of_that_round_and_of_no_other(tmp_path):
    """Lost: the last one's vector (by subtraction, and by its secret) in every round that is opened.

    Not lost: its vector in an attempt for which it has revealed nothing, whatever others know of earlier rounds.
    """
    ring, told = Ring(tmp_path, 3, 3, scheme=LatticeSum(S)), {}
    honest, vectors = ring.units[0], ring.vectors()

    def rounds(unit, number):
        kind = Rounds if unit == honest else talking(told)
        return lambda: ring.rounds(unit, kind).sum(number, "", lambda: Given(vectors[unit]))

    found = ring.play({unit: rounds(unit, 1) for unit in ring.units})
    assert not failed(found)
    others = added([vectors[u] for u in ring.units[1:]])
    assert (found[ring.units[1]].words - others == vectors[honest]).all()
    # Its secret too, from what it revealed and the keys that it shares with each of them.
    group = told[1, 1][0]
    secret = secret_from(ring, told, 1)
    opened_alone = reads(group, secret, ciphertext(ring, 1, honest))
    assert (opened_alone[: len(vectors[honest])] == vectors[honest]).all()
    # In the next round it has sent its vector, and is lost before it reveals: nothing that they know opens that.
    ring.space.fate.rules = [at("reveal", honest, 2)]
    assert honest in failed(ring.play({unit: rounds(unit, 2) for unit in ring.units}))
    sent = ciphertext(ring, 2, honest)
    assert reads(told[2, 1][0], secret, sent) is None
    assert reads(told[2, 1][0], np.zeros_like(secret), sent) is None


def secret_from(ring, told, number):
    """The secret of the member at position 0 from its reveal, by the two others."""
    groups = {own: told[number, own] for own in (1, 2)}
    zero = np.zeros((S.rows, S.n), np.uint32)
    group = groups[1][0]
    context = bytes.fromhex(group.digest)
    pairs = {own: derive(shared[0], b"trustspace round mask v1") for own, (_, _, shared) in groups.items()}
    # What member 0 would reveal of the secret zero are its masks alone.
    masks = keys.AllTogether(S, 0, pairs, context, zero)
    masked = np.frombuffer(masks.reveal(frozenset({0, 1, 2}), {}), "<u4").reshape(S.rows, -1)
    shown = np.frombuffer(revealed_by(ring, group, groups, number), "<u4").reshape(S.rows, -1)
    primes = np.array(S.primes, np.uint64)[:, None]
    return ((shown.astype(np.uint64) + primes - masked) % primes).astype(np.uint32)


def revealed_by(ring, group, groups, number):
    """What member 0 has revealed to member 1."""
    said = next(h for h in ring.space.said("reveal", ring.units[0]) if h.place.round == number)
    reveal = read_message(said.envelope, Reveal, signed_place(said.place))
    key = unseal(groups[1][2][0], b"reveal", 0, 1, bytes.fromhex(reveal.sealed[ring.units[1]]))
    value = AESGCM(key).decrypt(bytes(12), base64.b64decode(reveal.content), None)
    return value[32 + side.NOTE_BYTES :]


def test_enough_holders_together_read_every_update_and_fewer_read_none(tmp_path):
    """What a grant's words say: any three of four, with what one of them downloaded to check, or the space has."""
    ring, told = ring_of(tmp_path, 3), {}
    vectors = ring.vectors()
    found = ring.play({
        unit: lambda unit=unit: ring.rounds(unit, talking(told)).sum(1, "", lambda: Given(vectors[unit]))
        for unit in ring.units
    })  # fmt: skip
    assert not failed(found)
    victim, sent = 3, ciphertext(ring, 1, ring.units[3])
    group = told[1, 0][0]
    sharing = recovery.Sharing(S.primes, S.n, 3, (0, 1, 2, 3), bytes.fromhex(group.digest))
    cut = sharing.common_bytes

    def pooled(holders, number=1):
        shares = {at: told[number, at][1][victim] for at in holders}
        return {
            at: sharing.add(at, [sharing.check(victim, at, share[:cut], share[cut:])])
            for at, share in shares.items()
        }

    whole = sharing.combine(pooled([0, 1, 2]), lambda rows: reads(group, rows, sent) is not None)
    read = reads(group, whole.rows, sent)
    assert (read[: len(vectors[ring.units[victim]])] == vectors[ring.units[victim]]).all()
    with pytest.raises(VerificationFailed):
        sharing.combine(pooled([0, 1]), lambda rows: True)
    # Whatever the third share would have to be, two alone say nothing: any secret fits them.
    fewer = pooled([0, 1]) | {2: changed(S, pooled([2])[2], lambda row, values: values + np.uint64(1))}
    guess = sharing.combine(fewer, lambda rows: True)
    assert reads(group, guess.rows, sent) is None

"""A space, and members, that cheat in a round; each attack also without the one defence that it meets.

The members' side and the board are the product's own, in one process (support/members.py). What a defence stops is
shown by taking that defence away: then the attack does what it is for.
"""

import pytest
from support.members import MANY_WORDS, WORDS, Circle, Space, added, failed

from trustspace.crypto.canonical import parse_canonical
from trustspace.crypto.statement import Envelope
from trustspace.domain.rounds import (
    Check,
    Contribution,
    Join,
    MemberSet,
    Place,
    Reveal,
    checkers_of,
    read_message,
)
from trustspace.enclave import meeting as member
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.sums import received
from trustspace.transport.rounds import Exchanged


def nothing_was_opened(circle):
    """No mask was revealed, so no sum can ever be opened."""
    return circle.space.said("reveal") == []


# -- what the members sent, and its sum


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


def dropped(vectors):
    unit = max(vectors)
    vectors[unit].write(0, bytes(vectors[unit].size))


def duplicated(vectors):
    first, *_, last = sorted(vectors)
    vectors[last].write(0, vectors[first].read(0, vectors[first].size))


def swapped(vectors):
    first, *_, last = sorted(vectors)
    vectors[first], vectors[last] = vectors[last], vectors[first]


def altered(vectors):
    unit = min(vectors)
    vectors[unit].write(0, (int.from_bytes(vectors[unit].read(0, 4), "little") ^ 1).to_bytes(4, "little"))


@pytest.mark.parametrize("count", [WORDS, MANY_WORDS])
@pytest.mark.parametrize("lie", [dropped, duplicated, swapped, altered])
def test_a_space_that_changes_what_a_member_sent(tmp_path, lie, count):
    """The member whom nobody could choose adds up what each of them signed."""
    circle = Circle(tmp_path / "with", 3)
    circle.space.main.change = lie
    found = circle.sum(circle.vectors(count))
    assert set(failed(found)) == set(circle.units)
    assert "disagreement" in failed(found).values()
    assert nothing_was_opened(circle)


@pytest.mark.parametrize("lie", [dropped, duplicated, swapped, altered])
def test_without_the_check_it_goes_through(tmp_path, lie):
    circle = Circle(tmp_path, 3)
    circle.space.main.change = lie
    vectors = circle.vectors()
    found = circle.sum(vectors, kind=Unchecked)
    assert not failed(found)
    right = added(list(vectors.values()))
    # Two that change places add up to the same: the check finds that as well, since each has signed its own.
    same = [bool((one.words == right).all()) for one in found.values()]
    assert same == [lie is swapped] * 3


class FalseSum(Space):
    """Adds something of its own to the sum; to one member alone, if there is a victim, who is not the checker."""

    victim = ""
    how = "one word more"

    def _false(self, data):
        if self.how == "truncated":
            return data[:-4]
        if self.how == "longer":
            return data + bytes(4)
        first = (int.from_bytes(data[:4], "little") + 1) & 0xFFFFFFFF
        return first.to_bytes(4, "little") + data[4:]

    def _victim(self, place):
        if not self.only_one:
            return None
        # The space sees the set that all have signed, so it knows who checks.
        signed = self.said("agree")[0].envelope
        at = Place(job=place.job, run=place.run, round=place.round, attempt=place.attempt)
        count = len(self.offers)
        (checker,) = checkers_of(read_message(signed, MemberSet, at).digest, count, count, range(count))
        return sorted(self.offers)[(checker + 1) % len(self.offers)]

    def answered(self, unit, place, phase, found):
        if phase == "contribution" and found.data and self._victim(place) in (None, unit):
            return Exchanged(
                found.status, found.envelopes, (), self._false(found.data), found.round, found.attempt
            )
        return found

    def summed(self, unit, place, pieces):
        if self._victim(place) in (None, unit):
            return iter([self._false(b"".join(pieces))])
        return pieces


@pytest.mark.parametrize("count", [WORDS, MANY_WORDS])
@pytest.mark.parametrize("only_one", [False, True])
@pytest.mark.parametrize("how", ["one word more", "truncated", "longer"])
def test_a_space_that_shows_a_false_sum(tmp_path, count, only_one, how):
    circle = Circle(tmp_path, 3, space=FalseSum)
    circle.space.how, circle.space.only_one = how, only_one
    found = circle.sum(circle.vectors(count))
    assert "disagreement" in failed(found).values()
    if not only_one:
        assert set(failed(found)) == set(circle.units)
        # Who checks a large sum makes it itself, and may have revealed its own mask: without the others' it is closed.
        assert len(circle.space.said("reveal")) <= (1 if count == MANY_WORDS else 0)
    # Nobody who was lied to has revealed anything for it.
    lied_to = [u for u, reason in failed(found).items() if reason == "disagreement"]
    assert circle.space.said("reveal", *lied_to) == []


@pytest.mark.parametrize("only_one", [False, True])
def test_without_the_check_a_false_sum_is_opened(tmp_path, only_one):
    class Unasked(Unchecked):
        """Nor does anybody compare the sums that the others revealed for."""

        def _all_say(self, place, envelopes, members, keys, kind, holds, otherwise):
            keep = holds if kind is not Reveal else (lambda said: True)
            return super()._all_say(place, envelopes, members, keys, kind, keep, otherwise)

    circle = Circle(tmp_path, 3, space=FalseSum)
    circle.space.only_one = only_one
    vectors = circle.vectors()
    found = circle.sum(vectors, kind=Unasked)
    assert not failed(found)
    right = added(list(vectors.values()))
    wrong = [int(one.words[0] - right[0]) for one in found.values()]
    assert sorted(wrong) == ([0, 0, 1] if only_one else [1, 1, 1])


# -- who takes part


class TwoSets(Space):
    """Announces all four members to some, and to others three of them."""

    def answered(self, unit, place, phase, found):
        if unit in sorted(self.offers)[:2] or found.status != "complete":
            return found
        if phase in ("join", "agree", "contribution") and len(found.envelopes) == 4:
            # The last two are told that the first is not there.
            return Exchanged("complete", found.envelopes[1:], (), found.data, found.round, found.attempt)
        return found


def test_two_member_sets_are_not_signed_by_one(tmp_path):
    """Nobody sends anything before all signatures are there, over the same bytes."""
    circle = Circle(tmp_path, 4, space=TwoSets)
    found = circle.sum(circle.vectors())
    assert "disagreement" in failed(found).values()
    assert [h for h in circle.space.said("contribution") if h.place.attempt == 1] == []


def test_without_comparing_signatures_vectors_are_sent_for_two_sets(tmp_path):
    class Believing(Rounds):
        def _all_sign(self, message, envelopes, keys):
            """Somebody has signed something."""

    circle = Circle(tmp_path, 4, space=TwoSets)
    circle.sum(circle.vectors(), kind=Believing)
    sent = [h for h in circle.space.said("contribution") if h.place.attempt == 1]
    assert len({opened(h, Contribution).members for h in sent}) == 2


def opened(heard, kind):
    at = heard.place
    return read_message(
        heard.envelope, kind, Place(job=at.job, run=at.run, round=at.round, attempt=at.attempt)
    )


class Without(Space):
    """Leaves one member out of what it announces."""

    left_out = -1

    def answered(self, unit, place, phase, found):
        if phase == "join" and found.status == "complete":
            kept = list(found.envelopes)
            del kept[self.left_out]
            return Exchanged("complete", tuple(kept), (), b"", found.round, found.attempt)
        return found


def test_who_joined_is_in_the_set_or_out_of_the_run(tmp_path):
    circle = Circle(tmp_path, 4, space=Without)
    found = circle.sum(circle.vectors())
    assert failed(found)[circle.units[-1]] == "disagreement"
    assert circle.space.said("agree", circle.units[-1]) == []
    assert nothing_was_opened(circle)


@pytest.mark.parametrize("order", ["twice", "reversed"])
def test_a_set_that_names_a_member_twice_or_out_of_order(tmp_path, order):
    class Mixed(Space):
        def answered(self, unit, place, phase, found):
            if phase == "join" and found.status == "complete":
                shown = (
                    found.envelopes[::-1] if order == "reversed" else (*found.envelopes, found.envelopes[0])
                )
                return Exchanged("complete", shown, (), b"", found.round, found.attempt)
            return found

    circle = Circle(tmp_path, 3, space=Mixed)
    found = circle.sum(circle.vectors())
    assert "disagreement" in failed(found).values()
    assert circle.space.said("agree") == []


# -- old messages


class Replaying(Space):
    """Keeps what one member said in round 1, and says it again for it in round 2."""

    def answered(self, unit, place, phase, found):
        if place.round == 2 and phase == self.phase and found.status == "complete" and unit != self.of:
            old = self.said(phase, self.of)[0].envelope
            at = min(sorted(self.offers).index(self.of), len(found.envelopes) - 1)
            shown = (*found.envelopes[:at], old, *found.envelopes[at + 1 :])
            return Exchanged("complete", shown, (), found.data, found.round, found.attempt)
        return found


def replay(tmp_path, phase):
    circle = Circle(tmp_path, 3, space=Replaying)
    circle.space.phase, circle.space.of = phase, circle.units[1]
    vectors = circle.vectors()
    assert not failed(circle.sum(vectors, 1))
    if phase == "check":
        # Only the member that was picked makes one.
        circle.space.of = circle.space.said("check")[0].unit
    circle.space.heard = [h for h in circle.space.heard if h.place.round == 1]
    return circle, circle.sum(vectors, 2)


@pytest.mark.parametrize("phase", ["join", "agree", "contribution", "check", "reveal"])
def test_an_old_rounds_message_does_not_count(tmp_path, phase):
    circle, found = replay(tmp_path, phase)
    assert "disagreement" in failed(found).values()
    why = "something else than the others" if phase == "agree" else "another round"
    assert any(why in one.log for one in found.values() if isinstance(one, RoundFailed))


def test_without_its_place_an_old_join_makes_an_absent_member_present(tmp_path, monkeypatch):
    """The control: the message is genuine in all but its place, and without that the set is signed with it."""

    def misplaced(read):
        def anywhere(envelope, kind, place, *key):
            raw = parse_canonical(Envelope.parse(envelope, 1 << 20).payload, what="it", max_bytes=1 << 20)
            return read(envelope, kind, Place.model_validate(raw["body"]["place"]), *key)

        return anywhere

    monkeypatch.setattr(member, "read_message", misplaced(member.read_message))
    monkeypatch.setattr(member, "open_message", misplaced(member.open_message))
    circle, found = replay(tmp_path, "join")
    old = opened(circle.space.said("join", circle.units[1])[0], Join)
    signed = [h for h in circle.space.said("agree") if h.place.round == 2 and h.unit != circle.units[1]]
    assert [opened(h, MemberSet).members[1].ephemeral for h in signed] == [old.ephemeral] * 2

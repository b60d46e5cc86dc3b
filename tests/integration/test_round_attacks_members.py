"""Members of a round whose software is not ours: what they send is bounded, or nothing comes of it."""

import dataclasses

import numpy as np
import pytest
from support.members import WORDS, Circle, Space, failed, some_words

from trustspace.aggregation.fixedpoint import FixedPoint, encode_reals
from trustspace.enclave import vectors as updates
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.vectors import Update, UpdateSum


def nothing_was_opened(circle):
    """No mask was revealed, so no sum can ever be opened."""
    return circle.space.said("reveal") == []


CLIP, UNITS = 10.0, 3
FIXED = FixedPoint(UNITS, CLIP)
SIZE = 400


def honest(seed, weight=0.5):
    update = np.random.default_rng(seed).normal(0, 0.1, SIZE).astype(np.float32)
    return Update(update, 1, FIXED, CLIP, weight, (weight, 1.0))


class Beyond:
    """An update that an enclave with other software has not clipped: ``length`` long, in one direction."""

    words = honest(0).words

    def __init__(self, length, weight=0.5):
        self.length, self.weight = length, weight

    def pieces(self):
        # As large as a word can hold, whatever the clip: what encode() would never let through.
        each = self.length * self.weight / np.sqrt(SIZE) * FIXED.scale
        yield np.full(SIZE, int(np.clip(each, 0, FIXED.largest)), np.uint32)
        yield encode_reals((self.weight, 1.0))


def with_cheat(tmp_path, cheat):
    circle = Circle(tmp_path)
    made = dict(zip(circle.units, (honest(1), honest(2), cheat), strict=True))
    acts = {u: lambda u=u, v=v: circle.rounds(u).sum(1, "", lambda: v) for u, v in made.items()}
    return circle, circle.play(acts)


def open_update(found):
    return UpdateSum.of(found.words, SIZE, 1, FIXED, CLIP, UNITS)


def test_a_sum_beyond_what_clipped_updates_can_add_up_to(tmp_path, monkeypatch):
    _, found = with_cheat(tmp_path, Beyond(50 * CLIP))
    assert not failed(found)
    for one in found.values():
        with pytest.raises(RoundFailed, match="beyond") as refused:
            open_update(one)
        assert refused.value.reason == "disagreement"
    # Without looking at its length, everybody would have taken the step.
    monkeypatch.setattr(updates, "_largest_norm", lambda *_: float("inf"))
    moved = open_update(found[next(iter(found))]).mean(0, 0)
    assert np.linalg.norm(moved) > CLIP


def test_what_one_member_can_hide_in_a_sum_is_bounded(tmp_path):
    """The limit that the trust model names: unseen up to what all could have added together, and no further."""
    _, found = with_cheat(tmp_path, Beyond(2.5 * CLIP))
    opened = open_update(found[next(iter(found))])
    assert np.linalg.norm(opened.mean(0, 0)) <= CLIP * (1 + 1e-6)


@pytest.mark.parametrize("weight", [7.0, -1.0, -5.0, float("nan")])
def test_a_weight_that_is_none(tmp_path, weight):
    """One that counts for more than it may, or takes the others' weight away."""
    _, found = with_cheat(tmp_path / "control", Weighing(0.5, garbage=False))
    assert all(open_update(one).extras[0] == 1.5 for one in found.values())
    claimed = 0.0 if np.isnan(weight) else weight
    _, found = with_cheat(tmp_path / "cheat", Weighing(claimed, garbage=bool(np.isnan(weight))))
    assert not failed(found)
    for one in found.values():
        with pytest.raises(RoundFailed) as refused:
            open_update(one)
        assert refused.value.reason == "disagreement"


class Weighing(Beyond):
    def __init__(self, weight, garbage):
        super().__init__(CLIP, 0.5)
        self.claimed, self.garbage = weight, garbage

    def pieces(self):
        bulk, _ = super().pieces()
        yield bulk
        # No number at all: any words.
        yield some_words(9, self.words - SIZE) if self.garbage else encode_reals((self.claimed, 1.0))


@pytest.mark.parametrize("count", [WORDS - 1, WORDS + 1, 1])
def test_a_vector_of_another_length(tmp_path, count):
    circle = Circle(tmp_path)
    vectors = circle.vectors()
    vectors[circle.units[1]] = some_words(2, count)
    found = circle.sum(vectors)
    assert set(failed(found)) == set(circle.units)
    assert nothing_was_opened(circle)


def test_a_length_that_the_space_makes_fit(tmp_path):
    """The space's own check is a courtesy: the members compare what each has signed."""

    class Cutting(Space):
        def taken(self, unit, place, phase, envelope, data):
            return envelope, data[: 4 * WORDS]

    circle = Circle(tmp_path, space=Cutting)
    vectors = circle.vectors()
    vectors[circle.units[1]] = some_words(2, WORDS + 8)
    found = circle.sum(vectors)
    assert "disagreement" in failed(found).values()
    assert nothing_was_opened(circle)


@pytest.mark.parametrize("how", ["another seed", "nothing", "somebody else's"])
def test_a_seed_that_is_not_the_masks(tmp_path, how):
    """A member that reveals something else spoils the sum, and nobody takes noise for a model."""
    circle = Circle(tmp_path)

    class Spoiling(Rounds):
        def _reveal(self, group, *args):
            if how == "another seed":
                group.protection._seed = bytes(32)
            if how == "nothing":
                group.shared = {i: bytes(32) for i in group.shared}
            return super()._reveal(group, *args)

    made = dict(zip(circle.units, (honest(1), honest(2), honest(3)), strict=True))
    kinds = {circle.units[2]: Spoiling}
    if how == "somebody else's":
        # The space shows two members' seeds in each other's place.
        class Crossing(Space):
            def answered(self, unit, place, phase, found):
                if phase == "reveal" and found.status == "complete":
                    shown = (found.envelopes[1], found.envelopes[0], *found.envelopes[2:])
                    return dataclasses.replace(found, envelopes=shown)
                return found

        circle, kinds = Circle(tmp_path / "crossed", space=Crossing), {}
    found = circle.play({
        u: lambda u=u, v=v: circle.rounds(u, kinds.get(u, Rounds)).sum(1, "", lambda: v) for u, v in made.items()
    })  # fmt: skip
    for unit in circle.units[:2]:
        if isinstance(found[unit], RoundFailed):
            assert found[unit].reason == "disagreement"
            continue
        with pytest.raises(RoundFailed):
            open_update(found[unit])

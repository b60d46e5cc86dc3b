"""Reference scores on losses made to a known recipe, where plain losses say nothing."""

import numpy as np
import pytest

from trustspace.errors import InvalidInput
from trustspace.privacy.membership import measure
from trustspace.privacy.references import measure_references, random_halves, scores

PATIENTS = 600


def world(trainings, effect, seed=0, patients=PATIENTS):
    """Every patient has a difficulty of its own; being in lowers the loss by ``effect`` of it."""
    draw = np.random.default_rng(seed)
    difficulty = np.exp(draw.normal(0, 1.2, patients))
    members = draw.random(patients) < 0.5
    inside = random_halves(patients, trainings, draw)

    def losses(within):
        return difficulty * np.exp(0.15 * draw.normal(size=patients)) * np.where(within, 1 - effect, 1.0)

    return losses(members), np.stack([losses(half) for half in inside]), inside, members


def test_halves_come_with_their_complements():
    inside = random_halves(101, 4, np.random.default_rng(1))
    assert inside.shape == (4, 101)
    assert (inside.sum(axis=0) == 2).all(), "everybody is in half of them"
    assert set(inside.sum(axis=1)) == {50, 51}
    assert not (inside[0] == inside[2]).all()
    assert random_halves(10, 3, np.random.default_rng(1)).shape == (3, 10)


@pytest.mark.parametrize("trainings", [2, 4, 16])
def test_references_see_what_plain_losses_do_not(trainings):
    target, losses, inside, members = world(trainings, 0.25)
    plain = measure(target[members], target[~members])
    found = measure_references(target, losses, inside, members, members | True)
    assert plain.auc.value < 0.62
    assert found.best.auc.value > plain.auc.value + 0.1
    assert found.best.auc.low > 0.5
    assert found.trainings == trainings
    assert {name for name, _ in found.each} == {"rmia", "lira"}


def test_more_references_see_more():
    seen = []
    for trainings in (2, 8, 64):
        target, losses, inside, members = world(trainings, 0.25)
        seen.append(measure_references(target, losses, inside, members).best.auc.value)
    assert seen == sorted(seen)


def test_nothing_to_see_is_not_seen():
    wrong = 0
    for seed in range(25):
        target, losses, inside, members = world(4, 0.0, seed, patients=80)
        best = measure_references(target, losses, inside, members, members | True).best
        wrong += not best.auc.low <= 0.5
        assert best.epsilon < 1.0
    # 2.5 % for the two scores together: 0.6 expected.
    assert wrong <= 3


def test_choosing_is_paid_for():
    target, losses, inside, members = world(4, 0.2)
    found = measure_references(target, losses, inside, members, members | True)
    each = dict(found.each)
    assert found.best.auc == each[found.name].auc
    assert found.best.auc.value == max(m.auc.value for m in each.values())
    assert found.best.tail.value == max(m.tail.value for m in each.values())
    values = scores(target, losses, inside)[found.name]
    alone = measure(values[members], values[~members], np.ones(int(members.sum()), dtype=bool))
    for name in ("auc", "tail", "tpr"):
        paid, free = getattr(each[found.name], name), getattr(alone, name)
        assert paid.value == free.value
        assert paid.low < free.low, name
        assert paid.high > free.high, name
        assert paid.detectable > free.detectable, name
    assert 0 < each[found.name].epsilon < alone.epsilon
    assert found.best.epsilon == max(m.epsilon for m in each.values())


def test_lira_by_hand():
    # One patient, two references each way: logits 1 and 3 outside, 4 and 6 inside; the target's is 5.
    logits = np.array([[1.0], [3.0], [4.0], [6.0]])
    losses = np.log1p(np.exp(-logits))
    inside = np.array([[False], [False], [True], [True]])
    # Variance of each side 2, of a target against a mean of two 2 * 1.5: ((5 - 2)**2 - (5 - 5)**2) / 6 in all.
    found = scores(np.log1p(np.exp([-5.0])), losses, inside)
    assert found["lira"][0] == pytest.approx(-9 / 6)


def test_rmia_by_hand():
    inside = np.array([[True], [False]])
    found = scores(-np.log([0.9]), -np.log([[0.8], [0.4]]), inside)
    assert found["rmia"][0] == pytest.approx(-np.log(0.9 / 0.6))


def test_both_come_out_lower_the_more_like_a_member():
    target, losses, inside, _ = world(8, 0.3)
    lower = scores(target * 0.8, losses, inside)
    for name, value in scores(target, losses, inside).items():
        assert (lower[name] <= value + 1e-9).mean() > 0.95, name


@pytest.mark.parametrize("trainings", [1, 3])
def test_a_patient_who_was_never_out_or_never_in_is_still_judged(trainings):
    target, losses, inside, members = world(trainings, 0.4)
    assert not (inside.any(axis=0) & ~inside.all(axis=0)).all() or trainings > 1
    found = measure_references(target, losses, inside, members)
    assert all(np.isfinite(value).all() for value in scores(target, losses, inside).values())
    assert found.best.auc.value > 0.6


def test_with_many_references_each_patient_has_its_own_variance():
    target, losses, inside, members = world(64, 0.25)
    noisy = np.arange(PATIENTS) % 2 == 0
    losses[:, noisy] *= np.exp(np.random.default_rng(5).normal(0, 2, (64, int(noisy.sum()))))
    own = scores(target, losses, inside)["lira"]
    few = scores(target, losses[:32], inside[:32])["lira"]
    assert np.abs(own[noisy]).mean() < 0.5 * np.abs(own[~noisy]).mean(), "an unsteady patient says little"
    assert np.abs(few[noisy]).mean() > 0.5 * np.abs(few[~noisy]).mean(), (
        "which one variance for all cannot know"
    )


def test_squared_errors_do_not_depend_on_their_unit():
    target, losses, inside, _ = world(4, 0.3)
    metres = scores(target, losses, inside, squared=True)
    for name, value in scores(target * 1e-4, losses * 1e-4, inside, squared=True).items():
        np.testing.assert_allclose(value, metres[name], atol=2e-2)


@pytest.mark.parametrize("extreme", [0.0, 1e6])
def test_extreme_losses_stay_finite(extreme):
    target, losses, inside, _ = world(4, 0.3)
    target[:50], losses[:, 20:90] = extreme, extreme
    for value in scores(target, losses, inside).values():
        assert np.isfinite(value).all()


def test_exposed_patients_are_members_by_their_place_among_all():
    target, losses, inside, members = world(8, 0.3)
    found = measure_references(target, losses, inside, members)
    assert len(found.exposed) == 20
    assert all(members[place] for place, _ in found.exposed)
    order = scores(target, losses, inside)[found.name]
    assert found.exposed[0][0] == int(np.flatnonzero(members)[np.argmin(order[members])])
    assert [share for _, share in found.exposed] == sorted(
        (share for _, share in found.exposed), reverse=True
    )


def test_references_that_do_not_fit_are_refused():
    target, losses, inside, _ = world(4, 0.3)
    for bad in (
        (target[1:], losses, inside),
        (target, losses[:2], inside),
        (target, losses, inside | True),
        (target, losses, inside & False),
        (target, losses[:0], inside[:0]),
    ):
        with pytest.raises(InvalidInput):
            scores(*bad)

"""What reference trainings add: how a patient's loss should be, with the patient in the data and without.

The registered trainer runs again on random halves of all patients, trained and withheld alike, so that the halves say
nothing about who was in. Two published scores are made of them, of which neither always wins: RMIA (Zarifzadeh, Liu
and Shokri 2024, "Low-Cost High-Power Membership Inference Attacks") and LiRA (Carlini et al. 2022, "Membership
Inference Attacks From First Principles"). Both come out higher the less like a member a patient looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput
from trustspace.privacy.audit import CONFIDENCE
from trustspace.privacy.membership import Membership, exposed, measure

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Confidences between exp(-30) and 1 - 1e-7: beyond, a logit says more of rounding than of a patient.
_LEAST_LOSS, _MOST_LOSS = 1e-7, 30.0
# From so many trainings on each side, a patient has a variance of its own (Carlini et al., section VI-C: 64 in all).
_OWN_VARIANCE_FROM = 32
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class References:
    """Both scores' measures, each with half of the error allowed, and the better one under its ``name``.

    ``best`` has the area, curve and histograms of ``name`` and the higher of both in each other measure: since both
    hold together at the confidence asked for, so does whichever was chosen. ``exposed``: the patients that look most
    like members by ``name``, as :func:`trustspace.privacy.membership.exposed` gives them, by their place among all.
    """

    trainings: int
    name: str
    best: Membership
    each: tuple[tuple[str, Membership], ...]
    exposed: tuple[tuple[int, float], ...] = field(repr=False)


def random_halves(patients: int, trainings: int, draw: np.random.Generator) -> Flags:
    """Who is in which reference training, [trainings, patients]: halves and their complements.

    So everybody is inside half of an even number of them (Carlini et al., section V), and of two at least once.
    """
    rows: list[Flags] = []
    while len(rows) < trainings:
        half = np.zeros(patients, dtype=bool)
        half[draw.permutation(patients)[: (patients + len(rows) // 2 % 2) // 2]] = True
        rows += [half, ~half]
    return np.array(rows[:trainings], dtype=bool).reshape(trainings, patients)


def scores(target: Floats, losses: Floats, inside: Flags, *, squared: bool = False) -> Mapping[str, Floats]:
    """``rmia`` and ``lira`` of every patient, [n], higher the less like a member.

    ``target``: [n], losses under the model that is judged; ``losses``: [K, n] under the references; ``inside``: [K, n],
    who was in each. Losses are in nats; ``squared`` says that they are squared errors, which are divided by twice
    their mean outside the references to be so (a Gaussian's). One patient is outside or inside of all references only
    where they are few or badly drawn: the missing side is then taken to be as far away as it is on average.
    Raises InvalidInput unless somebody was inside and somebody outside.
    """
    if losses.shape != inside.shape or losses.shape[1:] != target.shape or not losses.size:
        raise InvalidInput("The reference trainings do not fit the patients.")
    if not bool(inside.any()) or bool(inside.all()):
        raise InvalidInput("The reference trainings have nobody inside or nobody outside.")
    if squared:
        spread = max(2.0 * float(losses[~inside].mean()), 1e-12)
        target, losses = target / spread, losses / spread
    target = np.clip(target, _LEAST_LOSS, _MOST_LOSS)
    losses = np.clip(losses, _LEAST_LOSS, _MOST_LOSS)
    return {"rmia": _rmia(target, losses, inside), "lira": _lira(target, losses, inside)}


def measure_references(
    target: Floats,
    losses: Floats,
    inside: Flags,
    members: Flags,
    audited: Flags | None = None,
    *,
    squared: bool = False,
    confidence: float = CONFIDENCE,
) -> References:
    """Both scores measured over all patients, and the better one.

    ``members``: [n], who was trained on; ``audited``: [n], whose place was a fair coin's (None: no audit). The rest as
    :func:`scores` has it. Raises InvalidInput as it and :func:`measure` do.
    """
    found = scores(target, losses, inside, squared=squared)
    tossed = (None, None) if audited is None else (audited[members], audited[~members])
    half = 1.0 - (1.0 - confidence) / len(found)
    each = {
        name: measure(score[members], score[~members], *tossed, confidence=half)
        for name, score in found.items()
    }
    name = max(each, key=lambda n: each[n].auc.value)
    epsilon = max(each.values(), key=lambda m: m.epsilon)
    best = replace(
        each[name],
        tail=max((m.tail for m in each.values()), key=lambda e: e.value),
        tpr=max((m.tpr for m in each.values()), key=lambda e: e.value),
        epsilon=epsilon.epsilon,
        guesses=epsilon.guesses,
        right=epsilon.right,
    )
    places = np.flatnonzero(members)
    named = exposed(found[name][members], found[name][~members])
    shown = tuple((int(places[place]), share) for place, share in named)
    return References(len(losses), name, best, tuple(each.items()), shown)


def _rmia(target: Floats, losses: Floats, inside: Flags) -> Floats:
    """The likelihood ratio of the model to the mean of the worlds with and without the patient (their equation 2).

    They compare it with that ratio of random patients; a threshold on their share is one on this ratio (the share
    rises with it, and the random patients are the same for all), so the order is theirs.
    """
    within = _filled(np.exp(-losses), inside)
    ratio: Floats = target + np.log(np.maximum(0.5 * (within[0] + within[1]), np.exp(-_MOST_LOSS)))
    return ratio


def _lira(target: Floats, losses: Floats, inside: Flags) -> Floats:
    """Minus the log-likelihood ratio of two Gaussians of the logit of the confidence (their algorithm 1).

    With few references the variance is one for all patients. A mean of k references is uncertain itself: 1 + 1/k.
    """
    logits = _logit(losses)
    means = _filled(logits, inside)
    judged = _logit(target)
    likelihoods: list[Floats] = []
    for mean, flags in zip(means, (inside, ~inside), strict=True):
        counts = flags.sum(axis=0)
        residuals = np.where(flags, logits - mean, 0.0)
        free = int(np.maximum(counts - 1, 0).sum())
        if counts.min() >= _OWN_VARIANCE_FROM:
            variance = (residuals**2).sum(axis=0) / (counts - 1)
        elif free:
            variance = np.full(len(judged), (residuals**2).sum() / free)
        else:
            # One training with and one without each patient: what their difference varies by, is both's.
            variance = np.full(len(judged), float(np.var(means[0] - means[1])) / 2.0)
        variance = np.maximum(variance, _LEAST_DEVIATION**2) * (1.0 + 1.0 / np.maximum(counts, 1))
        likelihoods.append(-0.5 * (judged - mean) ** 2 / variance - 0.5 * np.log(variance))
    score: Floats = likelihoods[1] - likelihoods[0]
    return score


def _logit(losses: Floats) -> Floats:
    """log(p / (1 - p)) of the confidence p = exp(-loss)."""
    value: Floats = -losses - np.log(-np.expm1(-losses))
    return value


def _filled(values: Floats, inside: Flags) -> tuple[Floats, Floats]:
    """Each patient's mean inside and outside the references; where one is missing, the other moved by the mean way."""
    counts = inside.sum(axis=0), (~inside).sum(axis=0)
    sums = np.where(inside, values, 0.0).sum(axis=0), np.where(inside, 0.0, values).sum(axis=0)
    means = [total / np.maximum(count, 1) for total, count in zip(sums, counts, strict=True)]
    both = (counts[0] > 0) & (counts[1] > 0)
    if bool(both.any()):
        way = float((means[0] - means[1])[both].mean())
    else:
        way = float(values[inside].mean() - values[~inside].mean())
    return (
        np.where(counts[0] > 0, means[0], means[1] + way),
        np.where(counts[1] > 0, means[1], means[0] - way),
    )

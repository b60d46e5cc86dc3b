"""How well someone who has a model could tell who was in its data: measures over patients, with intervals.

Everything here compares patients who were trained on (members) with patients whom the platform withheld by chance
(others); scores are higher the less like a member a patient looks, as a loss is. Patients, never rows, are the unit:
two rows of one patient are not two observations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput
from trustspace.privacy.audit import CONFIDENCE, Bound, best_bound
from trustspace.privacy.intervals import area, beyond, beyond_at_most, normal_quantile, null_reach

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
Judged = Literal["passed", "warned", "failed", "could_not_run"]

# The share of errors at which the tails are measured.
RARE = 0.01
_BINS = 20
_ROC_UP_TO = 0.2
_ROC_POINTS = 64
MOST_EXPOSED = 20
_NEVER = 10**6


@dataclass(frozen=True)
class Estimate:
    """A measure, its interval, and what it would be if members and others could not be told apart (``chance``).

    ``detectable``: where the interval of a figure of just ``chance`` would end with as many patients: what is smaller
    could not be ruled out, whatever was measured.
    """

    value: float
    low: float
    high: float
    chance: float
    detectable: float


@dataclass(frozen=True)
class Membership:
    """What the scores of members and others give away.

    ``auc``: P(a member's score < another's), ties half. ``tail``: share of the others above all but 1 % of the
    members (Dodd et al. 2025, "The Tail Tells All": it predicts what strong attacks find). ``tpr``: share of the
    members below all but 1 % of the others. Of fewer than 99 patients, 1 % is less than one: then it is those beyond
    every single one of them, and ``chance`` says what that is worth, 1 / (patients + 1) and so more than 1 %.
    ``epsilon``: the one-run audit's lower bound, from ``right`` of ``guesses`` guesses; ``audited`` patients had
    their coin tossed (0: no audit). ``roc``: (false, true positive rate) near zero. The histograms share ``edges``,
    of which the first and last are the smallest and largest score.
    """

    members: int
    others: int
    auc: Estimate
    tail: Estimate
    tpr: Estimate
    epsilon: float
    guesses: int
    right: int
    audited: int
    roc: tuple[tuple[float, float], ...]
    edges: tuple[float, ...]
    members_histogram: tuple[int, ...]
    others_histogram: tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """Where a measure is worth a look, and where it fails: areas and tails as shares, the audit's epsilon in nats."""

    auc_warned: float
    auc_failed: float
    tail_warned: float
    tail_failed: float
    epsilon_warned: float
    epsilon_failed: float


def by_patient(loss: Floats, used: Flags, patient: Integers) -> tuple[Floats, Integers]:
    """The mean loss of each patient's used rows, and the patients' numbers in rising order.

    ``loss``, ``used``, ``patient``: [rows]. A patient without a used row is left out.
    """
    patients, place = np.unique(patient[used], return_inverse=True)
    sums = np.bincount(place, weights=loss[used], minlength=len(patients))
    return sums / np.maximum(np.bincount(place, minlength=len(patients)), 1), patients.astype(np.int64)


def measure(
    members: Floats,
    others: Floats,
    audited: Flags | None = None,
    audited_others: Flags | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Membership:
    """Everything that the scores of [members] and of [others] say.

    ``audited``: [members], who was in by a fair coin whose other side would have put the patient among the others;
    ``audited_others``: [others], who was out by such a coin (None: all of them). Without ``audited`` there is no audit.
    Intervals and the audit's bound hold at ``confidence``, each by itself. Raises InvalidInput without members, without
    others, or for scores that are not finite numbers.
    """
    if not len(members) or not len(others):
        raise InvalidInput("Nobody can be told apart: all patients are on one side.")
    if not bool(np.isfinite(members).all()) or not bool(np.isfinite(others).all()):
        raise InvalidInput("A score is not a finite number.")
    value, low, high = area(members, others, confidence)
    bound, tossed = Bound(0.0, 0, 0), 0
    if audited is not None:
        inside, outside = members[audited], others if audited_others is None else others[audited_others]
        tossed = len(inside) + len(outside)
        coins = np.arange(tossed) < len(inside)
        bound = best_bound(np.concatenate([inside, outside]), coins, confidence=confidence)
    edges, histograms = _histograms(members, others)
    return Membership(
        members=len(members),
        others=len(others),
        auc=Estimate(value, low, high, 0.5, 0.5 + null_reach(len(members), len(others), confidence)),
        tail=_beyond(others, members, confidence),
        tpr=_beyond(-members, -others, confidence),
        epsilon=bound.epsilon,
        guesses=bound.guesses,
        right=bound.right,
        audited=tossed,
        roc=_roc(members, others),
        edges=edges,
        members_histogram=histograms[0],
        others_histogram=histograms[1],
    )


def right_of_100(auc: float) -> int:
    """How often of 100 someone guesses right who is shown two patients, of whom one was in the data.

    That is what the area under the curve is (Hanley and McNeil 1982): the probability that, of one patient who was in
    and one who was not, the one with the lower score is the one who was in. Chance is 50; who does worse turns round.
    """
    return round(100.0 * max(auc, 1.0 - auc))


def turned(area: Estimate) -> Estimate:
    """An area as somebody reads it who knows which way it leans: where it is below chance for sure, turned round.

    A model that does worst on its own patients gives them away as well as one that does best.
    """
    if area.high >= area.chance:
        return area
    return replace(area, value=1.0 - area.value, low=1.0 - area.high, high=1.0 - area.low)


def judge(estimate: Estimate, warned: float, failed: float) -> Judged:
    """What an estimate means against two limits, given how sure it is.

    Failed: at least ``failed``, and above ``warned`` for sure. Passed: below ``warned``, and for sure below what lies
    as much above ``failed`` as ``warned`` lies below it. Not measurable (``could_not_run``): so few patients that a
    figure of chance itself could not pass so, and a pass would be empty. Warned: all between.
    Limits and rule are calibrated in benchmarks/calibration.py, on data and seeds apart from those that tests use.
    With "above chance for sure" in place of "above ``warned``", one in six sound linear models of 140 patients failed
    against four references; with "for sure below ``failed``", one in twenty passed.
    """
    ceiling = failed + (failed - warned)
    if estimate.value >= failed and estimate.low > max(warned, estimate.chance):
        return "failed"
    if estimate.detectable >= ceiling:
        return "could_not_run"
    return "passed" if estimate.value < warned and estimate.high < ceiling else "warned"


def fewest_measurable(warned: float, failed: float, confidence: float = CONFIDENCE) -> int:
    """Of how few patients, half of them on each side, :func:`judge` could say something of an area.

    Limits between which not even chance itself could pass give a number that nobody has.
    """
    if failed + (failed - warned) > 1.0:
        return 2
    reach = (failed + (failed - warned) - 0.5) / normal_quantile(0.5 + confidence / 2.0)
    if reach <= 0.0:
        return 2 * _NEVER
    # The reach of equal sides of n (null_reach), solved for n: (2 n + 1) / (12 n^2) = reach^2.
    share = 12.0 * reach**2
    return 2 * min(_NEVER, math.floor((1.0 + math.sqrt(1.0 + share)) / share) + 1)


def judge_bound(epsilon: float, limits: Limits) -> Judged:
    """What the audit's lower bound means: of a 0 it says nothing."""
    if epsilon >= limits.epsilon_failed:
        return "failed"
    return "warned" if epsilon >= limits.epsilon_warned else "passed"


def verdict(found: Membership, limits: Limits) -> Judged:
    """The worst of the three measures.

    A tail of 1 % cannot be measured with a few dozen patients, while an area can: then it is warned, since nobody can
    rule out that single patients stand out. The audit's epsilon is a lower bound, of which a 0 says nothing.
    """
    tail = judge(found.tail, limits.tail_warned, limits.tail_failed)
    area = judge(turned(found.auc), limits.auc_warned, limits.auc_failed)
    each = (area, "warned" if tail == "could_not_run" else tail, judge_bound(found.epsilon, limits))
    order: tuple[Judged, ...] = ("failed", "could_not_run", "warned", "passed")
    return next(status for status in order if status in each)


def exposed(members: Floats, others: Floats, most: int = MOST_EXPOSED) -> tuple[tuple[int, float], ...]:
    """The members that look most like members, at most ``most``, the clearest first: (place, exposure).

    Exposure is the share of the others that look less like a member, 1 - p of the conformal test "this patient was not
    in the data" (Vovk, Gammerman and Shafer 2005, chapter 2). Give it the scores of reference trainings where there are
    any: they weigh how hard each patient is. Plain losses are lowest for the easiest patients, whom any model knows.
    """
    order = np.argsort(members, kind="stable")[:most]
    # The others that look at least as much like a member, and the patient itself, as the test counts it.
    at_most = np.searchsorted(np.sort(others), members[order], side="right") + 1
    shares = 1.0 - at_most / (len(others) + 1)
    return tuple((int(place), float(share)) for place, share in zip(order, shares, strict=True))


def _beyond(tested: Floats, compared: Floats, confidence: float) -> Estimate:
    """The share of ``tested`` above all but at most 1 % of ``compared``."""
    # So many that, of one more such patient, the chance to lie above is at most 1 % where there are 99 or more.
    allowed = max(int(RARE * (len(compared) + 1) + 1e-9) - 1, 0)
    limit = np.sort(compared)[len(compared) - 1 - allowed]
    count = int((tested > limit).sum())
    low, high = beyond(count, len(tested), allowed, len(compared), confidence)
    value = count / len(tested)
    chance = (allowed + 1) / (len(compared) + 1)
    expected = int(chance * len(tested))
    detectable = beyond_at_most(expected, len(tested), allowed, len(compared), confidence)
    return Estimate(value, min(low, value), max(high, value), chance, detectable)


def _roc(members: Floats, others: Floats) -> tuple[tuple[float, float], ...]:
    """Points of the curve up to a false positive rate of 0.2, at most 64 of them, and (0, 0)."""
    ranked, known = np.sort(others), np.sort(members)
    steps = np.unique(np.linspace(0, int(_ROC_UP_TO * len(others)), _ROC_POINTS - 1).astype(np.int64))
    points: list[tuple[float, float]] = [(0.0, 0.0)]
    for step in steps:
        # Below the (step + 1)-th of the others: at most ``step`` of them are taken for members.
        limit = ranked[min(step, len(others) - 1)]
        false = int(np.searchsorted(ranked, limit, side="left"))
        true = int(np.searchsorted(known, limit, side="left"))
        point = (false / len(others), true / len(members))
        if point != points[-1]:
            points.append(point)
    return tuple(points)


def _histograms(
    members: Floats, others: Floats
) -> tuple[tuple[float, ...], tuple[tuple[int, ...], tuple[int, ...]]]:
    """Even bins between the first and the last percentile of all, the outermost two reaching to the ends."""
    together = np.concatenate([members, others])
    least, most = float(together.min()), float(together.max())
    if most - least <= 1e-9 * max(abs(least), abs(most), 1e-9):
        least, most = least - 0.5, most + 0.5
    first, last = (float(edge) for edge in np.quantile(together, (0.01, 0.99)))
    inner = np.linspace(first, last, _BINS + 1) if last > first else np.linspace(least, most, _BINS + 1)
    edges = np.unique(np.concatenate([[least], inner[1:-1], [most]]))
    counts = [tuple(int(n) for n in np.histogram(side, edges)[0]) for side in (members, others)]
    return tuple(float(edge) for edge in edges), (counts[0], counts[1])

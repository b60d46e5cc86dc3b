"""The program ``score``: evaluates an encrypted linear model on one source unit's rows, which are plain.

Before anything is evaluated the developer's proofs must hold: the modulus is sound, so that what is hidden stays hidden
from the key's owner too; and no weight is larger than declared, so that no score holds more than it says.

Whoever chooses hidden weights can read any feature's sum over a group. So a group counts as small also where too few of
its rows differ in a feature from all its others, and the groups that are not shown are together no smaller than one
that is: the sum over all rows, less those shown, gives no small one away. A missing value counts as the middle of its
range: rows that were left out could be told by comparing two jobs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.aggregation.paillier.proofs import ProvenWeights
from trustspace.aggregation.paillier.scoring import Scorer, column_sum_bits, column_sums
from trustspace.data.handin import from_buffer
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.encrypted_model import open_model
from trustspace.jobs.features import column_of, mapped, numbers
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.programs import Emit, Inputs
from trustspace.jobs.scores import BLINDS_ARTIFACT, SCORES_ARTIFACT, Blinds, Scores
from trustspace.jobs.sections_score import ROWS, Score

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


def run(inputs: Inputs, emit: Emit) -> None:
    """The program ``score``: see :func:`trustspace.jobs.programs.score`."""
    parameters = Parameters.from_json(json.loads(bytes(inputs["parameters"])))
    minimum = int(bytes(inputs["minimum"]))
    score = parameters.scoring()
    weights = open_model(bytes(inputs["code"]), score, bytes(inputs["context"]))
    table = from_buffer(inputs["data"])
    if score.result == ROWS:
        scores, blinds = blinded_rows(weights, table, parameters)
        emit(BLINDS_ARTIFACT, "application/json", encode_json(blinds.to_json()))
    else:
        scores = group_sums(weights, table, parameters, minimum)
    scores = replace(scores, context=bytes(inputs["context"]).hex())
    emit(SCORES_ARTIFACT, "application/json", encode_json(scores.to_json(score.labels)))
    print(f"scored {table.num_rows} rows into {len(scores.ciphertexts)} ciphertexts", flush=True)


def steps(table: pa.Table, parameters: Parameters) -> Integers:
    """The features as whole steps of their ranges, [rows, features], 0 to ``largest_feature``.

    Raises InvalidInput for a column that is missing or does not hold numbers.
    """
    score = parameters.scoring()
    found = np.empty((table.num_rows, len(score.features)), dtype=np.int64)
    for place, name in enumerate(parameters.weighed):
        low, high = (float(Decimal(bound)) for bound in score.features[name])
        values = numbers(column_of(table, name), name)
        values = np.where(np.isnan(values), low + (high - low) / 2, np.clip(values, low, high))
        found[:, place] = np.rint((values - low) / (high - low) * score.largest_feature)
    return found


def groups_of(table: pa.Table, score: Score) -> Integers:
    """For each row the place of its group in ``labels``."""
    if score.group is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    other, missing = len(score.groups), len(score.groups) + 1
    declared = {label: float(place) for place, label in enumerate(score.groups)}
    found = mapped(column_of(table, score.group), declared, other=float(other))
    return np.where(np.isnan(found), missing, found).astype(np.int64)


def hidden_groups(values: Integers, groups: Integers, count: int, minimum: int) -> Mask:
    """Which of ``count`` groups are not shown, bool [count]; one without any row is, as having none."""
    rows = np.bincount(groups, minlength=count)
    hidden: Mask = np.array(
        [bool(rows[place]) and not _is_large(values[groups == place], minimum) for place in range(count)]
    )
    by_size = [int(place) for place in np.argsort(rows, kind="stable") if rows[place]]
    while hidden.any():
        shown = [place for place in by_size if not hidden[place]]
        # One that is hidden alone follows from the sum over all rows.
        if not shown or (hidden.sum() > 1 and _is_large(values[hidden[groups]], minimum)):
            break
        hidden[shown[0]] = True
    return hidden


def _is_large(values: Integers, minimum: int) -> bool:
    """Whether these rows are enough and, in every feature, those that differ from the most frequent value too."""
    if len(values) < minimum:
        return False
    differing = (len(values) - int(np.bincount(column).max()) for column in values.T)
    return all(count == 0 or count >= minimum for count in differing)


def group_sums(weights: ProvenWeights, table: pa.Table, parameters: Parameters, minimum: int) -> Scores:
    """The encrypted sum of scores of every group that is shown, several in a ciphertext."""
    score = parameters.scoring()
    values, groups, count = steps(table, parameters), groups_of(table, score), len(score.labels)
    hidden = hidden_groups(values, groups, count, minimum)
    rows = np.bincount(groups, minlength=count)
    shown = ~hidden & (rows > 0)
    bits = column_sum_bits(score.feature_bits, max(1, int(rows[shown].max(initial=1))))
    sums = column_sums(values, groups, count)[shown]
    ciphertexts = Scorer(weights, bits).score(sums) if shown.any() else []
    told = tuple(None if mark else int(number) for number, mark in zip(rows, hidden, strict=True))
    return Scores(
        weights.key, weights.bits, bits, values.shape[1], told, minimum, tuple(ciphertexts), score.result
    )


def blinded_rows(weights: ProvenWeights, table: pa.Table, parameters: Parameters) -> tuple[Scores, Blinds]:
    """A score for every row, under a uniform mask that stays with the source unit."""
    score = parameters.scoring()
    values = steps(table, parameters)
    scorer = Scorer(weights, score.feature_bits)
    blinded, blinds = scorer.blind(scorer.score(values)) if len(values) else ([], [])
    scores = Scores(
        weights.key,
        weights.bits,
        score.feature_bits,
        values.shape[1],
        (len(values),),
        0,
        tuple(blinded),
        score.result,
    )
    return scores, Blinds.of(scores, blinds)

"""A job says what it asks twice: in its statement, for everybody, and in its parameters, for the worker.

Here the two are held against each other, before a source unit is shown the job and again before its
enclave runs it: otherwise people would agree to one thing and another would run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from trustspace.crypto.canonical import canonical_json
from trustspace.domain.bodies import Dataset, Job, SumTerms
from trustspace.errors import VerificationFailed
from trustspace.jobs.blind import MAX_SEALED_BYTES, interface
from trustspace.jobs.bundle import MAX_BYTES
from trustspace.jobs.encrypted_model import MAX_MODEL_BYTES
from trustspace.jobs.sections_joint import RESERVED_CATEGORIES
from trustspace.jobs.sections_score import Score
from trustspace.jobs.spec import Parameters


def sum_terms(parameters: Parameters) -> SumTerms | None:
    """How a job's sums are protected, as its statement says it."""
    chosen = parameters.selection
    return SumTerms(scheme=chosen.scheme, needed=chosen.needed) if chosen is not None else None


def most_code_bytes(job: Job) -> int:
    """How many bytes the file may have that a job names as its code: a bundle, a sealed one, or an encrypted model."""
    if job.kind == "score":
        return MAX_MODEL_BYTES
    return MAX_BYTES if job.blind is None else MAX_SEALED_BYTES


def agreed_parameters(job: Job, dataset: Callable[[str], Dataset | None]) -> Parameters:
    """The job's parameters, typed, once they say what its statement says.

    ``dataset`` gives the proven dataset behind a statement's digest.

    Raises:
        VerificationFailed: naming the field in which the two differ.

    """
    parameters = Parameters.from_json(job.parameters)
    terms = parameters.terms
    same = {
        "parameters": canonical_json(parameters.to_json()) == canonical_json(job.parameters),
        "kind": job.kind == parameters.kind,
        "code": bool(job.code) == parameters.brings_blob,
        "code.blind": job.blind is None or parameters.runs_custom_code,
        "code.entry": job.blind is None or job.blind.entry == interface(parameters),
        "datasets": len(job.datasets) == len(parameters.datasets),
        # A secure sum counts each source unit once.
        "datasets.source_unit": len({use.source_unit for use in job.datasets}) == len(job.datasets),
        "terms.minimum_participants": job.minimum_participants == terms.minimum_participants,
        "sums": job.sums == sum_terms(parameters),
        "terms.release_quorum": job.release_quorum == terms.release_quorum,
        "terms.evidence_kind": job.evidence_kind == terms.evidence_kind,
    }
    described: list[dict[str, Any]] = []
    for index, (use, asked) in enumerate(zip(job.datasets, parameters.datasets, strict=False)):
        named = dataset(use.dataset)
        same["datasets.id"] = named is not None and (named.dataset, named.version) == (
            asked.id,
            asked.version,
        )
        same["datasets.columns"] = use.columns == tuple(dict.fromkeys(parameters.columns_of(index)))
        if parameters.score is not None and named is not None:
            same |= _as_described(parameters.score, named.description)
        if parameters.privacy is not None and named is not None:
            described.append(named.description)
        if not all(same.values()):
            break
    if parameters.privacy is not None and all(same.values()):
        same["privacy.ranges"] = _is_published(parameters.privacy.ranges, *described)
    for field in ("score.features", "score.groups"):
        if not same.get(field, True):
            raise VerificationFailed(
                "The job's field {field} is not what the dataset's description shows.",
                fix="Write the ranges and categories of `trustspace dataset show`, to the digit: with others, single "
                "people could be told by the difference of two jobs.",
                field=field,
            )
    if not same.get("privacy.ranges", True):
        raise VerificationFailed(
            "The job's field {field} is not what the dataset's description shows.",
            fix="Write the ranges of `trustspace dataset show`, to the digit, of several datasets from the lowest end "
            "to the highest: the model's inputs are scaled by what is public, and by nothing else.",
            field="privacy.ranges",
        )
    for field, holds in same.items():
        if not holds:
            raise VerificationFailed(
                "The job's statement and its parameters differ in {field}.",
                fix="Refuse it: what would run is not what it says.", field=field,
            )  # fmt: skip
    return parameters


def _as_described(score: Score, description: dict[str, Any]) -> dict[str, bool]:
    """Whether a job weighs columns in their published ranges, and groups by all published categories."""
    columns = {str(column["name"]): column for column in description.get("columns", ())}
    published = [str(c) for c in columns.get(score.group or "", {}).get("categories", ())]
    return {
        "score.features": _is_published(score.features, description),
        "score.groups": score.group is None
        or set(score.groups) == {label for label in published if label not in RESERVED_CATEGORIES},
    }


def _is_published(ranges: Mapping[str, tuple[str, ...]], *descriptions: dict[str, Any]) -> bool:
    """Whether each range is the one that the description shows of that column, of several the least around all."""
    shown = [
        {str(column["name"]): column for column in description.get("columns", ())}
        for description in descriptions
    ]
    for name, bounds in ranges.items():
        lows, highs = (
            [str(columns.get(name, {}).get(end, "")) for columns in shown] for end in ("low", "high")
        )
        if not all([*lows, *highs]):
            return False
        ends = [min(map(Decimal, lows)), max(map(Decimal, highs))]
        if ends != [Decimal(bound) for bound in bounds]:
            return False
    return True

"""A job says what it asks twice: in its statement, for everybody, and in its parameters, for the worker.

Here the two are held against each other, before a source unit is shown the job and again before its
enclave runs it: otherwise people would agree to one thing and another would run.
"""

from __future__ import annotations

from collections.abc import Callable

from trustspace.crypto.canonical import canonical_json
from trustspace.domain.bodies import Dataset, Job
from trustspace.errors import VerificationFailed
from trustspace.jobs.blind import interface
from trustspace.jobs.spec import Parameters


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
        "code": bool(job.code) == parameters.runs_custom_code,
        "code.entry": job.blind is None or job.blind.entry == interface(parameters),
        "datasets": len(job.datasets) == len(parameters.datasets),
        # A secure sum counts each source unit once.
        "datasets.source_unit": len({use.source_unit for use in job.datasets}) == len(job.datasets),
        "terms.minimum_participants": job.minimum_participants == terms.minimum_participants,
        "terms.release_quorum": job.release_quorum == terms.release_quorum,
        "terms.evidence_kind": job.evidence_kind == terms.evidence_kind,
    }
    for index, (use, asked) in enumerate(zip(job.datasets, parameters.datasets, strict=False)):
        named = dataset(use.dataset)
        same["datasets.id"] = named is not None and (named.dataset, named.version) == (
            asked.id,
            asked.version,
        )
        same["datasets.columns"] = use.columns == tuple(dict.fromkeys(parameters.columns_of(index)))
        if not (same["datasets.id"] and same["datasets.columns"]):
            break
    for field, holds in same.items():
        if not holds:
            raise VerificationFailed(
                "The job's statement and its parameters differ in {field}.",
                fix="Refuse it: what would run is not what it says.", field=field,
            )  # fmt: skip
    return parameters

"""A job played in this process on tables at hand, up to the report that a source unit's reviewers would open."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pyarrow as pa

from support.simulated import SimulatedLauncher
from trustspace.domain.bodies import Policy
from trustspace.evidence.report import Report
from trustspace.jobs.spec import JobFile
from trustspace.rehearsal.play import Rehearsal, play
from trustspace.rehearsal.samples import gather

# A day in May 2026, so that reports say the same every time.
NOW = 1_777_800_000


def job_file(columns: Sequence[str], *, units: int = 1, **sections: Any) -> JobFile:
    """A job over ``units`` datasets with these columns; sections as a job file has them."""
    kind = next(name for name in ("train", "statistics", "compute") if name in sections)
    return JobFile.model_validate(
        {
            "job": {"title": "A job", "purpose": "To be judged.", "kind": kind},
            "parties": {"buyer": "clinic"},
            "datasets": [
                {"id": "ward", "version": 1, "columns": list(columns), "source_unit": f"unit-{place}"}
                for place in range(units)
            ],
            **sections,
        }
    )  # fmt: skip


def played(
    file: JobFile, tables: Sequence[pa.Table], folder: Path, *, code: bytes = b"", seed: int = 1,
    patient_column: str = "", launcher: SimulatedLauncher | None = None, **policy: Any,
) -> Rehearsal:  # fmt: skip
    """The job on these tables; ``seed`` decides who is withheld and all noise, ``policy`` is every source unit's."""
    samples = []
    for sample in gather(None, file.parameters(), dict(enumerate(tables))):
        terms = Policy(**{**sample.body.policy.model_dump(), **policy})
        description = {**sample.body.description, "patient_column": patient_column}
        samples.append(
            replace(sample, body=sample.body.model_copy(update={"policy": terms, "description": description}))
        )
    folder.mkdir(parents=True, exist_ok=True)
    own = launcher or SimulatedLauncher()
    draws = itertools.count()

    def drawn(count: int) -> bytes:
        return hashlib.sha256(b"noise %d %d" % (seed, next(draws))).digest()[:count]

    try:
        # The secret of noise is the one thing that an enclave draws anew, whatever the split's.
        with mock.patch("trustspace.enclave.private.os", SimpleNamespace(urandom=drawn)):
            return play(
                file, code, samples, own, folder, secret=hashlib.sha256(b"%d" % seed).digest(), now=NOW
            )  # type: ignore[arg-type]
    finally:
        if launcher is None:
            own.close()


def report_of(found: Rehearsal, place: int = 0) -> Report:
    """One source unit's report. Fails with the run's own words when there is none."""
    part = found.parts[place]
    assert part.report is not None, part.failure
    return part.report

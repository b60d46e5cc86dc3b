"""A small private training job and its inputs, for these tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from job_runs import NUMBERS

from trustspace.jobs.spec import Parameters

RANGES = {"age": ["0", "100"], "size": ["0", "30"], "texture": ["0", "1"]}


def private_job(
    epsilon: str = "3", delta: str = "0.001", *, columns: tuple[str, ...] = NUMBERS, norm: str = "1",
    ranges: dict[str, list[str]] | None = None, **train: Any,
) -> Parameters:  # fmt: skip
    """A logistic regression of ``outcome`` unless told otherwise, ten steps of forty patients."""
    section = {"model": "logistic_regression", "target": "outcome", "epochs": 2, "batch_size": 40, **train}
    if not {"positive", "classes", "loss"} & set(section):
        section["positive"] = "M"
    return Parameters.model_validate(
        {
            "kind": "train",
            "datasets": [{"id": "ward-a", "version": 1, "columns": list(columns)}],
            "train": section,
            "privacy": {
                "epsilon": epsilon,
                "delta": delta,
                "max_gradient_norm": norm,
                "ranges": RANGES if ranges is None else ranges,
            },
        }
    )


def numbered(patients: Any) -> bytes:
    """The patient of each row as the enclave hands it in."""
    return np.asarray(patients).astype("<i4").tobytes()

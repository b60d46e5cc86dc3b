"""Real clinical data for the story: the diagnostic breast cancer table that comes with scikit-learn.

569 fine-needle aspirates, 30 measurements of cell nuclei each, and the diagnosis (Wolberg, Street and
Mangasarian, 1993). Every row is a patient. Before anything is sealed, a part of the patients is set aside:
they are the buyer's own, and no hospital ever sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.demo.words import Language
from trustspace.errors import Unavailable
from trustspace.storage.files import write_atomic

BUYER_PERCENT = 30
_SEED = 1993
_CHINESE = {
    "radius": "半径", "texture": "纹理", "perimeter": "周长", "area": "面积", "smoothness": "平滑度",
    "compactness": "致密度", "concavity": "凹度", "concave points": "凹点", "symmetry": "对称性",
    "fractal dimension": "分形维数",
}  # fmt: skip
_LABELS: dict[str, dict[Language, str]] = {
    "patient": {"en": "patient", "zh": "患者编号"},
    "diagnosis": {"en": "diagnosis", "zh": "诊断"},
    "malignant": {"en": "malignant", "zh": "恶性"},
    "benign": {"en": "benign", "zh": "良性"},
}


@dataclass(frozen=True)
class Rows:
    """Patients of one party: measurements [patients, features] and whether the finding is malignant [patients]."""

    values: NDArray[np.float64]
    malignant: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.malignant)


@dataclass(frozen=True)
class Cohort:
    """Who holds which patients, and what the columns are called in the language of the story."""

    features: tuple[str, ...]
    patient: str
    diagnosis: str
    positive: str
    negative: str
    hospitals: tuple[Rows, ...]
    buyer: Rows

    def table(self, rows: Rows, prefix: str) -> pa.Table:
        """The rows as a party's own file has them, patients numbered under ``prefix``."""
        columns: dict[str, Any] = {self.patient: [f"{prefix}-{n:06d}" for n in range(1, len(rows) + 1)]}
        columns |= {name: rows.values[:, i] for i, name in enumerate(self.features)}
        columns[self.diagnosis] = [self.positive if flag else self.negative for flag in rows.malignant]
        return pa.table(columns)


def load(hospitals: int, language: Language) -> Cohort:
    """Deal the patients out: the buyer's own first, the others among the hospitals.

    The draw is fixed, so that two plays compare the same patients; both diagnoses are dealt evenly.

    Raises:
        Unavailable: scikit-learn is not installed.

    """
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        raise Unavailable(
            "The demonstration plays with a table that comes with scikit-learn, which is not installed.",
            fix="Run: pip install 'trustspace[demo]'",
        ) from None
    table = load_breast_cancer()
    malignant = np.asarray(table.target) == list(table.target_names).index("malignant")
    values = np.asarray(table.data, dtype=np.float64)
    draw = np.random.default_rng(_SEED)
    parts: list[list[int]] = [[] for _ in range(hospitals)]
    buyers: list[int] = []
    for finding in (True, False):
        patients = draw.permutation(np.flatnonzero(malignant == finding))
        kept = round(len(patients) * BUYER_PERCENT / 100)
        buyers += patients[:kept].tolist()
        for number, share in enumerate(np.array_split(patients[kept:], hospitals)):
            parts[number] += share.tolist()

    def rows(chosen: list[int]) -> Rows:
        index = draw.permutation(np.array(chosen))
        return Rows(values[index], malignant[index])

    return Cohort(
        features=tuple(_column(str(name), language) for name in table.feature_names),
        patient=_LABELS["patient"][language],
        diagnosis=_LABELS["diagnosis"][language],
        positive=_LABELS["malignant"][language],
        negative=_LABELS["benign"][language],
        hospitals=tuple(rows(part) for part in parts),
        buyer=rows(buyers),
    )


def write_csv(table: pa.Table, path: Path) -> None:
    """A table as the CSV file that a hospital's own export would be."""
    from pyarrow import csv

    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    write_atomic(path, sink.getvalue().to_pybytes())


def _column(name: str, language: Language) -> str:
    """``mean radius``, ``radius error`` or ``worst radius`` in the story's language."""
    if language == "en":
        return name
    for start, said in (("mean ", "平均"), ("worst ", "最差")):
        if name.startswith(start):
            return said + _CHINESE[name.removeprefix(start)]
    return _CHINESE[name.removesuffix(" error")] + "误差"

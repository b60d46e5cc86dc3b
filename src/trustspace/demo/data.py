"""Real clinical data for the story: the diagnostic breast cancer table that comes with scikit-learn.

569 fine-needle aspirates, 30 measurements of cell nuclei each, and the diagnosis (Wolberg, Street and
Mangasarian, 1993). Every row is a patient. Before anything is sealed, a part of the patients is set aside:
they are the buyer's own, and no hospital ever sees them. The others are dealt to hospitals of different size
and case mix.
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


@dataclass(frozen=True)
class Site:
    """What one hospital sees: how many patients of either finding, and of which size of cell nuclei.

    ``leaning`` is the weight of the standardised logarithm of the mean radius in the draw from whom the hospitals
    before left: 0 draws from all alike, below 0 small early findings come more often, above 0 large late ones.
    ``key`` names it in words.py.
    """

    key: str
    malignant: int
    benign: int
    leaning: float


# Sized so that the smallest withholds 28 patients on average, where a policy demands 20 by default. Fair coins decide,
# so that once in 140 runs it withholds fewer: again.py is for that.
SITES = (
    Site("university", 50, 96, 0.0),
    Site("screening", 30, 74, -1.0),
    Site("general", 26, 54, -3.0),
    Site("cancer-centre", 42, 26, 3.0),
)
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
    sites: tuple[Site, ...]
    hospitals: tuple[Rows, ...]
    buyer: Rows

    def table(self, rows: Rows, prefix: str) -> pa.Table:
        """The rows as a party's own file has them, patients numbered under ``prefix``."""
        columns: dict[str, Any] = {self.patient: [f"{prefix}-{n:06d}" for n in range(1, len(rows) + 1)]}
        columns |= {name: rows.values[:, i] for i, name in enumerate(self.features)}
        columns[self.diagnosis] = [self.positive if flag else self.negative for flag in rows.malignant]
        return pa.table(columns)


def load(language: Language, sites: tuple[Site, ...] = SITES) -> Cohort:
    """Deal the patients out: the buyer's own first, the others among the hospitals.

    The draw is fixed, so that two plays compare the same patients. Who is left when the last hospital's turn
    comes is its own.

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
    size = np.log(values[:, list(table.feature_names).index("mean radius")])
    size = (size - size.mean()) / size.std()
    draw = np.random.default_rng(_SEED)
    parts: list[list[int]] = [[] for _ in sites]
    buyers: list[int] = []
    for finding in (True, False):
        patients = draw.permutation(np.flatnonzero(malignant == finding))
        kept = round(len(patients) * BUYER_PERCENT / 100)
        buyers += patients[:kept].tolist()
        left = patients[kept:]
        for number, site in enumerate(sites[:-1]):
            weight = np.exp(site.leaning * size[left])
            count = site.malignant if finding else site.benign
            chosen = draw.choice(left, size=count, replace=False, p=weight / weight.sum())
            parts[number] += chosen.tolist()
            left = np.setdiff1d(left, chosen)
        parts[-1] += left.tolist()

    def rows(chosen: list[int]) -> Rows:
        index = draw.permutation(np.array(chosen))
        return Rows(values[index], malignant[index])

    return Cohort(
        features=tuple(_column(str(name), language) for name in table.feature_names),
        patient=_LABELS["patient"][language],
        diagnosis=_LABELS["diagnosis"][language],
        positive=_LABELS["malignant"][language],
        negative=_LABELS["benign"][language],
        sites=sites,
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

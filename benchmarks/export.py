"""What rounding an exported model costs, what it destroys and what it does not.

    python -m benchmarks.export [--json FILE] [--turns 5]

Networks are trained by the platform's own loop, on synthetic tables and on scikit-learn's breast cancer table; every
turn is another seed, and all of its models are judged on rows that none has seen. Then messages are written over the
weights: into the 16 bits that a bfloat16 does not have, and into the mantissa that it has, where an attacker who knows
of the rounding would write.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn import datasets

from benchmarks.common import Result, Row, Table, arguments, finish, workspace
from trustspace.crypto.canonical import canonical_json
from trustspace.jobs.metrics import auc
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.programs import PROGRAMS
from trustspace.jobs.registry import NETWORK
from trustspace.jobs.released import ReleasedModel
from trustspace.jobs.sections import MODEL_ARTIFACT
from trustspace.jobs.tensors import read_tensors, round_bf16

FIRST_SEED = 8_100
FEATURES = 50
Tensors = Mapping[str, NDArray[Any]]
MESSAGES = {"low 16 bits of float32": 16, "low 4 bits of bfloat16": 20, "all 7 of its mantissa": 23}
NOTES = (
    (
        "Bit error: share of the message's bits that are read wrongly from the exported file; 0.5 is guessing. The "
        "lowest bits are gone; who writes into the mantissa that stays loses nothing."
    ),
    (
        "A message in the mantissa of bfloat16 is written into weights that were rounded already, as an attacker would "
        "who knows of the rounding: it leaves them as they are."
    ),
)


def synthetic(seed: int) -> tuple[pa.Table, pa.Table]:
    """2,000 rows to train on and 4,000 to judge by, with an outcome that eight hidden features decide."""
    ways = np.random.default_rng(99)
    mixed, weights = ways.normal(size=(FEATURES, 8)) / 7, 2 * ways.normal(size=8)
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(6000, FEATURES))
    ill = np.tanh(values @ mixed) @ weights + 0.5 * draw.normal(size=6000) > 0
    table = _table(values, ill)
    return table.slice(0, 2000), table.slice(2000)


def breast_cancer(seed: int) -> tuple[pa.Table, pa.Table]:
    """scikit-learn's table, 300 rows to train on and 269 to judge by."""
    found = datasets.load_breast_cancer()
    order = np.random.default_rng(seed).permutation(len(found.target))
    table = _table(found.data[order], found.target[order] == 0)
    return table.slice(0, 300), table.slice(300)


CASES: Mapping[str, tuple[Callable[[int], tuple[pa.Table, pa.Table]], Mapping[str, Any]]] = {
    "mlp 256, 256 on synthetic rows": (
        synthetic,
        {"model": "mlp", "hidden": [256, 256], "epochs": 8, "batch_size": 64, "learning_rate": "0.001"},
    ),
    "mlp 32 on breast cancer": (
        breast_cancer,
        {"model": "mlp", "hidden": [32], "epochs": 20, "learning_rate": "0.005"},
    ),
    "logistic regression on breast cancer": (breast_cancer, {"model": "logistic_regression", "epochs": 30}),
}


def measured(case: str, seed: int) -> Iterator[tuple[str, float]]:
    """Name and value of everything that one seed of a case gives."""
    draw_rows, train = CASES[case]
    training, judging = draw_rows(seed)
    parameters = Parameters.model_validate(
        {
            "kind": "train",
            "datasets": [{"id": "bench", "version": 1, "columns": training.column_names[:-1]}],
            "train": {"target": "outcome", "positive": "M", "seed": seed, "precision": "float32", **train},
        }
    )
    before = read_tensors(_trained(parameters, training))
    ill = np.array(judging["outcome"].to_pylist()) == "M"

    def area(tensors: Tensors) -> float:
        found = auc(ill.astype(np.float64), ReleasedModel(parameters, tensors).predict(judging))
        assert found is not None
        return found

    exact = area(before)
    yield "AUC, float32", exact
    yield "rounding", area(_each(before, round_bf16)) - exact
    for name, width in MESSAGES.items():
        draw = np.random.default_rng(seed)
        lost: list[float] = []

        def write(
            array: NDArray[np.float32],
            width: int = width,
            draw: np.random.Generator = draw,
            lost: list[float] = lost,
        ) -> NDArray[np.float32]:
            low = np.uint32((1 << width) - 1) & ~np.uint32(0xFFFF if width > 16 else 0)
            message = draw.integers(0, 1 << 32, array.shape, dtype=np.uint32) & low
            carrier = round_bf16(array) if width > 16 else np.ascontiguousarray(array)
            stuffed = ((carrier.view(np.uint32) & ~low) | message).view(np.float32)
            left = round_bf16(stuffed)
            lost.append(np.bitwise_count((left.view(np.uint32) ^ message) & low).sum() / max(1, message.size))
            return stuffed if width == 16 else left

        stuffed = _each(before, write)
        bits = width if width <= 16 else width - 16
        sizes = [array.size for name, array in before.items() if name.startswith(NETWORK)]
        yield name, area(stuffed) - exact
        yield f"{name}: bit error", float(np.average(lost, weights=sizes)) / bits


def _trained(parameters: Parameters, table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    made: dict[str, bytes] = {}
    inputs = {
        "parameters": memoryview(canonical_json(parameters.to_json())),
        "data": memoryview(sink.getvalue()),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        PROGRAMS["train"](inputs, lambda name, _, data: made.update({name: data}))
    return made[MODEL_ARTIFACT]


def _each(tensors: Tensors, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Tensors:
    return {name: change(array) if name.startswith(NETWORK) else array for name, array in tensors.items()}


def _table(values: NDArray[np.float64], ill: NDArray[np.bool_]) -> pa.Table:
    columns = {f"f{place}": column for place, column in enumerate(values.T)}
    return pa.table({**columns, "outcome": np.where(ill, "M", "B")})


def main() -> int:
    """Measure, print and write."""
    given = arguments("Measure what rounding an exported model costs and destroys.", turns=5).parse_args()
    result = Result("export", {"turns": given.turns, "first seed": FIRST_SEED})
    for case in CASES:
        values: dict[str, list[float]] = {}
        for turn in range(given.turns):
            for name, value in measured(case, FIRST_SEED + turn):
                values.setdefault(name, []).append(value)
        shown = [
            (name, f"{np.mean(found):+.5f}" if "AUC" not in name and "error" not in name else f"{np.mean(found):.4f}",
             f"{min(found):.5f} to {max(found):.5f}")
            for name, found in values.items()
        ]  # fmt: skip
        result.tables.append(
            Table((case, "mean; of messages the change of AUC", "lowest to highest"), tuple(shown))
        )
        result.rows += [Row.of(f"{case}: {name}", "", found) for name, found in values.items()]
    result.notes = list(NOTES)
    with workspace(given.work) as work:
        finish(result, work, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

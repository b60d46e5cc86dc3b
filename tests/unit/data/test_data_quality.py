"""Quality warnings: what is wrong is found, what is fine is left alone, in both languages, without values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from data_tables import clinic

from trustspace.data.images import write_png
from trustspace.data.profile import profile
from trustspace.data.quality import ProblemKind, problems
from trustspace.errors import InvalidInput

RNG = np.random.default_rng(11)
ROWS = 200


def found(values, name="x", patient_column=None, **more) -> dict[tuple[str, str], int]:
    table = pa.table({name: values, **more})
    warned = problems(profile(table, patient_column=patient_column))
    return {(problem.column, str(problem.kind)): problem.count for problem in warned}


def cholesterol(zeros: int) -> list[float]:
    return [0.0] * zeros + RNG.normal(230, 40, ROWS - zeros).round(1).tolist()


def test_a_clean_table_has_no_warning_but_dates():
    kinds = {problem.kind for problem in problems(profile(clinic(), patient_column="patient"))}
    assert kinds == {ProblemKind.EXACT_DATES}


@pytest.mark.parametrize(
    ("values", "kind", "count"),
    [
        ([None] * ROWS, "empty", ROWS),
        ([3] * ROWS, "constant", ROWS),
        (["M"] * ROWS, "constant", ROWS),
        ([None] * 120 + list(range(80)), "mostly-missing", 120),
        (cholesterol(12), "zeros-as-missing", 12),
        ([-0.5] * 12 + RNG.uniform(0, 4, ROWS - 12).tolist(), "few-negatives", 12),
        (["<0.5"] * 5 + [str(i / 7) for i in range(ROWS - 5)], "mixed-types", ROWS - 5),
    ],
)
def test_defects_are_found(values, kind, count):
    assert found(values)[("x", kind)] == count


@pytest.mark.parametrize(
    "values",
    [
        cholesterol(0),
        [0.0] * 13 + RNG.exponential(0.06, ROWS - 13).tolist(),  # a tail that reaches zero by itself
        RNG.integers(0, 4, ROWS).tolist(),  # counts
        RNG.normal(0, 1, ROWS).tolist(),  # centred: half of it negative
        ["T1", "T2"] * (ROWS // 2),
        [None] * 80 + list(range(120)),
    ],
)
def test_sound_columns_are_left_alone(values):
    assert found(values, row=range(ROWS)) == {}


def test_repeated_rows_and_images():
    images = [write_png(2, 2, "L", bytes([i, 0, 0, 0])) for i in range(60)]
    assert found([*range(60), 3, 3])[("", "repeated-rows")] == 2
    repeated = found([*images, images[0]], row=range(61))
    assert repeated == {("x", "repeated-images"): 1}


def test_image_text_and_few_patients():
    hidden = write_png(2, 2, "L", bytes(4)) + b"Zhang Wei"
    assert found([hidden] * 60, row=range(60))[("x", "image-text")] == 60
    assert found(range(49))[("", "few-patients")] == 49
    assert ("", "few-patients") not in found(range(50))


def test_a_forgotten_patient_column_is_pointed_out():
    patients = [f"P{i // 2}" for i in range(ROWS)]
    assert found(patients, name="patient_id", row=range(ROWS)) == {
        ("patient_id", "patient-column"): ROWS // 2
    }
    assert found(patients, name="patient_id", patient_column="patient_id", row=range(ROWS)) == {}


def test_every_warning_speaks_both_languages():
    for kind in ProblemKind:
        problem = type(problems(profile(pa.table({"x": [1, 1]}), patient_column=None))[0])(kind, "列", 3, 9)
        english, chinese = problem.text("en"), problem.text("zh")
        assert english.isascii() is False or "列" not in english
        assert any("\u4e00" <= character <= "\u9fff" for character in chinese)
        assert english != chinese
        assert "{" not in english + chinese
        assert problem.text("fr") == english


def test_warnings_hold_no_values():
    table = pa.table({"x": ["Zhang-Wei-4711"] * 3, "y": [987654.25, 0.0, 0.0]})
    texts = " ".join(problem.text() for problem in problems(profile(table, patient_column=None)))
    assert "4711" not in texts
    assert "987654" not in texts


def test_an_empty_table_is_refused():
    with pytest.raises(InvalidInput, match="no rows"):
        profile(pa.table({"x": pa.array([], pa.int64())}), patient_column=None)

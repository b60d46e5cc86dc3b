"""What must never become public: rare categories, extremes, rows. Each with a control that does leak.

The main argument is exclusion: two tables that differ only in what must stay private give the same
description and the same mock sample, byte for byte.
"""

from __future__ import annotations

import json
import pickle
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from data_tables import clinic, replaced
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.data.description import (
    Answers,
    DatasetDescription,
    missing_percent_bucket,
    propose_description,
    round_outward,
    rows_bucket,
)
from trustspace.data.images import write_png
from trustspace.data.mock import mock_sample
from trustspace.data.parquet import to_parquet
from trustspace.data.profile import profile
from trustspace.data.shared import patients_by_value, shared_bounds

SEED = b"a seed of the officer"
RARE = "罕见病-Erdheim"
EXTREME = 987654.25


def published(table: pa.Table, patient_column: str | None = "patient") -> tuple[str, bytes, str]:
    """All that leaves the officer's machine: description, mock as a file, and both as readable text."""
    found = profile(table, patient_column=patient_column)
    description = propose_description(found, "Clinic", Answers(allow=frozenset(found.identifying)))
    mock = mock_sample(description, 200, seed=SEED)
    text = json.dumps(description.to_json(), ensure_ascii=False)
    return text, to_parquet(mock), text + str(mock.to_pydict())


def naive(table: pa.Table) -> str:
    """What a careless description says: all categories, minimum and maximum, the first rows."""
    parts = [table.slice(0, 5).to_pylist()]
    for name in table.column_names:
        values = [value for value in table.column(name).to_pylist() if value is not None]
        parts.append(
            {name: sorted(set(values))} if isinstance(values[0], str) else (min(values), max(values))
        )
    return json.dumps(parts, default=str, ensure_ascii=False)


SECRETS = {
    "a rare category": {"诊断": RARE},
    "an extreme value": {"creatinine": EXTREME},
    "an extreme whole number": {"age": 987654},
    "a lowest value": {"creatinine": -EXTREME},
    "an early date": {"visited": date(1911, 10, 10)},
    "a note": {"note": RARE},
}
SECRETS["a whole row"] = {name: value for secret in SECRETS.values() for name, value in secret.items()}
# The base of each comparison already holds one odd patient, so that only the secret differs.
ODD = {
    "诊断": "另一种罕见病",
    "creatinine": 500.0,
    "age": 119,
    "visited": date(1999, 1, 1),
    "note": "an odd note",
}
TOKENS = (RARE, "987654", "1911")


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_what_one_patient_has_changes_nothing_public(secret):
    base = replaced(clinic(), 3, **{name: ODD[name] for name in secret})
    with_secret = replaced(base, 3, **secret)
    before, after = published(base), published(with_secret)
    assert after == before
    assert not any(token in after[2] for token in TOKENS)
    assert any(token in naive(with_secret) for token in TOKENS), "control: a careless description leaks it"


def test_a_row_swapped_for_a_similar_one_changes_nothing_public():
    """A verbatim row: unremarkable values, in none of the tails, exchanged for others like it."""
    middle = {"age": 55, "creatinine": 80.0, "诊断": "正常", "note": "x"}
    base = replaced(clinic(), 17, **middle)
    other = replaced(base, 17, age=56, creatinine=80.1, note="y")
    assert published(other) == published(base)


def test_nine_patients_are_too_few_and_ten_are_enough():
    for patients, expected in ((9, False), (10, True)):
        table = clinic()
        for row in range(patients):
            table = replaced(table, row, 诊断=RARE)
        assert (RARE in published(table)[2]) is expected, patients


def test_many_rows_of_few_patients_are_still_rare():
    """Counting rows instead of patients would publish what one person has."""
    table = clinic(patients=100, visits=20)
    for row in range(3 * 20, 4 * 20):
        table = replaced(table, row, 诊断=RARE, creatinine=EXTREME)
    assert not any(token in published(table)[2] for token in TOKENS)
    control = published(table.drop_columns("patient"), patient_column=None)
    assert RARE in control[2], "control: without the patient column the same rows count as 20 people"


def test_one_patient_with_most_rows_moves_no_bound():
    """Quantiles over rows would be this patient's own values."""
    table = clinic(patients=100)
    mine = [table.slice(0, 1)] * 150
    heavy = pa.concat_tables([table.slice(1), *mine])
    row_bound = float(np.quantile(replaced_all(heavy, EXTREME), 0.95))
    assert row_bound == EXTREME, "control"
    column = heavy.schema.get_field_index("creatinine")
    secret = heavy.set_column(column, "creatinine", pa.array(replaced_all(heavy, EXTREME)))
    text = published(secret)[0]
    assert "1000000" not in text
    assert "987654" not in text
    assert json.loads(text)["columns"][column]["high"] == "100"


def replaced_all(table: pa.Table, value: float) -> list[float]:
    """The creatinine column, with another value wherever the first patient's is."""
    patients, numbers = table.column("patient").to_pylist(), table.column("creatinine").to_pylist()
    return [
        value if patient == "P0000" else number for patient, number in zip(patients, numbers, strict=True)
    ]


def test_one_patient_spelled_in_many_ways_is_one():
    table = clinic(patients=60)
    spellings = [
        "p9999",
        "P9999",
        " P9999",
        "Ｐ9999",
        "p9999 ",
        "Ｐ９９９９",
        "P999９",
        "p９999",
        "P9９99",
        "p99９9",
    ]
    for row, spelling in enumerate(spellings):
        table = replaced(table, row, patient=spelling, 诊断=RARE)
    assert RARE not in published(table)[2]


def test_tokens_in_categories_are_withheld_even_if_common():
    table = clinic()
    for row in range(40):
        table = replaced(table, row, 诊断="call 13812345678")
    text = published(table)[2]
    assert "13812345678" not in text
    assert "other" in text


def test_small_tables_say_next_to_nothing():
    description = propose_description(
        profile(clinic(patients=9), patient_column="patient"), "Few", Answers(allow=frozenset({"note"}))
    )
    assert description.rows_bucket == 0
    for column in description.columns:
        assert (column.low, column.high) == ("", "")
        assert set(column.categories) <= {"other"}


def test_images_stay_private():
    def with_image(pixels: bytes) -> pa.Table:
        pictures = [write_png(8, 8, "L", bytes([i % 256]) * 64) for i in range(300)]
        pictures[5] = write_png(8, 8, "L", pixels)
        return clinic().append_column("xray", pa.array(pictures))

    plain, secret = bytes(64), bytes(range(64))
    assert published(with_image(secret)) == published(with_image(plain))
    mock = published(with_image(secret))[1]
    assert write_png(8, 8, "L", secret) not in mock


def test_an_image_size_of_few_patients_stays_private():
    for patients, expected in ((9, 0), (10, 8)):
        table = pa.table({"xray": [write_png(8, 8, "L", bytes([i]) * 64) for i in range(patients)]})
        description = propose_description(profile(table, patient_column=None), "t")
        assert description.column("xray").width == expected


def test_the_patient_column_is_never_described():
    table = clinic()
    numbers = table.set_column(0, "patient", pa.array(np.arange(770_000, 770_000 + table.num_rows)))
    text = published(numbers)[2]
    assert "770" not in text
    assert '"low": ""' in json.dumps(json.loads(published(numbers)[0])["columns"][0])


def test_a_profile_shows_and_gives_away_nothing_by_itself():
    table = replaced(clinic(), 3, 诊断=RARE, creatinine=EXTREME)
    found = profile(table, patient_column="patient")
    column = next(column for column in found.columns if column.name == "诊断")
    assert dict(column.categories)[RARE] == 1, "control: the profile does hold it"
    assert not any(token in repr(found) + repr(found.columns) for token in TOKENS)
    assert all(
        str(number) not in repr(found.columns) for number in (found.columns[2].low, found.columns[2].high)
    )
    with pytest.raises(TypeError):
        pickle.dumps(found)
    assert not hasattr(found, "to_json")


# --- the rules behind it, against brute force


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(-50, 50)), min_size=1, max_size=400),
)
def test_bounds_are_shared_by_ten_patients(rows):
    codes = np.array([patient for patient, _ in rows])
    numbers = np.array([float(value) for _, value in rows])
    low, high = shared_bounds(numbers, codes)
    patients = set(codes.tolist())
    if low is None or high is None:
        assert len(patients) < 20 or len(patients) * 5 > 100 * 10
        return
    beyond = max(10, -(-len(patients) * 5 // 100))
    assert len({p for p, v in zip(codes.tolist(), numbers, strict=True) if v <= low}) >= beyond
    assert len({p for p, v in zip(codes.tolist(), numbers, strict=True) if v >= high}) >= beyond


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from("abcd")), min_size=1, max_size=60))
def test_categories_count_patients(rows):
    values = pa.chunked_array([[value for _, value in rows]])
    counted = dict(patients_by_value(values, np.array([patient for patient, _ in rows])))
    assert counted == {v: len({p for p, w in rows if w == v}) for v in {v for _, v in rows}}


@given(st.floats(-1e14, 1e14))
def test_rounding_goes_outward_to_one_digit(value):
    low, high = float(round_outward(value, up=False)), float(round_outward(value, up=True))
    assert low <= value <= high
    for text in (round_outward(value, up=False), round_outward(value, up=True)):
        assert len(text.lstrip("-").replace(".", "").strip("0")) <= 1
    assert high - low <= max(abs(value), 1e-12) * 1.000001


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [(187.0, "100", "200"), (-187.0, "-200", "-100"), (0.0, "0", "0"), (0.072, "0.07", "0.08"),
     (30.0, "30", "30"), (9.99, "9", "10"), (-0.004, "-0.004", "-0.004"), (1e-15, "0", "0.000000000001")],
)  # fmt: skip
def test_rounding_examples(value, down, up):
    assert (round_outward(value, up=False), round_outward(value, up=True)) == (down, up)


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [(1, 0), (19, 0), (20, 20), (57, 50), (99, 90), (100, 100), (569, 560), (123_456, 120_000)],
)
def test_rows_are_rounded_down(rows, bucket):
    assert rows_bucket(rows) == bucket
    assert rows_bucket(bucket) == bucket


@pytest.mark.parametrize(("missing", "percent"), [(0, 0), (1, 5), (50, 5), (51, 10), (999, 100), (1000, 100)])
def test_missing_is_rounded_up(missing, percent):
    assert missing_percent_bucket(missing, 1000) == percent


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 299), st.text("甲乙丙丁abc", min_size=5, max_size=9), st.integers(10**6, 10**9))
def test_whatever_one_patient_has_it_is_not_public(row, word, number):
    word = f"§{word}§"
    table = replaced(clinic(), row, 诊断=word, note=word, age=number, creatinine=float(number) + 0.5)
    text = published(table)[2]
    assert word not in text
    assert str(number) not in text


def test_a_description_survives_its_json():
    text = published(clinic())[0]
    assert DatasetDescription.from_json(json.loads(text)).to_json() == json.loads(text)

"""Real clinical data, from file to hand-in: one table from a package, others where TRUSTSPACE_DATA points."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from data_tables import split_by_patient

from trustspace.data.description import Answers, DatasetDescription, propose_description
from trustspace.data.handin import from_fd, to_memfd
from trustspace.data.images import write_png
from trustspace.data.mock import mock_sample
from trustspace.data.parquet import read_parquet, to_parquet
from trustspace.data.profile import Profile, profile
from trustspace.data.quality import problems
from trustspace.data.reading import read_table
from trustspace.errors import InvalidInput

KEY = b"a key of thirty-two bytes, fixed"


def story(table: pa.Table, found: Profile) -> DatasetDescription:
    """What a submission does with a table, short of sealing it."""
    description = propose_description(found, "Real data", Answers(allow=frozenset(found.identifying)))
    assert DatasetDescription.from_json(json.loads(json.dumps(description.to_json()))) == description
    mock = mock_sample(description, 100, seed=b"seed")
    assert mock.schema.names == table.schema.names
    assert mock.schema.types == table.schema.types
    stored = read_parquet(to_parquet(table))
    assert stored.equals(table)
    train, withheld = split_by_patient(stored, found.patient_column, 20, KEY)
    assert train.num_rows + withheld.num_rows == table.num_rows
    descriptor = to_memfd(train, "train")
    assert from_fd(descriptor).equals(train)
    os.close(descriptor)
    return description


def test_breast_cancer_of_scikit_learn(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_breast_cancer()
    columns = dict(zip(bunch.feature_names.tolist(), bunch.data.T, strict=True))
    labels = np.array(["M", "B"])[bunch.target]
    path = tmp_path / "breast.csv"
    pa.csv.write_csv(pa.table({**columns, "diagnosis": labels}), path)
    table = read_table(path)
    assert table.num_rows == 569
    for name, values in columns.items():
        np.testing.assert_array_equal(table.column(name).to_numpy(), values)

    found = profile(table, patient_column=None)
    assert found.identifying == {}
    assert problems(found) == []
    description = story(table, found)
    assert description.rows_bucket == 560
    assert description.column("diagnosis").categories == ("B", "M")
    area = description.column("worst area")
    assert (area.low, area.high) == ("300", "3000")
    text = json.dumps(description.to_json())
    extremes = {f"{value:g}" for values in columns.values() for value in (values.min(), values.max())}
    long = [extreme for extreme in extremes if len(extreme) >= 5]
    assert len(long) > 20
    assert not [extreme for extreme in long if f'"{extreme}"' in text]


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("TRUSTSPACE_DATA")
    if not folder:
        pytest.skip("TRUSTSPACE_DATA is not set: no real data to test with")
    return Path(folder)


HEART = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num".split()


@pytest.mark.data
@pytest.mark.parametrize(
    ("hospital", "rows", "zeros"),
    [
        ("cleveland", 303, []),
        ("hungarian", 294, []),
        ("switzerland", 123, []),
        ("va", 200, ["trestbps", "chol"]),
    ],
)
def test_heart_disease_of_four_hospitals(data, hospital, rows, zeros):
    path = data / "heart" / f"processed.{hospital}.data"
    with pytest.raises(InvalidInput, match="must hold column names"):
        read_table(path)
    table = read_table(path, column_names=HEART)
    assert table.num_rows == rows
    assert {name: str(kind) for name, kind in zip(HEART, table.schema.types, strict=True)} == {
        **dict.fromkeys(HEART, "int64"), "oldpeak": "double",
    }  # fmt: skip
    found = profile(table, patient_column=None)
    assert found.identifying == {}
    warned = {(problem.column, str(problem.kind)) for problem in problems(found)}
    assert [name for name in HEART if (name, "zeros-as-missing") in warned] == zeros
    # All cholesterol of the Swiss hospital is 0.
    assert (("chol", "constant") in warned) is (hospital == "switzerland")
    story(table, found)


@pytest.mark.data
def test_pneumonia_images(data):
    with np.load(data / "pneumoniamnist" / "pneumoniamnist.npz") as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"].ravel()
    table = pa.table(
        {"xray": pa.array([write_png(28, 28, "L", image.tobytes()) for image in images]), "pneumonia": labels}
    )
    out = io.BytesIO(to_parquet(table))
    table = read_parquet(out.getvalue()).cast(pa.schema([("xray", pa.binary()), ("pneumonia", pa.int64())]))
    found = profile(table, patient_column=None)
    assert found.columns[0].images.repeated == 18  # a known defect of this collection
    description = story(table, found)
    xray = description.column("xray")
    assert (xray.kind, xray.width, xray.height, xray.mode) == ("image", 28, 28, "L")


@pytest.mark.data
def test_a_thousand_chest_xrays(data, tmp_path):
    folder = data / "nih-cxr-1000"
    table = read_table(folder / "labels.csv")
    images = [(folder / "png224" / name).read_bytes() for name in table.column("file").to_pylist()]
    table = table.append_column("xray", pa.array(images, pa.binary()))
    (tmp_path / "cxr.parquet").write_bytes(to_parquet(table))
    assert read_table(tmp_path / "cxr.parquet").equals(table)

    found = profile(table, patient_column="patient_id")
    assert (found.rows, found.patients) == (1000, 682)
    assert list(found.identifying) == ["file"]
    description = story(table, found)
    assert (description.column("xray").width, description.column("xray").mode) == (224, "L")
    findings = description.column("nih_labels").categories
    assert {"No Finding", "Pneumonia", "other"} <= set(findings)
    patients_of: dict[str, set[int]] = {}
    pairs = zip(table.column("nih_labels").to_pylist(), table.column("patient_id").to_pylist(), strict=True)
    for finding, patient in pairs:
        patients_of.setdefault(finding, set()).add(patient)
    assert all(len(patients_of[finding]) >= 10 for finding in findings if finding != "other")
    assert len(patients_of) > len(findings), "there are rare findings to keep out"
    train, withheld = split_by_patient(table, "patient_id", 20, KEY)
    assert not set(train["patient_id"].to_pylist()) & set(withheld["patient_id"].to_pylist())
    assert len(set(withheld["patient_id"].to_pylist())) == 137

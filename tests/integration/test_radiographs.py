"""Real chest radiographs, sealed by the hospital and learned from in a real sandbox.

The NIH images are taken size-matched: unmatched, the size of a file alone tells its class. With so few of them
nothing is claimed about accuracy; what counts is that no pixel leaves and every patient stays on one side.
"""

import csv
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.enclaves import door
from test_real_story import Real, finish

from trustspace.client import datasets, review

pytestmark = [pytest.mark.isolation, pytest.mark.data]
JOB = """
[job]
title = "胸片分类"
purpose = "Put likely findings to the top of the reading list."
kind = "train"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "radiographs"
version = 1
columns = ["image"]

[train]
model = "small_cnn"
image_size = 28
target = "finding"
positive = "some"
learning_rate = 0.001
epochs = 2
batch_size = 32
"""


def radiographs(folder: Path) -> pa.Table:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["size_matched"] == "True"]
    images = {path.name: path for path in folder.rglob("*.png")}
    return pa.table(
        {
            "image": pa.array([images[row["file"]].read_bytes() for row in rows], pa.binary()),
            "patient": [row["patient_id"] for row in rows],
            "finding": ["none" if row["folder_label"] == "No_findings" else "some" for row in rows],
        }
    )


def test_a_hospitals_radiographs_train_a_model(tmp_path):
    table = radiographs(Path(os.environ["TRUSTSPACE_DATA"]) / "nih-cxr-1000")
    path = tmp_path / "胸片.parquet"
    pq.write_table(table, path)
    real = Real()
    try:
        proposal = datasets.propose(path, "胸片", patient_column="patient")
        image = next(c for c in proposal.description.columns if c.name == "image")
        assert (image.kind, image.width, image.height) == ("image", 224, 224)
        digest = datasets.submit(real.hospital, proposal, dataset="radiographs")
        # What the developer gets to try code on are made-up images, none of them a patient's.
        _, mock = datasets.describe(real.developer, digest)
        assert not set(mock["image"].to_pylist()) & set(table["image"].to_pylist())
        job = real.ask(JOB, code="")
        delivered, _ = finish(real, job)
        assert [d.name for d in delivered] == ["model.safetensors", "metrics.json"]
        report = review.open_case(real.hospital, job, "Dr Li").report
        assert report.check("withheld_metrics").status in ("passed", "warned", "failed")
        # No stretch of a file's compressed pixels stands in what was delivered.
        pixels = table["image"][0].as_py()[1000:1032]
        assert all(pixels not in d.content for d in delivered)
        assert not door(real.hospital).status()["failures"]
    finally:
        real.close()

"""What an enclave keeps of its outputs: durable, sealed, without names, and refused when it is damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from trustspace.enclave import history as module
from trustspace.enclave.history import History, Past, Record, counted, traced
from trustspace.enclave.opening import divide
from trustspace.errors import Unavailable, VerificationFailed
from trustspace.jobs.counting import count_table
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.shown import MISSING, OUTSIDE, PRESENT, cells_of_rows, counts_of, keys_of_lines, shown_of
from trustspace.jobs.statistics import HIDDEN, result
from trustspace.privacy.overlap import Counts, Earlier, Trace

JOB, OTHER = "1" * 64, "2" * 64
COUNTING = Parameters.model_validate(
    {
        "kind": "statistics",
        "datasets": [{"id": "cytology", "version": 1, "columns": ["size", "diagnosis", "sex", "ward"]}],
        "statistics": {
            "numeric": ["size"], "bounds": {"size": [0, 20]},
            "tables": [["diagnosis"], ["sex", "ward"]],
            "categories": {"diagnosis": ["B", "M"], "sex": ["f", "m"], "ward": ["1", "2", "3"]},
        },
        "terms": {"withheld_percent": 0},
    }
)  # fmt: skip


def record(job=JOB, made=5, **changes):
    counts = Counts(
        np.array([0, 1, 1], np.int32),
        np.array([[0, 0, 0], [2, 0, 1]], np.int32),
        (((0,),), ((0, 1), (2,))),
        ("r", "t"),
    )
    trace = Trace(
        Earlier(job, "Zählung 计数", made), "statistics", ("A", "B"), "cytology", "f" * 64, ("size",),
        np.array([2**64 - 1, 7], np.uint64), counts=counts,
    )  # fmt: skip
    return Record(
        job, "buyer", "developer", "Zählung 计数", ("cytology",), 900, 3, **{"trace": trace, **changes}
    )


def same(one, other):
    for name in ("people", "contents"):
        a, b = getattr(one.trace, name), getattr(other.trace, name)
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b)
    for name in ("owner", "cells"):
        a, b = one.trace.counts, other.trace.counts
        assert (a is None) == (b is None)
        assert a is None or (
            np.array_equal(getattr(a, name), getattr(b, name)) and (a.shown, a.keys) == (b.shown, b.keys)
        )
    assert one.trace.output == other.trace.output
    return (one.job, one.buyer, one.developer, one.datasets, one.bytes, one.sums) == (
        other.job, other.buyer, other.developer, other.datasets, other.bytes, other.sums,
    )  # fmt: skip


def test_what_is_recorded_is_there_after_a_restart(tmp_path):
    History(tmp_path / "history").record(record())
    (found,) = History(tmp_path / "history").records()
    assert same(found, record())


def test_a_jobs_newer_record_gives_way_to_no_other(tmp_path):
    kept = History(tmp_path / "history")
    kept.record(record(made=9, trace=record().trace))
    kept.record(record(OTHER, made=1))
    kept.record(Record(JOB, "buyer", "developer", "later", ("cytology",), 1, 0, record(made=9).trace))
    assert [(one.job, one.bytes) for one in kept.records()] == [(OTHER, 900), (JOB, 1)]
    assert [one.job for one in kept.records(lambda one: one.bytes == 1)] == [JOB]


def test_a_crash_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    kept = History(tmp_path / "history")
    kept.record(record())

    def torn(*_, **__):
        raise Unavailable("The disk is full.", fix="Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomic", torn)
        with pytest.raises(Unavailable):
            kept.record(record(OTHER))
    # What a killed process may leave beside the records is no record.
    (tmp_path / "history" / ".tmp-1234").write_bytes(b"half a rec")
    (found,) = History(tmp_path / "history").records()
    assert same(found, record())


def test_what_went_to_the_same_buyer_or_developer_concerns_a_job(tmp_path):
    """Either of them has both outputs to subtract, whoever asked for the other; its own record is no earlier one."""
    kept = History(tmp_path / "history")
    for place, (buyer, developer) in enumerate([("b", "x"), ("x", "d"), ("b", "d"), ("x", "y")]):
        digest = str(place) * 64
        kept.record(replace(record(digest, place), buyer=buyer, developer=developer))

    def concerning(digest):
        job = SimpleNamespace(statement=digest, body=SimpleNamespace(buyer="b", developer="d"))
        return [one.job[0] for one in kept.concerning(job)]

    assert concerning("f" * 64) == ["0", "1", "2"]
    assert concerning("2" * 64) == ["0", "1"]


@pytest.mark.parametrize("how", ["a bit", "cut", "empty", "renamed", "copied"])
def test_a_damaged_record_is_refused_by_name(tmp_path, how):
    kept = History(tmp_path / "history")
    kept.record(record())
    path = tmp_path / "history" / JOB
    raw = bytearray(path.read_bytes())
    if how == "a bit":
        raw[-40] ^= 1
    if how == "cut":
        del raw[-20:]
    if how == "empty":
        raw.clear()
    path.write_bytes(raw)
    if how == "renamed":
        path.rename(path.with_name(OTHER))
    if how == "copied":
        shutil.copy(path, path.with_name(OTHER))
    with pytest.raises(VerificationFailed, match=OTHER if how in ("renamed", "copied") else JOB) as caught:
        kept.records()
    assert "backup" in caught.value.fix


def test_without_its_key_nothing_is_forgotten_silently(tmp_path):
    History(tmp_path / "history").record(record())
    key = tmp_path / "history" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    secret = key.read_bytes()
    key.unlink()
    with pytest.raises(VerificationFailed, match="key"):
        History(tmp_path / "history")
    key.write_bytes(secret[:16])
    with pytest.raises(VerificationFailed, match="key"):
        History(tmp_path / "history")
    key.write_bytes(bytes(32))
    with pytest.raises(VerificationFailed, match="damaged"):
        History(tmp_path / "history").records()


def test_two_enclaves_call_one_patient_by_two_names(tmp_path):
    """Otherwise two hospitals' records could be laid side by side."""
    one, other = History(tmp_path / "one"), History(tmp_path / "other")
    assert (
        one.pseudonyms(["p1", "p2"], "patient").tolist() == one.pseudonyms(["p1", "p2"], "patient").tolist()
    )
    assert not set(one.pseudonyms(["p1"], "patient").tolist()) & set(
        other.pseudonyms(["p1"], "patient").tolist()
    )
    assert one.pseudonyms(["p1"], "patient") != one.pseudonyms(["p1"], "row")


def test_of_two_runs_at_one_time_one_sees_the_other(tmp_path):
    """Both began when nothing was there; whoever notes second is told of the first, whoever asks."""
    kept = History(tmp_path / "history")

    def past(digest):
        body = SimpleNamespace(
            buyer="b", developer="d", title="t", kind="statistics", is_joint=False,
            parameters={**COUNTING.to_json()},
        )  # fmt: skip
        job = SimpleNamespace(statement=digest, body=body)
        return Past(kept, (), record(digest).trace, job)

    one, other = past(JOB), past(OTHER)
    one.note(one.start)
    assert one.earlier() == ()
    other.note(other.start)
    assert [trace.output.job for trace in other.earlier()] == [JOB]
    assert [trace.output.job for trace in one.earlier()] == [OTHER]
    # What was known at the start stays known, and what has changed since is as it is now.
    third = Past(
        kept, (record("3" * 64).trace, record(JOB, made=99).trace), record("4" * 64).trace, past("4" * 64).job
    )
    assert [(t.output.job, t.output.made) for t in third.earlier()] == [("3" * 64, 5), (JOB, 5), (OTHER, 5)]


# -- whom an output is of


def people(count=40, name="patient"):
    draw = np.random.default_rng(3)
    return pa.table({
        "size": draw.normal(10, 2, count), "diagnosis": draw.choice(["B", "M"], count),
        "sex": draw.choice(["f", "m"], count), "ward": draw.choice(["1", "2", "3"], count),
        "patient": [f"{name}-{n:03d}" for n in range(count)],
    })  # fmt: skip


def trace_of(
    kept, table, column="patient", version="f" * 64, columns=("size", "diagnosis", "sex", "ward"), job=COUNTING,
    digest=bytes(32),
):  # fmt: skip
    rows = divide(table, column, columns, job, bytes(32), digest)
    described = SimpleNamespace(body=SimpleNamespace(description={"patient_column": column}))
    order = SimpleNamespace(dossier=SimpleNamespace(view=SimpleNamespace(get=lambda *_: described)))
    start = Trace(Earlier(JOB, "t", 0), "statistics", ("A",), "cytology", version, columns)
    return counted(traced(kept, start, order, rows), job, rows)


def test_a_patient_has_one_name_in_every_version_and_order(tmp_path):
    kept = History(tmp_path / "history")
    first = trace_of(kept, people())
    later = trace_of(kept, people(41).slice(1), version="e" * 64)
    assert len(np.intersect1d(first.people, later.people)) == 39
    assert len(np.setxor1d(first.people, later.people)) == 2
    assert not first.by_rows
    # The file holds nobody's key, as it is or as a plain digest.
    kept.record(Record(JOB, "b", "d", "t", ("cytology",), 1, 0, first))
    raw = (tmp_path / "history" / JOB).read_bytes()
    assert b"patient-" not in raw
    opened = module.open_bytes(kept._seal_key, {"purpose": "history", "record": JOB}, raw)
    assert b"patient-" not in opened
    body = zlib.decompress(opened[8 + int.from_bytes(opened[:8]) :])
    assert first.people.astype("<u8").tobytes() in body, "the control: so one looks for it"
    names = [name.encode() for name in people()["patient"].to_pylist()]
    plain = [hashlib.new(kind, name).digest()[:8] for kind in ("sha256", "md5") for name in names]
    assert not [digits for digits in (*names, *plain, *(one[::-1] for one in plain)) if digits in body]


def test_rows_without_patients_are_known_by_number_and_by_what_they_say(tmp_path):
    kept = History(tmp_path / "history")
    table = pa.concat_tables([people(5), people(5)])  # every row is there twice
    first = trace_of(kept, table, "")
    assert first.by_rows
    assert len(set(first.people.tolist())) == len(set(first.contents.tolist())) == 10
    # One version later the first row is gone: other numbers, and all but one of the contents.
    later = trace_of(kept, table.slice(1), "", version="e" * 64)
    assert not len(np.intersect1d(first.people, later.people))
    assert len(np.intersect1d(first.contents, later.contents)) == 9


TRAINING = Parameters.model_validate(
    {
        "kind": "train",
        "datasets": [{"id": "cytology", "version": 1, "columns": ["size", "sex", "ward"]}],
        "train": {
            "model": "logistic_regression", "target": "diagnosis", "positive": "M", "epochs": 1,
            "categories": {"sex": ["f", "m"], "ward": ["1", "2", "3"]},
        },
        "terms": {"withheld_percent": 30},
    }
)  # fmt: skip


def test_who_is_withheld_leaves_no_mark_on_what_a_row_says(tmp_path):
    """Two jobs withhold other rows of the same table: nobody may come or go by that."""
    kept, table = History(tmp_path / "history"), people(60)
    jobs, columns = (bytes(32), b"\1" * 32), table.column_names[:4]
    withheld = [
        set(divide(table, "", columns, TRAINING, bytes(32), job).judging.patients.tolist()) for job in jobs
    ]
    assert withheld[0] != withheld[1]
    one, other = (
        trace_of(kept, table, "", version=version * 64, job=TRAINING, digest=job)
        for version, job in zip("ef", jobs, strict=True)
    )
    assert not len(np.intersect1d(one.people, other.people)), "other numbers in another version"
    assert set(one.contents.tolist()) == set(other.contents.tolist())
    assert len(set(one.contents.tolist())) == 60


def test_all_units_of_a_joint_job_stand_behind_its_output():
    """Otherwise a sum over one unit fewer would pass for the same sum again."""
    use = SimpleNamespace(source_unit="B", dataset="f" * 64, columns=("size",))
    view = SimpleNamespace(get=lambda *_: SimpleNamespace(body=SimpleNamespace(dataset="cytology")))
    for joint, units in ((True, ("A", "B", "C")), (False, ("B",))):
        body = SimpleNamespace(
            datasets=(use,), is_joint=joint, source_units=("A", "B", "C"), title="t", kind="statistics"
        )
        begun = module.started(view, SimpleNamespace(statement=JOB, body=body), "B", 5)
        assert (begun.units, begun.dataset, begun.version) == (units, "cytology", "f" * 64)
        assert begun.people is begun.counts is None


def test_a_released_count_is_that_of_the_rows_it_is_said_to_count():
    """Every shown number of a real statistics.json is the number of rows in its cells, also of values out of bounds."""
    table, draw = people(200), np.random.default_rng(4)
    sizes = np.where(draw.random(200) < 0.1, np.nan, draw.normal(10, 8, 200))
    table = table.set_column(0, "size", pa.array(sizes, from_pandas=True))
    value = json.loads(result(COUNTING, count_table(table, COUNTING).tolist(), 1, 10))
    cells = cells_of_rows(table, COUNTING)
    checked = 0
    for line, counts in zip(cells, counts_of(value), strict=True):
        for places, count in counts.items():
            if count != HIDDEN:
                assert int(np.isin(line, places).sum()) == count
                checked += 1
    assert checked > 15
    shown = shown_of(value)
    assert len(shown) == len(cells) == 4
    assert (0,) in shown[0]
    assert {PRESENT, (MISSING,), (OUTSIDE,)} <= set(shown[1])


@pytest.mark.parametrize(
    ("where", "what", "line"),
    [
        (None, None, None),
        ("bounds", {"size": [0, 30]}, 1),
        ("categories", {"diagnosis": ["B", "M", "C"], "sex": ["f", "m"], "ward": ["1", "2", "3"]}, 2),
        ("tables", [["diagnosis"], ["ward", "sex"]], 3),
    ],
)
def test_the_same_table_has_the_same_key_and_no_other_has(where, what, line):
    """Over other source units, only counts of the same cells are subtracted."""
    said = {**COUNTING.to_json(), "datasets": [{**COUNTING.to_json()["datasets"][0], "id": "elsewhere"}]}
    if where is not None:
        said["statistics"] = {**said["statistics"], where: what}
    keys, others = keys_of_lines(COUNTING), keys_of_lines(Parameters.model_validate(said))
    assert [n for n, (one, other) in enumerate(zip(keys, others, strict=True)) if one != other] == (
        [] if line is None else [line]
    )
    assert len(set(keys)) == len(keys) == 4


def test_what_is_too_large_to_keep_is_kept_without_its_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_CELLS", 10)
    found = trace_of(History(tmp_path / "history"), people())
    assert found.counts is None
    assert len(found.people) == 40

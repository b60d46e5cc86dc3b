"""The hand-in: no patient on two sides, and memory that nobody can change."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import math
import mmap
import os
import time

import numpy as np
import pyarrow as pa
import pytest
from data_tables import clinic, split_by_patient
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.data.columns import plain_table
from trustspace.data.description import Answers, propose_description
from trustspace.data.handin import SEALS, draw_withheld, from_buffer, from_fd, to_memfd
from trustspace.data.parquet import map_descriptor, read_parquet, to_parquet
from trustspace.data.profile import profile
from trustspace.errors import InvalidInput

KEY = b"the split's own key, 32 bytes..."
TABLE = plain_table(clinic(patients=50, visits=3))


@pytest.fixture
def sealed():
    descriptor = to_memfd(TABLE, "rows")
    yield descriptor
    os.close(descriptor)


# --- splitting


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=200),
    st.integers(0, 90),
    st.binary(min_size=16, max_size=32),
)
def test_no_patient_is_on_both_sides(patients, percent, key):
    table = pa.table({"patient": patients, "row": range(len(patients))})
    different = len(set(patients))
    expected = -(-different * percent // 100)
    if expected >= different:
        with pytest.raises(InvalidInput, match="too few"):
            split_by_patient(table, "patient", percent, key)
        return
    train, withheld = split_by_patient(table, "patient", percent, key)
    mine, theirs = set(train["patient"].to_pylist()), set(withheld["patient"].to_pylist())
    assert not mine & theirs
    assert mine | theirs == set(patients)
    assert len(theirs) == expected
    assert sorted(train["row"].to_pylist() + withheld["row"].to_pylist()) == list(range(len(patients)))
    assert train["row"].to_pylist() == sorted(train["row"].to_pylist()), "row order is kept"


def test_control_a_split_by_rows_puts_patients_on_both_sides():
    train, withheld = split_by_patient(TABLE, None, 20, KEY)
    assert set(train["patient"].to_pylist()) & set(withheld["patient"].to_pylist())
    assert withheld.num_rows == 30


def test_the_order_is_that_of_the_keyed_digests():
    names = [f"p{i:04d}" for i in range(50)]
    first = sorted(names, key=lambda name: hmac.new(KEY, name.encode(), hashlib.sha256).digest())[:10]
    _, withheld = split_by_patient(TABLE, "patient", 20, KEY)
    assert {name.lower() for name in withheld["patient"].to_pylist()} == set(first)


def test_the_split_depends_on_key_and_patients_only():
    shuffled = TABLE.take(np.random.default_rng(3).permutation(TABLE.num_rows))
    chunked = pa.concat_tables([shuffled.slice(0, 70), shuffled.slice(70)])
    expected = set(split_by_patient(TABLE, "patient", 20, KEY)[1]["patient"].to_pylist())
    assert set(split_by_patient(chunked, "patient", 20, KEY)[1]["patient"].to_pylist()) == expected
    others = [
        set(split_by_patient(TABLE, "patient", 20, KEY + bytes([i]))[1]["patient"].to_pylist())
        for i in range(5)
    ]
    assert any(other != expected for other in others)


def test_spellings_of_one_patient_stay_together():
    table = pa.table({"patient": ["P1", "p1 ", "Ｐ1", " P1"] + [f"Q{i}" for i in range(40)]})
    for i in range(30):
        train, withheld = split_by_patient(table, "patient", 50, KEY + bytes([i]))
        sides = [{name for name in side["patient"].to_pylist() if "1" in name and "Q" not in name}
                 for side in (train, withheld)]  # fmt: skip
        assert not all(sides), "spellings of P1 were split"


def test_numbers_and_texts_of_the_same_patient_split_alike():
    numbers = list(range(10**12, 10**12 + 100))  # long enough for floats to be written as 1e+12
    texts = split_by_patient(pa.table({"p": [str(n) for n in numbers]}), "p", 20, KEY)[1]["p"].to_pylist()
    whole = split_by_patient(pa.table({"p": numbers}), "p", 20, KEY)[1]["p"].to_pylist()
    floats = split_by_patient(pa.table({"p": [float(n) for n in numbers]}), "p", 20, KEY)[1]["p"].to_pylist()
    assert [int(text) for text in texts] == whole == floats


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percent": -1}, "-1 percent"), ({"percent": 91}, "91 percent"),
        ({"key": b"short"}, r"key .* too short"), ({"patient_column": "nobody"}, "no column nobody"),
        ({"patient_column": "visited"}, "cannot tell patients"),
    ],
)  # fmt: skip
def test_split_refusals(options, message):
    with pytest.raises(InvalidInput, match=message):
        split_by_patient(TABLE, **{"patient_column": "patient", "percent": 20, "key": KEY, **options})


def test_rows_without_a_patient_are_refused():
    table = pa.table({"p": ["a", None, " ", "b"]})
    with pytest.raises(InvalidInput, match="names no patient in 2 rows"):
        split_by_patient(table, "p", 20, KEY)


def test_nothing_withheld_is_an_empty_table_of_the_same_columns():
    train, withheld = split_by_patient(TABLE, "patient", 0, KEY)
    assert train.equals(TABLE)
    assert withheld.num_rows == 0
    assert withheld.schema == TABLE.schema


# --- coins


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 400), st.integers(1, 50), st.binary(min_size=16, max_size=32))
def test_beside_the_coins_a_few_more_are_withheld_whatever_they_say(patients, percent, key):
    names = [f"p{i}" for i in range(patients)]
    draw = draw_withheld(names, percent, key)
    assert draw.audited.sum() == min(patients, -(-patients * percent // 50))
    wanted = -(-patients * percent // 100)
    more, left = math.ceil(math.sqrt(wanted / 2)), patients - int(draw.audited.sum())
    assert (draw.withheld & ~draw.audited).sum() == min(more, left)
    again = draw_withheld(names, percent, key)
    assert (again.withheld == draw.withheld).all()


def test_every_audited_patient_is_in_or_out_by_a_fair_coin_of_its_own():
    names = [f"p{i}" for i in range(200)]
    out, both, audited = np.zeros(200), 0, np.zeros(200)
    for i in range(400):
        draw = draw_withheld(names, 25, KEY + i.to_bytes(2, "big"))
        audited += draw.audited
        out += draw.withheld & draw.audited
        both += int(draw.withheld[0] & draw.withheld[1] & draw.audited[0] & draw.audited[1])
    assert abs(out.sum() / audited.sum() - 0.5) < 0.01
    assert abs(audited.mean() / 400 - 0.5) < 0.01
    assert 8 <= both <= 45, "two patients' coins hang together"  # expected 400 / 16 = 25, deviation 4.8


def test_withholding_nothing_audits_nobody():
    draw = draw_withheld(["a"], 0, KEY)
    assert not draw.withheld.any()
    assert not draw.audited.any()


@pytest.mark.parametrize(
    ("patients", "percent", "key", "message"),
    [(7, 20, KEY, "7 patients are too few"), (50, 51, KEY, "51 percent"), (50, -1, KEY, "-1 percent"),
     (50, 20, b"short", r"key .* too short")],
)  # fmt: skip
def test_draw_refusals(patients, percent, key, message):
    with pytest.raises(InvalidInput, match=message):
        draw_withheld([str(i) for i in range(patients)], percent, key)


# --- sealed memory


def attempts(descriptor: int) -> list[str]:
    """Every way we know to change memory behind a descriptor; the names of those that worked."""
    worked = []

    def attempt(name, act):
        try:
            act()
        except (OSError, ValueError):
            return
        worked.append(name)

    def by_map():
        with mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
            view[0] = view[0] ^ 1

    def by_reopening():
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        try:
            os.pwrite(again, b"x", 0)
        finally:
            os.close(again)

    attempt("write", lambda: os.pwrite(descriptor, b"x", 0))
    attempt("map", by_map)
    attempt("reopen", by_reopening)
    attempt("grow", lambda: os.ftruncate(descriptor, os.fstat(descriptor).st_size + 1))
    attempt("allocate", lambda: os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size + 4096))
    attempt("shrink", lambda: os.ftruncate(descriptor, 0))
    attempt("unseal", lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0))
    return worked


def test_sealed_memory_cannot_be_changed(sealed):
    before = os.pread(sealed, 1 << 24, 0)
    assert attempts(sealed) == []
    assert os.pread(sealed, 1 << 24, 0) == before
    assert fcntl.fcntl(sealed, fcntl.F_GET_SEALS) & SEALS == SEALS


def test_control_unsealed_memory_can_be_changed():
    descriptor = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"rows" * 100)
    assert attempts(descriptor) == ["write", "map", "reopen", "grow", "allocate", "shrink", "unseal"]
    os.close(descriptor)


def test_the_table_comes_back_and_outlives_the_descriptor(sealed):
    copy = os.dup(sealed)
    table = from_fd(copy)
    os.close(copy)
    assert table.equals(TABLE)
    assert from_buffer(memoryview(map_descriptor(sealed))).equals(TABLE)


def test_the_descriptor_stands_at_the_start_and_closes_on_exec(sealed):
    assert os.lseek(sealed, 0, os.SEEK_CUR) == 0
    assert not os.get_inheritable(sealed)


def test_nothing_but_the_table_is_handed_over():
    descriptor = to_memfd(TABLE.replace_schema_metadata({"author": "Dr. Wang"}), "rows")
    assert from_fd(descriptor).schema.metadata is None
    assert b"Dr. Wang" not in os.pread(descriptor, 1 << 24, 0)
    os.close(descriptor)


def test_withheld_rows_are_not_in_the_memory_of_the_job():
    train, withheld = split_by_patient(TABLE, "patient", 20, KEY)
    notes = [note.encode() for note in withheld["note"].to_pylist()]
    assert notes
    for table in (train, TABLE.slice(0, 20)):  # a slice shares its memory with the whole table
        descriptor = to_memfd(table, "rows")
        content = os.pread(descriptor, 1 << 24, 0)
        os.close(descriptor)
        mine = [note.encode() for note in table["note"].to_pylist()]
        assert all(note in content for note in mine)
        assert not [note for note in notes if note in content and note not in mine]


def test_a_hundred_thousand_rows_in_seconds():
    table = plain_table(clinic(patients=25_000, visits=4))
    start = time.monotonic()
    found = profile(table, patient_column="patient")
    propose_description(found, "t", Answers(allow=frozenset({"note"})))
    assert read_parquet(to_parquet(table)).num_rows == 100_000
    train, withheld = split_by_patient(table, "patient", 20, KEY)
    descriptor = to_memfd(train, "rows")
    assert from_fd(descriptor).num_rows == 80_000
    os.close(descriptor)
    assert withheld.num_rows == 20_000
    assert time.monotonic() - start < 15


def test_memory_that_could_still_change_is_refused(tmp_path):
    content = os.memfd_create("copy", os.MFD_ALLOW_SEALING)
    with pa.ipc.new_stream(pa.PythonFile(os.fdopen(os.dup(content), "wb")), TABLE.schema) as writer:
        writer.write_table(TABLE)
    (tmp_path / "file").write_bytes(b"x")
    file = os.open(tmp_path / "file", os.O_RDONLY)
    for descriptor in (content, file):
        with pytest.raises(InvalidInput, match="not sealed"):
            from_fd(descriptor)
        os.close(descriptor)


def test_sealed_bytes_that_are_no_table_are_refused():
    for content in (b"", b"x", b"\xff\xff\xff\xff" * 8):
        with pytest.raises(InvalidInput, match="not an Arrow stream"):
            from_buffer(content)


def test_a_failure_leaves_no_descriptor_behind():
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="null"):
        to_memfd(TABLE, "a\0b")
    assert set(os.listdir("/proc/self/fd")) == before


def test_images_and_every_plain_type_pass():
    table = plain_table(
        clinic()
        .append_column("flag", pa.array([None, 1] * 150))
        .set_column(0, "patient", pa.array(range(300)))
    )
    descriptor = to_memfd(table, "rows")
    assert from_fd(descriptor).equals(table)
    os.close(descriptor)

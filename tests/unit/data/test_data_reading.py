"""Reading: what a file says is what the table holds, and what cannot be read is refused by place."""

from __future__ import annotations

import csv
import io
import time
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from data_tables import everything_said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trustspace.data.images import write_png
from trustspace.data.reading import read_table
from trustspace.errors import InvalidInput, NotFound, TrustspaceError

SECRET = "Zhang-Wei-4711"


@pytest.fixture
def read(tmp_path: Path):
    def read(content: str | bytes, **options) -> pa.Table:
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path, **options)

    return read


def moment(*parts: int) -> datetime:
    return datetime(*parts)  # noqa: DTZ001 - tables hold local times, without a zone


def column(table: pa.Table, name: str = "x") -> tuple[str, list]:
    return str(table.schema.field(name).type), table.column(name).to_pylist()


# --- encodings and layout


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le-bom", "utf-16-be-bom"]
)
def test_chinese_tables_in_the_encodings_hospitals_use(read, encoding):
    text = "姓名缩写,诊断,年龄\r\nZW,肺炎,63\r\nLM,正常,58\r\n"
    if encoding.endswith("-bom"):
        content = ("\ufeff" + text).encode(encoding.removesuffix("-bom"))
    else:
        content = text.encode(encoding)
    table = read(content)
    assert table.to_pydict() == {"姓名缩写": ["ZW", "LM"], "诊断": ["肺炎", "正常"], "年龄": [63, 58]}


def test_a_rare_character_of_gb18030_survives(read):
    assert read("名,年\n𠮷野,1\n".encode("gb18030")).column("名").to_pylist() == ["𠮷野"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(read, separator, end):
    rows = [["a", "b", "c"], ["1", "x y", "0.5"], ["2", "z", "1.5"]]
    table = read(end.join(separator.join(row) for row in rows))
    assert table.to_pydict() == {"a": [1, 2], "b": ["x y", "z"], "c": [0.5, 1.5]}


def test_quotes_hold_separators_line_breaks_and_quotes(read):
    table = read('\n\n"a, first",b\n"1,5","two\nlines"\n"2,5","say ""hi"""\n\n')
    assert table.to_pydict() == {"a, first": ["1,5", "2,5"], "b": ["two\nlines", 'say "hi"']}


def test_a_header_of_two_lines_does_not_shift_the_rows(read):
    assert read('"a\nA",b\n1,2\n3,4\n'.replace("\nA", " A")).num_rows == 2
    with pytest.raises(InvalidInput, match=r"column 1 .* control or invisible"):
        read('"a\nA",b\n1,2\n3,4\n')


def test_names_are_trimmed_and_composed(read):
    table = read("\u0065\u0301tat , b\n1,2\n")
    assert table.column_names == ["\u00e9tat", "b"]


def test_column_names_may_be_given_for_a_file_without_any(read):
    table = read("63.0,1.0,?\n67.0,0.0,2.3\n", column_names=["age", "sex", "oldpeak"])
    assert table.to_pydict() == {"age": [63, 67], "sex": [1, 0], "oldpeak": [None, 2.3]}


# --- types


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2", ""], ("int64", [1, -2, None])),
        (["63.0", "1.0", "?"], ("int64", [63, 1, None])),
        (["1", "2.5", "NA"], ("double", [1.0, 2.5, None])),
        ([".7", "1e-3", "NaN"], ("double", [0.7, 0.001, None])),
        (["True", "FALSE", "N/A"], ("int64", [1, 0, None])),
        (["yes", "no", "null"], ("string", ["yes", "no", None])),
        (["", "NA", "-"], ("double", [None, None, None])),
        ([" 1 ", "2", "缺失"], ("int64", [1, 2, None])),
        (["<0.5", "0.7", "1.2"], ("string", ["<0.5", "0.7", "1.2"])),
        (["1.5", "abc", "2"], ("string", ["1.5", "abc", "2"])),
        (["2024-02-29", "2023/1/5", "2020年12月31日"],
         ("date32[day]", [date(2024, 2, 29), date(2023, 1, 5), date(2020, 12, 31)])),
        (["2024-02-30", "2023-01-05", ""], ("string", ["2024-02-30", "2023-01-05", None])),
        (["2024-02-29 8:05", "2023-01-05T10:00:30", ""],
         ("timestamp[ms]", [moment(2024, 2, 29, 8, 5), moment(2023, 1, 5, 10, 0, 30), None])),
        (["inf", "1.0", "2.0"], ("string", ["inf", "1.0", "2.0"])),
        (["1e999", "1.5", "2"], ("string", ["1e999", "1.5", "2"])),
        (["0x10", "2", "3"], ("string", ["0x10", "2", "3"])),
    ],
)  # fmt: skip
def test_types_of_columns(read, cells, expected):
    rows = "".join(f'"{cell}",k\n' for cell in cells)
    assert column(read("x,other\n" + rows)) == expected


@pytest.mark.parametrize(
    "cells",
    [
        ["007", "012"],  # leading zeros
        ["123456789012345678901234", "5"],  # more digits than any number type holds
        ["9223372036854775808", "1"],  # one above int64
        ["1234567890123456789", "1.5"],  # a double would round it
        ["11010519491231002X", "440524188001010014"],
    ],
)
def test_identifiers_keep_every_digit(read, cells):
    """A reader that goes by way of floating point would lose digits here; ours keeps text."""
    assert column(read("x,other\n" + "".join(f"{cell},k\n" for cell in cells))) == ("string", cells)


def test_large_whole_numbers_are_exact(read):
    assert column(read("x,k\n9223372036854775807,a\n-9223372036854775808,a\n")) == (
        "int64",
        [2**63 - 1, -(2**63)],
    )


def test_a_late_text_cell_decides_for_the_whole_column(read):
    rows = 200_000
    table = read("x,y\n" + "1,2\n" * rows + "one,2\n")
    assert str(table.schema.field("x").type) == "string"
    assert table.column("x")[0].as_py() == "1"
    assert str(table.schema.field("y").type) == "int64"


# --- refusals


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "table.csv is empty"),
        (b"\n \n\n", "table.csv is empty"),
        (b"\xef\xbb\xbf", "table.csv is empty"),
        (b"a,b\n", "has column names and no rows"),
        (b"a,b", "has column names and no rows"),
        (b"\n\na,b\n\n\n", "has column names and no rows"),
        (b"a,b,a\n1,2,3\n", "Columns 1 and 3 of table.csv have the same name"),
        (b"a, a\n1,2\n", "Columns 1 and 2 of table.csv have the same name"),
        (b"a,,c\n1,2,3\n", "Column 2 of table.csv has no name"),
        (b"a,b\n1,2\n3\n", "Line 3 of table.csv has 1 cells where the table has 2 columns"),
        (b"a,b\n1,2\n\n3,4,5\n", "Line 4 of table.csv has 3 cells"),
        (b'a,b\n1,"two\nlines"\n3,4,5\n', "Line 4 of table.csv has 3 cells"),
        (b"a,b\n1,2\n3,\x00\n", "holds zero bytes"),
        (b"\xff\x80\xff,b\n1,2\n", "neither UTF-8 nor GB18030"),
        (b"63.0,1.0\n67.0,0.0\n", "its column 1 looks like a value"),
        (b"id,2020-01-05\n1,2\n", "its column 2 looks like a value"),
        (b"ZW,seen,11010519491231002X\n1,2,3\n", "its column 3 looks like a value"),
        ("a,b\u202e\n1,2\n".encode(), "name of column 2 of table.csv holds control or invisible"),
        ((",".join("c" * (i // 26 + 1) + chr(97 + i % 26) for i in range(4097)) + "\n").encode(),
         "4097 columns; at most 4096"),
        (b"a" * 200 + b",b\n1,2\n", "name of column 1 of table.csv is longer than 128"),
    ],
)  # fmt: skip
def test_refusals_name_the_place(read, content, message):
    with pytest.raises(InvalidInput, match=message):
        read(content)


def test_4096_columns_are_accepted(read):
    names = [f"c{i}" for i in range(4096)]
    table = read(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    assert table.num_columns == 4096


@pytest.mark.parametrize(
    "content",
    [
        f"a,b\n1,2\n{SECRET}\n",
        f"a,b\n1,2\n{SECRET},2,3\n",
        f'a,b\n1,2\n"{SECRET},4\n5,6\n',
        f'a,b\n1,2\n3,"{SECRET}\n5,6\n',
        f"{SECRET},{SECRET}\n1,2\n",
        f"{SECRET},\n1,2\n",
        f"{SECRET},13812345678\n1,2\n",
        f"a,b\n1,{SECRET}\0\n",
        f"a,b\n1,{SECRET}\n".encode() + b"\xff\xff\n",
    ],
)
def test_no_refusal_says_what_a_cell_holds(read, content):
    with pytest.raises(InvalidInput) as caught:
        read(content)
    assert SECRET not in everything_said(caught.value)
    assert "13812345678" not in everything_said(caught.value)


def test_control_arrow_itself_would_quote_the_cell():
    with pytest.raises(pa.ArrowInvalid, match=SECRET):
        pa.csv.read_csv(io.BytesIO(f"a,b\n1,2\n{SECRET}\n".encode()))


@pytest.mark.parametrize(
    "content",
    ['a,b\n1,2\n3,"4\n5,6\n7,8\n', 'a,b\n1,2\n3,"4\n5,6\n7,"8\n'],
    ids=["never closed", "closed by another row's quote"],
)
def test_an_unclosed_quote_does_not_swallow_rows(read, content):
    swallowed = pa.csv.read_csv(
        io.BytesIO(content.encode()), parse_options=pa.csv.ParseOptions(newlines_in_values=True)
    )
    assert swallowed.num_rows == 2, "control: Arrow alone reads fewer rows and says nothing"
    with pytest.raises(InvalidInput, match="near line 3"):
        read(content)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(NotFound, match=r"no file absent\.csv"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_table(tmp_path)


# --- Parquet


@pytest.fixture
def read_parquet_table(tmp_path: Path):
    def read(table: pa.Table, **options) -> pa.Table:
        pq.write_table(table, tmp_path / "table.parquet", **options)
        return read_table(tmp_path / "table.parquet")

    return read


def test_parquet_types_become_plain(read_parquet_table):
    image = write_png(4, 3, "L", bytes(12))
    table = pa.table(
        {
            "small": pa.array([1, None], pa.int8()),
            "unsigned": pa.array([2**63 - 1, 0], pa.uint64()),
            "half": pa.array([1.5, float("nan")], pa.float32()),
            "flag": pa.array([True, None]),
            "word": pa.array(["a", " "]).dictionary_encode(),
            "large": pa.array(["b", None], pa.large_string()),
            "day": pa.array([date(2024, 1, 2), None], pa.date64()),
            "moment": pa.array([moment(2024, 1, 2, 3, 4), None], pa.timestamp("us", "Asia/Shanghai")),
            "nothing": pa.nulls(2),
            "picture": pa.array([image, None], pa.large_binary()),
        }
    )
    plain = read_parquet_table(table)
    assert [str(kind) for kind in plain.schema.types] == [
        "int64", "int64", "double", "int64", "string", "string", "date32[day]", "timestamp[ms]", "double",
        "binary",
    ]  # fmt: skip
    assert plain.column("half").to_pylist() == [1.5, None]
    assert plain.column("word").to_pylist() == ["a", None]
    assert plain.column("flag").to_pylist() == [1, None]
    assert plain.column("moment").to_pylist() == [moment(2024, 1, 2, 3, 4), None]
    assert plain.column("picture").to_pylist() == [image, None]


def test_parquet_metadata_does_not_come_along(read_parquet_table):
    table = pa.table({"a": [1]}).replace_schema_metadata({"author": "Dr. Wang", "pandas": "{}"})
    assert read_parquet_table(table).schema.metadata is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"a": [[1, 2]]}), "Column a of table.parquet has the type list"),
        (pa.table({"a": [{"b": 1}]}), "Column a of table.parquet has the type struct"),
        (
            pa.table({"a": [SECRET.encode()]}),
            "Row 1 of column a in table.parquet is neither a PNG nor a JPEG",
        ),
        (pa.table({"a": pa.array([2**63], pa.uint64())}), "whole numbers above"),
        (pa.table({"a": [float("inf")]}), "holds infinite numbers"),
        (pa.table([[1], [2]], names=["a", "a"]), "Columns 1 and 2 of table.parquet have the same name"),
        (pa.table({"a": pa.array([], pa.int64())}), "has columns and no rows"),
        (pa.table({}), "no columns|not a readable"),
    ],
)
def test_parquet_refusals(read_parquet_table, table, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        read_parquet_table(table)
    assert SECRET not in everything_said(caught.value)


def test_a_broken_parquet_file_is_refused(tmp_path):
    whole = io.BytesIO()
    pq.write_table(pa.table({"a": [SECRET] * 100}), whole)
    for content in (whole.getvalue()[:-20], b"PAR1", b"PAR1" + b"\0" * 50 + b"PAR1"):
        (tmp_path / "table").write_bytes(content)
        with pytest.raises(InvalidInput, match="table is not a readable Parquet file") as caught:
            read_table(tmp_path / "table")
        assert SECRET not in everything_said(caught.value)


# --- properties

_CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0"), max_size=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(_CELLS, _CELLS, _CELLS), min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]),
)
def test_what_is_written_is_read(tmp_path, rows, end, encoding):
    """Text cells that are neither missing nor padded come back as they are, whatever they hold."""
    cells = [[f"<{cell}>" for cell in row] for row in rows]
    out = io.StringIO()
    # A bare carriage return outside quotes ends a line, so a table that holds one is quoted throughout.
    quoting = csv.QUOTE_ALL if "\r" in str(cells).replace("\\r", "\r") else csv.QUOTE_MINIMAL
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerow(["a", "b", "c"])
    writer.writerows(cells)
    (tmp_path / "t").write_bytes(out.getvalue().encode(encoding))
    table = read_table(tmp_path / "t")
    assert list(zip(*(c.to_pylist() for c in table.columns), strict=True)) == [tuple(row) for row in cells]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='ab1,;\t"\n\r. -?中', max_size=200).map(str.encode),
        st.binary(max_size=60).map(lambda tail: b"PAR1" + tail),
    )
)
def test_any_bytes_are_a_table_or_a_named_refusal(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    try:
        table = read_table(tmp_path / "t")
    except TrustspaceError as error:
        assert error.fix  # noqa: PT017
    else:
        assert table.num_rows
        assert table.num_columns


def test_a_hundred_thousand_rows_are_read_in_seconds(read):
    row = ",".join(["12.5", "肺炎", "2024-01-05", "true", *["0.123"] * 16])
    content = ",".join(f"c{i}" for i in range(20)) + "\n" + (row + "\n") * 100_000
    start = time.monotonic()
    table = read(content)
    assert time.monotonic() - start < 15
    assert table.num_rows == 100_000

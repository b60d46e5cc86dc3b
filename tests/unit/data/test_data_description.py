"""The description as a record: what the officer adds, what is refused, and one JSON form."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from data_tables import clinic, everything_said

from trustspace.data.description import Answers, ColumnDescription, DatasetDescription, propose_description
from trustspace.data.profile import profile
from trustspace.errors import InvalidInput, PolicyRefused

NOTE = frozenset({"note"})
CARD = "11010519491231002X"
SECRET = "Zhang-Wei-4711"


@pytest.fixture(scope="module")
def found():
    return profile(clinic(), patient_column="patient")


def test_the_proposal(found):
    answers = Answers(
        summary="Adults\n2019 to 2021",
        licence="CC BY 4.0",
        language="zh",
        units={"creatinine": "µmol/L"},
        meanings={"诊断": "放射科结论"},
        ranges={"age": ("18", "90"), "creatinine": ("", "")},
        hidden_categories=frozenset(),
        allow=NOTE,
    )
    description = propose_description(found, "胸片门诊", answers)
    assert description.to_json() == {
        "format": "trustspace-description-v1",
        "title": "胸片门诊",
        "summary": "Adults\n2019 to 2021",
        "rows_bucket": 300,
        "patient_column": "patient",
        "licence": "CC BY 4.0",
        "language": "zh",
        "columns": [
            said("patient", "text"),
            said("age", "integer", low="18", high="90"),
            said("creatinine", "number", unit="µmol/L"),
            said("诊断", "category", meaning="放射科结论", categories=["正常", "结节", "肺炎"]),
            said("visited", "date", low="2019", high="2021"),
            said("note", "text"),
        ],
    }


def said(name, kind, **values):
    empty = {"unit": "", "meaning": "", "missing_percent_bucket": 0, "low": "", "high": "", "categories": []}
    return {"name": name, "kind": kind, **empty, "width": 0, "height": 0, "mode": "", **values}


def test_categories_can_stay_hidden(found):
    answers = Answers(allow=NOTE, hidden_categories=frozenset({"诊断"}))
    assert propose_description(found, "t", answers).column("诊断").categories == ()


def test_identifying_columns_need_an_explicit_word(found):
    with pytest.raises(PolicyRefused, match=r"note \(unique-text\)"):
        propose_description(found, "t")
    assert propose_description(found, "t", Answers(allow=NOTE)).column("note").kind == "text"


def test_a_refusal_never_quotes_the_column():
    names = ["王伟", "李娜", "张敏", "刘强", "陈静", "杨洋", "赵磊", "黄丽", "周军", "吴芳", "徐霞", "孙涛"]
    found = profile(pa.table({"who": names * 3, "x": range(36)}), patient_column=None)
    with pytest.raises(PolicyRefused, match=r"who \(person-name\)") as caught:
        propose_description(found, "t")
    assert not any(name in everything_said(caught.value) for name in names)


def test_even_the_patient_column_must_not_hold_real_identities():
    phones = [str(13_800_000_000 + i) for i in range(30)]
    found = profile(pa.table({"patient": phones, "x": range(30)}), patient_column="patient")
    with pytest.raises(PolicyRefused, match=r"patient \(phone\)"):
        propose_description(found, "t")


def test_officers_words_must_not_hold_an_id_number(found):
    with pytest.raises(PolicyRefused, match="ID number") as caught:
        propose_description(found, "t", Answers(allow=NOTE, summary=f"ask {CARD}"))
    assert CARD not in everything_said(caught.value)


@pytest.mark.parametrize(
    "answers",
    [
        {"units": {"nothing": "kg"}}, {"ranges": {"nothing": ("1", "2")}}, {"allow": frozenset({"nothing"})},
        {"hidden_categories": frozenset({"nothing"})}, {"meanings": {"nothing": "x"}},
    ],
)  # fmt: skip
def test_answers_about_unknown_columns_are_refused(found, answers):
    with pytest.raises(InvalidInput, match="nothing, which is not a column"):
        propose_description(found, "t", Answers(**{"allow": NOTE, **answers}))


@pytest.mark.parametrize(
    "answers",
    [
        {"ranges": {"age": ("90", "18")}},
        {"ranges": {"age": ("18", "")}},
        {"ranges": {"age": ("18.5", "90")}},
        {"ranges": {"age": ("about 18", "90")}},
        {"ranges": {"age": ("018", "90")}},
        {"ranges": {"age": ("1e3", "2e3")}},
        {"units": {"age": "years\x1b[31m"}},
        {"meanings": {"age": "x" * 201}},
        {"meanings": {"age": "two\nlines"}},
    ],
)
def test_answers_that_do_not_fit_name_the_column(found, answers):
    with pytest.raises(InvalidInput, match="column age is not valid"):
        propose_description(found, "t", Answers(**{"allow": NOTE, **answers}))


def test_a_range_belongs_to_numbers(found):
    with pytest.raises(InvalidInput, match="column note is not valid"):
        propose_description(found, "t", Answers(allow=NOTE, ranges={"note": ("1", "2")}))


@pytest.mark.parametrize("title", ["", "x" * 201, "a\x1b[2J", "a\u202eb"])
def test_titles(found, title):
    with pytest.raises(InvalidInput, match="Field title"):
        propose_description(found, title, Answers(allow=NOTE))


# --- one JSON form


@pytest.fixture
def wire(found):
    return propose_description(found, "t", Answers(allow=NOTE)).to_json()


def test_the_json_holds_only_text_and_whole_numbers(wire):
    def check(value):
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            any(check(item) for item in value.values())
        elif isinstance(value, list):
            any(check(item) for item in value)
        else:
            assert type(value) in (str, int)

    check(wire)
    assert DatasetDescription.from_json(json.loads(json.dumps(wire))).to_json() == wire


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1}, {"rows_bucket": 301}, {"rows_bucket": "300"}, {"rows_bucket": 300.0},
        {"rows_bucket": True}, {"rows_bucket": -10},
        {"format": "trustspace-description-v2"}, {"columns": []}, {"columns": "abc"},
        {"patient_column": "nobody"}, {"language": "English please"}, {"title": None}, {"summary": "\x00"},
        {"title": {1, 2}},
    ],
)  # fmt: skip
def test_other_json_is_refused(wire, change):
    with pytest.raises(InvalidInput):
        DatasetDescription.from_json({**wire, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "blob"}, {"missing_percent_bucket": 7}, {"missing_percent_bucket": 105}, {"low": "5"},
        {"low": 5, "high": 6}, {"categories": ["a"]}, {"width": 4}, {"mode": "secret"}, {"min": "1"},
        {"kind": "date", "low": "0", "high": "2020"}, {"kind": "date", "low": "2020", "high": "99999"},
        {"kind": "category", "categories": ["a", "a"]}, {"kind": "category", "categories": ["\x1b[31m"]},
        {"kind": "category", "categories": [str(i) for i in range(66)]},
    ],
)  # fmt: skip
def test_other_columns_are_refused(change):
    whole = ColumnDescription(name="x", kind="number").to_json()
    assert ColumnDescription.from_json(whole).to_json() == whole
    with pytest.raises(InvalidInput):
        ColumnDescription.from_json({**whole, **change})


def test_a_field_left_out_is_refused(wire):
    """Defaults would let two texts mean the same record, and so two digests."""
    for name in wire:
        with pytest.raises(InvalidInput):
            DatasetDescription.from_json({key: value for key, value in wire.items() if key != name})


def test_duplicate_columns_are_refused(wire):
    with pytest.raises(InvalidInput):
        DatasetDescription.from_json({**wire, "columns": wire["columns"] * 2})


def test_a_refusal_never_quotes_the_value(wire):
    with pytest.raises(InvalidInput) as caught:
        DatasetDescription.from_json({**wire, "rows_bucket": SECRET})
    assert "rows_bucket" in str(caught.value)
    assert SECRET not in everything_said(caught.value)


def test_it_cannot_be_changed(found):
    description = propose_description(found, "t", Answers(allow=NOTE))
    with pytest.raises(ValueError, match="frozen"):
        description.title = "other"
    with pytest.raises(InvalidInput, match="no column nothing"):
        description.column("nothing")

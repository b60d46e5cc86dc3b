"""What a job of several source units means, as each of them reads it; and whose part is in what came out."""

from types import SimpleNamespace

import pytest

from trustspace.aggregation.selection import PAIRWISE_MASKS
from trustspace.cli import i18n, together
from trustspace.cli.output import Output
from trustspace.cli.rehearse import given_files
from trustspace.domain.bodies import SMALL_SUMS, Artifact, DatasetUse, Job, SumTerms, UnitShares
from trustspace.domain.bodies import Output as OutputBody
from trustspace.errors import InvalidInput

UNITS = tuple(digit * 64 for digit in "abcd")
NAMES = dict(zip(UNITS, ("North", "South", "West", "East"), strict=True))
PEOPLE = SimpleNamespace(
    name=NAMES.__getitem__,
    names=lambda several: ", ".join(NAMES[unit] for unit in several),
    plain=NAMES.__getitem__,
)


def job(kind="train", units=UNITS, minimum=3):
    return Job(
        title="t", kind=kind, purpose="p", source_units=units, developer="1" * 64, buyer="2" * 64, buyer_key="3" * 64,
        datasets=tuple(DatasetUse(dataset="4" * 64, source_unit=unit, columns=("x",)) for unit in units), code="",
        parameters={}, minimum_participants=minimum, release_quorum="all", evidence_kind="software", expires=0,
        sums=SumTerms(scheme=PAIRWISE_MASKS, needed=0) if len(units) > 1 and kind != "compute" else None,
    )  # fmt: skip


def output(members):
    return OutputBody.model_construct(members=tuple(members))


def told(capsys, request, own=UNITS[0]):
    together.show_together(Output(as_json=False), request, PEOPLE, own)
    return capsys.readouterr().out


def test_a_job_of_one_source_unit_needs_no_words(capsys):
    assert told(capsys, job(units=UNITS[:1], minimum=1)) == ""
    assert together.result_rows(job(units=UNITS[:1], minimum=1), output(()), PEOPLE) == []


def test_own_code_at_several_is_not_joint(capsys):
    out = told(capsys, job("compute"))
    assert "Nothing is added up." in out
    assert "sum may be" not in out


@pytest.mark.parametrize("kind", ["train", "statistics"])
def test_a_joint_job_is_told_whole(capsys, kind):
    out = told(capsys, job(kind))
    assert "together with those of: South, West, East." in out
    assert "over at least 3 of the 4 source units" in out
    assert "as few as 2" in out
    assert "--small-sums" not in out


def test_sums_of_two_are_told_with_the_words_of_the_grant(capsys):
    out = told(capsys, job(minimum=2))
    assert "as few as 1" in out
    assert f"--small-sums: “{SMALL_SUMS}”." in out
    i18n.use("zh")
    out = told(capsys, job(minimum=2))
    # Both what a person reads and what is signed.
    assert "两家数据源单位可以算出彼此的部分" in out
    assert SMALL_SUMS in out
    assert "其余各家（最少只需 1 家）" in out


def test_who_is_not_one_of_them_reads_no_your(capsys):
    out = told(capsys, job(), own="")
    assert "These source units' enclaves compute together: North, South, West, East." in out
    assert "Your enclave" not in out


def test_members_and_who_dropped_out():
    rows = dict(together.result_rows(job(), output(UNITS[:3]), PEOPLE))
    assert rows == {
        "Whose updates are in the model": "North, South, West", "Dropped out": "East",
        "Source units in every sum": "at least 3 of 4",
    }  # fmt: skip
    assert "Dropped out" not in dict(together.result_rows(job("statistics"), output(UNITS), PEOPLE))
    document = together.result_document(job(), output(UNITS[:3]), PEOPLE)
    assert [unit["name"] for unit in document["members"]] == ["North", "South", "West"]
    assert document["dropped_out"] == [{"name": "East", "fingerprint": UNITS[3]}]
    # Nobody drops out of a job in which everybody is alone.
    alone = together.result_document(job("compute"), output(()), PEOPLE)
    assert (alone["joint"], alone["members"], alone["dropped_out"]) == (False, [], [])


def test_whose_a_file_is():
    shares = (UnitShares.model_construct(source_unit=UNITS[1]),)
    file = Artifact.model_construct(units=shares)
    assert together.holders(file, PEOPLE) == "South"


def test_mock_files_are_named_once_each(tmp_path):
    given = given_files(("north/heart=a=b.parquet", "heart=~/x.parquet"))
    assert str(given["north/heart"]) == "a=b.parquet"
    assert not str(given["heart"]).startswith("~")
    for wrong in (("heart",), ("=x",), ("heart=",), ("heart=x", "heart=y")):
        with pytest.raises(InvalidInput):
            given_files(wrong)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evidence_facts import EARLIER, A, sound

from trustspace.crypto.canonical import canonical_json
from trustspace.errors import VerificationFailed
from trustspace.evidence.facts import DigestPair, PartMetrics
from trustspace.evidence.report import Report, build_report, schema
from trustspace.jobs.artifacts import ArtifactFacts

ROOT = Path(__file__).parents[3]
CASES = {
    "green": sound(),
    "amber": sound(custom_code=True, history=(EARLIER,)),
    "red": sound(withheld=PartMetrics(114, 1.2, 0.6, 0.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_report_is_canonical_and_comes_back(case):
    report = build_report(CASES[case])
    assert report.verdict == case
    data = report.to_bytes()
    assert Report.from_bytes(data) == report
    assert Report.from_bytes(data).to_bytes() == data
    assert build_report(CASES[case]).to_bytes() == data, "the same facts give the same bytes"
    assert json.loads(data) == report.to_json()


def numbers_in(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers_in(item)
    elif not isinstance(value, str):
        yield value


@pytest.mark.parametrize("case", CASES)
def test_it_holds_integers_and_text_only(case):
    assert all(type(number) is int for number in numbers_in(build_report(CASES[case]).to_json()))


def test_the_headline_names_what_decided():
    report = build_report(CASES["red"])
    assert report.headline.en.endswith(
        "Do not release this as it is. These checks failed or could not be made: “Tested on patients it never saw”."
    )
    assert "用未参与训练的患者检验" in report.headline.zh
    assert build_report(CASES["amber"]).headline.en.endswith(
        "“Whose code met the data”, “What this buyer already has”."
    )
    assert build_report(CASES["green"]).headline.en == (
        "Someone guessing who was in your data would be right 51 times of 100; chance is 50. "
        "No check found a reason against release."
    )
    assert "随机猜测为 50 次" in build_report(CASES["green"]).headline.zh
    assert "was not measured" in build_report(sound(membership=None, references=None)).headline.en


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(verdict="green"),
        lambda v: v.update(verdict="blue"),
        lambda v: v.update(extra=1),
        lambda v: v.update(format="trustspace-report-v1"),
        lambda v: v.update(checks=[]),
        lambda v: v["checks"][0].update(status="fine"),
        lambda v: v["checks"][0].update(name="Digests!"),
        lambda v: v["checks"][0].pop("facts"),
        lambda v: v["checks"][0].pop("figures"),
        lambda v: v["headline"].pop("zh"),
    ],
)
def test_a_report_that_was_tampered_with_is_refused(change):
    value = build_report(CASES["red"]).to_json()
    Report.from_bytes(canonical_json(value))
    change(value)
    with pytest.raises(VerificationFailed):
        Report.from_bytes(canonical_json(value))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'{"format": 1}', b"\xff"])
def test_what_is_no_report_is_refused(data):
    with pytest.raises(VerificationFailed):
        Report.from_bytes(data)


def test_a_check_is_found_by_name():
    report = build_report(sound())
    assert report.check("sizes").name == "sizes"
    with pytest.raises(VerificationFailed, match="no check"):
        report.check("luck")


def test_what_is_very_long_is_cut_wherever_it_stands():
    """Names are their authors' choice: of a file, of what ran, of a table."""
    first, second = sound().declared
    many = tuple(replace(second, name=f"{n}.safetensors", is_exact=False) for n in range(300))
    digests = (DigestPair("n" * 5000, A, A), DigestPair("code", A, "x" * 5000))
    report = build_report(sound(declared=(first, *many), digests=digests))
    assert max(len(name) for name in report.check("digests").facts["digests"]) == 400
    assert len(report.check("digests").facts["digests"]["code"]["observed"]) == 400
    free = build_report(
        sound(
            declared=many,
            observed=tuple(
                ArtifactFacts(d.name, d.media_type, 8, tensors=sound().observed[1].tensors) for d in many
            ),
        )
    )
    assert len(free.check("declared_vs_observed").facts["free_form"]) == 200


def test_the_published_schema_is_fresh():
    published = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    assert published == schema(), "run: python tools/write_schemas.py"


def test_the_schema_names_what_a_report_has():
    definitions = schema()["$defs"]
    assert definitions["Check"]["properties"]["status"]["enum"] == [
        "passed", "warned", "failed", "not_applicable", "could_not_run",
    ]  # fmt: skip
    assert set(schema()["required"]) == set(build_report(sound()).to_json())
    assert all(
        set(definitions["Check"]["properties"]) == set(check)
        for check in build_report(sound()).to_json()["checks"]
    )

"""From tables to the report: statistics of three wards, as the enclave makes and a reviewer sees them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evidence_facts import TOGETHER, A

from trustspace.domain.bodies import Policy
from trustspace.errors import VerificationFailed
from trustspace.evidence.facts import DigestPair, Judgement, RunFacts
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT, build_report
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.counting import count_table
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.statistics import result
from trustspace.privacy.overlap import Comparison
from trustspace.privacy.tables import Amounts

JOB = Parameters.model_validate(
    {
        "kind": "statistics",
        "datasets": [{"id": f"ward-{i}", "version": 1, "columns": ["age", "sex", "site"]} for i in range(3)],
        "statistics": {
            "numeric": ["age"],
            "tables": [["sex", "site"]],
            "categories": {"sex": ["female", "male"], "site": ["arm", "leg", "neck"]},
        },
        "terms": {"withheld_percent": 0},
    }
)


def ward(seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    return pa.table(
        {
            "age": pa.array(draw.normal(50, 9, 300)),
            "sex": pa.array(draw.choice(["female", "male"], 300)),
            "site": pa.array(draw.choice(["arm", "leg", "neck", "toe"], 300, p=[0.5, 0.29, 0.2, 0.01])),
        }
    )


def report(data: bytes, policy: Policy | None = None, **changes: Any):
    """The report on what three wards counted, with ``changes`` to what the enclave knows."""
    known = {
        "digests": [DigestPair("parameters", A, A)], "commitments": {"statistics.json": A}, "rows": 300, "patients": 300,
        "withheld_patients": 0, "record_bytes": 400, "judged": Judgement(repeated="same"),
        "sandbox_tier": "namespaces+seccomp", "sandbox_tier_demanded": "any", "evidence_kind": "software",
        "evidence_kind_demanded": "software", "participants": TOGETHER, "differencing": Comparison(),
        "parts": (Amounts("age", 90.0, 88.0),),
    }  # fmt: skip
    raw = RawArtifact("statistics.json", "application/json", data)
    return build_report(RunFacts.of(JOB, [raw], **{**known, **changes}), policy)


SUMS = sum(count_table(ward(seed), JOB) for seed in (1, 2, 3)).tolist()
RELEASED = result(JOB, SUMS, 3, 10)


def test_statistics_with_small_counts_hidden_are_green():
    found = report(RELEASED)
    assert found.check("small_cells").facts["hidden"] > 0
    assert found.check("small_cells").facts["narrowest"] > 1
    assert {check.status for check in found.checks} == {"passed", "not_applicable"}
    assert found.verdict == "green"


@pytest.mark.parametrize(
    ("unknown", "check"),
    [
        ("participants", "sums"),
        ("differencing", "differencing"),
        ("parts", "dominance"),
        ("history", "buyer_history"),
    ],
)
def test_what_an_enclave_does_not_know_is_not_taken_for_nothing(unknown, check):
    """An empty list says that there is none; None, that nobody knows."""
    assert report(RELEASED).check(check).status == "passed"
    found = report(RELEASED, **{unknown: None})
    assert (found.check(check).status, found.verdict) == ("could_not_run", "red")


def test_a_unit_that_demands_more_than_they_were_made_with_sees_red():
    strict = Policy(minimum_cell_count=11, not_applicable=NOT_APPLICABLE_BY_DEFAULT)
    assert report(RELEASED, strict).verdict == "red"
    assert report(result(JOB, SUMS, 3, 11), strict).verdict == "green"


def test_a_hidden_count_that_follows_from_the_others_is_found():
    value = json.loads(RELEASED)
    true = json.loads(result(JOB, SUMS, 3, 0))
    table, shown = value["tables"][0], true["tables"][0]
    # Whoever shows one hidden total too many gives the other away.
    place = next(
        i for i, count in enumerate(table["totals"][1]) if count == "hidden" and shown["totals"][1][i] >= 10
    )
    table["totals"][1][place] = shown["totals"][1][place]
    check = report(encode_json(value)).check("small_cells")
    assert check.status == "failed"
    assert check.facts["derived"] >= 1


def test_statistics_of_another_form_make_no_facts():
    with pytest.raises(VerificationFailed, match="not what statistics report"):
        report(encode_json({"format": "trustspace-statistics-v1"}))

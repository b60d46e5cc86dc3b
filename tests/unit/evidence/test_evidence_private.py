"""The check of a claim of differential privacy: kept, broken, not believed, and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence_facts import COMPARED, HARMLESS, PROMISED, sound

from trustspace.domain.bodies import Policy
from trustspace.evidence.private import differential_privacy, factor
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT, build_report
from trustspace.evidence.words import FACTS

POLICY = Policy(not_applicable=NOT_APPLICABLE_BY_DEFAULT)


def found(policy: Policy = POLICY, custom_code: bool = False, **changes):
    return differential_privacy(sound(private=replace(PROMISED, **changes), custom_code=custom_code), policy)


def test_a_claim_that_is_kept_passes_and_says_what_it_means() -> None:
    finding = found()
    assert finding.status == "passed"
    assert "at most a factor 21 (epsilon 3)" in finding.summary["en"]
    assert "至多相差 21 倍" in finding.summary["zh"]
    assert set(finding.facts) <= set(FACTS)
    assert build_report(sound(private=PROMISED), POLICY).check("differential_privacy").status == "passed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accounted": 3.0001}, "comes to 3.00"),
        ({"accounted": float("inf"), "noise": 0.0}, "broken"),
        ({"generator": "not cryptographic"}, "cryptographic generator"),
        ({"delta": 1 / 455}, "given away whole"),
        ({"told_patients": 4550}, "another number of patients"),
        ({"told_patients": 45}, "another number of patients"),
        ({"accounted": float("nan")}, "broken"),
        ({"check": 3.1}, "do not agree"),
        ({"check": 0.15}, "do not agree"),
        ({"check": float("nan")}, "do not agree"),
    ],
)
def test_a_claim_that_is_not_kept_fails_loudly(changes, words) -> None:
    finding = found(**changes)
    assert finding.status == "failed"
    assert words in finding.summary["en"]
    assert finding.summary["zh"]
    # No policy excuses it.
    report = build_report(sound(private=replace(PROMISED, **changes)), POLICY)
    assert (report.verdict, report.check("differential_privacy").status) == ("red", "failed")


def test_a_second_accountant_may_be_off_by_as_much_as_it_is_asked_to_be_exact() -> None:
    """A hundredth for rounding and twice its error: 2.9997 * 1.01 + 2 * 0.03 is 3.0897."""
    assert found(check=3.089).status == "passed"
    assert found(check=3.090).status == "failed"


@pytest.mark.parametrize("where", ["membership", "references"])
def test_an_attack_that_shows_more_than_was_claimed_fails_the_claim(where) -> None:
    def judged(epsilon: float):
        stronger = replace(HARMLESS, epsilon=epsilon)
        if where == "membership":
            return sound(private=PROMISED, membership=stronger)
        return sound(private=PROMISED, references=replace(COMPARED, best=stronger))

    assert differential_privacy(judged(2.99), POLICY).status == "passed"
    finding = differential_privacy(judged(3.01), POLICY)
    assert finding.status == "failed"
    assert "at least 3.01" in finding.summary["en"]


def test_nothing_measured_breaks_nothing() -> None:
    facts = sound(private=PROMISED, membership=None, references=None)
    assert differential_privacy(facts, POLICY).status == "passed"


def test_a_weak_promise_is_looked_at_however_well_it_is_kept() -> None:
    assert found(epsilon=8.0, accounted=8.0, check=7.0).status == "passed"
    finding = found(epsilon=8.1, accounted=8.0, check=7.0)
    assert finding.status == "warned"
    assert "weak" in finding.summary["en"]


def test_the_developers_own_code_could_have_gone_around_the_noise() -> None:
    finding = found(custom_code=True)
    assert finding.status == "warned"
    assert "rests on that code" in finding.summary["en"]
    assert found(custom_code=True, accounted=3.1).status == "failed"


def test_without_a_claim_it_is_for_the_policy_to_say() -> None:
    assert build_report(sound(private=None), POLICY).check("differential_privacy").status == "not_applicable"
    demanding = tuple(name for name in NOT_APPLICABLE_BY_DEFAULT if name != "differential_privacy")
    report = build_report(sound(private=None), Policy(not_applicable=demanding))
    assert (report.verdict, report.check("differential_privacy").status) == ("red", "could_not_run")


def test_a_promise_of_which_nothing_was_seen_is_excused_by_no_policy() -> None:
    """As where a source unit's own enclave was lost, and another one writes its report."""
    report = build_report(sound(private=None, promised=True), POLICY)
    assert (report.verdict, report.check("differential_privacy").status) == ("red", "failed")
    assert "was not seen" in report.check("differential_privacy").summary.en


def test_factors_are_rounded_up() -> None:
    assert [factor(e) for e in (0.1, 1.0, 3.0, 8.0)] == ["1.2", "2.8", "21", "2981"]
    assert factor(100.0) == "3e+43"

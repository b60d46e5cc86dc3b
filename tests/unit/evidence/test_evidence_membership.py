"""What the report says of a trained model: who could be told apart, and whether the same work gives the same bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evidence_facts import COMPARED, HARMLESS, counted, sound

from trustspace.domain.bodies import Policy
from trustspace.evidence.figures import Curve, Exposure, Histogram
from trustspace.evidence.membership import asks_for_more, best_guess
from trustspace.evidence.report import build_report
from trustspace.privacy.groups import Group
from trustspace.privacy.membership import Estimate

CERTAIN = replace(HARMLESS, auc=Estimate(0.72, 0.66, 0.78, 0.5, 0.56))
UNSURE = replace(HARMLESS, auc=Estimate(0.55, 0.40, 0.71, 0.5, 0.66))
FEW = replace(HARMLESS, auc=Estimate(0.5, 0.28, 0.72, 0.5, 0.72))
STANDING_OUT = replace(HARMLESS, tail=Estimate(0.2, 0.12, 0.3, 0.01, 0.04))
AUDITED = replace(HARMLESS, epsilon=1.2, guesses=100, right=93)


def of(membership):
    return build_report(sound(membership=membership)).check("membership")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (HARMLESS, "passed"), (UNSURE, "warned"), (FEW, "could_not_run"), (CERTAIN, "failed"),
        (STANDING_OUT, "failed"), (AUDITED, "failed"), (replace(AUDITED, epsilon=0.7), "warned"),
    ],
)  # fmt: skip
def test_the_worst_of_the_measures_decides(found, status):
    assert of(found).status == status
    compared = replace(COMPARED, best=found)
    assert build_report(sound(references=compared)).check("references").status == status


def test_an_average_cannot_hide_people_who_stand_out():
    assert STANDING_OUT.auc == HARMLESS.auc
    assert of(STANDING_OUT).status == "failed"


def test_few_patients_still_have_an_area_but_nobody_rules_out_a_tail():
    small = replace(HARMLESS, tail=Estimate(0.0, 0.0, 0.2, 0.01, 0.19))
    assert of(small).status == "warned"


def test_the_policy_draws_the_lines():
    lenient = Policy(auc_warned_permille=800, auc_failed_permille=900)
    assert build_report(sound(membership=CERTAIN), lenient).check("membership").status == "passed"
    strict = Policy(auc_warned_permille=505)
    assert build_report(sound(), strict).check("membership").status == "warned"
    # The tail is 0.2, and the audit's bound 1.2.
    for found, one, other in ((STANDING_OUT, "tail_{}_permille", 150), (AUDITED, "audit_{}_millis", 1100)):
        warned, failed = one.format("warned"), one.format("failed")
        judged = [
            build_report(sound(membership=found), Policy(**limits)).check("membership").status
            for limits in ({failed: 2 * other}, {warned: 2 * other, failed: 3 * other})
        ]
        assert judged == ["warned", "passed"], one


@pytest.mark.parametrize("name", ["membership", "references"])
def test_numbers_from_a_process_with_the_developers_code_are_amber_at_best(name):
    assert build_report(sound(custom_code=True)).check(name).status == "warned"
    assert build_report(sound(custom_code=True, membership=CERTAIN)).check("membership").status == "failed"


@pytest.mark.parametrize("changes", [{"membership": None}, {"withheld_patients": 19}])
def test_what_was_not_measured_is_never_green(changes):
    assert build_report(sound(withheld_patients=20)).check("membership").status == "passed", (
        "as many as it takes"
    )
    report = build_report(sound(**changes))
    assert report.check("membership").status == "could_not_run"
    assert report.verdict == "red"


def test_no_references_block_unless_the_policy_asks_for_none():
    none = sound(references=None)
    assert build_report(none).check("references").status == "could_not_run"
    assert build_report(none, Policy(reference_trainings=0)).check("references").status == "passed"


def test_it_comes_with_pictures_and_the_reviewers_own_keys():
    found = of(HARMLESS)
    histogram, curve, exposure = found.figures
    assert isinstance(histogram, Histogram)
    assert [series.counts for series in histogram.series] == [(400, 55), (100, 14)]
    assert isinstance(curve, Curve)
    assert curve.chance == "diagonal"
    assert isinstance(exposure, Exposure)
    assert exposure.rows[0].key == "patient 7"
    long = build_report(sound(exposed=(("k" * 300, 0.9),))).check("membership").figures[2]
    assert long.rows[0].key == "k" * 200, "a long key leaves a report that can be read"


def test_an_area_below_chance_is_told_turned_round_with_its_interval():
    """Whoever is wrong 60 times of 100 would be right as often by saying the opposite: between 55 and 70."""
    found = of(replace(HARMLESS, auc=Estimate(0.40, 0.30, 0.45, 0.5, 0.56)))
    assert "right one 60 times of 100 (95 %: 55 to 70)" in found.summary.en
    assert "60 次（95% 区间：55 至 70）" in found.summary.zh


def test_the_better_attack_is_the_one_people_are_told_of():
    assert best_guess(sound().judged) == 51
    worse = replace(COMPARED, best=CERTAIN)
    assert best_guess(sound(references=worse).judged) == 72
    assert "right 72 times of 100" in build_report(sound(references=worse)).headline.en
    assert best_guess(counted().judged) is None


def test_a_second_look_is_taken_where_the_first_leaves_a_doubt():
    assert not asks_for_more(sound().judged, Policy())
    assert asks_for_more(sound(membership=UNSURE).judged, Policy())
    assert asks_for_more(sound(references=replace(COMPARED, best=UNSURE)).judged, Policy())
    assert not asks_for_more(sound(membership=CERTAIN).judged, Policy()), "no look is needed any more"


def test_a_group_that_stands_out_fails_what_the_average_passes():
    shown = Group("sex = female", 200, 60, Estimate(0.75, 0.66, 0.84, 0.5, 0.6))
    wide = Group("site = arm", 20, 8, Estimate(0.7, 0.45, 0.9, 0.5, 0.75))
    check = build_report(sound(groups=(shown, wide))).check("references")
    assert check.status == "failed"
    assert "sex = female" in check.summary.en
    assert "sex = female" in check.summary.zh
    assert [group["group"] for group in check.facts["groups"]] == ["sex = female", "site = arm"]
    assert build_report(sound(groups=(wide,))).check("references").status == "passed", "too few to blame"
    assert asks_for_more(sound(membership=UNSURE, groups=(wide,)).judged, Policy())
    assert not asks_for_more(sound(membership=UNSURE, groups=(shown,)).judged, Policy()), (
        "it has failed already"
    )


@pytest.mark.parametrize(
    ("facts", "policy", "status"),
    [
        (sound(), Policy(), "passed"),
        (sound(repeated="other"), Policy(), "failed"),
        (sound(repeated="other", custom_code=True), Policy(), "warned"),
        (sound(repeated="not_run"), Policy(), "could_not_run"),
        (sound(repeated="not_run"), Policy(reexecution="skip"), "passed"),
        (sound(kind="score"), Policy(), "could_not_run"),
    ],
)
def test_the_same_work_gives_the_same_bytes(facts, policy, status):
    assert build_report(facts, policy).check("reexecution").status == status

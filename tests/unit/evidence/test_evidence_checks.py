from __future__ import annotations

from dataclasses import replace

import pytest
from evidence_facts import EARLIER, ELSEWHERE, MODEL, TABLES, TOGETHER, A, B, counted, sound
from hypothesis import given
from hypothesis import strategies as st

from trustspace.domain.bodies import Policy
from trustspace.errors import VerificationFailed
from trustspace.evidence.checks import CHECKS, generalisation_gap
from trustspace.evidence.facts import DigestPair, Judgement, PartMetrics, read_evaluation
from trustspace.evidence.report import NOT_APPLICABLE_BY_DEFAULT, build_report, verdict_of
from trustspace.evidence.words import SENTENCES, TITLES
from trustspace.jobs.artifacts import ArtifactFacts, encode_json, parse_json
from trustspace.jobs.people import CountTable
from trustspace.jobs.stored import StoredRows
from trustspace.jobs.tensors import TensorInfo
from trustspace.privacy.overlap import Comparison

SMALL = ArtifactFacts("metrics.json", "application/json", 400)


def status(name, facts, policy=None):
    return build_report(facts, policy).check(name).status


def test_a_sound_run_is_green():
    report = build_report(sound())
    assert {check.name: check.status for check in report.checks} == dict.fromkeys(CHECKS, "passed")
    assert report.verdict == "green"


@pytest.mark.parametrize(
    "changes",
    [
        {"digests": (DigestPair("code", A, B),)},
        {"digests": (DigestPair("code", "", ""),)},
        {"digests": ()},
        {"commitments": ()},
        {"commitments": (("metrics.json", A), (MODEL, "short"))},
        {"commitments": (("metrics.json", A), (MODEL, B), ("more", A))},
    ],
)
def test_anything_that_is_not_what_was_granted_fails(changes):
    report = build_report(sound(**changes))
    assert report.check("digests").status == "failed"
    assert report.verdict == "red"


def test_the_digest_that_differs_is_named():
    facts = sound(digests=(DigestPair("parameters", A, A), DigestPair("code", A, B)))
    assert "code" in build_report(facts).check("digests").summary.en
    assert "parameters" not in build_report(facts).check("digests").summary.en


def test_a_file_whose_content_the_job_left_open_asks_for_a_look():
    first, second = sound().declared
    report = build_report(sound(declared=(first, replace(second, is_exact=False))))
    found = report.check("declared_vs_observed")
    assert (found.status, found.facts["free_form"], report.verdict) == ("warned", [MODEL], "amber")
    assert MODEL in found.summary.en
    assert MODEL in found.summary.zh


def test_an_open_file_that_is_not_as_declared_still_fails():
    first, second = sound().declared
    full = sound(observed=_observed(bytes=second.max_bytes))
    assert build_report(full).check("declared_vs_observed").status == "passed", "as large as it may be"
    facts = sound(declared=(first, replace(second, is_exact=False, max_bytes=1)))
    assert build_report(facts).check("declared_vs_observed").status == "failed"


def test_a_picture_is_shown_with_its_size():
    picture = ArtifactFacts("a.png", "image/png", 300, width=640, height=480)
    facts = build_report(sound(observed=(*sound().observed, picture))).check("declared_vs_observed").facts
    assert facts["observed"]["a.png"] == {
        "media_type": "image/png",
        "bytes": 300,
        "width": 640,
        "height": 480,
    }


def _observed(**changes):
    first, second = sound().observed
    return (first, replace(second, **changes))


@pytest.mark.parametrize(
    "observed",
    [
        (*sound().observed, ArtifactFacts("patients.csv", "text/csv", 10)),
        sound().observed[:1],
        (*sound().observed, sound().observed[0]),
        _observed(media_type="application/octet-stream"),
        _observed(bytes=(1 << 20) + 1),
        _observed(tensors=()),
        _observed(tensors=(*sound().observed[1].tensors, TensorInfo("model.rows", "F32", (100, 50)))),
        _observed(
            tensors=(TensorInfo("model.bias", "F32", (1,)), TensorInfo("model.weight", "F32", (30, 1)))
        ),
    ],
)
def test_an_artifact_that_was_not_declared_so_fails(observed):
    commitments = tuple((artifact.name, A) for artifact in observed)
    report = build_report(sound(observed=observed, commitments=commitments))
    assert report.check("declared_vs_observed").status == "failed"
    assert report.verdict == "red"


def test_the_undeclared_artifact_is_named():
    observed = (*sound().observed, ArtifactFacts("patients.csv", "text/csv", 10))
    assert "patients.csv" in build_report(sound(observed=observed)).check("declared_vs_observed").summary.en


@pytest.mark.parametrize(
    ("training", "withheld", "expected"),
    [
        ((0.30, 0.90), (0.31, 0.89), "passed"),
        ((0.30, 0.90), (0.20, 0.95), "passed"),
        ((0.30, 0.90), (0.30, 0.79), "warned"),
        ((0.30, 0.90), (0.30, 0.69), "failed"),
        ((0.10, 0.99), (0.25, 0.97), "warned"),
        ((0.00, 1.00), (1.50, 0.97), "failed"),
    ],
)
def test_the_gap_decides(training, withheld, expected):
    facts = sound(training=PartMetrics(400, *training, 0.9), withheld=PartMetrics(100, *withheld, 0.9))
    assert status("withheld_metrics", facts) == expected


def test_a_numeric_target_is_judged_by_its_loss():
    training, withheld = PartMetrics(400, 0.2, r2=0.8), PartMetrics(100, 0.45, r2=0.55)
    assert generalisation_gap(training, withheld) == pytest.approx(0.25)
    assert status("withheld_metrics", sound(training=training, withheld=withheld)) == "failed"


@pytest.mark.parametrize(
    "changes",
    [
        {"withheld_patients": 19},
        {"withheld_patients": 0},
        {"training": None, "withheld": None},
        {"withheld": None},
        {"withheld": PartMetrics(100, 0.3, None, 0.9)},
        {"withheld": PartMetrics(100, None, 0.9, 0.9)},
        {"withheld": PartMetrics(0, None)},
    ],
)
def test_what_could_not_be_measured_blocks_and_never_counts_as_passed(changes):
    report = build_report(sound(**changes))
    assert report.check("withheld_metrics").status == "could_not_run"
    assert report.verdict == "red"


def test_the_policy_says_how_many_withheld_patients_are_enough():
    facts = sound(withheld_patients=19)
    assert status("withheld_metrics", facts, Policy(minimum_withheld_patients=19)) == "passed"
    assert status("withheld_metrics", sound(), Policy(minimum_withheld_patients=115)) == "could_not_run"
    assert "19" in build_report(facts).check("withheld_metrics").summary.en


def test_only_the_policy_says_that_a_check_does_not_apply():
    compute = sound(
        kind="compute", model="", custom_code=True, judged=Judgement(repeated="same"), withheld_patients=0
    )
    assert status("withheld_metrics", compute, Policy()) == "could_not_run"
    assert build_report(compute, Policy()).verdict == "red"
    excused = build_report(compute, Policy(not_applicable=NOT_APPLICABLE_BY_DEFAULT))
    assert excused.check("withheld_metrics").status == "not_applicable"
    assert excused.verdict == "amber"
    assert status("withheld_metrics", compute) == "not_applicable", "what is used when a source has no policy"
    assert status("withheld_metrics", sound(withheld_patients=3)) == "could_not_run", "only for compute jobs"
    assert status("withheld_metrics", counted(), Policy()) == "could_not_run"
    assert build_report(counted()).check("withheld_metrics").status == "not_applicable"
    assert build_report(counted()).verdict == "green"


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("withheld_metrics", sound(withheld=None)),
        ("membership", sound(membership=None)),
        ("references", sound(references=None)),
        ("reexecution", sound(repeated="not_run")),
        ("stored_rows", sound(stored=None)),
        ("stored_rows", sound(stored=StoredRows("too_large"))),
        ("sizes", sound(record_bytes=0)),
        ("buyer_history", sound(history=None)),
        ("differencing", sound(differencing=None)),
        ("differencing", sound(differencing=Comparison(earlier=9, too_many=True))),
        ("sums", sound(joint=True)),
        ("small_cells", counted(None)),
        ("dominance", counted(parts=None)),
        ("reexecution", replace(counted(), judged=Judgement())),
    ],
)
def test_what_concerns_a_job_of_its_kind_is_not_excused_unless_a_policy_says_so(name, facts):
    """Where a source unit said nothing, only what has nothing to do with the kind of job is left out."""
    report = build_report(facts)
    assert (report.check(name).status, report.verdict) == ("could_not_run", "red")


def test_every_check_that_could_not_run_can_be_excused_in_words():
    everything = Policy(not_applicable=tuple(CHECKS))
    unknown = counted(None, joint=True, record_bytes=0)
    blocked, excused = build_report(unknown, Policy()), build_report(unknown, everything)
    names = [check.name for check in blocked.checks if check.status == "could_not_run"]
    assert {"withheld_metrics", "membership", "references", "sizes", "sums", "small_cells"} <= set(names)
    assert [check.name for check in excused.checks if check.status == "not_applicable"] == names


def test_the_policy_cannot_hide_a_check_that_ran():
    everything = Policy(not_applicable=tuple(CHECKS))
    facts = sound(digests=(DigestPair("code", A, B),), training=PartMetrics(400, 0.0, 1.0, 1.0))
    assert status("digests", facts, everything) == "failed"
    assert status("withheld_metrics", sound(withheld=PartMetrics(100, 0.9, 0.5, 0.5)), everything) == "failed"


@pytest.mark.parametrize(
    ("size", "expected", "records"), [(800, "passed", 5), (10_600, "passed", 45), (10_900, "warned", 47)]
)
def test_room_for_records(size, expected, records):
    check = build_report(sound(observed=(SMALL, replace(sound().observed[1], bytes=size)))).check("sizes")
    assert (check.status, check.facts["records_that_fit"]) == (expected, records)
    assert str(records) in check.summary.en
    assert str(records) in check.summary.zh


def test_room_to_hide_many_is_reason_enough_where_nobody_can_read_the_code():
    roomy = (SMALL, replace(sound().observed[1], bytes=10_900))
    for blind, expected in ((False, "warned"), (True, "failed")):
        facts = sound(observed=roomy, custom_code=True, blind=blind)
        check = build_report(facts, Policy(blind_code="accept")).check("sizes")
        assert check.status == expected
        assert ("blind" in check.summary.en, "盲代码" in check.summary.zh) == (blind, blind)
    assert status("sizes", sound(custom_code=True, blind=True), Policy(blind_code="accept")) == "passed"


def test_a_file_larger_than_the_data_holds_all_records_and_not_more():
    observed = (SMALL, replace(sound().observed[1], bytes=1 << 19))
    assert build_report(sound(observed=observed)).check("sizes").facts["records_that_fit"] == 455


def test_an_unknown_record_size_blocks():
    assert build_report(sound(record_bytes=0)).verdict == "red"


@pytest.mark.parametrize(
    ("ran", "demanded", "expected"),
    [
        (("namespaces+seccomp", "software"), ("any", "software"), "passed"),
        (("namespaces+seccomp", "software"), ("namespaces+seccomp", "software"), "passed"),
        (("namespaces+landlock+seccomp", "software"), ("namespaces+seccomp", "software"), "passed"),
        (("namespaces+seccomp", "software"), ("namespaces+landlock+seccomp", "software"), "failed"),
        (("none", "software"), ("any", "software"), "failed"),
        (("any", "software"), ("any", "software"), "failed"),
        (("namespaces+seccomp", "software"), ("unheard-of", "software"), "failed"),
        (("namespaces+seccomp", "software"), ("any", "snp"), "failed"),
        (("namespaces+seccomp", "tdx"), ("any", "snp"), "failed"),
        (("namespaces+seccomp", "snp"), ("any", "snp"), "passed"),
        (("namespaces+seccomp", "snp"), ("any", "software"), "passed"),
    ],
)
def test_the_platform_is_at_least_what_was_demanded(ran, demanded, expected):
    facts = sound(
        sandbox_tier=ran[0],
        evidence_kind=ran[1],
        sandbox_tier_demanded=demanded[0],
        evidence_kind_demanded=demanded[1],
    )
    assert status("platform", facts) == expected


def test_software_evidence_is_always_labelled():
    own, hosted = build_report(sound()), build_report(sound(custody="operator-hosted"))
    assert "administrator of that machine could see both data and code" in own.check("platform").summary.en
    assert "operator was not blind" in hosted.check("platform").summary.en
    assert "管理员" in own.check("platform").summary.zh
    assert "运营方" in hosted.check("platform").summary.zh


def test_custom_code_is_amber_at_best_and_red_where_it_is_refused():
    report = build_report(sound(custom_code=True))
    assert (report.check("custom_code").status, report.verdict) == ("warned", "amber")
    assert build_report(sound(custom_code=True), Policy(custom_code="refuse")).verdict == "red"
    assert build_report(sound(), Policy(custom_code="refuse")).verdict == "green"


@pytest.mark.parametrize(
    ("policy", "expected", "verdict"),
    [
        (Policy(blind_code="accept"), "warned", "amber"),
        (Policy(), "failed", "red"),
        (Policy(blind_code="accept", custom_code="refuse"), "failed", "red"),
    ],
)
def test_blind_code_is_called_by_its_name_and_must_be_accepted_by_it(policy, expected, verdict):
    report = build_report(sound(custom_code=True, blind=True), policy)
    check = report.check("custom_code")
    assert (check.status, report.verdict) == (expected, verdict)
    assert "blind" in check.summary.en.lower()
    assert "盲代码" in check.summary.zh
    assert check.facts["blind"] == "yes"
    assert build_report(sound(custom_code=True), policy).check("custom_code").facts["blind"] == "no"


def test_what_the_buyer_has_from_the_same_data_is_counted():
    assert status("buyer_history", sound(history=(ELSEWHERE,))) == "passed"
    several = replace(EARLIER, datasets=("ward-b", *EARLIER.datasets))
    assert status("buyer_history", sound(history=(several,))) == "warned", "one dataset in common is enough"
    check = build_report(sound(history=(EARLIER, ELSEWHERE, EARLIER))).check("buyer_history")
    assert check.status == "warned"
    assert "already has: 2." in check.summary.en
    assert check.facts["other_data"] == 1


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, "passed", "each over all 4 source units"),
        ({"smallest": 3}, "warned", "the smallest is over 3 of 4"),
        ({"own_part": "some"}, "warned", "in some of them only"),
        ({"smallest": 3, "own_part": "none"}, "warned", "in none of them"),
        ({"smallest": 2}, "failed", "at least 3 were agreed"),
        ({"smallest": 2, "own_part": "none"}, "failed", "too few source units: 2"),
        ({"opened_by": 3}, "warned", "Any 3 of the 4 source units together could open every single update"),
        ({"opened_by": 3, "smallest": 2}, "failed", "at least 3 were agreed"),
        (
            {"smallest": 2, "minimum": 2, "source_units": 2, "opened_by": 2},
            "passed",
            "can work out the other's part",
        ),
        ({"smallest": 1, "minimum": 1}, "failed", "too few source units: 1"),
        ({"rounds": 0}, "could_not_run", "not known"),
    ],
)
def test_over_how_many_source_units_sums_were_opened(changes, expected, words):
    check = build_report(sound(joint=True, participants=replace(TOGETHER, **changes))).check("sums")
    assert check.status == expected
    assert words in check.summary.en


def test_sums_nobody_knows_of_block():
    assert build_report(sound(joint=True)).verdict == "red"
    assert "Only your data" in build_report(sound()).check("sums").summary.en


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, "passed", "8 of the 40 counts are hidden"),
        ({"hidden": 0, "narrowest": 0}, "passed", "Each is of at least 10 rows"),
        ({"alike": 2}, "warned", "in 2 groups everybody has the same value"),
        ({"derived": 1}, "failed", "can be worked out from the counts that are shown: 1"),
        ({"derived": 1, "alike": 1}, "failed", "can be worked out"),
        ({"minimum": 9}, "failed", "your policy demands at least 10"),
    ],
)
def test_small_cells_of_statistics(changes, expected, words):
    check = build_report(counted(replace(TABLES, **changes))).check("small_cells")
    assert check.status == expected
    assert words in check.summary.en


def test_the_policy_says_how_small_a_count_may_be():
    assert (
        status("small_cells", counted(replace(TABLES, minimum=9)), Policy(minimum_cell_count=9)) == "passed"
    )
    assert status("small_cells", counted(), Policy(minimum_cell_count=11)) == "failed"


def test_rows_are_not_people():
    check = build_report(counted(patients=454)).check("small_cells")
    assert check.status == "warned"
    assert "455 rows are of 454 patients" in check.summary.en


def test_what_is_no_table_of_the_platforms_is_not_called_clean():
    assert "a model, and measures of all" in build_report(sound()).check("small_cells").summary.en
    code = build_report(sound(kind="compute", custom_code=True)).check("small_cells")
    assert code.status == "warned"
    assert "no check can tell" in code.summary.en
    small = CountTable("t.csv", ("stage", "women"), (("I", "40"), ("II", "2")), ((0, 1), (1, 1)), named=False)
    for named, expected in ((False, "warned"), (True, "failed")):
        made = sound(kind="compute", custom_code=True, counts=(replace(small, named=named),))
        check = build_report(made).check("small_cells")
        assert (check.status, check.facts["small"]) == (expected, 1)
        assert check.figures[0].marked == ((1, 1),)
    assert status("small_cells", counted(None)) == "could_not_run"


STATUSES = ["passed", "warned", "failed", "not_applicable", "could_not_run"]


@given(st.lists(st.sampled_from(STATUSES), min_size=1))
def test_the_verdict(statuses):
    verdict = verdict_of(statuses)
    assert (verdict == "red") == bool({"failed", "could_not_run"} & set(statuses))
    assert (verdict == "green") == (set(statuses) <= {"passed", "not_applicable"})


def test_every_sentence_is_there_in_both_languages_with_the_same_details():
    import string

    for key, sentence in SENTENCES.items():
        assert key.split(".")[0] in {*CHECKS, "headline", "figure"}
        fields = [
            {name for _, name, _, _ in string.Formatter().parse(sentence[lang]) if name}
            for lang in ("en", "zh")
        ]
        assert fields[0] == fields[1], key
        assert any("\u4e00" <= character <= "\u9fff" for character in sentence["zh"]), key
    assert set(TITLES) == set(CHECKS)


def evaluation(**withheld):
    part = {
        "rows": 20,
        "left_out": 0,
        "loss": "0.500000",
        "auc": "0.900000",
        "accuracy": "0.800000",
        **withheld,
    }
    return encode_json({"format": "trustspace-evaluation-v1", "withheld": part})


def test_an_evaluation_is_read():
    training, withheld, unrounded = read_evaluation(evaluation(auc="not measurable"))
    assert training is None
    assert unrounded is None
    assert withheld == PartMetrics(20, 0.5, None, 0.8)
    value = parse_json(evaluation())
    both = encode_json({**value, "unrounded": {**value["withheld"], "loss": "0.400000"}})
    assert read_evaluation(both)[2] == PartMetrics(20, 0.4, 0.9, 0.8)


@pytest.mark.parametrize(
    "data",
    [
        evaluation(auc=0.9),
        evaluation(auc="0.9"),
        evaluation(auc="1e400"),
        evaluation(auc="nan"),
        evaluation(auc="٠.٩٠٠٠٠٠"),
        evaluation(rows=-1),
        evaluation(rows=True),
        evaluation(rows="20"),
        encode_json({"format": "trustspace-evaluation-v2"}),
        encode_json({"format": "trustspace-evaluation-v1", "withheld": 3}),
        encode_json({"format": "trustspace-evaluation-v1", "unrounded": {"rows": 3, "loss": 0.5}}),
        encode_json([]),
        b"{",
    ],
)
def test_an_evaluation_that_says_anything_else_is_refused(data):
    with pytest.raises(VerificationFailed):
        read_evaluation(data)

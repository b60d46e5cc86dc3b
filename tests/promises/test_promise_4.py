"""Promise 4: a reviewer decides on evidence, computed from the exported bytes, on patients the job never had.

What could not run, or could not be measured, never counts as passed.
"""

import pyarrow as pa
import pytest
from support.enclaves import TRAIN, SimulatedLauncher, patients
from support.story import PEOPLE, Story

from trustspace.client import review
from trustspace.crypto.canonical import canonical_json
from trustspace.domain.records import OutputRecord
from trustspace.enclave import output, packing
from trustspace.errors import InvalidInput, PolicyRefused, VerificationFailed
from trustspace.evidence.report import Report
from trustspace.jobs.container import RawArtifact


def trained(launcher=None, table=None, threshold=2) -> Story:
    """A model was trained on 80 percent of the patients and awaits review, by two who may approve also what is red."""
    story = Story(launcher=launcher, table=table)
    try:
        return story.until_review(text=TRAIN, reviewers=PEOPLE, threshold=threshold)
    except BaseException:
        story.close()
        raise


@pytest.fixture(scope="module")
def model():
    story = trained(threshold=1)  # one person alone opens what came out
    yield story
    story.close()


def rows(table: pa.Table) -> set:
    return set(table.column("size").to_pylist())


# -- on patients that the job never had


def test_withheld_patients_are_never_in_what_the_job_is_given(model):
    """Every value of ``size`` is unlike any other, so that a row is recognised wherever it goes."""
    programs = [name for name, _ in model.launcher.seen]
    assert programs == ["train", "evaluate", "train", "references"]
    given, judged = (seen for _, seen in model.launcher.seen[:2])
    again = model.launcher.seen[2][1]
    assert rows(again["data"]) == rows(given["data"]), "the second training has no more than the first"
    everybody = rows(model.table)
    mounted, withheld = rows(given["data"]), rows(judged["data"])
    assert len(everybody) == model.table.num_rows == 120
    assert withheld
    assert mounted.isdisjoint(withheld)
    assert mounted | withheld == everybody
    # And in no other input: neither parameters nor code hold them.
    texts = b"".join(value for value in given.values() if isinstance(value, bytes))
    assert not any(repr(value).encode() in texts for value in withheld)


def test_a_patient_is_on_one_side_whole():
    """Three rows of each patient: all are mounted or none."""
    three = pa.concat_tables([patients(60, seed) for seed in (1, 2, 3)])
    story = trained(table=three)
    try:
        of = dict(zip(three.column("size").to_pylist(), three.column("patient").to_pylist(), strict=True))
        given, judged = (seen for _, seen in story.launcher.seen[:2])
        sides = [{of[value] for value in rows(table)} for table in (given["data"], judged["data"])]
        assert sides[0].isdisjoint(sides[1])
        assert len(sides[0] | sides[1]) == 60
        assert 3 <= len(sides[1]) <= 3 + 24, (
            "3 of the 60 whatever the coins say, and those of 24 whose coin says so"
        )
    finally:
        story.close()


def test_a_job_is_given_the_columns_it_asked_for_and_no_patient(model):
    given = model.launcher.seen[0][1]["data"]
    assert given.column_names == ["size", "texture", "diagnosis"]


def test_the_judging_sandbox_is_a_fresh_one_with_the_exported_bytes(model):
    _, judged = model.launcher.seen[1]
    exported = review.open_artifact(model.hospital, model.case(), "model.safetensors")
    assert judged["model"] == exported


def test_another_job_withholds_other_patients():
    """The split depends on the job and on a key that never leaves the enclave: it cannot be steered or guessed."""
    story = trained()
    try:
        first = rows(story.launcher.seen[1][1]["data"])
        story.approve()
        story.launcher.seen.clear()
        story.until_review(text=TRAIN.replace("epochs = 3", "epochs = 4"))
        second = rows(story.launcher.seen[1][1]["data"])
        assert first != second
    finally:
        story.close()


# -- on the bytes that came out


def forged_evidence(story, monkeypatch, change):
    """The enclave seals a report that is not the one of its run; everything else is honest."""
    real = packing.pack_evidence

    def pack(secret, run_, unit, report):
        value = change(Report.from_bytes(report).to_json())
        return real(secret, run_, unit, canonical_json(value))

    monkeypatch.setattr(output, "pack_evidence", pack)
    return story.until_review()


def check_of(value, name):
    return next(c for c in value["checks"] if c["name"] == name)


def other_bytes(value):
    check_of(value, "digests")["facts"]["commitments"]["summary.json"] = "ab" * 32
    return value


def one_artifact_unnamed(value):
    del check_of(value, "digests")["facts"]["commitments"]["groups.json"]
    return value


def one_more_named(value):
    check_of(value, "digests")["facts"]["commitments"]["extra.json"] = "ab" * 32
    return value


def another_job(value):
    check_of(value, "digests")["facts"]["digests"]["parameters"]["granted"] = "ab" * 32
    return value


def other_code(value):
    check_of(value, "digests")["facts"]["digests"]["code"]["granted"] = "ab" * 32
    return value


def without_a_check(value):
    value["checks"] = [c for c in value["checks"] if c["name"] != "sizes"]
    return value


def excused(value):
    check_of(value, "sizes")["status"] = "not_applicable"
    return value


def greener(value):
    value["verdict"] = "green"
    check_of(value, "custom_code")["status"] = "warned"
    return value


FORGED = {f.__name__.replace("_", " "): f for f in (
    other_bytes, one_artifact_unnamed, one_more_named, another_job, other_code, without_a_check, excused, greener,
)}  # fmt: skip


@pytest.mark.parametrize("how", FORGED)
def test_evidence_that_does_not_speak_of_these_very_bytes_is_refused(story, monkeypatch, how):
    forged_evidence(story, monkeypatch, FORGED[how])
    with pytest.raises(VerificationFailed):
        story.case()
    assert story.state == "in-review"


def test_honest_evidence_is_shown(story, monkeypatch):
    """The control of the test above: the same way through, and nothing changed."""
    forged_evidence(story, monkeypatch, lambda value: value)
    assert story.case().report.check("digests").status == "passed"


def test_an_output_that_is_not_what_was_declared_ends_the_run(story):
    story.launcher.tamper = lambda program, made: [
        *made,
        RawArtifact("extra.json", "application/json", b"{}"),
    ]
    story.ask()
    story.grant()
    assert story.run() == "failed"
    assert story.enclave.failures()[-1].reason == "job-failed"


def test_a_model_that_is_no_model_ends_the_run():
    """Bytes that are no safetensors, or carry more than was declared, are not exported at all."""
    launcher = SimulatedLauncher()
    launcher.tamper = lambda program, made: [
        RawArtifact(a.name, a.media_type, a.data + b"hidden" if a.name.startswith("model") else a.data)
        for a in made
    ]
    story = Story(launcher=launcher)
    try:
        story.ask(text=TRAIN)
        story.grant()
        assert story.run() == "failed"
    finally:
        story.close()


# -- red, amber, green


def test_measured_on_enough_patients_it_is_not_red():
    """The split follows from a random data key: on some 400 withheld patients chance alone does not make it red."""
    story = trained(table=patients(2000))
    try:
        report = story.case().report
        assert report.check("withheld_metrics").status in ("passed", "warned")
        assert report.check("withheld_metrics").facts["withheld_patients"] > 300
        assert report.verdict in ("green", "amber")
    finally:
        story.close()


def test_what_was_not_measurable_blocks():
    """A dozen withheld patients are too few to say anything: that is red, not green."""
    story = trained(table=patients(40))
    try:
        report = story.case().report
        assert report.check("withheld_metrics").status == "could_not_run"
        assert report.verdict == "red"
        with pytest.raises(InvalidInput, match="red"):
            story.approve(accept_red=False)
        assert story.approve() == "released"
    finally:
        story.close()


@pytest.mark.parametrize("how", ["it fails", "it says nothing", "it says nonsense"])
def test_what_could_not_run_blocks(how):
    """The judging program fails, as a developer's own model code can make it: no metrics, red."""
    launcher = SimulatedLauncher()

    def stop(program):
        if program == "evaluate" and how == "it fails":
            raise RuntimeError("stopped")

    def tamper(program, made):
        if program == "evaluate" and how != "it fails":
            return (
                [] if how == "it says nothing" else [RawArtifact(a.name, a.media_type, b"[]") for a in made]
            )
        return made

    launcher.tamper = tamper
    real = launcher.run

    def run_(task):
        try:
            stop(task.program)
        except RuntimeError:
            from trustspace.sandbox.launcher import Result

            return Result("failed", "exit-status", None, b"", 0, 1, None, 0)
        return real(task)

    launcher.run = run_
    story = trained(launcher=launcher)
    try:
        report = story.case().report
        assert report.check("withheld_metrics").status == "could_not_run"
        assert report.verdict == "red"
        with pytest.raises(InvalidInput, match="red"):
            story.approve(accept_red=False)
        assert story.state == "in-review"
    finally:
        story.close()


@pytest.mark.parametrize(
    ("options", "stands"),
    [
        ({"accept_red": False, "comment": ""}, False), ({"accept_red": False, "comment": "a reason"}, False),
        ({"accept_red": True, "comment": ""}, False), ({"accept_red": True, "comment": "  \n "}, False),
        ({"accept_red": True, "comment": "a reason"}, True),
    ],
)  # fmt: skip
def test_red_needs_a_written_reason(options, stands):
    story = trained(table=patients(40))
    try:
        assert story.case().report.verdict == "red"
        if stands:
            assert story.approve(**options) == "released"
            # Each has a reason of their own: committed to in the ledger, it stays with the reviewer.
            assert [c["text"] for c in story.hospital.state()["comments"].values()] == ["a reason"] * 2
        else:
            with pytest.raises(InvalidInput, match="red"):
                story.approve(**options)
            assert story.state == "in-review"
    finally:
        story.close()


def test_red_needs_a_second_person_with_a_reason():
    """Two whom the grant names are not enough: two must be needed, so that each holds half of a share."""
    story = Story(table=patients(40))
    try:
        story.until_review(text=TRAIN, reviewers=PEOPLE, threshold=1)
        assert story.case().report.verdict == "red"
        for person in PEOPLE:
            with pytest.raises(PolicyRefused, match="one person alone"):
                story.approve(person)
        assert story.state == "in-review"
        story.until_review(text=TRAIN, reviewers=PEOPLE, threshold=2)
        assert story.approve("Dr Li") == "in-review"
        for missing in ({"accept_red": False}, {"comment": " "}):
            with pytest.raises(InvalidInput, match="red"):
                story.approve("Dr Wang", **missing)
        assert story.state == "in-review"
        assert story.approve("Dr Wang") == "released"
    finally:
        story.close()


def test_a_rejection_needs_no_exception():
    story = trained(table=patients(60))
    try:
        review.reject(story.hospital, story.case())
        assert story.state == "rejected"
    finally:
        story.close()


def test_the_evidence_is_for_the_units_own_reviewers(model):
    evidence = model.world.ledger.view.get(OutputRecord, model.record.output).body.evidence[0]
    for party in (model.buyer, model.developer, model.auditor):
        with pytest.raises(Exception, match="not yours"):
            party.session.link.fetch(evidence.blob, evidence.sealed_bytes)
    assert model.case().report


# -- what the buyer has already


def test_what_this_buyer_already_has_is_counted():
    story = trained()
    try:
        assert story.case().report.check("buyer_history").status == "passed"
        story.approve()
        story.until_review(text=TRAIN.replace("epochs = 3", "epochs = 4"))
        history = story.case().report.check("buyer_history")
        assert history.status == "warned"
        assert len(history.facts["same_data"]) == 1
    finally:
        story.close()


def test_what_the_space_hides_counts_as_delivered(monkeypatch):
    """The enclave's own record decides; a space that forgets a release does not make it undone."""
    from trustspace.errors import PermissionDenied
    from trustspace.transport.session import Session

    story = trained()
    try:
        first = story.job
        story.approve()
        real = Session.dossier

        def hiding(self, what, trust=None):
            if what.key == first and self is story.enclave.runner._session:
                raise PermissionDenied("There is no such job, or it is not yours to see.")
            return real(self, what, trust)

        monkeypatch.setattr(Session, "dossier", hiding)
        story.until_review(text=TRAIN.replace("epochs = 3", "epochs = 4"))
        assert story.case().report.check("buyer_history").status == "warned"
    finally:
        story.close()

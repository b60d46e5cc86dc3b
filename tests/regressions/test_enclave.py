"""The enclave: what it tells its reviewers, what it survives, and what it signs."""

import threading

import pytest
from support.enclaves import JOB

from regressions.helpers import FAILING, Stage, stay
from trustspace.errors import PermissionDenied, Unavailable

# -- what a buyer holds already


def history(stage: Stage, job: str):
    return stage.case(job).report.check("buyer_history")


def test_naming_a_dataset_by_its_digest_does_not_hide_what_the_buyer_holds(stage: Stage):
    """Otherwise a developer could ask again and again for the same patients, and each report would say: the first."""
    first = stage.reviewed()
    assert history(stage, first).status == "passed"
    stage.approve(first)
    second = stage.reviewed(JOB.replace('id = "cytology"', f'id = "{stage.dataset}"'))
    found = history(stage, second)
    assert found.status == "warned"
    assert [item["output"] for item in found.facts["same_data"]] == [first]


def test_the_space_cannot_hide_what_the_buyer_holds(stage: Stage, monkeypatch):
    """Otherwise a space that leaves jobs out of its lists would empty the history that reviewers decide by."""
    first = stage.reviewed()
    stage.approve(first)
    link = stage.enclave.runner._session.link
    view, prove = link.view, link.prove

    def hiding(what, *arguments, **named):
        if what.key == first:
            raise PermissionDenied("There is no such job, or it is not yours to see.")
        return prove(what, *arguments, **named)

    monkeypatch.setattr(link, "view", lambda *a: [job for job in view(*a) if job["statement"] != first])
    monkeypatch.setattr(link, "prove", hiding)
    found = history(stage, stage.reviewed())
    assert [item["output"] for item in found.facts["same_data"]] == [first]


def test_the_history_outlives_a_restart(stage: Stage):
    """Otherwise restarting the enclave would empty the history."""
    first = stage.reviewed()
    stage.approve(first)
    stage.restart_enclave()
    assert history(stage, stage.reviewed()).status == "warned"


def test_what_the_ledger_proves_was_rejected_is_not_held(stage: Stage):
    """The other half: a buyer who got nothing holds nothing."""
    from trustspace.client import review

    first = stage.reviewed()
    review.reject(stage.hospital, stage.case(first))
    assert history(stage, stage.reviewed()).status == "passed"


# -- handing in


def test_an_output_is_handed_in_although_the_space_was_away(stage: Stage):
    """Otherwise a restart of the space at the wrong moment would throw a day's training away."""
    stay(stage.world)
    stage.world.restart()
    back: list[threading.Timer] = []

    def away(program: str) -> None:
        if back:
            return  # the same work once more: the space is away already
        stage.world.stop()
        back.append(threading.Timer(1.0, stage.world.start))
        back[0].start()

    job = stage.offered()
    stage.broker.attend()
    stage.enclave.launcher.before = away
    stage.enclave.attend()
    back[0].join()
    assert stage.state(job) == "in-review"
    assert not stage.enclave.failures()


def test_an_output_whose_answer_was_lost_is_handed_in_once(stage: Stage, monkeypatch):
    """Otherwise the enclave would call a run failed whose output stands."""
    job = stage.offered()
    stage.broker.attend()
    link = stage.enclave.runner._session.link
    submit = link.submit
    lost = []

    def lossy(envelope, known_size=0):
        receipt = submit(envelope, known_size)
        if not lost:
            lost.append(envelope)
            raise Unavailable("The answer was lost.")
        return receipt

    monkeypatch.setattr(link, "submit", lossy)
    stage.enclave.attend()
    assert lost
    assert stage.state(job) == "in-review"
    assert len(stage.logged(job, "output")) == 1
    assert not stage.logged(job, "run-failed")
    assert not stage.enclave.failures()


# -- ending a run


@pytest.mark.parametrize("taken", [True, False])
def test_an_offer_is_ended_once_whatever_older_state_is_shown(stage: Stage, monkeypatch, taken):
    """Otherwise a view from before the failure would have it fail again, and a second run of the grant with it."""
    job = stage.offered(text=JOB, code=FAILING, runs=2)
    stage.broker.attend()
    runner = stage.enclave.runner
    older = runner.dossier(job)
    assert older.job(job).state == "running"
    signed = []
    append = runner._session.append

    def watched(statement):
        signed.append(statement.type)
        if not taken:
            raise PermissionDenied("Not now.")
        return append(statement)

    monkeypatch.setattr(runner._session, "append", watched)
    stage.enclave.attend()
    monkeypatch.setattr(runner, "dossier", lambda digest: older)
    for _ in range(2):
        stage.enclave.attend()
    assert signed == ["run-failed"]
    assert [failure.reason for failure in stage.enclave.failures()] == ["job-failed"]

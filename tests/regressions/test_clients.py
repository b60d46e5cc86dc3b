"""Clients: what a source unit, a reviewer or a broker holds to, whatever the space shows, hides or delays."""

import threading
import time
from types import SimpleNamespace

import pytest
from support.cast import digest
from support.enclaves import JOB, patients, publish
from support.world import World, trio

from regressions.helpers import FAILING, Stage, crash_before_release
from trustspace.client import datasets, jobs, review
from trustspace.client.broker import Broker
from trustspace.client.home import PartyHome
from trustspace.domain.bodies import DatasetUse
from trustspace.enclave import output as enclave_output
from trustspace.errors import BudgetExhausted, PolicyRefused, Unavailable, VerificationFailed
from trustspace.evidence.report import build_report, verdict_of
from trustspace.jobs.spec import Parameters

# -- datasets


def test_a_hidden_dataset_list_costs_no_version_and_no_key(stage: Stage, monkeypatch):
    """Otherwise a space that hides version 1 would have its key overwritten, and the data gone for every job."""
    keys = {path: path.read_bytes() for path in (stage.hospital.path / "keys").glob("data-*")}
    assert keys
    view = stage.hospital.session.link.view
    with monkeypatch.context() as lying:
        lying.setattr(
            stage.hospital.session.link,
            "view",
            lambda kind, key="": [] if kind == "datasets" else view(kind, key),
        )
        second = publish(stage.hospital, stage.world, patients(seed=8))
    assert stage.hospital.session.dataset(second).body.version == 2
    assert {path: path.read_bytes() for path in keys} == keys
    stage.reviewed()  # version 1 still opens


def lose_the_answer(home: PartyHome, patch) -> None:
    """The next statement is appended, and its answer never comes."""
    session = home.session
    append = session.append

    def lossy(statement):
        append(statement)
        raise Unavailable("The answer was lost.")

    patch.setattr(session, "append", lossy)


def test_submitting_a_dataset_resumes_after_a_lost_answer(stage: Stage, monkeypatch):
    """Otherwise it would be published, and its source unit could neither finish nor withdraw it."""
    table = patients(seed=9)
    with monkeypatch.context() as patch:
        lose_the_answer(stage.hospital, patch)
        with pytest.raises(Unavailable):
            publish(stage.hospital, stage.world, table, name="second")
    published = publish(stage.hospital, stage.world, table, name="second")
    listed = [d for d in datasets.listing(stage.hospital) if d["dataset"] == "second"]
    assert [(d["statement"], d["version"]) for d in listed] == [(published, 1)]
    assert not list((stage.hospital.path / "spool").iterdir())
    datasets.withdraw(stage.hospital, published)
    assert "data-second-v1" not in stage.hospital.keys.names()
    assert stage.hospital.session.dataset(published).state == "withdrawn"


def test_another_table_is_not_taken_for_the_one_whose_answer_was_lost(stage: Stage, monkeypatch):
    """Otherwise the officer who corrects the file after an error would be told that it is in, and it is not."""
    with monkeypatch.context() as patch:
        lose_the_answer(stage.hospital, patch)
        with pytest.raises(Unavailable):
            publish(stage.hospital, stage.world, patients(seed=9), name="second")
    corrected = publish(stage.hospital, stage.world, patients(seed=10), name="second")
    assert stage.hospital.session.dataset(corrected).body.version == 2


def test_withdrawing_goes_on_where_a_break_left_it(stage: Stage, monkeypatch):
    """Otherwise the key would be gone and the ciphertext stay, with no way to have it deleted."""
    with monkeypatch.context() as patch:
        lose_the_answer(stage.hospital, patch)
        with pytest.raises(Unavailable):
            datasets.withdraw(stage.hospital, stage.dataset)
    datasets.withdraw(stage.hospital, stage.dataset)
    assert not list((stage.enclave.path / "datasets").iterdir())


def test_a_break_while_publishing_keys_does_not_freeze_them(world: World, monkeypatch):
    """Otherwise the party would name an old sequence number for ever, and could change no key any more."""
    hospital, _, _ = trio(world)
    submit = hospital.submit_as_root
    with monkeypatch.context() as patch:

        def crash(body):
            submit(body)
            raise Unavailable("killed before it was written down")

        patch.setattr(hospital, "submit_as_root", crash)
        with pytest.raises(Unavailable):
            hospital.publish(hospital.party.keys)
    assert hospital.party.sequence == 1
    assert hospital.publish(hospital.party.keys).sequence == 3
    assert world.again(hospital).session.party_body(hospital.fingerprint) == hospital.party


# -- jobs that say one thing and would run another


def other_kind(body):
    return body.model_copy(update={"kind": "train"})


def other_columns(body):
    use: DatasetUse = body.datasets[0].model_copy(
        update={"columns": ("size", "texture", "diagnosis", "patient")}
    )
    return body.model_copy(update={"datasets": (use,)})


def other_dataset(body):
    (asked,) = body.parameters["datasets"]
    return body.model_copy(
        update={"parameters": {**body.parameters, "datasets": [{**asked, "id": "harmless"}]}}
    )


def other_code(body):
    return body.model_copy(update={"code": ""})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (other_kind, "kind"),
        (other_columns, "datasets.columns"),
        (other_dataset, "datasets.id"),
        (other_code, "code"),
    ],
)
def test_a_job_that_says_two_things_is_neither_shown_nor_granted_nor_run(stage: Stage, change, field):
    """Otherwise people would agree to what its statement says, and what its parameters say would run."""
    honest = stage.ask()
    body = stage.developer.session.job(honest).job(honest).body
    job = stage.developer.submit(change(body), "act").digest
    jobs.countersign(stage.buyer, job)
    with pytest.raises(VerificationFailed) as shown:
        jobs.request(stage.hospital, job)
    assert shown.value.details["field"] == field
    with pytest.raises(VerificationFailed):
        jobs.grant(stage.hospital, job)
    # A client without the check grants it: the enclave holds against it all the same.
    asked = jobs.request(stage.hospital, honest)
    dossier = stage.hospital.session.job(job)
    record = dossier.job(job)
    careless = jobs.Request(dossier, record, Parameters.from_json(record.body.parameters), {}, asked.datasets)
    stage.hospital.submit(jobs.draft_grant(stage.hospital, careless), "grant")
    stage.run()
    assert stage.state(job) == "failed"
    assert [s.body.reason for s in stage.logged(job, "run-failed")] == ["not-opened"]
    assert not stage.enclave.launcher.seen


# -- the broker


def test_a_refusal_counts_although_the_space_was_slow_to_answer(stage: Stage, monkeypatch):
    """Otherwise a space that delays one answer could have a key released after the hospital said no."""
    job = stage.offered()
    session = stage.hospital.session
    answer = session.job

    def slow(digest):
        found = answer(digest)
        stage.hospital.remember("refused", digest)  # a person refuses while the answer is under way
        return found

    monkeypatch.setattr(session, "job", slow)
    with pytest.raises(PolicyRefused, match="refused"):
        stage.broker._attend(job)
    assert not stage.logged(job, "key-release")


def test_a_withdrawal_counts_although_the_space_was_slow_to_answer(stage: Stage, monkeypatch):
    """Otherwise the same delay would release the key of a dataset that is being withdrawn."""
    job = stage.offered()
    session = stage.hospital.session
    answer = session.job

    def slow(digest):
        found = answer(digest)
        stage.hospital.remember("withdrawn", stage.dataset)
        return found

    monkeypatch.setattr(session, "job", slow)
    with pytest.raises(PolicyRefused, match="withdrawn"):
        stage.broker._attend(job)
    assert not stage.logged(job, "key-release")


def test_two_brokers_on_one_home_count_every_run_once(tmp_path, monkeypatch):
    """Otherwise two processes would each see no run used, and a grant of one run would give two."""
    home = PartyHome.create(tmp_path / "hospital", "Hospital A", ("source-unit",), reviewers=("Dr Li",))
    read = PartyHome.state

    def slow(self):
        found = read(self)
        time.sleep(0.2)  # long enough for the other to read the same
        return found

    job = SimpleNamespace(statement=digest("job"))
    grant = SimpleNamespace(statement=digest("grant"), body=SimpleNamespace(runs=1, enclave="ab" * 32))
    for offer in ("one", "two"):
        home.remember("challenges", digest(offer), {"job": job.statement, "enclave": grant.body.enclave})
    monkeypatch.setattr(PartyHome, "state", slow)
    counted = []

    def count(name):
        given = SimpleNamespace(key_holder=home.fingerprint, challenge=digest(name))
        offer = SimpleNamespace(statement=digest(f"offer {name}"), body=SimpleNamespace(challenges=(given,)))
        try:
            counted.append(Broker(PartyHome(home.path))._count(job, grant, offer, digest("dataset"), ()))
        except BudgetExhausted:
            counted.append("none left")

    brokers = [threading.Thread(target=count, args=(name,)) for name in ("one", "two")]
    for broker in brokers:
        broker.start()
    for broker in brokers:
        broker.join()
    assert sorted(counted, key=str) == [1, "none left"]
    assert list(read(home)["runs"][grant.statement].values()) == [1]


def test_only_one_broker_serves_a_party(world: World):
    """Otherwise two would challenge and release side by side, each behind the other's back."""
    hospital, _, _ = trio(world)
    stop, serving = threading.Event(), threading.Event()
    first = Broker(hospital)
    first.attend = lambda: serving.set() or 0  # type: ignore[method-assign]
    thread = threading.Thread(target=first.serve, args=(stop,), daemon=True)
    thread.start()
    try:
        assert serving.wait(20)
        already = threading.Event()
        already.set()
        with pytest.raises(Unavailable, match="Another broker"):
            Broker(world.again(hospital)).serve(already)
    finally:
        stop.set()
        world.ledger.wake()
        thread.join(20)
    assert not thread.is_alive()
    Broker(world.again(hospital)).serve(already)  # it may, once the first has ended


def test_a_job_whose_counted_runs_were_all_lost_ends_with_a_refusal(stage: Stage, monkeypatch):
    """Otherwise it would wait for ever: the broker has no run left to give, and nobody is told."""
    job = stage.offered()
    with monkeypatch.context() as patch:
        crash_before_release(stage.hospital, patch)
        with pytest.raises(Unavailable):
            stage.broker.attend()
    stage.restart_enclave()
    stage.enclave.attend()  # the lost run fails
    stage.run()
    assert stage.state(job) == "refused"
    assert not stage.logged(job, "key-release")


def test_a_crash_costs_one_run_and_not_the_others(stage: Stage, monkeypatch):
    """Otherwise the number that the crash used would be missing from the ledger, and block every later one."""
    job = stage.offered(runs=2)
    with monkeypatch.context() as patch:
        crash_before_release(stage.hospital, patch)
        with pytest.raises(Unavailable):
            stage.broker.attend()
    stage.restart_enclave()
    stage.enclave.attend()
    stage.run()
    assert stage.state(job) == "in-review"
    assert [s.body.run_number for s in stage.logged(job, "key-release")] == [2]


def test_a_space_that_says_the_budget_is_exhausted_causes_no_refusal(stage: Stage, monkeypatch):
    """Otherwise one answer of the space would write a lasting refusal, in the hospital's name, to its own disk."""
    job = stage.granted()
    with monkeypatch.context() as patch:

        def exhausted(*_, **__):
            raise BudgetExhausted("A message is larger than {limit} bytes.", limit=1)

        patch.setattr(stage.hospital.session, "dossier", exhausted)
        stage.broker.attend()
    assert not stage.hospital.remembered("refused", job)
    stage.run()
    assert stage.state(job) == "in-review"


def test_a_failed_run_counts_too(stage: Stage):
    """The other half: code that fails on purpose gets no run more than was granted."""
    job = stage.granted(JOB, FAILING, runs=2)
    for _ in range(3):
        stage.run()
    assert stage.state(job) == "failed"
    assert len(stage.logged(job, "key-release")) == 2


# -- the report


def shortened(report):
    return tuple(check for check in report.checks if check.name != "buyer_history")


def excused(report):
    return tuple(
        check.model_copy(update={"status": "not_applicable"}) if check.name == "custom_code" else check
        for check in report.checks
    )


def doubled(report):
    return (*report.checks, report.checks[-1])


@pytest.mark.parametrize("tamper", [shortened, excused, doubled])
def test_a_report_with_checks_left_out_or_excused_is_refused(stage: Stage, monkeypatch, tamper):
    """Otherwise an enclave's host could show its reviewers a green report by asking it less."""

    def tampered(facts, policy):
        report = build_report(facts, policy)
        checks = tamper(report)
        return report.model_copy(update={"checks": checks, "verdict": verdict_of([c.status for c in checks])})

    monkeypatch.setattr(enclave_output, "build_report", tampered)
    job = stage.reviewed()
    with pytest.raises(VerificationFailed, match="evidence"):
        stage.case(job)


def test_what_the_policy_excuses_is_excused(stage: Stage):
    """The other half: a job that trains nothing has nothing to measure on withheld patients."""
    job = stage.reviewed()
    case = stage.case(job)
    assert case.report.check("withheld_metrics").status == "not_applicable"
    assert review.queue(stage.hospital, "Dr Li")

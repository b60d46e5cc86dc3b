"""Promise 1: nothing opens without a grant.

A data key leaves the source unit's broker only sealed to the one-time key of one run in a vouched enclave, and
bound to exactly what was granted. Each attack is followed by the same thing done honestly.
"""

import dataclasses
import time

import pytest
from support.enclaves import TIER, SimulatedEnclave, SimulatedLauncher, make_enclave
from support.story import TWO_OUTPUTS_CODE, Story

from trustspace.client import datasets, jobs
from trustspace.client.broker import Broker
from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain.bodies import Evidence, RunNonce, RunOffer
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, OfferRecord
from trustspace.domain.statements import make, parse
from trustspace.enclave.failure import RunError
from trustspace.enclave.opening import Order, _open_key
from trustspace.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.transport.links import SpaceLink, Subject


def released(story) -> int:
    """How many keys the ledger shows as released for the job."""
    return sum(s.type == "key-release" for s in story.hospital.session.job(story.job).statements)


@pytest.fixture(autouse=True)
def sent():
    """The types of all statements that anybody has sent to the space, taken or not: a sealed key that is sent is out."""
    kinds, real = [], SpaceLink.submit

    def submit(self, envelope, known_size=0):
        kinds.append(parse(envelope).type)
        return real(self, envelope, known_size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpaceLink, "submit", submit)
        yield kinds


# -- no grant, no key


def test_without_a_grant_no_key_is_released(story):
    story.ask()
    story.enclave.attend()
    assert Broker(story.hospital).attend() == 0
    assert (story.state, released(story)) == ("submitted", 0)
    assert story.launcher.seen == [], "no program has run"
    story.grant()
    assert story.run() == "in-review"
    assert released(story) == 1


def test_a_space_that_claims_a_grant_is_not_believed(story, monkeypatch):
    """The space lists the job as granted; the broker finds no grant of its own people and does nothing."""
    story.ask()
    real = SpaceLink.view

    def lying(self, kind, key=""):
        if kind in ("jobs", "work"):
            return [{**j, "state": "granted"} for j in real(self, "jobs", key)]
        return real(self, kind, key)

    monkeypatch.setattr(SpaceLink, "view", lying)
    assert Broker(story.hospital).attend() == 0
    story.enclave.attend()
    assert released(story) == 0
    monkeypatch.undo()
    story.grant()
    story.offer()
    assert story.release_key() == 1


def test_a_grant_is_not_the_developers_to_give(story):
    story.ask()
    asked = jobs.request(story.hospital, story.job)
    forged = jobs.draft_grant(story.hospital, asked)
    with pytest.raises(PermissionDenied):
        story.developer.submit(forged, "act")
    assert story.state == "submitted"


def test_a_refused_job_gets_nothing(story):
    story.ask()
    jobs.refuse(story.hospital, story.job)
    with pytest.raises(PolicyRefused):
        story.grant()
    assert story.state == "refused"
    assert Broker(story.hospital).attend() == 0


# -- a grant has an end and a number of runs


def test_an_expired_grant_releases_nothing(story, sent):
    """By the broker's own clock, whatever the space's says."""
    story.ask()
    story.grant(days=1)
    story.offer()
    late = story.world.again(story.hospital, clock=lambda: time.time() + 2 * 86400)
    assert Broker(late).attend() == 0
    assert "key-release" not in sent
    assert story.release_key() == 1
    assert "key-release" in sent


def test_runs_are_used_up(story):
    story.ask(code="def run(inputs, outputs):\n    raise ValueError('no')\n")
    story.grant(runs=2)
    assert story.run() == "granted", "one run is left"
    assert story.run() == "failed"
    assert released(story) == 2
    assert Broker(story.hospital).attend() == 0


def hide(monkeypatch, hidden):
    """The space leaves statements out of what it shows; every proof it does show is right."""
    real = SpaceLink.prove

    def prove(self, what, known_size=0, **options):
        proof = real(self, what, known_size, **options)
        kept = tuple(e for e in proof.entries if not any(kind in e.envelope for kind in hidden))
        return dataclasses.replace(proof, entries=kept)

    monkeypatch.setattr(SpaceLink, "prove", prove)


def envelopes_of(story, *kinds) -> list[bytes]:
    """The payloads, as they stand in envelopes, of the job's statements of these kinds."""
    import base64

    found = [s for s in story.hospital.session.job(story.job).statements if s.type in kinds]
    return [base64.b64encode(s.envelope.payload) for s in found]


@pytest.mark.parametrize("remembers", [True, False], ids=["a broker with its memory", "control: one without"])
def test_a_space_that_hides_the_first_run_gets_no_second(story, monkeypatch, sent, remembers):
    """The grant is for one run. The space forgets it, in its tables and in what it shows; the broker does not."""
    story.ask(code="def run(inputs, outputs):\n    raise ValueError('no')\n")
    story.grant(runs=1)
    granted = story.record
    grants = [story.world.ledger.view.get(GrantRecord, d) for d in granted.grants.values()]
    assert story.run() == "failed"
    first_run = envelopes_of(story, "run-nonce", "run-offer", "key-release", "run-failed")
    story.world.ledger.view.install([granted, *grants])
    hide(monkeypatch, first_run)
    story.enclave.runner._ended.clear()
    assert story.state == "granted"
    Broker(story.hospital).attend()
    story.enclave.attend()
    assert story.record.offers, "the enclave, deceived, offers a second run"
    if not remembers:
        with story.hospital.changing() as state:
            state["runs"].clear()
    assert sent.count("key-release") == 1
    assert Broker(story.hospital).attend() == (0 if remembers else 1)
    assert sent.count("key-release") == (1 if remembers else 2)


def test_a_run_is_counted_before_its_key_leaves(story, monkeypatch):
    """The release is lost on its way: its run is spent, and the job does not hang."""
    story.ask()
    story.grant(runs=2)
    story.offer()
    monkeypatch.setattr(SpaceLink, "submit", _lost)
    with pytest.raises(Unavailable):
        Broker(story.hospital).attend()
    assert list(story.hospital.state()["runs"].values()) == [
        {story.record.offers[story.hospital.fingerprint]: 1}
    ]
    monkeypatch.undo()
    assert Broker(story.hospital).attend() == 1, "the same run again is the same number"
    story.enclave.attend()
    assert story.state == "in-review"


def _lost(*_, **__):
    raise Unavailable("The server did not answer in time.")


def test_a_number_lost_with_its_run_blocks_nothing(story, monkeypatch):
    """Counted, never released, and the enclave has restarted meanwhile: the second run takes the second number."""
    story.ask()
    story.grant(runs=2)
    story.offer()
    monkeypatch.setattr(SpaceLink, "submit", _lost)
    with pytest.raises(Unavailable):
        Broker(story.hospital).attend()
    monkeypatch.undo()
    story.enclave = restarted(story)
    story.enclave.attend()
    assert story.run() == "in-review"
    numbers = [
        s.body.run_number for s in story.hospital.session.job(story.job).statements if s.type == "key-release"
    ]
    assert numbers == [2]


def restarted(story):
    path = story.enclave.path
    story.enclave.stop()
    return SimulatedEnclave(path)


def test_two_brokers_at_once_count_as_one(story):
    import threading

    story.ask()
    story.grant(runs=1)
    story.offer()
    go, results = threading.Barrier(4), []

    def attend():
        broker = Broker(story.world.again(story.hospital))
        go.wait()
        try:
            results.append(broker.attend())
        except TrustspaceError as error:
            results.append(error)

    threads = [threading.Thread(target=attend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert released(story) == 1
    assert [len(counted) for counted in story.hospital.state()["runs"].values()] == [1]


def test_decisions_of_several_processes_are_all_kept(story):
    """The broker counts while people refuse: neither overwrites what the other wrote."""
    import threading

    homes = [story.world.again(story.hospital) for _ in range(4)]
    threads = [
        threading.Thread(
            target=lambda home=home, n=n: [home.remember("refused", f"{n}-{i}") for i in range(25)]
        )
        for n, home in enumerate(homes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(story.hospital.state()["refused"]) == 100


# -- refusal and withdrawal bind at once


def test_a_refusal_binds_even_when_the_space_hides_it(story, monkeypatch):
    """People say no while the run is being prepared; the space drops the statement and goes on."""
    story.ask()
    story.grant()
    story.offer()
    monkeypatch.setattr(SpaceLink, "submit", _lost)
    with pytest.raises(Unavailable):
        jobs.refuse(story.hospital, story.job)
    monkeypatch.undo()
    assert story.state == "granted", "for all that the space says"
    assert Broker(story.hospital).attend() == 0
    assert Broker(story.world.again(story.hospital)).attend() == 0, "and after a restart"
    assert released(story) == 0


def test_the_same_without_a_refusal_is_released(story):
    """The control of the test above."""
    story.ask()
    story.grant()
    story.offer()
    assert Broker(story.hospital).attend() == 1


def test_a_refusal_in_the_last_moment_binds(story, monkeypatch):
    """Between the broker's first look and its sealing."""
    story.ask()
    story.grant()
    story.offer()
    real = Broker._check

    def meanwhile(self, *arguments):
        real(self, *arguments)
        story.world.again(story.hospital).remember("refused", story.job)

    monkeypatch.setattr(Broker, "_check", meanwhile)
    assert Broker(story.hospital).attend() == 0
    assert released(story) == 0


def test_a_withdrawal_destroys_the_key_even_when_the_space_hides_it(story, monkeypatch):
    story.ask()
    story.grant()
    story.offer()
    monkeypatch.setattr(SpaceLink, "submit", _lost)
    with pytest.raises(Unavailable):
        datasets.withdraw(story.hospital, story.dataset)
    monkeypatch.undo()
    assert "data-cytology-v1" not in story.hospital.keys.names()
    assert Broker(story.hospital).attend() == 0
    assert released(story) == 0
    with pytest.raises(NotFound):
        story.hospital.keys.seal_data_key_to("data-cytology-v1", OneTimeKey.generate().public, b"info")


# -- whose run it is


def test_a_substituted_run_key_is_not_sealed_to(story):
    """Whoever sits between changes the key in the enclave's offer: it is no longer the enclave's offer."""
    story.ask()
    story.grant()
    assert Broker(story.hospital).attend() == 0
    mine = OneTimeKey.generate()
    nonce = next(s.body for s in story.hospital.session.job(story.job).statements if s.type == "run-nonce")
    from trustspace.domain.bodies import Challenge

    body = RunOffer(
        job=story.job, run_key=mine.public.hex(), evidence=story.enclave.runner._evidence,
        challenges=(Challenge(key_holder=story.hospital.fingerprint, challenge=nonce.challenge),),
    )  # fmt: skip
    forged = make(
        body, by=story.hospital.fingerprint, issued=int(time.time()), nonce=b"n" * 32, log=story.developer.session.sync(),
        public=story.developer.keys.public("act"), sign=lambda m: story.developer.keys.sign("act", m),
    )  # fmt: skip
    operator = SpaceLink(
        story.world.channel(story.world.false_identity(story.hospital.fingerprint, "enclave", "ab" * 32))
    )
    with pytest.raises(VerificationFailed, match="not signed by a key"):
        operator.submit(forged.envelope.to_bytes())
    # Nor if the space takes it all the same: the broker finds out for itself.
    story.world.ledger.view.install([story.record.model_copy(update={
        "offers": {story.hospital.fingerprint: forged.digest}})])  # fmt: skip
    assert Broker(story.hospital).attend() == 0
    assert released(story) == 0


def test_a_false_enclave_that_the_operator_certifies(story):
    """It has a certificate in the hospital's name and reaches the space; its offer is nobody's."""
    story.ask()
    story.grant()
    Broker(story.hospital).attend()
    false_key = OneTimeKey.generate()
    identity = story.world.false_identity(story.hospital.fingerprint, "enclave", "cd" * 32)
    link = SpaceLink(story.world.channel(identity))
    # As that enclave it may read what the hospital may read: statements, and ciphertext.
    assert link.prove(Subject("job", story.job)).entries
    story.developer.keys.create_signing_key("false-enclave")
    nonce = next(s.body for s in story.hospital.session.job(story.job).statements if s.type == "run-nonce")
    from trustspace.domain.bodies import Challenge

    body = RunOffer(
        job=story.job, run_key=false_key.public.hex(), evidence=story.enclave.runner._evidence,
        challenges=(Challenge(key_holder=story.hospital.fingerprint, challenge=nonce.challenge),),
    )  # fmt: skip
    offer = make(
        body, by=story.hospital.fingerprint, issued=int(time.time()), nonce=b"n" * 32, log=story.developer.session.sync(),
        public=story.developer.keys.public("false-enclave"), sign=lambda m: story.developer.keys.sign("false-enclave", m),
    )  # fmt: skip
    with pytest.raises(VerificationFailed):
        link.submit(offer.envelope.to_bytes())
    assert Broker(story.hospital).attend() == 0
    # The enclave that the root vouches for is served.
    story.enclave.attend()
    assert Broker(story.hospital).attend() == 1


def test_another_enclave_of_the_same_hospital_was_not_granted(story, sent):
    """The root vouches for both; the grant names the one that holds the data."""
    second = make_enclave(story.world, story.hospital, name="Enclave B")
    try:
        story.ask()
        story.grant()
        Broker(story.hospital).attend()
        second.attend()
        assert not story.record.offers
        assert "run-offer" not in sent
        story.enclave.attend()
        assert story.release_key() == 1
    finally:
        second.stop()


def test_an_answered_challenge_is_not_answered_again(story):
    story.ask(code="def run(inputs, outputs):\n    raise ValueError('no')\n")
    story.grant(runs=3)
    story.offer()
    old = next(s for s in story.hospital.session.job(story.job).statements if s.type == "run-offer")
    assert story.release_key() == 1
    story.enclave.attend()
    assert story.state == "granted"
    # The very same offer: it stands already, and brings no second key.
    story.hospital.session.append(old)
    assert Broker(story.hospital).attend() == 0
    # A new one with the old challenge.
    again = old.body.model_copy(update={"run_key": OneTimeKey.generate().public.hex()})
    with pytest.raises(PolicyRefused, match="answered before"):
        story.enclave.runner._session.append(story.enclave.runner._sign(again))
    assert released(story) == 1


def test_a_challenge_given_for_another_job_is_not_taken(story):
    """The enclave answers a challenge of the same broker, for the same enclave, but for another job."""
    other = story.ask()
    story.grant()
    Broker(story.hospital).attend()
    foreign = next(
        s.body.challenge for s in story.hospital.session.job(other).statements if s.type == "run-nonce"
    )
    jobs.refuse(story.hospital, other)
    story.ask(code=TWO_OUTPUTS_CODE + "\n# another\n")
    story.grant()
    Broker(story.hospital).attend()
    from trustspace.domain.bodies import Challenge

    body = RunOffer(
        job=story.job, run_key=OneTimeKey.generate().public.hex(), evidence=story.enclave.runner._evidence,
        challenges=(Challenge(key_holder=story.hospital.fingerprint, challenge=foreign),),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="not given"):
        story.enclave.runner._session.append(story.enclave.runner._sign(body))
    story.enclave.attend()
    assert story.release_key() == 1


def test_a_challenge_that_the_broker_does_not_remember_is_not_its_own(story):
    """Signed with its key, by somebody else: what the broker itself wrote down decides."""
    story.ask()
    story.grant()
    forged = RunNonce(job=story.job, enclave=story.enclave.runner._key.hex(), challenge="ab" * 32)
    story.hospital.submit(forged, "broker")
    story.enclave.attend()
    assert story.record.offers
    assert Broker(story.hospital).attend() == 0
    assert released(story) == 0


# -- where it runs


@pytest.mark.parametrize(("tier", "demanded", "served"), [
    ("namespaces+seccomp", TIER, False), (TIER, TIER, True), ("namespaces+seccomp", "any", True), ("none", "any", False),
])  # fmt: skip
def test_a_weaker_sandbox_than_demanded_gets_no_key(tier, demanded, served):
    story = Story(launcher=SimulatedLauncher(tier))
    try:
        story.ask()
        story.grant(sandbox_tier=demanded)
        Broker(story.hospital).attend()
        story.enclave.attend()
        assert (Broker(story.hospital).attend() == 1) == served
        assert bool(released(story)) == served
    finally:
        story.close()


def test_software_that_the_source_unit_does_not_accept_gets_no_key(story):
    story.ask()
    story.grant()
    story.offer()
    assert Broker(story.hospital, frozenset({"ab" * 32})).attend() == 0
    assert Broker(story.hospital, frozenset({story.launcher.measurement})).attend() == 1


@pytest.mark.parametrize("kind", ["snp", "tdx", "nvgpu"])
def test_software_evidence_never_passes_for_hardware(story, kind):
    """Neither as a demand that cannot be met, nor as a claim that cannot be verified."""
    story.ask()
    asked = jobs.request(story.hospital, story.job)
    hard = jobs.draft_grant(story.hospital, asked, reviewers=("Dr Li",)).model_copy(
        update={"evidence_kind": kind}
    )
    story.hospital.submit(hard, "grant")
    Broker(story.hospital).attend()
    story.enclave.attend()
    assert Broker(story.hospital).attend() == 0
    claimed: Evidence = story.enclave.runner._evidence.model_copy(update={"kind": kind})
    story.enclave.runner._evidence = claimed
    story.enclave.attend()
    assert Broker(story.hospital).attend() == 0
    assert released(story) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"enclave": "ab" * 32}, {"evidence": {"kind": "snp"}}, {"evidence": {"sandbox_tier": "none"}},
        {"evidence": {"sandbox_tier": "namespaces+seccomp"}}, {"evidence": {"measurement": "ab" * 32}},
    ],
    ids=str,
)  # fmt: skip
def test_the_broker_looks_for_itself(story, change):
    """Should the rules ever let a wrong offer stand: it is judged again before a key is sealed for it."""
    story.ask()
    story.grant(sandbox_tier=TIER)
    story.offer()
    dossier = story.hospital.session.job(story.job)
    job = dossier.job(story.job)
    grant = dossier.view.get(GrantRecord, job.grants[story.hospital.fingerprint])
    offer = dossier.view.get(OfferRecord, job.offers[story.hospital.fingerprint])
    broker = Broker(story.hospital, frozenset({story.launcher.measurement}))
    broker._check(job, grant, offer)
    if "evidence" in change:
        evidence = offer.body.evidence.model_copy(update=change["evidence"])
        false = offer.model_copy(update={"body": offer.body.model_copy(update={"evidence": evidence})})
    else:
        false = offer.model_copy(update=change)
    with pytest.raises((PolicyRefused, VerificationFailed)):
        broker._check(job, grant, false)


# -- what it was released for


@pytest.fixture(scope="module")
def opened():
    """A key was released to a run; what opens it is computed from what is about to run."""
    story = Story()
    story.ask()
    story.grant()
    story.offer()
    assert story.release_key() == 1
    runner = story.enclave.runner
    dossier = runner.dossier(story.job)
    job = dossier.job(story.job)
    run = runner._runs[story.job]
    order = Order(
        dossier, job, dossier.view.get(GrantRecord, job.grants[story.hospital.fingerprint]), story.hospital.fingerprint,
        run.offer, run.key, run.challenges, runner._evidence,
        story.enclave.runner._session.link.fetch(job.body.code, 1 << 20), (),
    )  # fmt: skip
    record = dossier.view.get(DatasetRecord, story.dataset)
    yield story, order, record
    story.close()


def changed_job(order, **changes) -> Order:
    body = order.job.body.model_copy(update=changes)
    return dataclasses.replace(order, job=order.job.model_copy(update={"body": body}))


def longer(parameters):
    return {**parameters, "limits": {**parameters["limits"], "wall_seconds": 7}}


CHANGED = {
    "another job": lambda o: dataclasses.replace(o, job=o.job.model_copy(update={"statement": "ab" * 32})),
    "another grant": lambda o: dataclasses.replace(
        o, grant=o.grant.model_copy(update={"statement": "ab" * 32})
    ),
    "changed code": lambda o: dataclasses.replace(o, code=o.code.replace(b"mean", b"each")),
    "no code": lambda o: dataclasses.replace(o, code=b""),
    "changed parameters": lambda o: changed_job(o, parameters=longer(o.job.body.parameters)),
    "another buyer": lambda o: changed_job(o, buyer_key="ab" * 32),
    "other evidence": lambda o: dataclasses.replace(
        o, evidence=o.evidence.model_copy(update={"sandbox_tier": "none"})
    ),
    "another custody": lambda o: dataclasses.replace(
        o, evidence=o.evidence.model_copy(update={"custody": "operator-hosted"})
    ),
    "other challenges": lambda o: dataclasses.replace(o, challenges=("ab" * 32,)),
    "another run key": lambda o: dataclasses.replace(o, run_key=OneTimeKey.generate()),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_released_key_opens_for_what_was_granted_and_for_nothing_else(opened, what):
    story, order, record = opened
    manifest, key = _open_key(order, record, story.dataset, story.enclave.service._store)
    assert len(key) == 32
    with pytest.raises(RunError, match="not-opened"):
        _open_key(CHANGED[what](order), record, story.dataset, story.enclave.service._store)


def test_another_dataset_does_not_open(opened):
    """Its manifest is other bytes on the enclave's disk."""
    story, order, record = opened
    path = story.enclave.path / "datasets" / f"{record.body.manifest}.json"
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b'"dataset":"cytology"', b'"dataset":"cytolog2"'))
    try:
        with pytest.raises((RunError, VerificationFailed)):
            _open_key(order, record, story.dataset, story.enclave.service._store)
    finally:
        path.write_bytes(kept)
    assert _open_key(order, record, story.dataset, story.enclave.service._store)
    with pytest.raises(RunError, match="not-opened"):
        _open_key(order, record, "ab" * 32, story.enclave.service._store)


def test_a_release_for_another_run_does_not_open(opened):
    story, order, record = opened
    with pytest.raises(RunError, match="not-opened"):
        _open_key(
            dataclasses.replace(order, offer="ab" * 32), record, story.dataset, story.enclave.service._store
        )


def test_a_job_whose_words_and_parameters_differ_is_neither_shown_nor_run(story):
    """People would agree to one thing and another would run."""
    story.ask()
    honest = story.record.body
    asks_more = {
        **honest.parameters,
        "datasets": [{**honest.parameters["datasets"][0], "columns": ["size", "texture"]}],
    }
    for change in ({"kind": "train"}, {"parameters": asks_more}, {"minimum_participants": 1, "code": ""}):
        digest = story.developer.submit(honest.model_copy(update=change), "act").digest
        with pytest.raises(VerificationFailed):
            jobs.request(story.hospital, digest)
        with pytest.raises(VerificationFailed):
            jobs.grant(story.hospital, digest)
    assert jobs.request(story.hospital, story.job)


def test_an_enclave_does_not_run_what_its_people_were_not_shown(story):
    """A grant was given all the same, by another client or by force: the enclave looks before it opens anything."""
    story.ask()
    shown = jobs.draft_grant(story.hospital, jobs.request(story.hospital, story.job), reviewers=("Dr Li",))
    body = story.record.body.model_copy(update={"minimum_participants": 1, "kind": "train"})
    story.job = story.developer.submit(body, "act").digest
    jobs.countersign(story.buyer, story.job)
    story.hospital.submit(shown.model_copy(update={"job": story.job}), "grant")
    assert story.run() == "failed"
    assert story.launcher.seen == []
    assert story.enclave.failures()[-1].reason == "not-opened"


# -- a run's keys die with it


def test_a_restarted_enclave_cannot_open_what_was_released_before(story):
    story.ask()
    story.grant(runs=2)
    story.offer()
    assert story.release_key() == 1
    story.enclave = restarted(story)
    story.enclave.attend()
    assert story.state == "granted", "the lost run has failed"
    assert story.launcher.seen == []
    # With a new one-time key and a new release it runs.
    assert story.run() == "in-review"


def test_the_run_key_is_destroyed_after_the_run(story):
    story.ask()
    story.grant()
    story.offer()
    key = story.run_key()
    story.release_key()
    story.enclave.attend()
    assert story.state == "in-review"
    with pytest.raises(TrustspaceError):
        key.open(b"\0" * 80, b"info")


def test_a_job_not_countersigned_by_its_buyer_does_not_run(story):
    from support.enclaves import write_job
    from support.story import TWO_OUTPUTS

    story.job = jobs.submit(story.developer, write_job(story.world, TWO_OUTPUTS, TWO_OUTPUTS_CODE))
    story.grant()
    assert Broker(story.hospital).attend() == 0
    story.enclave.attend()
    assert story.state == "submitted"
    jobs.countersign(story.buyer, story.job)
    assert story.run() == "in-review"
    assert isinstance(story.record, JobRecord)

"""Blind box meets blind box: code that nobody reads meets data that nobody sees, and neither opens alone.

A developer's key leaves its broker only sealed to the one-time key of one run in an enclave that a grant names, and
bound to exactly what runs. Each attack is followed, or preceded, by the same thing done honestly.
"""

import dataclasses
import subprocess
import sys

import pytest
from support.enclaves import JOB, TIER, SimulatedEnclave, SimulatedLauncher
from support.story import PEOPLE, Story

from trustspace.client import blindcode, jobs
from trustspace.client.code_broker import CodeBroker, _RunsUsedUp
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.crypto.canonical import sha256_hex, verify_commitment
from trustspace.crypto.keys import BaseKeyStore
from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain.bodies import HOST_CAN_READ, KeyRelease
from trustspace.domain.records import BlobRecord, GrantRecord, JobRecord, OfferRecord
from trustspace.domain.statements import parse
from trustspace.enclave.failure import RunError
from trustspace.enclave.opening import Order, open_code
from trustspace.errors import (
    NotFound,
    PolicyRefused,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.jobs.bundle import parse_bundle
from trustspace.jobs.spec import Parameters
from trustspace.transport.links import SpaceLink

CANARY = "canary-7f3a"
CODE = f"""
SECRET = "{CANARY}"


def run(inputs, outputs):
    table = inputs.table()
    sizes = table.column("size").to_pylist()
    outputs.json("summary.json", {{"rows": table.num_rows, "mean": f"{{sum(sizes) / len(sizes):.3f}}"}})
"""
FAILING = f"""
def run(inputs, outputs):
    raise ValueError("no such column")  # {CANARY}
"""
SEALED = JOB.replace('path = "code"', 'path = "code"\nblind = true\nhost_can_read = true')
ACCEPTS = DEFAULT_POLICY.model_copy(update={"blind_code": "accept"})


def told(**options) -> Story:
    return Story(policy=ACCEPTS, **options)


@pytest.fixture
def story():
    found = told()
    yield found
    found.close()


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


def ask(story, code=CODE, text=SEALED, **options):
    story.ask(text, code)
    story.grant(**options)


def offer(story) -> None:
    """Both brokers give their challenges, and the enclave answers them with a one-time key."""
    assert CodeBroker(story.developer).attend() == 0
    story.offer()
    assert story.record.offers


def release_code(story) -> int:
    return CodeBroker(story.developer).attend()


def run(story) -> str:
    offer(story)
    assert release_code(story) == 1
    assert story.release_key() == 1
    story.enclave.attend()
    return story.state


def summary(story) -> bytes:
    """What the buyer receives, with a certificate that verifies."""
    files, _ = story.fetch()
    return next(file.content for file in files if file.name == "summary.json")


def restarted(story):
    path = story.enclave.path
    story.enclave.stop()
    return SimulatedEnclave(path)


# -- it works


def test_blind_code_runs_is_reviewed_and_released(story):
    ask(story)
    assert run(story) == "in-review", story.enclave.failures()
    # The same once more, for the same bytes.
    [(_, inputs), _] = story.launcher.seen
    assert CANARY in parse_bundle(bytes(inputs["code"]))["main.py"], (
        "the enclave ran the developer's own code"
    )
    check = story.case().report.check("custom_code")
    assert (check.status, check.facts["blind"]) == ("warned", "yes")
    assert "blind" in check.summary.en
    assert story.approve() == "released"
    assert b'"rows"' in summary(story)


def test_it_gives_what_the_same_code_gives_when_it_is_open(story):
    results = []
    for text in (SEALED, JOB):
        story.ask(text, CODE)
        story.grant()
        assert (run(story) if text is SEALED else story.run()) == "in-review"
        story.approve()
        results.append(summary(story))
    assert results[0] == results[1]


def test_what_is_told_of_it(story):
    ask(story)
    blind = story.record.body.blind
    assert (blind.entry, blind.files, blind.host_can_read) == (
        "main.py: run(inputs, outputs)",
        1,
        HOST_CAN_READ,
    )
    for home in (story.hospital, story.developer, story.buyer):
        asked = jobs.request(home, story.job)
        assert asked.code == {}
        assert asked.job.body.blind == blind


def test_the_developer_can_show_later_what_ran(story):
    """It keeps the salt, also when the key is destroyed."""
    ask(story)
    assert run(story) == "in-review"
    bundle = bytes(story.launcher.seen[0][1]["code"])
    salt = bytes.fromhex(story.developer.state()["blind"][story.job]["salt"])
    verify_commitment(story.record.body.blind.commitment, bundle, salt)
    with pytest.raises(VerificationFailed):
        verify_commitment(story.record.body.blind.commitment, bundle.replace(b"mean", b"each"), salt)


# -- who reads it


def everything(story) -> dict[str, bytes]:
    """All bytes that the space, the source unit with its enclave and reviewers, the buyer and the auditor can lay hands on."""
    found = {}
    own = [story.world.home, story.hospital.path, story.enclave.path, story.buyer.path, story.auditor.path]
    for folder in own:
        for path in folder.rglob("*"):
            if path.is_file():
                found[str(path.relative_to(story.world.path))] = path.read_bytes()
    for home in (story.hospital, story.buyer, story.auditor):
        name, link = home.party.name, story.world.link(home)
        for record in story.world.ledger.view.all(BlobRecord):
            try:
                found[f"{name} fetched {record.digest}"] = link.fetch(record.digest, 1 << 24)
            except TrustspaceError:
                continue
        dossier = home.session.job(story.job)
        found[f"{name} read"] = b"".join(s.envelope.payload for s in dossier.statements)
        found[f"{name} was shown"] = repr(jobs.request(home, story.job).code).encode()
    for person in PEOPLE:
        case = story.case(person)
        found[f"{person} report"] = case.report.to_bytes()
    return found


@pytest.mark.parametrize("text", [SEALED, JOB], ids=["blind", "control: open"])
def test_nobody_else_finds_a_line_of_it(story, text):
    ask(story, text=text, reviewers=PEOPLE)
    assert (run(story) if text is SEALED else story.run()) == "in-review"
    seen = everything(story)
    holders = sorted(name for name, content in seen.items() if CANARY.encode() in content)
    if text is SEALED:
        assert holders == []
    else:
        assert any("space" in name for name in holders)
        assert "Hospital A was shown" in holders
        assert any(name.startswith("Hospital A fetched") for name in holders)


@pytest.mark.parametrize("text", [SEALED, JOB], ids=["blind", "control: open"])
def test_no_line_of_it_stands_in_the_log_of_a_failing_run(text):
    """A traceback shows the line that failed. In a process of its own: this one may have seen the file before."""
    program = (
        "import sys, traceback; from trustspace.jobs.code import files_of, load_entry\n"
        "from trustspace.jobs.bundle import make_bundle\n"
        "inputs = {'code': make_bundle({'main.py': sys.argv[1]})}\n"
        "inputs |= {'blind': b'1'} if sys.argv[2] == 'blind' else {}\n"
        "try:\n    load_entry(files_of(inputs), 'main.py', 'run')(None, None)\n"
        "except ValueError:\n    traceback.print_exc()\n"
    )
    kind = "blind" if text is SEALED else "open"
    ended = subprocess.run(
        [sys.executable, "-c", program, FAILING, kind],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "no such column" in ended.stderr
    assert "line 3" in ended.stderr
    assert (CANARY in ended.stderr) == (kind == "open")


# -- neither half without the other


def test_no_data_key_before_the_code_key(story, sent):
    ask(story)
    offer(story)
    assert story.release_key() == 0
    assert "key-release" not in sent
    story.enclave.attend()
    assert story.launcher.seen == []
    assert release_code(story) == 1
    assert story.release_key() == 1


def test_a_source_units_own_word_does_not_go_before(story):
    """A broker that would not wait: the rules refuse its release, for the space and for everybody who replays."""
    ask(story)
    offer(story)
    record = story.record
    body = KeyRelease(
        job=story.job, grant=record.grants[story.hospital.fingerprint], offer=record.offers[story.hospital.fingerprint],
        dataset=story.dataset, run_number=1, sealed_key="aa" * 80,
    )  # fmt: skip
    with pytest.raises(PolicyRefused, match="not released its code"):
        story.hospital.submit(body, "broker")
    assert release_code(story) == 1
    story.hospital.submit(body, "broker")


def test_no_code_key_before_the_grant(story, sent):
    story.ask(SEALED, CODE)
    assert release_code(story) == 0
    assert "run-nonce" not in sent
    story.grant()
    offer(story)
    assert release_code(story) == 1


def test_a_space_that_claims_a_grant_is_not_believed(story, monkeypatch, sent):
    story.ask(SEALED, CODE)
    real = SpaceLink.view

    def lying(self, kind, key=""):
        return [{**j, "state": "running"} for j in real(self, "jobs", key)]

    monkeypatch.setattr(SpaceLink, "view", lying)
    assert release_code(story) == 0
    assert "code-release" not in sent
    monkeypatch.undo()
    story.grant()
    offer(story)
    assert release_code(story) == 1


def test_no_policy_accepts_it_unless_it_says_so():
    story = Story()
    try:
        story.ask(SEALED, CODE)
        with pytest.raises(PolicyRefused, match="policy refuses blind code"):
            story.grant()
        assert story.state == "submitted"
        story.ask(JOB, CODE)
        story.grant()
        assert story.state == "granted"
    finally:
        story.close()


# -- software evidence


def test_it_is_not_submitted_without_the_words(story):
    silent = SEALED.replace("host_can_read = true\n", "")
    uploads = len(list(story.world.home.rglob("*")))
    with pytest.raises(PolicyRefused, match="host of an enclave") as refused:
        story.ask(silent, CODE)
    assert "host_can_read" in (refused.value.fix or "")
    assert [name for name in story.developer.keys.names() if name.startswith("code-")] == []
    assert len(list(story.world.home.rglob("*"))) == uploads, "nothing was uploaded"
    story.ask(SEALED, CODE)


def test_a_job_that_demands_hardware_needs_no_words_and_runs_on_no_software(story):
    """The space lets an offer with software evidence stand: the broker judges it by the job that was signed."""
    story.ask(SEALED.replace("host_can_read = true\n", "") + '\n[terms]\nevidence_kind = "snp"\n', CODE)
    assert story.record.body.blind.host_can_read == ""
    ask(story)  # control, and an offer to show to the broker
    offer(story)
    dossier = story.developer.session.job(story.job)
    job = dossier.job(story.job)
    honest, grant = judged(story, dossier, job)
    broker = CodeBroker(story.developer)
    broker._check(dossier, job, grant, honest)
    for change in (
        {"evidence_kind": "snp"},
        {"blind": job.body.blind.model_copy(update={"host_can_read": ""})},
    ):
        demanding = job.model_copy(update={"body": job.body.model_copy(update=change)})
        with pytest.raises(PolicyRefused):
            broker._check(dossier, demanding, grant, honest)


def judged(story, dossier, job):
    unit = story.hospital.fingerprint
    return dossier.view.get(OfferRecord, job.offers[unit]), dossier.view.get(GrantRecord, job.grants[unit])


@pytest.mark.parametrize(
    "change",
    [
        {"enclave": "ab" * 32}, {"source_unit": "ab" * 32}, {"evidence": {"sandbox_tier": "namespaces+seccomp"}},
        {"evidence": {"measurement": "ab" * 32}},
    ],
    ids=str,
)  # fmt: skip
def test_the_developers_broker_looks_for_itself(story, change):
    """Should the rules ever let a wrong offer stand, by an enclave that no grant names or in a weaker sandbox."""
    ask(story, text=SEALED + f'\n[terms]\nsandbox_tier = "{TIER}"\n')
    offer(story)
    dossier = story.developer.session.job(story.job)
    job = dossier.job(story.job)
    honest, grant = judged(story, dossier, job)
    broker = CodeBroker(story.developer, frozenset({story.launcher.measurement}))
    broker._check(dossier, job, grant, honest)
    if "evidence" in change:
        evidence = honest.body.evidence.model_copy(update=change["evidence"])
        false = honest.model_copy(update={"body": honest.body.model_copy(update={"evidence": evidence})})
    else:
        false = honest.model_copy(update=change)
    with pytest.raises((PolicyRefused, VerificationFailed)):
        broker._check(dossier, job, grant, false)


def test_a_weaker_sandbox_than_the_job_demands_gets_no_code(sent):
    story = told(launcher=SimulatedLauncher("namespaces+seccomp"))
    try:
        ask(story, text=SEALED + '\n[terms]\nsandbox_tier = "namespaces+landlock+seccomp"\n')
        CodeBroker(story.developer).attend()
        story.offer()
        assert release_code(story) == 0
        assert "code-release" not in sent
    finally:
        story.close()


def test_a_challenge_that_the_broker_does_not_remember_is_not_its_own(story, sent):
    ask(story)
    offer(story)
    kept = story.developer.state()["challenges"]
    with story.developer.changing() as state:
        state["challenges"] = {}
    assert release_code(story) == 0
    assert "code-release" not in sent
    with story.developer.changing() as state:
        state["challenges"] = kept
    assert release_code(story) == 1


# -- what it was released for


@pytest.fixture(scope="module")
def opened():
    """The code was released to a run; what opens it is computed from what is about to run."""
    story = told()
    ask(story)
    offer(story)
    assert release_code(story) == 1
    runner = story.enclave.runner
    dossier = runner.dossier(story.job)
    job = dossier.job(story.job)
    run = runner._runs[story.job]
    order = Order(
        dossier, job, dossier.view.get(GrantRecord, job.grants[story.hospital.fingerprint]), story.hospital.fingerprint,
        run.offer, run.key, run.challenges, runner._evidence, runner._code(job), (),
    )  # fmt: skip
    yield order, Parameters.from_json(job.body.parameters)
    story.close()


def changed_job(order, **changes) -> Order:
    return dataclasses.replace(order, job=order.job.model_copy(update=changes))


def changed_body(order, **changes) -> Order:
    return changed_job(order, body=order.job.body.model_copy(update=changes))


def changed_blind(order, **changes) -> Order:
    return changed_body(order, blind=order.job.body.blind.model_copy(update=changes))


def longer(parameters):
    return {**parameters, "limits": {**parameters["limits"], "wall_seconds": 7}}


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


CHANGED = {
    "another job": lambda o: changed_job(o, statement="ab" * 32),
    "another offer": lambda o: dataclasses.replace(o, offer="ab" * 32),
    "other grants": lambda o: changed_job(o, grants={"unit": "ab" * 32}),
    "a grant more": lambda o: changed_job(o, grants={**o.job.grants, "unit": "ab" * 32}),
    "another enclave": lambda o: dataclasses.replace(
        o, grant=o.grant.model_copy(update={"body": o.grant.body.model_copy(update={"enclave": "ab" * 32})})
    ),
    "other ciphertext": lambda o: dataclasses.replace(o, code=flipped(o.code)),
    "no ciphertext": lambda o: dataclasses.replace(o, code=b""),
    "changed parameters": lambda o: changed_body(o, parameters=longer(o.job.body.parameters)),
    "another developer": lambda o: changed_body(o, developer="ab" * 32),
    "another commitment": lambda o: changed_blind(o, commitment="ab" * 32),
    "another entry": lambda o: changed_blind(o, entry="main.py: run(inputs)"),
    "more files": lambda o: changed_blind(o, files=2),
    "another size": lambda o: changed_blind(o, sealed_bytes=7),
    "other evidence": lambda o: dataclasses.replace(
        o, evidence=o.evidence.model_copy(update={"sandbox_tier": "none"})
    ),
    "other challenges": lambda o: dataclasses.replace(o, challenges=o.challenges[::-1]),
    "another run key": lambda o: dataclasses.replace(o, run_key=OneTimeKey.generate()),
}


@pytest.mark.parametrize("what", CHANGED)
def test_released_code_opens_for_its_run_and_for_nothing_else(opened, what):
    order, parameters = opened
    assert CANARY in parse_bundle(open_code(order, parameters))["main.py"]
    with pytest.raises(RunError, match="not-opened"):
        open_code(CHANGED[what](order), parameters)


def test_a_code_release_replayed_to_another_job_does_not_open_there(story):
    """The same code, the same enclave, the developer's own signature under the old sealed key."""
    ask(story, runs=2)
    offer(story)
    assert release_code(story) == 1
    old = next(s for s in story.developer.session.job(story.job).statements if s.type == "code-release")
    jobs.cancel(story.developer, story.job)
    ask(story)
    offer(story)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseKeyStore, "seal_data_key_to", lambda *_: bytes.fromhex(old.body.sealed_key))
        assert release_code(story) == 1
    assert story.release_key() == 1
    story.enclave.attend()
    assert story.state == "failed"
    assert story.enclave.failures()[-1].reason == "not-opened"
    assert story.launcher.seen == []
    ask(story)
    assert run(story) == "in-review"


@pytest.mark.parametrize("believed", [False, True], ids=["checked by its digest", "control: believed"])
def test_a_space_that_swaps_the_ciphertext_has_nothing_opened(story, believed, monkeypatch):
    ask(story)
    offer(story)
    assert release_code(story) == 1
    assert story.release_key() == 1
    real = SpaceLink.get_blob

    def swapping(self, digest, max_bytes, write):
        if digest == story.record.body.code:
            taken = []
            size = real(self, digest, max_bytes, taken.append)
            write(flipped(b"".join(taken)))
            if believed:
                return size
            raise VerificationFailed("What the space sends is not what the statement names.")
        return real(self, digest, max_bytes, write)

    monkeypatch.setattr(SpaceLink, "get_blob", swapping)
    story.enclave.attend()
    # Also an enclave that took it would compute another binding from it: no key opens.
    assert story.state == "failed"
    assert story.enclave.failures()[-1].reason == "not-opened"
    assert story.launcher.seen == []


@pytest.mark.parametrize("what", ["the honest code", "other code", "more files", "another function"])
def test_a_developer_cannot_have_other_code_opened_than_it_declared(story, monkeypatch, what):
    """It signs one commitment and one interface, and seals something else."""
    real = blindcode.seal_bundle
    other = {
        "the honest code": lambda bundle: bundle,
        "other code": lambda bundle: bundle.replace(b"mean", b"each"),
        "more files": lambda bundle: bundle.replace(b'"files":{', b'"files":{"a.py":"",'),
        "another function": lambda bundle: bundle.replace(b"def run(", b"def rum("),
    }[what]
    monkeypatch.setattr(
        blindcode, "seal_bundle", lambda sealer, bundle, salt: real(sealer, other(bundle), salt)
    )
    if what in ("more files", "another function"):
        # Here the commitment is to what is sealed, and only what is declared is false.
        said = blindcode.declared

        def declared(parameters, bundle, salt, size, **options):
            told = said(parameters, bundle, salt, size, **options)
            return told.model_copy(update={"commitment": blindcode.commit(other(bundle), salt)})

        commit = blindcode.commit
        monkeypatch.setattr(blindcode, "declared", declared)
        monkeypatch.setattr(blindcode, "seal", lambda *a, **o: sealed_with(commit, other, *a, **o))
    ask(story)
    state = run(story)
    if what == "the honest code":
        assert state == "in-review"
    else:
        assert state == "failed"
        assert story.enclave.failures()[-1].reason == "not-opened"
        assert story.launcher.seen == []


def sealed_with(commit, other, home, bundle, parameters, *, host_can_read):
    """``blindcode.seal`` of other bytes, under the commitment to those."""
    import os

    salt = os.urandom(32)
    commitment = commit(other(bundle), salt)
    home.keys.create_data_key(f"code-{commitment[:32]}")
    sealer = home.keys.sealer(f"code-{commitment[:32]}", blindcode.code_context(home.fingerprint, commitment))
    ciphertext = blindcode.seal_bundle(sealer, bundle, salt)
    said = blindcode.declared(parameters, bundle, salt, len(ciphertext), host_can_read=host_can_read)
    return blindcode.SealedBundle(f"code-{commitment[:32]}", salt, ciphertext, said)


# -- decisions that bind at once, and counts that last


def _lost(*_, **__):
    raise Unavailable("The server did not answer in time.")


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled", "control: not cancelled"])
def test_a_cancellation_binds_even_when_the_space_never_hears_of_it(story, monkeypatch, sent, cancels):
    ask(story)
    offer(story)
    if cancels:
        with monkeypatch.context() as patch:
            patch.setattr(SpaceLink, "submit", _lost)
            with pytest.raises(Unavailable):
                jobs.cancel(story.developer, story.job)
        assert not any(name.startswith("code-") for name in story.developer.keys.names())
    assert release_code(story) == (0 if cancels else 1)
    assert sent.count("code-release") == (0 if cancels else 1)


def test_a_cancellation_in_the_last_moment_binds(story, monkeypatch, sent):
    """After the broker has looked and before it counts: the developer's people decide in another process."""
    ask(story)
    offer(story)
    real = CodeBroker._count

    def late(self, *arguments):
        other = story.world.again(story.developer)
        other.remember("cancelled", story.job)
        return real(self, *arguments)

    monkeypatch.setattr(CodeBroker, "_count", late)
    assert release_code(story) == 0
    assert "code-release" not in sent


def test_a_cancelled_job_has_no_key_released_by_either_side(story, sent):
    ask(story)
    offer(story)
    assert release_code(story) == 1
    jobs.cancel(story.developer, story.job)
    assert story.release_key() == 0
    assert release_code(story) == 0
    assert "key-release" not in sent
    assert story.state == "cancelled"


def test_a_refused_job_has_its_code_key_destroyed(story, sent):
    ask(story)
    offer(story)
    jobs.refuse(story.hospital, story.job)
    assert release_code(story) == 0
    assert "code-release" not in sent
    assert blindcode.kept(story.developer) == {}


def test_a_release_is_counted_before_the_key_is_sealed(story, monkeypatch):
    """The broker is killed in between: the run is spent, the same run again is the same count."""
    ask(story)
    offer(story)
    standing = story.record.offers[story.hospital.fingerprint]

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(BaseKeyStore, "seal_data_key_to", killed)
        with pytest.raises(Killed):
            release_code(story)
    assert list(story.developer.state()["code_releases"].values()) == [[standing]]
    assert CodeBroker(story.world.again(story.developer)).attend() == 1
    assert list(story.developer.state()["code_releases"].values()) == [[standing]]
    assert story.release_key() == 1
    story.enclave.attend()
    assert story.state == "in-review"


def test_a_space_that_hides_a_release_gets_no_second(story):
    """One run was granted. Whatever other offers are shown to it, the broker counts by itself."""
    ask(story, runs=1)
    offer(story)
    dossier = story.developer.session.job(story.job)
    job = dossier.job(story.job)
    honest, grant = judged(story, dossier, job)
    broker = CodeBroker(story.developer)
    broker._count(job, grant, honest)
    broker._count(job, grant, honest)
    with pytest.raises(_RunsUsedUp):
        broker._count(job, grant, honest.model_copy(update={"statement": "ab" * 32}))
    two = grant.model_copy(update={"body": grant.body.model_copy(update={"runs": 2})})
    broker._count(job, two, honest.model_copy(update={"statement": "ab" * 32}))


def test_a_lost_count_ends_the_job_visibly(story, monkeypatch):
    """Counted, never released, and the enclave has restarted: no run is left, and nothing waits for nobody."""
    ask(story, runs=1)
    offer(story)
    with monkeypatch.context() as patch:
        patch.setattr(SpaceLink, "submit", _lost)
        with pytest.raises(Unavailable):
            release_code(story)
    story.enclave = restarted(story)
    story.enclave.attend()  # the lost run has failed
    release_code(story)  # a challenge
    story.offer()
    assert release_code(story) == 0
    assert story.state == "cancelled"


def test_a_restarted_enclave_cannot_open_what_was_released_before(story):
    ask(story, runs=2)
    offer(story)
    assert release_code(story) == 1
    assert story.release_key() == 1
    story.enclave = restarted(story)
    story.enclave.attend()
    assert story.state == "granted", "the lost run has failed"
    assert story.launcher.seen == []
    # The developer, who is shown nothing of that, has given a challenge beforehand: it runs with new keys.
    story.offer()
    assert story.record.offers
    assert release_code(story) == 1
    assert story.release_key() == 1
    story.enclave.attend()
    assert story.state == "in-review"


def test_the_key_is_destroyed_when_the_job_is_over(story, monkeypatch):
    ask(story)
    assert run(story) == "in-review"
    assert len(blindcode.kept(story.developer)) == 1, "told in slots: not before the developer may know"
    real = SpaceLink.view
    monkeypatch.setattr(
        SpaceLink,
        "view",
        lambda self, kind, key="": [{**j, "state": "in review"} for j in real(self, kind, key)],
    )
    assert release_code(story) == 0
    assert blindcode.kept(story.developer) == {}
    assert not any(name.startswith("code-") for name in story.developer.keys.names())
    assert CodeBroker(story.developer).attend() == 0


# -- developers from before, and what they do not learn


def test_a_developer_without_a_brokers_key_is_told_what_to_do(story):
    keys = tuple(key for key in story.developer.party.keys if key.use == "broker")
    story.developer.publish(without=keys)
    with pytest.raises(NotFound, match="broker's key") as refused:
        story.ask(SEALED, CODE)
    assert "trustspace broker key" in (refused.value.fix or "")
    story.developer.keys.destroy("broker")
    assert blindcode.add_broker_key(story.developer)
    assert not blindcode.add_broker_key(story.developer)
    ask(story)
    assert run(story) == "in-review"


def test_its_broker_sees_when_a_run_begins_and_nothing_of_its_end(story):
    ask(story)
    assert run(story) == "in-review"
    seen = {s.type for s in story.developer.session.job(story.job).statements}
    assert {"run-nonce", "run-offer", "code-release"} <= seen
    assert not seen & {"key-release", "run-failed", "output", "decision"}
    assert story.developer.session.job(story.job).job(story.job).state == "granted"
    assert isinstance(story.record, JobRecord)
    assert sha256_hex(story.enclave.runner._code(story.record)) == story.record.body.code

"""Promise 2: nothing leaves without an approval by every source unit concerned.

An approval is not a flag that somebody checks: it is the shares of a key, re-sealed to the buyer. Before it nobody
holds enough of them; what it does not name stays closed. (Three units and several reviewers each:
tests/integration/test_three_units.py.)
"""

import shutil

import pytest
from support.enclaves import make_enclave, publish, write_job
from support.story import PEOPLE, TWO_OUTPUTS, TWO_OUTPUTS_CODE, Story

from trustspace.client import jobs, releases, review
from trustspace.crypto.canonical import sha256_hex
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share
from trustspace.crypto.wrap import seal_to
from trustspace.domain.binding import artifact_context, handover_binding, share_binding
from trustspace.domain.bodies import BuyerShare, Decision
from trustspace.domain.records import OutputRecord
from trustspace.domain.statements import parse
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.transport.links import SpaceLink


def output_of(story) -> OutputRecord:
    found = story.world.ledger.view.get(OutputRecord, story.record.output)
    assert found is not None
    return found


def artifact(story, name):
    return next(a for a in output_of(story).body.artifacts if a.name == name)


def handed_on(story) -> list[tuple[str, bytes]]:
    """Every share that any decision in the ledger hands on."""
    found = []
    for entry in story.auditor.session.link.read(0, 256, 0)[0]:
        body = parse(entry.envelope).body
        if isinstance(body, Decision):
            found += [(s.artifact, bytes.fromhex(s.sealed)) for s in body.shares]
    return found


# -- before approval


def test_nobody_gets_it_before_approval(story):
    story.until_review()
    for party in (story.buyer, story.developer):
        with pytest.raises(InvalidTransition, match="not released"):
            releases.fetch(party, story.job)
        for one in output_of(story).body.artifacts:
            with pytest.raises(PermissionDenied):
                party.session.link.fetch(one.blob, one.sealed_bytes)
    assert story.approve() == "released"
    assert [d.name for d in story.fetch()[0]] == ["summary.json", "groups.json"]


def test_a_buyer_with_the_ciphertext_and_every_statement_opens_nothing(story):
    """The operator gives the buyer all that it has. Its receiving key fits none of the sealed shares."""
    story.until_review()
    one = artifact(story, "summary.json")
    sealed = (story.world.home / "blobs" / one.blob).read_bytes()
    assert len(sealed) == one.sealed_bytes
    for unit in one.units:
        for share in unit.shares:
            info = share_binding(
                job=story.job, run=output_of(story).body.run, artifact="summary.json",
                source_unit=unit.source_unit, reviewer=share.reviewer,
            )  # fmt: skip
            with pytest.raises(VerificationFailed):
                story.buyer.keys.open("receive", bytes.fromhex(share.sealed), info)
            # The reviewer's key does open it: the control.
            name = story.hospital.key_name("review-open", "Dr Li")
            assert story.hospital.keys.open(name, bytes.fromhex(share.sealed), info)
    context = artifact_context(story.job, output_of(story).body.run, "summary.json")
    with pytest.raises(VerificationFailed):
        open_bytes(b"\0" * 32, context, sealed)


def test_the_operator_holds_ciphertext_only(story):
    """Everything on the space's disk and in the enclave's, searched for what nobody outside may see."""
    story.until_review()
    log = review.open_artifact(story.hospital, story.case(), "run.log")
    story.approve()
    contents = {d.name: d.content for d in story.fetch()[0]}
    story.world.stop()
    values = [str(v).encode() for v in story.table.column("size").to_pylist()[:50]]
    secrets = {
        "a released result": contents["summary.json"], "another": contents["groups.json"],
        "the log": log, "a patient": b"patient-00007", **{f"value {n}": v for n, v in enumerate(values)},
    }  # fmt: skip
    disks = [p for p in story.world.home.rglob("*") if p.is_file()]
    assert len(disks) > 5
    for path in (*disks, *(story.enclave.path / "datasets").iterdir()):
        data = path.read_bytes()
        for what, secret in secrets.items():
            assert secret not in data, f"{what} is in {path.name}"
    # The needles are real: they are in the hospital's own file.
    table = (story.world.path / "cytology.csv").read_bytes()
    assert all(secret in table for what, secret in secrets.items() if what.startswith(("a patient", "value")))


# -- what exactly is approved


def test_approving_one_artifact_opens_one(story):
    story.until_review()
    assert story.approve(artifacts=("groups.json",)) == "released"
    delivered, certificate = story.fetch()
    assert [d.name for d in delivered] == ["groups.json"]
    assert [a.name for a in certificate.artifacts] == ["groups.json"]
    summary = artifact(story, "summary.json")
    with pytest.raises(PermissionDenied):
        story.buyer.session.link.fetch(summary.blob, summary.sealed_bytes)
    # Not even with its ciphertext at hand: the key that was handed on is another.
    sealed = (story.world.home / "blobs" / summary.blob).read_bytes()
    key = key_handed_on(story, "groups.json")
    context = artifact_context(story.job, output_of(story).body.run, "summary.json")
    with pytest.raises(VerificationFailed):
        open_bytes(key, context, sealed)
    groups = artifact(story, "groups.json")
    assert open_bytes(
        key, artifact_context(story.job, output_of(story).body.run, "groups.json"),
        (story.world.home / "blobs" / groups.blob).read_bytes(),
    )  # fmt: skip


def key_handed_on(story, name) -> bytes:
    """The artifact key as the buyer puts it together from one unit's one approval."""
    dossier = story.buyer.session.job(story.job)
    decision = next(s for s in dossier.statements if isinstance(s.body, Decision))
    share = next(s for s in decision.body.shares if s.artifact == name)
    reviewer = next(k.public for k in story.hospital.party.keys if k.use == "review" and k.holder == "Dr Li")
    info = handover_binding(
        output=story.record.output, artifact=name, reviewer=reviewer, buyer_key=decision.body.buyer_key
    )
    package = story.buyer.keys.open("receive", bytes.fromhex(share.sealed), info)
    return combine([decode_share(combine([decode_share(package[32:])], 1))], 1)


def test_logs_are_not_released_by_default(story):
    story.until_review()
    story.approve()
    delivered, _ = story.fetch()
    assert "run.log" not in [d.name for d in delivered]
    assert "run.log" not in dict(handed_on(story))
    log = artifact(story, "run.log")
    with pytest.raises(PermissionDenied):
        story.buyer.session.link.fetch(log.blob, log.sealed_bytes)
    # The source unit's own reviewer reads it, and may hand it on by naming it.
    assert b"the first row is" in review.open_artifact(story.hospital, story.case(), "run.log")


def test_a_log_goes_only_when_it_is_named(story):
    story.until_review()
    story.approve(artifacts=("summary.json", "run.log"))
    assert [d.name for d in story.fetch()[0]] == ["summary.json", "run.log"]


# -- rejected is rejected


def test_what_is_rejected_stays_closed(story):
    story.until_review(reviewers=PEOPLE, threshold=2)
    assert story.approve("Dr Li") == "in-review"
    assert story.reject("Dr Wang") == "rejected"
    with pytest.raises(InvalidTransition):
        story.fetch()
    # One of two shares was handed on; it opens nothing.
    shares = [s for name, s in handed_on(story) if name == "summary.json"]
    assert len(shares) == 1
    with pytest.raises(InvalidInput, match="needed"):
        combine([decode_share(opened_share(story, shares[0], "Dr Li"))], 2)
    for person in PEOPLE:
        with pytest.raises(TrustspaceError):
            story.approve(person)
    assert story.state == "rejected"


def opened_share(story, sealed, person):
    reviewer = next(k.public for k in story.hospital.party.keys if k.use == "review" and k.holder == person)
    info = handover_binding(
        output=story.record.output,
        artifact="summary.json",
        reviewer=reviewer,
        buyer_key=story.record.body.buyer_key,
    )
    return story.buyer.keys.open("receive", sealed, info)[32:]


def test_with_both_approvals_it_opens(story):
    """The control of the test above."""
    story.until_review(reviewers=PEOPLE, threshold=2)
    assert story.approve("Dr Li") == "in-review"
    with pytest.raises(InvalidTransition):
        story.fetch()
    assert story.approve("Dr Wang") == "released"
    assert len(story.fetch()[0]) == 2


def test_a_rejection_binds_even_when_the_space_hides_it(story, monkeypatch):
    story.until_review(reviewers=PEOPLE, threshold=1)
    case = story.case("Dr Li")

    def lost(*_, **__):
        raise Unavailable("The server did not answer in time.")

    monkeypatch.setattr(SpaceLink, "submit", lost)
    with pytest.raises(Unavailable):
        review.reject(story.hospital, case, comment="no")
    monkeypatch.undo()
    assert story.state == "in-review"
    for person in PEOPLE:
        with pytest.raises(InvalidInput, match="rejected"):
            story.approve(person)
    assert story.reject() == "rejected"


# -- to whom


def test_a_job_names_a_key_that_is_the_buyers(story):
    """The developer would receive the output itself: it names its own key as the buyer's."""
    story.ask()
    mine = story.developer.keys.create_opening_key("stolen").hex()
    body = story.record.body.model_copy(update={"buyer_key": mine})
    with pytest.raises(InvalidInput, match="receiving key"):
        story.developer.submit(body, "act")


def test_a_buyer_countersigns_its_own_key_only(story, monkeypatch):
    """Should rules and space ever let such a job pass: the buyer looks for itself."""
    job = jobs.submit(story.developer, write_job(story.world, TWO_OUTPUTS, TWO_OUTPUTS_CODE))
    dossier = story.buyer.session.job(job)
    record = dossier.job(job)
    stolen = story.developer.keys.create_opening_key("stolen").hex()
    false = record.model_copy(update={"body": record.body.model_copy(update={"buyer_key": stolen})})
    monkeypatch.setattr(type(dossier), "job", lambda *_: false)
    with pytest.raises(VerificationFailed, match="not this buyer's"):
        jobs.countersign(story.buyer, job)
    monkeypatch.undo()
    assert jobs.countersign(story.buyer, job)


def test_an_approval_goes_to_the_jobs_buyer_or_nowhere(story):
    story.until_review()
    stolen = story.developer.keys.create_opening_key("stolen").hex()
    with pytest.raises(PolicyRefused, match="another key"):
        false_decision(story, stolen)
    assert story.state == "in-review"


def false_decision(story, key):
    """An approval that hands its shares to ``key``, as a deceived or bribed reviewer might sign it."""
    case = story.case()
    name = case.output.body.artifacts[0].name
    share = case.output.body.artifacts[0].units[0].shares[0]
    body = Decision(
        job=story.job, output=case.output.statement, evidence=case.evidence.commitment, policy="ab" * 32,
        verdict="approve", artifacts=(name,), buyer_key=key,
        shares=(BuyerShare(artifact=name, index=share.index, sealed="ab" * 90),), comment="",
        expires=story.hospital.session.now() + 1000,
    )  # fmt: skip
    return story.hospital.submit(body, "review", "Dr Li")


def test_a_false_buyer_enrolled_by_the_operator_is_not_the_pinned_one(story):
    """Same name, another root: no client that compared fingerprints deals with it."""
    impostor = story.world.party("City Clinic 2", "buyer")
    with pytest.raises(VerificationFailed, match="trust file"):
        story.developer.session.party_body(impostor.fingerprint)
    key = next(k.public for k in impostor.party.keys if k.use == "receive")
    story.ask()
    body = story.record.body.model_copy(update={"buyer": impostor.fingerprint, "buyer_key": key})
    # A developer who wants it can name it; the hospital's client refuses a party that nobody compared.
    digest = story.developer.submit(body, "act").digest
    with pytest.raises(VerificationFailed, match="trust file"):
        jobs.request(story.hospital, digest)
    with pytest.raises(VerificationFailed, match="trust file"):
        jobs.grant(story.hospital, digest)
    assert jobs.request(story.hospital, story.job)


def test_shares_reach_the_buyers_key_and_no_other(story):
    story.until_review()
    story.approve()
    other = story.world.party("Other Buyer", "buyer")
    reviewer = next(k.public for k in story.hospital.party.keys if k.use == "review" and k.holder == "Dr Li")
    (_, sealed), *_ = handed_on(story)
    info = handover_binding(
        output=story.record.output,
        artifact="summary.json",
        reviewer=reviewer,
        buyer_key=story.record.body.buyer_key,
    )
    for party in (other, story.hospital):
        names = [n for n in party.keys.names() if n.startswith("receive") or n.endswith("-open")]
        assert names
        for name in names:
            with pytest.raises(VerificationFailed):
                party.keys.open(name, sealed, info)
    assert story.buyer.keys.open("receive", sealed, info)


def test_a_share_handed_on_for_one_decision_serves_no_other(story):
    """Bound to output, artifact, reviewer and buyer: moved anywhere else, it does not open."""
    story.until_review()
    story.approve()
    reviewer = next(k.public for k in story.hospital.party.keys if k.use == "review" and k.holder == "Dr Li")
    (_, sealed), *_ = handed_on(story)
    right = {
        "output": story.record.output, "artifact": "summary.json", "reviewer": reviewer,
        "buyer_key": story.record.body.buyer_key,
    }  # fmt: skip
    assert story.buyer.keys.open("receive", sealed, handover_binding(**right))
    for field in right:
        with pytest.raises(VerificationFailed):
            story.buyer.keys.open("receive", sealed, handover_binding(**{**right, field: "ab" * 32}))


# -- shares and bytes that were changed


def false_approval(story, change):
    """A reviewer approves, and what is sealed to the buyer is not the share but what ``change`` makes of it."""
    case = story.case()
    reviewer = next(k.public for k in story.hospital.party.keys if k.use == "review" and k.holder == "Dr Li")
    shares = []
    for name in ("summary.json", "groups.json"):
        share, salt, value = review._share(story.hospital, case, artifact(story, name))
        info = handover_binding(
            output=story.record.output,
            artifact=name,
            reviewer=reviewer,
            buyer_key=story.record.body.buyer_key,
        )
        package = change(salt, value)
        shares.append(
            BuyerShare(
                artifact=name, index=share.index,
                sealed=seal_to(bytes.fromhex(story.record.body.buyer_key), package, info).hex(),
            )
        )  # fmt: skip
    body = review._decision(story.hospital, case, "approve", "fine").model_copy(update={
        "artifacts": ("summary.json", "groups.json"), "buyer_key": story.record.body.buyer_key, "shares": tuple(shares),
    })  # fmt: skip
    story.hospital.submit(body, "review", "Dr Li")


@pytest.mark.parametrize(
    ("change", "opens"),
    [
        (lambda salt, value: salt + value, True),
        (lambda salt, value: salt + value[:-1] + bytes([value[-1] ^ 1]), False),
        (lambda salt, value: bytes(32) + value, False),
        (lambda salt, value: salt + bytes(len(value)), False),
        (lambda salt, value: b"x", False),
        (lambda salt, value: b"", False),
    ],
    ids=["honest", "another share", "another salt", "zeros", "one byte", "nothing"],
)
def test_a_substituted_share_is_found_by_its_commitment(story, change, opens):
    story.until_review()
    false_approval(story, change)
    assert story.state == "released"
    if opens:
        assert len(story.fetch()[0]) == 2
    else:
        with pytest.raises(VerificationFailed):
            story.fetch()
        assert not story.record.receipt, "the buyer does not confirm what it could not open"


@pytest.mark.parametrize("how", ["altered", "swapped", "cut", "gone"])
def test_changed_bytes_of_an_output_are_found(story, how):
    story.until_review()
    story.approve()
    blobs = story.world.home / "blobs"
    one, other = blobs / artifact(story, "summary.json").blob, blobs / artifact(story, "groups.json").blob
    kept = one.read_bytes()
    if how == "altered":
        one.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    elif how == "swapped":
        shutil.copy(other, one)
    elif how == "cut":
        one.write_bytes(kept[:-100])
    else:
        one.unlink()
    with pytest.raises((VerificationFailed, NotFound, PermissionDenied)):
        story.fetch()
    one.write_bytes(kept)
    assert len(story.fetch()[0]) == 2


def test_a_reviewer_is_shown_the_very_bytes(story):
    """Evidence that was changed on the space's disk is not shown at all."""
    story.until_review()
    path = story.world.home / "blobs" / output_of(story).body.evidence[0].blob
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(VerificationFailed):
        story.case()
    path.write_bytes(kept)
    assert story.case().report.verdict


# -- who decides


def test_a_reviewer_whom_the_grant_does_not_name_decides_nothing(story):
    """Dr Wang's keys are vouched for by the hospital's root; the grant names Dr Li alone."""
    story.until_review(reviewers=("Dr Li",))
    with pytest.raises(PermissionDenied, match="does not name"):
        story.case("Dr Wang")
    body = review._decision(story.hospital, story.case(), "reject", "")
    with pytest.raises(PermissionDenied, match="reviewer that the grant names"):
        story.hospital.submit(body, "review", "Dr Wang")
    assert story.state == "in-review"
    assert story.approve("Dr Li") == "released"


def test_nobody_else_decides(story):
    story.until_review()
    body = review._decision(story.hospital, story.case(), "reject", "")
    for party, use in ((story.developer, "act"), (story.buyer, "act"), (story.auditor, "act")):
        with pytest.raises(PermissionDenied):
            party.submit(body, use)
    for use in ("act", "grant", "broker"):
        with pytest.raises(VerificationFailed):
            story.hospital.submit(body, use)
    assert story.state == "in-review"


def test_whoever_submitted_the_job_does_not_review_it():
    """A hospital that is also a developer cannot have its own job run on its own data and approve it."""
    story = Story()
    try:
        both = story.world.party("Hospital B", "source-unit", "developer", reviewers=("Dr Wu",))
        for one in (story.hospital, story.buyer, story.developer):
            one.pin("Hospital B", both.fingerprint)
            both.pin(one.party.name, one.fingerprint)
        second = make_enclave(story.world, both, name="Enclave B")
        publish(both, story.world, name="own-data")
        text = TWO_OUTPUTS.replace('id = "cytology"', 'id = "own-data"')
        with pytest.raises(InvalidInput, match="developer among them"):
            jobs.submit(both, write_job(story.world, text))
        # For somebody else's data it may ask, and that hospital's people decide.
        assert jobs.submit(both, write_job(story.world))
        # And somebody else may ask for its data.
        assert jobs.submit(story.developer, write_job(story.world, text))
        second.stop()
    finally:
        story.close()


def test_one_person_decides_once(story):
    story.until_review(reviewers=PEOPLE, threshold=2)
    assert story.approve("Dr Li") == "in-review"
    with pytest.raises(AlreadyExists):
        story.approve("Dr Li")
    assert story.state == "in-review"


def test_the_release_note_opens_nothing_by_itself(story, monkeypatch):
    """The space says *released* without any approval: the buyer's client finds no such thing in the ledger."""
    story.until_review()
    story.world.ledger.view.install([story.record.model_copy(update={
        "state": "released", "release": "ab" * 32, "released": ("summary.json", "groups.json")})])  # fmt: skip
    with pytest.raises(InvalidTransition, match="not released"):
        story.fetch()
    # Its ciphertext goes out, since the space may hand out what it holds; it is still ciphertext.
    one = artifact(story, "summary.json")
    sealed = story.buyer.session.link.fetch(one.blob, one.sealed_bytes)
    assert sha256_hex(sealed) == one.blob
    assert handed_on(story) == []

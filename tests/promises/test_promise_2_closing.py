"""Promise 2, where an output is closed otherwise than by a rejection: changes asked for, and a revocation.

And before that: two who must agree judge each alone. One story for all; each test asks for a job of its own in it.
"""

import pytest
from support.enclaves import write_job
from support.story import PEOPLE, TWO_OUTPUTS, TWO_OUTPUTS_CODE, Story
from test_promise_2 import handed_on, output_of

from trustspace.client import jobs, notices, releases, review
from trustspace.crypto.canonical import verify_commitment
from trustspace.crypto.padding import unpad
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share
from trustspace.domain import certificate
from trustspace.domain.binding import artifact_context, handover_binding, note_binding
from trustspace.domain.bodies import SEALED_NOTE_BYTES, Decision, Job, Revocation
from trustspace.errors import (
    InvalidInput,
    InvalidTransition,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.transport.links import SpaceLink

ONE = "summary.json"


@pytest.fixture(scope="module")
def told():
    """A space that tells at once: how coarsely it tells is tested on its own."""
    story = Story()
    story.world.space.reader.slot_seconds = 0
    yield story
    story.close()


@pytest.fixture
def alone(told):
    """An output in review that one person decides on."""
    return told.until_review()


@pytest.fixture
def two(told):
    """An output in review that two must approve."""
    return told.until_review(reviewers=PEOPLE, threshold=2)


def open_with_all_that_there_is(story) -> bytes:
    """What a buyer does that has the space's whole disk, every statement, and its own key: all shares together."""
    output = output_of(story)
    artifact = next(a for a in output.body.artifacts if a.name == ONE)
    (unit,) = artifact.units
    sealed = {
        (digest, share.index): share.sealed
        for digest in output.decisions.values()
        for share in story.auditor.session.job(story.job).statement(digest).body.shares
        if share.artifact == ONE
    }
    shares = []
    for digest, index in sealed:
        decision = story.auditor.session.job(story.job).statement(digest).body
        reviewer = next(s.reviewer for s in unit.shares if s.index == index)
        info = handover_binding(
            output=output.statement, artifact=ONE, reviewer=reviewer, buyer_key=decision.buyer_key
        )
        package = story.buyer.keys.open("receive", bytes.fromhex(sealed[digest, index]), info)
        shares.append(decode_share(package[32:]))
    key = combine([decode_share(combine(shares, unit.threshold))], artifact.unit_threshold)
    blob = (story.world.home / "blobs" / artifact.blob).read_bytes()
    content = unpad(open_bytes(key, artifact_context(story.job, output.body.run, ONE), blob))
    verify_commitment(artifact.commitment, content[32:], content[:32])
    return content[32:]


# -- changes asked for


def test_changes_asked_for_leave_the_output_closed(two):
    """One of two shares was handed on; with everything else there is, it opens nothing."""
    assert two.approve("Dr Li") == "in-review"
    review.request_changes(two.hospital, two.case("Dr Wang"), ("overfitted",), "Train it less.")
    assert two.state == "changes-requested"
    with pytest.raises(InvalidTransition):
        two.fetch()
    with pytest.raises(InvalidInput, match="needed"):
        open_with_all_that_there_is(two)
    for person in PEOPLE:
        with pytest.raises(InvalidInput, match="changes"):
            two.approve(person)
    # The control: the same steps on a job that both approve.
    two.until_review(reviewers=PEOPLE, threshold=2)
    two.approve("Dr Li")
    assert two.approve("Dr Wang") == "released"
    assert b'"rows"' in open_with_all_that_there_is(two)


def test_what_developer_and_buyer_are_told(alone):
    review.request_changes(
        alone.hospital, alone.case(), ("small-groups", "other"), "Group 3 is small: 请合并", "private"
    )
    by_developer, by_buyer = (notices.changes(p, alone.job) for p in (alone.developer, alone.buyer))
    assert by_developer.reasons == by_buyer.reasons == ("small-groups", "other")
    assert (by_developer.source_unit, by_developer.reviewer) == (alone.hospital.fingerprint, "Dr Li")
    assert by_developer.note == "Group 3 is small: 请合并"
    assert by_buyer.note == "", "the note is sealed to the developer"
    for party in (alone.developer, alone.buyer):
        listed = next(j for j in jobs.listing(party) if j["statement"] == alone.job)
        assert listed["state"] == "changes requested"
    stranger = alone.world.party(f"Stranger {alone.job[:6]}", "developer")
    with pytest.raises((NotFound, PermissionDenied)):
        stranger.session.notice(alone.record.changes)
    # The private comment goes nowhere; only its commitment is in the ledger.
    assert (
        b"private"
        not in alone.auditor.session.job(alone.job).statement(alone.record.changes).envelope.to_bytes()
    )
    kept = alone.hospital.state()["comments"].values()
    assert "private" in [c["text"] for c in kept]


def test_it_is_told_when_the_slot_ends_and_not_before(alone):
    review.request_changes(alone.hospital, alone.case(), ("other",))
    space, digest = alone.world.space, alone.record.changes
    space.reader.slot_seconds = 10**10  # a slot that does not end
    try:
        assert notices.changes(alone.developer, alone.job) is None
        with pytest.raises(NotFound):
            alone.developer.session.notice(digest)
        assert notices.changes(alone.hospital, alone.job).reasons == ("other",), "its own reviewers know"
    finally:
        space.reader.slot_seconds = 0
    assert notices.changes(alone.developer, alone.job).reasons == ("other",)
    # And so with a revocation, which ends a review as well.
    alone.until_review()
    space.reader.slot_seconds = 10**10
    try:
        review.revoke(alone.hospital, alone.job, "Dr Li")
        for party in (alone.developer, alone.buyer):
            assert notices.revocation(party, alone.job) is None
            with pytest.raises(NotFound):
                party.session.notice(alone.record.revoked)
        assert notices.revocation(alone.hospital, alone.job).reviewer == "Dr Li"
    finally:
        space.reader.slot_seconds = 0
    assert notices.revocation(alone.developer, alone.job).reviewer == "Dr Li"


def test_every_note_is_as_long_as_every_other(told):
    lengths = set()
    for note in ("", "y" * notices.LONGEST_NOTE_BYTES):
        told.until_review()
        review.request_changes(told.hospital, told.case(), ("other",), note)
        decision = told.hospital.session.job(told.job).statement(told.record.changes).body
        lengths.add(len(decision.note))
        assert notices.changes(told.developer, told.job).note == note
    assert lengths == {2 * SEALED_NOTE_BYTES}


def test_a_note_opens_for_its_output_and_developer_alone(alone):
    review.request_changes(alone.hospital, alone.case(), ("other",), "for you")
    body = alone.hospital.session.job(alone.job).statement(alone.record.changes).body
    reviewer = alone.hospital.keys.public(alone.hospital.key_name("review", "Dr Li")).hex()
    key = alone.developer.keys.public("receive").hex()
    right = {"job": alone.job, "output": body.output, "reviewer": reviewer, "developer_key": key}
    sealed = bytes.fromhex(body.note)
    assert unpad(alone.developer.keys.open("receive", sealed, note_binding(**right))) == b"for you"
    with pytest.raises(VerificationFailed):
        alone.buyer.keys.open("receive", sealed, note_binding(**right))
    for field in right:
        with pytest.raises(VerificationFailed):
            alone.developer.keys.open("receive", sealed, note_binding(**{**right, field: "ab" * 32}))


@pytest.mark.parametrize(
    ("reasons", "note"),
    [((), "why not"), (("row 17 is odd",), ""), (("other",), "z" * (notices.LONGEST_NOTE_BYTES + 1))],
    ids=["no reason", "a reason of one's own", "too long a note"],
)
def test_what_is_not_told(told, reasons, note):
    if told.job == "" or told.state != "in-review":
        told.until_review()
    with pytest.raises(InvalidInput):
        review.request_changes(told.hospital, told.case(), reasons, note)
    assert told.state == "in-review"


def test_a_developer_of_an_older_home_gets_its_key_with_its_next_job(told):
    """Until then reasons reach it, and no note."""
    mine = [k for k in told.developer.party.keys if k.use == "receive"]
    told.until_review()
    told.developer.publish(without=mine)
    with pytest.raises(NotFound, match="no key yet"):
        review.request_changes(told.hospital, told.case(), ("other",), "a note")
    review.request_changes(told.hospital, told.case(), ("other",))
    assert notices.changes(told.developer, told.job).reasons == ("other",)
    told.until_review()
    assert [k.use for k in told.developer.party.keys].count("receive") == 1
    review.request_changes(told.hospital, told.case(), ("other",), "a note")
    assert notices.changes(told.developer, told.job).note == "a note"


def test_the_developer_answers_with_another_job(alone):
    review.request_changes(alone.hospital, alone.case(), ("too-large",), "Only the means.")
    first = alone.job
    path = write_job(alone.world, TWO_OUTPUTS, TWO_OUTPUTS_CODE)
    answer = jobs.submit(alone.developer, path, supersedes=first)
    record = alone.hospital.session.job(answer).job(answer)
    seen = notices.answered(alone.hospital, record)
    assert (seen.job, seen.title, seen.changes.reasons) == (first, "Mean size by diagnosis", ("too-large",))
    assert seen.changes.note == "", "what the reviewer wrote is for the developer"
    assert notices.answered(alone.developer, record).changes.note == "Only the means."
    # Somebody else's job is not theirs to answer, nor one that is not there; both are refused alike.
    other = alone.world.party(f"Other Dev {first[:6]}", "developer")
    body: Job = record.body
    for digest in (first, "ab" * 32):
        stolen = body.model_copy(update={"developer": other.fingerprint, "supersedes": digest})
        with pytest.raises(PermissionDenied, match="not its developer's"):
            other.submit(stolen, "act")
    with pytest.raises(PermissionDenied):
        alone.developer.submit(body.model_copy(update={"supersedes": "ab" * 32}), "act")
    # A space that let it pass is not believed either.
    passed = record.model_copy(update={"body": body.model_copy(update={"developer": other.fingerprint})})
    with pytest.raises(VerificationFailed, match="not its developer's"):
        notices.answered(alone.hospital, passed)


def test_a_space_that_names_another_statement_is_noticed(told, monkeypatch):
    """Developer and buyer cannot replay decisions: what a space passes off as one must not be believed."""
    told.until_review()
    review.request_changes(told.hospital, told.case(), ("other",))
    elsewhere = told.record.changes
    told.until_review(reviewers=PEOPLE, threshold=2)
    told.approve("Dr Li")
    (approval,) = output_of(told).decisions.values()
    granted = told.record.grants[told.hospital.fingerprint]
    named = {"names another statement": approval, "not about this job": elsewhere, "by no reviewer": granted}
    for said, digest in named.items():
        lie = {"changes": digest, "revoked": digest}
        with monkeypatch.context() as patch:
            patch.setattr(told.world.space.reader, "_notices", lambda _, lie=lie: lie)
            for ask in (notices.changes, notices.revocation):
                with pytest.raises(VerificationFailed, match=said):
                    ask(told.developer, told.job)
    # The control: as long as the space says what is so, there is nothing to be told.
    assert notices.changes(told.developer, told.job) is notices.revocation(told.buyer, told.job) is None


def test_a_demand_for_changes_binds_even_when_the_space_hides_it(told, monkeypatch):
    told.until_review(reviewers=PEOPLE)
    case = told.case("Dr Li")
    monkeypatch.setattr(SpaceLink, "submit", _lost)
    with pytest.raises(Unavailable):
        review.request_changes(told.hospital, case, ("other",))
    monkeypatch.undo()
    assert told.state == "in-review"
    for person in PEOPLE:
        with pytest.raises(InvalidInput, match="asked for changes"):
            told.approve(person)
    review.request_changes(told.hospital, case, ("other",))
    assert told.state == "changes-requested"


def _lost(*_, **__):
    raise Unavailable("The server did not answer in time.")


# -- revocation


def test_what_is_revoked_before_the_receipt_is_opened_no_more(alone):
    alone.approve()
    artifact = output_of(alone).body.artifacts[0]
    link = alone.world.link(alone.buyer)
    assert link.fetch(artifact.blob, artifact.sealed_bytes), "the control"
    review.revoke(alone.hospital, alone.job, "Dr Li")
    assert alone.state == "revoked"
    with pytest.raises(PermissionDenied):
        link.fetch(artifact.blob, artifact.sealed_bytes)
    with pytest.raises(InvalidTransition, match="revoked by Hospital A"):
        alone.fetch()
    for party in (alone.buyer, alone.developer, alone.auditor, alone.hospital):
        found = notices.revocation(party, alone.job)
        assert (found.source_unit, found.reviewer) == (alone.hospital.fingerprint, "Dr Li")
    listed = next(j for j in jobs.listing(alone.developer) if j["statement"] == alone.job)
    assert listed["state"] == "revoked"
    # What no revocation takes back: approvals and ciphertext that somebody has kept.
    assert b'"rows"' in open_with_all_that_there_is(alone)


def test_what_is_revoked_while_it_is_opened_is_handed_to_nobody(alone, monkeypatch):
    alone.approve()
    opening = releases._open

    def slowly(*given):
        found = opening(*given)
        if alone.state == "released":
            review.revoke(alone.hospital, alone.job, "Dr Li")
        return found

    monkeypatch.setattr(releases, "_open", slowly)
    with pytest.raises(InvalidTransition, match="revoked by Hospital A"):
        alone.fetch()
    assert (alone.state, alone.record.receipt) == ("revoked", "")


def test_after_the_receipt_a_revocation_is_a_notice(alone):
    alone.approve()
    delivered, before = alone.fetch()
    review.revoke(alone.hospital, alone.job, "Dr Li")
    assert (alone.state, bool(alone.record.revoked)) == ("released", True)
    for party in (alone.buyer, alone.developer, alone.auditor):
        assert notices.revocation(party, alone.job).reviewer == "Dr Li"
    again, after = alone.fetch()
    assert [d.content for d in again] == [d.content for d in delivered]
    trust = alone.buyer.trust()
    assert certificate.verify(after, trust).job.revoked == alone.record.revoked
    assert certificate.verify(before, trust).job.revoked == "", "it cannot show what came after it"


def test_a_revocation_binds_even_when_the_space_hides_it(told, monkeypatch):
    told.until_review(reviewers=PEOPLE)
    monkeypatch.setattr(SpaceLink, "submit", _lost)
    with pytest.raises(Unavailable):
        review.revoke(told.hospital, told.job, "Dr Li")
    monkeypatch.undo()
    with pytest.raises(InvalidInput, match="revoked this output"):
        told.approve("Dr Wang")
    review.revoke(told.hospital, told.job, "Dr Li")
    assert told.state == "revoked"


def test_nobody_else_revokes_and_a_replay_changes_nothing(told):
    told.until_review(reviewers=("Dr Li",))
    told.approve()
    body = Revocation(job=told.job, output=told.record.output)
    for party in (told.developer, told.buyer, told.auditor):
        with pytest.raises(PermissionDenied):
            party.submit(body, "act")
    with pytest.raises(PermissionDenied, match="does not name"):
        review.revoke(told.hospital, told.job, "Dr Wang")
    with pytest.raises(PermissionDenied, match="reviewer that the grant names"):
        told.hospital.submit(body, "review", "Dr Wang")
    assert told.state == "released"
    told.fetch()
    review.revoke(told.hospital, told.job, "Dr Li")
    first = told.record.revoked
    statement = told.hospital.session.job(told.job).statement(first)
    size = told.world.ledger.standing().size
    told.hospital.session.append(statement)  # the same bytes stand once
    assert told.world.ledger.standing().size == size
    # Into another job's story it does not fit.
    told.until_review(reviewers=("Dr Li",))
    told.hospital.session.append(statement)
    assert told.state == "in-review"


# -- each judges alone


def test_two_who_must_agree_judge_each_alone(two):
    assert review.standing_for(two.case("Dr Wang"), "Dr Wang").approved is None
    two.approve("Dr Li", comment="I looked at the groups.")
    case = two.case("Dr Wang")
    seen = review.standing_for(case, "Dr Wang")
    assert seen.blind
    assert seen.approved is None
    assert [(p.name, p.decision, p.comment) for p in seen.people] == [
        ("Dr Li", "hidden", ""),
        ("Dr Wang", "", ""),
    ]
    assert [(u.approved, u.closed) for u in seen.units] == [(None, False)]
    assert "I looked" not in repr(seen)
    # Nothing of it in the lists either, for anybody who asks without having decided.
    for listed in (
        *review.queue(two.hospital, "Dr Wang"),
        *review.queue(two.hospital),
        *jobs.listing(two.hospital),
    ):
        assert "decided_by" not in listed
    assert two.job in [j["statement"] for j in review.queue(two.hospital, "Dr Wang")]
    assert two.job not in [j["statement"] for j in review.queue(two.hospital, "Dr Li")]
    # Who has decided sees what there is: an own decision, and that the other one is missing.
    own = review.standing_for(two.case("Dr Li"), "Dr Li")
    assert (own.blind, own.approved, [p.decision for p in own.people]) == (False, 1, ["approve", ""])
    two.approve("Dr Wang", comment="So did I.")
    after = review.standing_for(two.case("Dr Wang"), "Dr Wang")
    assert (after.blind, after.approved) == (False, 2)
    assert [p.comment for p in after.people] == ["I looked at the groups.", "So did I."]


def test_where_one_decides_nothing_is_hidden(told):
    """The control: blindness is for those who must agree."""
    told.until_review(reviewers=PEOPLE)
    seen = review.standing_for(told.case("Dr Wang"), "Dr Wang")
    assert (seen.blind, seen.approved, [p.decision for p in seen.people]) == (False, 0, ["", ""])


def test_an_approval_counts_for_the_days_that_it_says(two):
    now = two.hospital.session.now()
    two.approve("Dr Li", valid_days=3)
    (decision,) = [
        s.body for s in two.hospital.session.job(two.job).statements if isinstance(s.body, Decision)
    ]
    assert 0 <= decision.expires - now - 3 * 86400 < 120
    shown = review.standing_for(two.case("Dr Li"), "Dr Li").people[0]
    assert shown.expires == decision.expires
    for days in (0, 367):
        with pytest.raises(InvalidInput, match="1 to 366"):
            two.approve("Dr Wang", valid_days=days)
    assert len(handed_on(two)) > 0


# -- how many must decide


def test_a_grant_under_a_policy_of_two(told):
    policy = told.hospital.session.dataset(told.dataset).body.policy
    told.ask()
    demanding = policy.model_copy(update={"reviewers": 2})
    asked = jobs.request(told.hospital, told.job)
    records = tuple(
        r.model_copy(update={"body": r.body.model_copy(update={"policy": demanding})}) for r in asked.datasets
    )
    asked = jobs.Request(asked.dossier, asked.job, asked.parameters, asked.code, records)
    with pytest.raises(PolicyRefused, match="2 reviewers approve"):
        jobs.draft_grant(told.hospital, asked, threshold=1)
    with pytest.raises(InvalidInput, match=r"names 1 reviewer\(s\), and 2"):
        jobs.draft_grant(told.hospital, asked, reviewers=("Dr Li",))
    assert jobs.draft_grant(told.hospital, asked).reviewer_threshold == 2
    assert jobs.draft_grant(told.hospital, jobs.request(told.hospital, told.job)).reviewer_threshold == 1

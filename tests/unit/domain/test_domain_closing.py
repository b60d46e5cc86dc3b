"""An output that its reviewers close otherwise than by a rejection: changes asked for, and revocations."""

import pytest
from support.cast import DAY, Cast, digest

from trustspace.crypto.statement import key_id
from trustspace.domain.bodies import SEALED_NOTE_BYTES, PartyKey, Policy, Receipt, Release, Reviewer
from trustspace.domain.certificate import verify
from trustspace.domain.permissions import is_kept_blind, may_read_blob, may_read_statement
from trustspace.domain.quorum import standing
from trustspace.domain.records import BlobRecord, DatasetRecord, DecisionRecord, OutputRecord
from trustspace.domain.replay import replay
from trustspace.domain.statements import dump, read
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    TrustspaceError,
    VerificationFailed,
)  # fmt: skip


def ask_for_changes(cast: Cast, number: int = 0, reviewer: int = 1, **changes):
    unit = cast.units[number]
    return cast.put(cast.sign(unit, f"review-{reviewer}", cast.changes_body(unit, **changes)))


def revoke(cast: Cast, number: int = 0, reviewer: int = 1, **changes):
    return cast.put(cast.sign(cast.units[number], f"review-{reviewer}", cast.revocation_body(**changes)))


# -- changes asked for


def test_changes_asked_for_close_the_output_for_good(at):
    cast = at("hand_in")
    cast.put(cast.sign(cast.units[0], "review-1", cast.decision_body(cast.units[0], 1)))
    asked = ask_for_changes(cast, 1, 2)
    assert (cast.job.state, cast.job.changes) == ("changes-requested", asked.digest)
    assert cast.job.moves[-1][1] == "changes requested"
    assert standing(cast.view, cast.job, cast.output, cast.now).verdict == "changes"
    for unit in cast.units:
        with pytest.raises(InvalidTransition, match="changes-requested"):
            cast.put(cast.sign(unit, "review-3", cast.decision_body(unit, 3)))
    for act in (lambda: revoke(cast), lambda: ask_for_changes(cast, 2)):
        with pytest.raises(TrustspaceError):
            act()
    release = Release(
        job=cast.job.statement, output=cast.job.output, decisions=(asked.digest,), artifacts=("a",)
    )
    with pytest.raises(PolicyRefused, match="not what the source units approved"):
        cast.put(cast.sign(cast.operator, "act", release))
    # It never lapses, unlike an approval.
    cast.now += 3 * DAY
    with pytest.raises(InvalidTransition):
        cast.put(cast.sign(cast.units[2], "review-1", cast.decision_body(cast.units[2], 1)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reasons": ()}, "at least one reason"),
        ({"reasons": ("overfitted", "overfitted")}, "each once"),
        ({"note": "ab" * (SEALED_NOTE_BYTES - 1)}, "one size"),
        ({"note": "ab"}, "one size"),
        ({"artifacts": ("model.safetensors",)}, "hands nothing on"),
        ({"buyer_key": "ab" * 32}, "hands nothing on"),
        ({"verdict": "reject"}, "Only who asks for changes"),
        ({"verdict": "reject", "reasons": ()}, "Only who asks for changes"),
        ({"verdict": "reject", "note": ""}, "Only who asks for changes"),
    ],
)
def test_what_a_demand_for_changes_says(at, changes, words):
    cast = at("hand_in")
    with pytest.raises(InvalidInput, match=words):
        ask_for_changes(cast.fork(), **changes)
    # The control: with reasons and a whole note, or none, it stands.
    ask_for_changes(cast.fork())
    ask_for_changes(cast, note="")


def test_a_reason_is_one_of_a_closed_list(at):
    cast = at("hand_in")
    said = dump(cast.changes_body(cast.units[0]))
    assert read(type(cast.changes_body(cast.units[0])), said, "decision").reasons == ("overfitted",)
    with pytest.raises(InvalidInput, match="reasons"):
        read(type(cast.changes_body(cast.units[0])), {**said, "reasons": ["row 17 is odd"]}, "decision")


def test_an_approval_gives_no_reasons(at):
    cast = at("hand_in")
    body = cast.decision_body(cast.units[0], 1, reasons=("other",))
    with pytest.raises(InvalidInput, match="Only who asks"):
        cast.put(cast.sign(cast.units[0], "review-1", body))


# -- revocation


@pytest.mark.parametrize("step", ["hand_in", "approve_all", "release"])
def test_one_reviewer_revokes_before_the_receipt(at, step):
    cast = at(step)
    stopped = revoke(cast, 2, 3)
    assert (cast.job.state, cast.job.revoked) == ("revoked", stopped.digest)
    assert cast.job.moves[-1][1] == "revoked"
    release = Release(
        job=cast.job.statement, output=cast.job.output, decisions=(stopped.digest,), artifacts=("a",)
    )
    receipt = Receipt(job=cast.job.statement, release=cast.job.release or stopped.digest, artifacts=("a",))
    late = (
        cast.sign(cast.operator, "act", release), cast.sign(cast.buyer, "act", receipt),
        cast.sign(cast.units[0], "review-3", cast.decision_body(cast.units[0], 3)),
        cast.sign(cast.units[1], "review-1", cast.revocation_body()),
    )  # fmt: skip
    for statement in late:
        with pytest.raises((InvalidTransition, AlreadyExists, InvalidInput, PolicyRefused)):
            cast.put(statement)
    assert not cast.job.receipt


def test_what_is_revoked_is_served_to_the_buyer_no_more(at):
    """The control is the same blob before; its source units may go on looking."""
    cast = at("release")
    output = cast.view.get(OutputRecord, cast.job.output)
    blob = cast.view.get(BlobRecord, output.body.artifacts[0].blob)
    assert may_read_blob(cast.view, cast.buyer.fingerprint, blob)
    assert may_read_statement(cast.view, cast.buyer.fingerprint, "decision", cast.job), (
        "its shares are for the buyer"
    )
    revoke(cast)
    assert not may_read_blob(cast.view, cast.buyer.fingerprint, blob)
    assert not may_read_statement(cast.view, cast.buyer.fingerprint, "decision", cast.job)
    assert may_read_blob(cast.view, cast.units[0].fingerprint, blob)


def test_after_the_receipt_it_is_a_notice(at):
    cast = at("receive")
    stopped = revoke(cast)
    assert (cast.job.state, cast.job.revoked) == ("released", stopped.digest)
    assert cast.job.receipt
    with pytest.raises(AlreadyExists, match="revoked already"):
        revoke(cast, 1)


def test_stopping_is_never_too_late(at):
    """A job expires; what was released of it can still be revoked."""
    cast = at("release")
    cast.now += 40 * DAY
    revoke(cast)
    assert cast.job.state == "revoked"


@pytest.mark.parametrize("step", ["ask", "grant_all", "release_keys"])
def test_without_an_output_there_is_nothing_to_revoke(at, step):
    cast = at(step)
    body = cast.revocation_body(output=digest("none"))
    with pytest.raises(PermissionDenied, match="not of this job's output"):
        cast.put(cast.sign(cast.units[0], "review-1", body))


def test_a_stranger_revokes_nothing(at):
    cast = at("release")
    body = cast.revocation_body()
    for stranger, key in (
        (cast.other_unit, "review-1"), (cast.buyer, "act"), (cast.developer, "act"), (cast.operator, "act"),
    ):  # fmt: skip
        with pytest.raises((PermissionDenied, VerificationFailed)):
            cast.put(cast.sign(stranger, key, body))
    with pytest.raises(VerificationFailed):
        cast.put(cast.sign(cast.units[0], "grant", body))
    assert cast.job.state == "released"


def test_a_reviewer_of_the_unit_whom_the_grant_does_not_name_revokes_nothing(at):
    cast = at("countersign")
    for unit in cast.units:
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit, reviewers=unit.reviewers()[:2])))
    cast.challenge().offer_all().release_keys().hand_in()
    with pytest.raises(PermissionDenied, match="reviewer that the grant names"):
        revoke(cast, 0, 3)
    revoke(cast, 0, 2)


def test_a_revocation_is_of_its_own_output(at):
    cast = at("release")
    with pytest.raises(PermissionDenied, match="not of this job's output"):
        revoke(cast, output=digest("another"))
    first = cast.fork()
    stolen = revoke(first)
    # The same statement stands once: put into the ledger again it changes nothing, and is refused.
    with pytest.raises(AlreadyExists):
        first.put(stolen)
    other = at("receive")
    other.put(stolen)
    assert other.job.state == "released"


def test_release_and_revocation_at_the_same_moment(at):
    """Whichever the ledger has first; both orders end closed, and no receipt follows."""
    cast = at("approve_all")
    release = cast.sign(cast.operator, "act", cast.release_body())
    stop = cast.sign(cast.units[0], "review-1", cast.revocation_body())
    one, other = cast.fork(), cast.fork()
    one.put(release)
    one.put(stop)
    other.put(stop)
    with pytest.raises((InvalidTransition, PolicyRefused)):
        other.put(release)
    assert (one.job.state, other.job.state) == ("revoked", "revoked")
    with pytest.raises(InvalidTransition):
        one.receive()


def test_receipt_and_revocation_at_the_same_moment(at):
    cast = at("release")
    receipt = cast.sign(cast.buyer, "act", cast.receipt_body())
    stop = cast.sign(cast.units[0], "review-1", cast.revocation_body())
    first, late = cast.fork(), cast.fork()
    first.put(receipt)
    first.put(stop)
    late.put(stop)
    with pytest.raises(InvalidTransition, match="revoked"):
        late.put(receipt)
    assert (first.job.state, late.job.state) == ("released", "revoked")


# -- what is proven of it


def shown(cast: Cast):
    strangers = {
        a.fingerprint for a in (cast.other_unit, cast.other_developer, cast.other_buyer, cast.auditor)
    }
    return [s for s in cast.statements if s.by not in strangers]


def test_a_replay_comes_to_the_same_end(at):
    for step in ("hand_in", "release", "receive"):
        cast = at(step)
        revoke(cast)
        told = replay(shown(cast), cast.trust())
        assert told.get(type(cast.job), cast.job.statement) == cast.job


def test_what_is_revoked_before_the_receipt_has_no_certificate(at):
    """Neither with the revocation in it, nor by leaving it out: without a receipt nothing is certified."""
    cast = at("release")
    control = cast.fork()
    control.receive()
    assert verify(control.certificate(shown(control)), cast.trust()).artifacts
    stop = revoke(cast)
    with pytest.raises(VerificationFailed, match="revoked"):
        verify(cast.certificate(shown(cast)), cast.trust())
    without = [s for s in shown(cast) if s.digest != stop.digest]
    with pytest.raises(VerificationFailed, match="no receipt"):
        verify(cast.certificate(without, log=cast.statements), cast.trust())


def test_a_certificate_made_after_a_notice_shows_it(at):
    cast = at("receive")
    before = cast.certificate(shown(cast))
    stop = revoke(cast)
    assert verify(cast.certificate(shown(cast)), cast.trust()).job.revoked == stop.digest
    # What it cannot show: the notice came after it was made.
    assert verify(before, cast.trust()).job.revoked == ""


# -- how many decide, and who never does


def test_a_grant_with_fewer_reviewers_than_the_policy_demands_is_refused():
    cast = Cast(units=1, reviewers=3, threshold=1).until("enrol")
    unit = cast.units[0]
    policy = Policy(reviewers=2)
    cast.put(cast.sign(unit, "act", cast.dataset_body(unit, policy=policy)))
    cast.ask().countersign()
    with pytest.raises(PolicyRefused, match="2 reviewers approve"):
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))
    cast.put(cast.sign(unit, "grant", cast.grant_body(unit, reviewer_threshold=2)))
    assert cast.view.get(DatasetRecord, cast.dataset(unit).statement).body.policy.reviewers == 2


@pytest.mark.parametrize("which", ["review", "review-open"])
def test_a_person_of_the_developers_reviews_nothing(at, which):
    """The hospital and the developer vouch for one and the same key: its holder would judge their own job."""
    cast = at("countersign")
    unit, developer = cast.units[0], cast.developer
    person = unit.reviewers()[0]
    shared = person.review if which == "review" else person.review_open
    use = "broker" if which == "review" else "receive"
    both = (*developer.body.keys, PartyKey(use=use, public=shared, holder="moonlighting"))
    body = developer.body.model_copy(update={"sequence": 2, "keys": both})
    control = cast.fork()
    control.put(control.sign(unit, "grant", control.grant_body(unit)))
    cast.put(cast.sign(developer, "root", body))
    with pytest.raises(PolicyRefused, match="job's own developer"):
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))
    others = tuple(r for r in unit.reviewers() if r != person)
    cast.put(cast.sign(unit, "grant", cast.grant_body(unit, reviewers=others)))


def test_the_developers_root_is_no_reviewer_either(at):
    cast = at("countersign")
    unit, root = cast.units[0], cast.developer.root.hex()
    keys = (*unit.body.keys, PartyKey(use="review", public=root, holder="moonlighting"))
    cast.put(cast.sign(unit, "root", unit.body.model_copy(update={"sequence": 2, "keys": keys})))
    person = Reviewer(holder="moonlighting", review=root, review_open=unit.reviewers()[0].review_open)
    with pytest.raises(PolicyRefused, match="job's own developer"):
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit, reviewers=(*unit.reviewers(), person))))
    assert key_id(bytes.fromhex(root)) == cast.developer.fingerprint


# -- answering


def test_a_job_answers_none_but_its_developers_own(at):
    cast = at("hand_in")
    ask_for_changes(cast)
    first = cast.job.statement
    control = cast.fork()
    control.put(control.sign(control.developer, "act", control.job_body(supersedes=first)))
    assert control.job.body.supersedes == first
    body = cast.job_body(supersedes=first, developer=cast.other_developer.fingerprint)
    with pytest.raises(PermissionDenied, match="not its developer's"):
        cast.put(cast.sign(cast.other_developer, "act", body))


# -- who may know what a colleague decided


def test_a_colleagues_decision_is_kept_from_who_has_not_decided(at):
    cast = at("hand_in")
    first, second = cast.units[:2]
    said = cast.put(cast.sign(first, "review-1", cast.decision_body(first, 1)))
    elsewhere = cast.put(cast.sign(second, "review-1", cast.decision_body(second, 1)))

    def kept(statement, number, cast=cast):
        decision = cast.view.get(DecisionRecord, statement.digest)
        key = first.public(f"review-{number}")
        return is_kept_blind(cast.view, cast.job, first.fingerprint, key, decision)

    assert [kept(said, number) for number in (1, 2, 3)] == [False, True, True]
    assert not kept(elsewhere, 2), "how far other units are is shown"
    cast.put(cast.sign(first, "review-2", cast.decision_body(first, 2)))
    assert [kept(said, number) for number in (1, 2, 3)] == [False, False, True]
    # When it has ended, there is nothing left to influence.
    revoke(cast)
    assert not kept(said, 3)


def test_where_one_decides_nothing_is_kept():
    cast = Cast(units=1, reviewers=2, threshold=1).until("hand_in")
    unit = cast.units[0]
    before = cast.fork()
    said = cast.put(cast.sign(unit, "review-1", cast.decision_body(unit, 1)))
    decision = cast.view.get(DecisionRecord, said.digest)
    job, key = before.job, unit.public("review-2")
    assert job.state == "in-review"
    assert not is_kept_blind(cast.view, job, unit.fingerprint, key, decision)

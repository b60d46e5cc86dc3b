"""Replay: anybody who has the statements and the roots finds out for themselves what stands."""

import pytest
from support.cast import Actor, digest

from trustspace.domain.records import JobRecord, PartyRecord, Record
from trustspace.domain.replay import MemoryView, replay, replayed_job, replayed_party
from trustspace.domain.statements import LogReference
from trustspace.errors import InvalidInput, NotFound, PermissionDenied, TrustspaceError, VerificationFailed


def test_replaying_gives_the_records_that_the_space_has(at):
    cast = at("receive")
    view = replay(cast.statements, cast.trust())
    assert replayed_job(view, cast.job.statement) == cast.job
    for kind in Record.__subclasses__():
        assert {r.key: r for r in view.all(kind)} == {r.key: r for r in cast.view.all(kind)}, kind.kind


def test_somebody_who_is_not_pinned_is_not_believed(at):
    cast = at("receive")
    trust = cast.trust()
    for actor in (*cast.units, cast.developer, cast.buyer):
        kept = tuple(p for p in trust.parties if p.fingerprint != actor.fingerprint)
        with pytest.raises(VerificationFailed, match="not in the trust file"):
            replay(cast.statements, trust.model_copy(update={"parties": kept}))


def test_a_false_party_of_the_same_name_is_not_believed(at):
    """The operator enrols a party of its own making under a hospital's name."""
    cast = at("describe")
    false = Actor(cast.units[0].name, "source-unit", reviewers=3)
    forged = cast.sign(false, "root", false.body)
    with pytest.raises(VerificationFailed, match="not in the trust file"):
        replay([*cast.statements, forged], cast.trust())


def test_every_statement_is_judged_at_its_own_time(at):
    """A story that took weeks can be replayed years later: positive and negative in one."""
    cast = at("ask")
    cast.now += 29 * 86400
    cast.countersign()
    view = replay(cast.statements, cast.trust())
    assert view.get(JobRecord, cast.job.statement).countersigned
    late = at("ask")
    late.now += 31 * 86400
    forged = late.sign(late.buyer, "act", late.countersignature_body())
    with pytest.raises(TrustspaceError, match="expired"):
        replay([*late.statements, forged], late.trust())


@pytest.mark.parametrize("place", ["first", "second"])
def test_statements_stand_in_their_own_order_only(at, place):
    cast = at("grant_all")
    moved = cast.statements.copy()
    if place == "first":
        moved.insert(0, moved.pop())
    else:
        job = next(i for i, s in enumerate(moved) if s.type == "job")
        moved[job], moved[job + 1] = moved[job + 1], moved[job]
    replay(cast.statements, cast.trust())
    with pytest.raises(TrustspaceError):
        replay(moved, cast.trust())


def test_a_statement_made_for_another_ledger_is_not_one_of_this(at):
    """The same keys may act in two spaces; what was said in one is not evidence in the other."""
    cast = at("describe")
    elsewhere = LogReference(origin="other.example/ledger", size=0, root=cast.log().root)
    statement = cast.sign(cast.developer, "act", cast.job_body(), log=elsewhere)
    with pytest.raises(VerificationFailed, match="another ledger"):
        replay([*cast.statements, statement], cast.trust())
    replay([*cast.statements, cast.sign(cast.developer, "act", cast.job_body())], cast.trust())


def test_what_is_not_there_is_said(at):
    cast = at("enrol")
    view = replay(cast.statements, cast.trust())
    with pytest.raises(NotFound):
        replayed_job(view, digest("no job"))
    with pytest.raises(NotFound):
        replayed_party(view, digest("nobody"))
    assert replayed_party(view, cast.buyer.fingerprint).body == cast.buyer.body


def test_a_layer_hides_nothing_and_changes_nothing_beneath(at):
    cast = at("enrol")
    layer = MemoryView(cast.view)
    old = layer.get(PartyRecord, cast.buyer.fingerprint)
    newer = old.model_copy(update={"statement": digest("newer")})
    layer.install([newer])
    assert layer.get(PartyRecord, cast.buyer.fingerprint) == newer
    assert cast.view.get(PartyRecord, cast.buyer.fingerprint) == old
    assert [p.fingerprint for p in layer.all(PartyRecord)] == [
        p.fingerprint for p in cast.view.all(PartyRecord)
    ]
    assert list(layer.installed()) == [newer]


def test_a_record_of_another_kind_is_not_handed_out(at):
    cast = at("enrol")
    assert cast.view.get(JobRecord, cast.buyer.fingerprint) is None


def test_a_forged_signature_anywhere_spoils_the_replay(at):
    """Everything but the signature is right; it is by a key that nobody vouches for."""
    cast = at("ask")
    thief = Actor("Thief", "buyer")
    forged = cast.sign(thief, "act", cast.countersignature_body(), by=cast.buyer.fingerprint)
    with pytest.raises(VerificationFailed):
        replay([*cast.statements, forged], cast.trust())
    with pytest.raises((PermissionDenied, InvalidInput)):
        replay(
            [*cast.statements, cast.sign(cast.other_buyer, "act", cast.countersignature_body())], cast.trust()
        )

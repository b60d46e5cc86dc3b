"""When: what each statement needs before it may stand. Three source units, two of three reviewers each.

That the honest statement stands at the same moment is shown in test_domain_who.py; here one thing is wrong.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from support.cast import DAY, TIER, Actor, Cast, digest

from trustspace.domain.bodies import Challenge, DatasetUse, PartyKey, Policy
from trustspace.domain.records import ChallengeRecord, JobRecord, OfferRecord
from trustspace.domain.statements import Statement
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    Stale,
)  # fmt: skip


class Wrong(NamedTuple):
    """After which step, what is wrong, the error, and words of its message."""

    after: str
    statement: Callable[[Cast], Statement]
    error: type
    words: str


def unit(method: str, key: str, number: int = 0, *more: Any, **changes: Any) -> Callable[[Cast], Statement]:
    """A statement by a source unit whose body differs in some fields; a field's value may depend on the cast."""

    def build(cast: Cast) -> Statement:
        author = cast.units[number]
        body = getattr(cast, method)(author, *more)
        filled = {k: v(cast) if callable(v) else v for k, v in changes.items()}
        return cast.sign(author, key, body.model_copy(update=filled))

    return build


def dataset(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("dataset_body", "act", **changes)


def grant(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("grant_body", "grant", **changes)


def offer(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("offer_body", "enclave", **changes)


def key_release(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("release_key_body", "broker", **changes)


def output(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("output_body", "enclave", **changes)


def decision(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("decision_body", "review-1", 0, 1, **changes)


def rejection(**changes: Any) -> Callable[[Cast], Statement]:
    return unit("rejection_body", "review-1", **changes)


def job(**changes: Any) -> Callable[[Cast], Statement]:
    def build(cast: Cast) -> Statement:
        filled = {k: v(cast) if callable(v) else v for k, v in changes.items()}
        return cast.sign(cast.developer, "act", cast.job_body().model_copy(update=filled))

    return build


def at_time(seconds: int, build: Callable[[Cast], Statement]) -> Callable[[Cast], Statement]:
    def later(cast: Cast) -> Statement:
        cast.now += seconds
        return build(cast)

    return later


def again(build: Callable[[Cast], Statement]) -> Callable[[Cast], Statement]:
    def twice(cast: Cast) -> Statement:
        cast.put(build(cast))
        return build(cast)

    return twice


def withdrawn(build: Callable[[Cast], Statement]) -> Callable[[Cast], Statement]:
    """Built before, submitted after the source unit's dataset is withdrawn."""

    def without_data(cast: Cast) -> Statement:
        statement = build(cast)
        cast.put(cast.sign(cast.units[0], "act", cast.withdrawal_body(cast.units[0])))
        return statement

    return without_data


def uses(cast: Cast, *actors: Actor, as_if_of: Actor | None = None) -> tuple[DatasetUse, ...]:
    return tuple(
        DatasetUse(
            dataset=cast.dataset(a).statement, source_unit=(as_if_of or a).fingerprint, columns=("size",)
        )
        for a in actors
    )


def second_enclave(build: Callable[[Cast], Statement]) -> Callable[[Cast], Statement]:
    """The source unit's root vouches for one more enclave, ``enclave-2`` in its keys."""

    def vouched(cast: Cast) -> Statement:
        author = cast.units[0]
        if "enclave-2" not in author.keys.names():
            author.keys.create_signing_key("enclave-2")
        key = PartyKey(use="enclave", public=author.public("enclave-2"), holder="second")
        newer = author.body.model_copy(update={"sequence": 2, "keys": (*author.body.keys, key)})
        cast.put(cast.sign(author, "root", newer))
        return build(cast)

    return vouched


def artifacts(change: Callable[[Cast, list], list]) -> Callable[[Cast], Statement]:
    """An output whose artifacts are what ``change`` makes of the honest ones: model, metrics, log."""

    def build(cast: Cast) -> Statement:
        body = cast.output_body(cast.units[0])
        changed = tuple(change(cast, list(body.artifacts)))
        return cast.sign(cast.units[0], "enclave", body.model_copy(update={"artifacts": changed}))

    return build


def model(**changes: Any) -> Callable[[Cast], Statement]:
    def change(cast: Cast, honest: list) -> list:
        filled = {k: v(cast, honest[0]) if callable(v) else v for k, v in changes.items()}
        return [honest[0].model_copy(update=filled), *honest[1:]]

    return artifacts(change)


def first_unit(**changes: Any) -> Callable[[Cast], Statement]:
    """An output in which the first source unit's part of the model's shares is different."""

    def units(cast: Cast, honest: Any) -> tuple:
        mine = honest.units[0]
        filled = {k: v(cast, mine) if callable(v) else v for k, v in changes.items()}
        return (mine.model_copy(update=filled), *honest.units[1:])

    return model(units=units)


def approval_shares(change: Callable[[list], list]) -> Callable[[Cast], Statement]:
    return lambda cast: decision(shares=tuple(change(list(cast.decision_body(cast.units[0], 1).shares))))(
        cast
    )


def foreign_reviewer(cast: Cast) -> tuple:
    mine, foreign = cast.units[0].reviewers(), cast.units[1].reviewers()
    return (mine[0], mine[1].model_copy(update={"review": foreign[1].review}))


def foreign_opener(cast: Cast) -> tuple:
    mine = cast.units[0].reviewers()
    return (mine[0], mine[1].model_copy(update={"review_open": cast.developer.public("act")}))


def used_challenge(cast: Cast) -> tuple:
    """The challenges that were answered before, all over again."""
    return tuple(
        Challenge(key_holder=c.key_holder, challenge=c.challenge)
        for c in cast.view.all(ChallengeRecord)
        if c.enclave == cast.units[0].public("enclave") and c.used
    )


def challenges_of_another(cast: Cast) -> tuple:
    return cast.challenges_for(cast.units[1])


def challenges_swapped(cast: Cast) -> tuple:
    """The right challenges under the wrong names."""
    mine = cast.challenges_for(cast.units[0])
    names = [c.key_holder for c in mine]
    return tuple(c.model_copy(update={"key_holder": n}) for c, n in zip(mine, reversed(names), strict=True))


WRONG: dict[str, Wrong] = {
    # a dataset
    "dataset in an enclave nobody vouches for":
        Wrong("enrol", dataset(enclave=digest("stranger")), PolicyRefused, "vouch"),
    "dataset in another unit's enclave":
        Wrong("enrol", dataset(enclave=lambda c: c.units[1].public("enclave")), PolicyRefused, "vouch"),
    "dataset version twice": Wrong("describe", dataset(manifest=digest("other")), AlreadyExists, "Version 1"),
    "dataset with another's manifest":
        Wrong("describe", dataset(version=2, manifest=lambda c: c.dataset(c.units[1]).body.manifest), AlreadyExists, "manifest"),
    "dataset withdrawn twice":
        Wrong("describe", again(unit("withdrawal_body", "act")), InvalidTransition, "withdrawn"),
    "dataset described without end":
        Wrong("enrol", dataset(description={"title": "x" * (256 << 10)}), InvalidInput, "description is larger"),
    # a job
    "source unit twice":
        Wrong("describe", job(source_units=lambda c: (c.units[0].fingerprint,) * 3), InvalidInput, "overlap"),
    "expires now": Wrong("describe", job(expires=lambda c: c.now), InvalidInput, "coming year"),
    "expires too late": Wrong("describe", job(expires=lambda c: c.now + 367 * DAY), InvalidInput, "coming year"),
    "buyer unknown": Wrong("describe", job(buyer=digest("nobody")), InvalidInput, "buyer"),
    "buyer is none": Wrong("describe", job(buyer=lambda c: c.auditor.fingerprint), InvalidInput, "buyer"),
    "buyer key is another's":
        Wrong("describe", job(buyer_key=lambda c: c.other_buyer.public("receive")), InvalidInput, "receiving key"),
    "buyer key is no receiving key":
        Wrong("describe", job(buyer_key=lambda c: c.buyer.public("act")), InvalidInput, "receiving key"),
    "more participants than units": Wrong("describe", job(minimum_participants=4), InvalidInput, "exceeds"),
    "dataset unknown":
        Wrong("describe", job(datasets=lambda c: (uses(c, *c.units)[0].model_copy(update={"dataset": digest("x")}),)),
              InvalidInput, "no dataset"),
    "dataset under another's name":
        Wrong("describe", job(datasets=lambda c: (*uses(c, *c.units), *uses(c, c.units[0], as_if_of=c.units[1]))),
              InvalidInput, "no dataset"),
    "dataset withdrawn": Wrong("describe", withdrawn(job()), InvalidInput, "withdrawn"),
    "a unit without a dataset":
        Wrong("describe", job(datasets=lambda c: uses(c, *c.units[1:])), InvalidInput, "not those of its datasets"),
    "a dataset without its unit":
        Wrong("describe", job(datasets=lambda c: uses(c, *c.units, c.other_unit)), InvalidInput, "not those of its datasets"),
    "dataset twice":
        Wrong("describe", job(datasets=lambda c: (*uses(c, *c.units), *uses(c, c.units[0]))), InvalidInput, "twice"),
    # the buyer's agreement
    "countersigned to another key":
        Wrong("ask", lambda c: c.sign(c.buyer, "act", c.countersignature_body(buyer_key=c.buyer.public("act"))),
              InvalidInput, "another buyer key"),
    "countersigned twice":
        Wrong("countersign", lambda c: c.sign(c.buyer, "act", c.countersignature_body()), AlreadyExists, "already"),
    "countersigned too late":
        Wrong("ask", at_time(31 * DAY, lambda c: c.sign(c.buyer, "act", c.countersignature_body())), PolicyRefused, "expired"),
    # a grant
    "granted twice": Wrong("countersign", again(grant()), AlreadyExists, "granted the job already"),
    "granted too late": Wrong("countersign", at_time(31 * DAY, grant(expires=2**40)), PolicyRefused, "job has expired"),
    "grant of another's dataset":
        Wrong("countersign", grant(datasets=lambda c: (c.dataset(c.units[1]).statement,)), InvalidInput, "exactly"),
    "grant of one dataset more":
        Wrong("countersign", grant(datasets=lambda c: tuple(c.dataset(u).statement for u in c.units[:2])), InvalidInput, "exactly"),
    "grant to an enclave nobody vouches for":
        Wrong("countersign", grant(enclave=digest("stranger")), PolicyRefused, "vouch"),
    "grant to another unit's enclave":
        Wrong("countersign", grant(enclave=lambda c: c.units[1].public("enclave")), PolicyRefused, "vouch"),
    "grant to an enclave without the data":
        Wrong("countersign", second_enclave(grant(enclave=lambda c: c.units[0].public("enclave-2"))), PolicyRefused, "holds"),
    "grant of withdrawn data": Wrong("countersign", withdrawn(grant()), PolicyRefused, "withdrawn"),
    "grant to a stranger as reviewer": Wrong("countersign", grant(reviewers=foreign_reviewer), PolicyRefused, "reviewer key"),
    "grant with a stranger's opening key": Wrong("countersign", grant(reviewers=foreign_opener), PolicyRefused, "reviewer key"),
    "grant with one reviewer twice":
        Wrong("countersign", grant(reviewers=lambda c: (c.units[0].reviewers()[0],) * 2), InvalidInput, "twice"),
    "grant with more approvals than reviewers":
        Wrong("countersign", grant(reviewer_threshold=4), InvalidInput, "threshold"),
    "grant that has expired": Wrong("countersign", grant(expires=lambda c: c.now), InvalidInput, "past"),
    "grant after a refusal":
        Wrong("countersign", lambda c: c.put(c.sign(c.units[1], "grant", c.refusal_body())) and grant()(c), InvalidTransition, "refused"),
    "refusal of what is to be reviewed":
        Wrong("hand_in", lambda c: c.sign(c.units[0], "grant", c.refusal_body()), InvalidTransition, "in-review"),
    # challenges and offers
    "challenge before the grants": Wrong("countersign", unit("nonce_body", "broker", 0, Actor("E", "source-unit")), InvalidInput, "enclave"),
    "challenge given twice":
        Wrong("challenge", unit("nonce_body", "broker", 0, Actor("E", "source-unit"),
              enclave=lambda c: c.units[0].public("enclave"),
              challenge=lambda c: next(iter(c.view.all(ChallengeRecord))).challenge), AlreadyExists, "given before"),
    "challenge for a strange enclave":
        Wrong("grant_all", unit("nonce_body", "broker", 0, Actor("E", "source-unit")), InvalidInput, "no grant"),
    "offer without one unit's challenge":
        Wrong("challenge", offer(challenges=lambda c: c.challenges_for(c.units[0])[:2]), InvalidInput, "every key holder"),
    "offer with challenges for another enclave":
        Wrong("challenge", offer(challenges=challenges_of_another), InvalidInput, "not given to it"),
    "offer with challenges swapped": Wrong("challenge", offer(challenges=challenges_swapped), InvalidInput, "not given to it"),
    "offer with an invented challenge":
        Wrong("challenge", offer(challenges=lambda c: tuple(
            Challenge(key_holder=u.fingerprint, challenge=digest(u.name)) for u in c.units)), InvalidInput, "not given to it"),
    "offer replaying answered challenges": Wrong("offer_all", offer(challenges=used_challenge), PolicyRefused, "answered before"),
    "offer by an enclave that was not granted":
        Wrong("challenge", second_enclave(unit("offer_body", "enclave-2")), PermissionDenied, "enclave that the grant names"),
    "offer before the grant": Wrong("countersign", offer(), PermissionDenied, "enclave that the grant names"),
    "offer too late": Wrong("challenge", at_time(31 * DAY, offer()), PolicyRefused, "job has expired"),
    "offer while it runs":
        Wrong("release_keys", lambda c: _challenge_anew(c) and offer()(c), InvalidTransition, "running"),
    "offer with evidence that nobody verifies":
        Wrong("challenge", offer(evidence=lambda c: c.evidence().model_copy(update={"kind": "snp"})), PolicyRefused, "cannot be verified"),
    "offer from another custody than the data's":
        Wrong("challenge", offer(evidence=lambda c: c.evidence().model_copy(update={"custody": "operator-hosted"})),
              PolicyRefused, "custody"),
    "offer from no sandbox": Wrong("challenge", offer(evidence=lambda c: c.evidence().model_copy(update={"sandbox_tier": "none"})),
              PolicyRefused, "sandbox is weaker"),
    # key releases
    "key for no run": Wrong("offer_all", key_release(offer=digest("none")), Stale, "not on"),
    "key for another unit's run":
        Wrong("offer_all", key_release(offer=lambda c: c.job.offers[c.units[1].fingerprint]), Stale, "not on"),
    "key under another's grant":
        Wrong("offer_all", key_release(grant=lambda c: c.grant(c.units[1]).statement), PermissionDenied, "grant of this job"),
    "key of another's dataset":
        Wrong("offer_all", key_release(dataset=lambda c: c.dataset(c.units[1]).statement), PermissionDenied, "cover"),
    "key of withdrawn data": Wrong("offer_all", withdrawn(key_release()), PolicyRefused, "withdrawn"),
    "key after the grant's end": Wrong("offer_all", at_time(21 * DAY, key_release()), PolicyRefused, "grant has expired"),
    "key after the job's end": Wrong("offer_all", at_time(31 * DAY, key_release()), PolicyRefused, "job has expired"),
    "key twice": Wrong("offer_all", again(key_release()), AlreadyExists, "already"),
    "key beyond the grant's runs": Wrong("offer_all", key_release(run_number=3), PolicyRefused, "runs"),
    "key for a run that failed":
        Wrong("release_keys", lambda c: _keep_offer(c, unit("failed_body", "enclave"), key_release), Stale, "not on"),
    # failures and outputs
    "failure of another's run":
        Wrong("release_keys", unit("failed_body", "enclave", 0, offer=lambda c: c.job.offers[c.units[1].fingerprint]),
              PermissionDenied, "not of a run of this enclave"),
    "failure of the same run twice":
        Wrong("release_keys", lambda c: _failed_twice(c), PermissionDenied, "not of a run of this enclave"),
    "output of another's run":
        Wrong("release_keys", output(offer=lambda c: c.job.offers[c.units[1].fingerprint]), PermissionDenied, "not of a run"),
    "output before every key is released": Wrong("offer_all", output(), InvalidTransition, "granted"),
    "output without a grant": Wrong("release_keys", output(grants=lambda c: tuple(c.job.grants.values())[:2]), InvalidInput, "grants"),
    "output with an artifact twice": Wrong("release_keys", artifacts(lambda c, a: [a[0], a[0]]), InvalidInput, "twice"),
    "output without a unit's evidence":
        Wrong("release_keys", output(evidence=lambda c: c.output_body(c.units[1]).evidence), InvalidInput, "evidence"),
    "output that leaves a unit without its share":
        Wrong("release_keys", model(units=lambda c, m: m.units[:2], unit_threshold=2), PolicyRefused, "without its share"),
    "output that two of three units could open": Wrong("release_keys", model(unit_threshold=2), PolicyRefused, "fewer source units"),
    "output with a unit's shares twice":
        Wrong("release_keys", model(units=lambda c, m: (*m.units, m.units[0]), unit_threshold=4), PolicyRefused, "fewer source units"),
    "output with a stranger among the units":
        Wrong("release_keys", model(units=lambda c, m: (
            *m.units, m.units[0].model_copy(update={"source_unit": c.other_unit.fingerprint})), unit_threshold=4),
            PolicyRefused, "share"),
    "output with a stranger's log":
        Wrong("release_keys", artifacts(lambda c, a: [a[0], a[1], a[2].model_copy(update={"units": (
            a[2].units[0].model_copy(update={"source_unit": c.other_unit.fingerprint}),)})]), PolicyRefused, "share"),
    "output without a reviewer's share":
        Wrong("release_keys", first_unit(shares=lambda c, u: u.shares[:2]), PolicyRefused, "reviewers that the grants name"),
    "output with a stranger as reviewer":
        Wrong("release_keys", first_unit(shares=lambda c, u: (*u.shares[:2], u.shares[2].model_copy(
            update={"reviewer": c.other_unit.public("review-1")}))), PolicyRefused, "reviewers that the grants name"),
    "output with a reviewer twice":
        Wrong("release_keys", first_unit(shares=lambda c, u: (*u.shares, u.shares[0])), PolicyRefused, "reviewers that the grants name"),
    "output that one of three reviewers could open":
        Wrong("release_keys", first_unit(threshold=1), PolicyRefused, "fewer reviewers"),
    # decisions
    "decision on another output": Wrong("hand_in", decision(output=digest("other")), PermissionDenied, "this job's output"),
    "decision on other evidence": Wrong("hand_in", decision(evidence=digest("other")), InvalidInput, "other evidence"),
    "decision on another unit's evidence":
        Wrong("hand_in", decision(evidence=lambda c: c.output.body.evidence[1].commitment), InvalidInput, "other evidence"),
    "decision twice": Wrong("hand_in", again(decision()), AlreadyExists, "decided already"),
    "approval then rejection": Wrong("hand_in", lambda c: c.put(decision()(c)) and rejection()(c), AlreadyExists, "decided already"),
    "decision that has expired": Wrong("hand_in", decision(expires=lambda c: c.now), InvalidInput, "past"),
    "decision too late": Wrong("hand_in", at_time(31 * DAY, decision()), PolicyRefused, "job has expired"),
    "approval for another buyer":
        Wrong("hand_in", decision(buyer_key=lambda c: c.other_buyer.public("receive")), PolicyRefused, "another key"),
    "approval of nothing": Wrong("hand_in", decision(artifacts=(), shares=()), InvalidInput, "artifacts"),
    "approval of what does not exist": Wrong("hand_in", decision(artifacts=("secret.json",)), InvalidInput, "artifacts"),
    "approval of one artifact twice":
        Wrong("hand_in", decision(artifacts=("metrics.json", "metrics.json")), InvalidInput, "artifacts"),
    "approval of another unit's log":
        Wrong("hand_in", unit("decision_body", "review-1", 1, 1, artifacts=("run.log",)), InvalidInput, "artifacts"),
    "approval with a share missing": Wrong("hand_in", approval_shares(lambda s: s[:1]), InvalidInput, "shares"),
    "approval with a share too many": Wrong("hand_in", approval_shares(lambda s: [*s, s[0]]), InvalidInput, "shares"),
    "approval with shares in another order": Wrong("hand_in", approval_shares(lambda s: s[::-1]), InvalidInput, "shares"),
    "approval with another reviewer's index":
        Wrong("hand_in", approval_shares(lambda s: [s[0].model_copy(update={"index": 2}), s[1]]), InvalidInput, "shares"),
    "rejection that hands shares on":
        Wrong("hand_in", rejection(shares=lambda c: c.decision_body(c.units[0], 1).shares), InvalidInput, "hands nothing on"),
    "rejection that names a buyer": Wrong("hand_in", rejection(buyer_key=lambda c: c.buyer.public("receive")), InvalidInput, "hands nothing"),
    "decision after the quorum":
        Wrong("approve_all", unit("decision_body", "review-3", 0, 3), InvalidTransition, "approved"),
    # release and receipt
    "release before the quorum":
        Wrong("hand_in", lambda c: c.sign(c.operator, "act", c.release_body(
            artifacts=("model.safetensors",), decisions=(digest("d"),))), PolicyRefused, "not what"),
    "release of more than was approved":
        Wrong("approve_all", lambda c: c.sign(c.operator, "act", c.release_body(
            artifacts=("model.safetensors", "metrics.json", "run.log"))), PolicyRefused, "not what"),
    "release of less than was approved":
        Wrong("approve_all", lambda c: c.sign(c.operator, "act", c.release_body(artifacts=("model.safetensors",))), PolicyRefused, "not what"),
    "release on fewer decisions":
        Wrong("approve_all", lambda c: c.sign(c.operator, "act", c.release_body(
            decisions=c.release_body().decisions[:-1])), PolicyRefused, "not what"),
    "release of another output":
        Wrong("approve_all", lambda c: c.sign(c.operator, "act", c.release_body(output=digest("o"))), InvalidInput, "output"),
    "release twice": Wrong("release", lambda c: c.sign(c.operator, "act", c.release_body()), InvalidTransition, "released"),
    "receipt for another release":
        Wrong("release", lambda c: c.sign(c.buyer, "act", c.receipt_body(release=digest("r"))), InvalidInput, "release"),
    "receipt twice": Wrong("receive", lambda c: c.sign(c.buyer, "act", c.receipt_body()), AlreadyExists, "receipt"),
}  # fmt: skip


def _challenge_anew(cast: Cast) -> bool:
    """Put fresh challenges in the view, as if they had come in time."""
    for author in cast.units:
        cast.view.install([ChallengeRecord(
            challenge=digest(f"late {author.name}"), job=cast.job.statement, key_holder=author.fingerprint,
            enclave=cast.units[0].public("enclave"))])  # fmt: skip
    return True


def _keep_offer(cast: Cast, fail: Callable, release: Callable) -> Statement:
    offered = cast.job.offers[cast.units[0].fingerprint]
    cast.put(fail(cast))
    return release(offer=offered)(cast)


def _failed_twice(cast: Cast) -> Statement:
    body = cast.failed_body(cast.units[0])
    cast.put(cast.sign(cast.units[0], "enclave", body))
    return cast.sign(cast.units[0], "enclave", body)


@pytest.mark.parametrize("name", WRONG)
def test_it_may_not_stand(at, name):
    wrong = WRONG[name]
    cast = at(wrong.after)
    statement = wrong.statement(cast)
    before = {record.key: record for record in cast.view.all(JobRecord)}
    with pytest.raises(wrong.error) as caught:
        cast.put(statement)
    assert type(caught.value) is wrong.error
    assert wrong.words in str(caught.value)
    assert {record.key: record for record in cast.view.all(JobRecord)} == before, "a refusal changes nothing"


# -- what follows from several statements together


@pytest.mark.parametrize("last", ["countersignature", "grant"])
def test_a_job_is_granted_when_all_have_agreed_and_not_before(at, last):
    cast = at("ask")
    if last == "grant":
        cast.countersign()
    for author in cast.units[:2]:
        cast.put(cast.sign(author, "grant", cast.grant_body(author)))
        assert cast.job.state == "submitted"
    cast.put(cast.sign(cast.units[2], "grant", cast.grant_body(cast.units[2])))
    if last == "countersignature":
        assert cast.job.state == "submitted"
        cast.countersign()
    assert cast.job.state == "granted"


def test_one_refusal_ends_it_for_all(at):
    cast = at("grant_all")
    cast.put(cast.sign(cast.units[2], "grant", cast.refusal_body()))
    assert (cast.job.state, cast.job.refused_by) == ("refused", cast.units[2].fingerprint)


def test_it_runs_when_every_source_unit_has_released_its_key(at):
    cast = at("offer_all")
    for author in cast.units:
        assert cast.job.state == "granted"
        cast.put(cast.sign(author, "broker", cast.release_key_body(author)))
    assert cast.job.state == "running"


def test_one_members_failure_ends_the_run_for_all_and_they_offer_anew(at):
    cast = at("release_keys")
    old = dict(cast.job.offers)
    cast.put(cast.sign(cast.units[1], "enclave", cast.failed_body(cast.units[1])))
    assert cast.job.state == "granted"
    assert cast.job.offers == {}
    assert all(cast.view.get(OfferRecord, digest).ended for digest in old.values())
    cast.challenge().offer_all()
    assert set(cast.job.offers.values()).isdisjoint(old.values())
    for author in cast.units:
        cast.put(cast.sign(author, "broker", cast.release_key_body(author)))
    assert cast.job.state == "running"
    assert [cast.grant(author).runs_used for author in cast.units] == [2, 2, 2]


def test_a_job_whose_runs_are_used_up_has_failed(at):
    cast = at("release_keys")
    cast.put(cast.sign(cast.units[0], "enclave", cast.failed_body(cast.units[0])))
    cast.challenge().offer_all().release_keys()
    cast.put(cast.sign(cast.units[0], "enclave", cast.failed_body(cast.units[0])))
    assert cast.job.state == "failed"


def test_a_broker_may_skip_a_number_it_counted_and_never_used(at):
    """It counts durably before it releases; a crash in between uses the number up, and blocks nothing."""
    cast = at("offer_all")
    for author in cast.units:
        cast.put(cast.sign(author, "broker", cast.release_key_body(author, run_number=2)))
    assert cast.job.state == "running"
    assert [cast.grant(author).runs_used for author in cast.units] == [2, 2, 2]
    cast.put(cast.sign(cast.units[0], "enclave", cast.failed_body(cast.units[0])))
    assert cast.job.state == "failed", "the grant's two runs are used up"


def test_no_number_of_a_run_comes_twice(at):
    cast = at("release_keys")
    cast.put(cast.sign(cast.units[0], "enclave", cast.failed_body(cast.units[0])))
    cast.challenge().offer_all()
    used = cast.sign(cast.units[0], "broker", cast.release_key_body(cast.units[0], run_number=1))
    with pytest.raises(PolicyRefused):
        cast.put(used)
    cast.put(cast.sign(cast.units[0], "broker", cast.release_key_body(cast.units[0], run_number=2)))


def test_two_datasets_of_one_unit_are_one_run(at):
    cast = at("describe")
    author = cast.units[0]
    second = cast.put(
        cast.sign(author, "act", cast.dataset_body(author, dataset="second", manifest=digest("second")))
    )
    more = DatasetUse(dataset=second.digest, source_unit=author.fingerprint, columns=("size",))
    body = cast.job_body(kind="compute")
    cast.put(cast.sign(cast.developer, "act", body.model_copy(update={"datasets": (*body.datasets, more)})))
    cast.countersign()
    both = (cast.dataset(author).statement, second.digest)
    for other in cast.units:
        changes = {"datasets": both} if other is author else {}
        cast.put(cast.sign(other, "grant", cast.grant_body(other, **changes)))
    cast.challenge().offer_all().release_keys()
    assert cast.job.state == "granted", "one key is missing"
    for number, stands in ((2, False), (1, True)):
        body = cast.release_key_body(author, dataset=second.digest, run_number=number)
        statement = cast.sign(author, "broker", body)
        if stands:
            cast.put(statement)
        else:
            with pytest.raises(PolicyRefused, match="miscounted"):
                cast.put(statement)
    assert cast.job.state == "running"
    assert cast.grant(author).runs_used == 1


def test_a_dataset_grows_by_versions(at):
    cast = at("describe")
    author = cast.units[0]
    for version in (2, 7):
        cast.put(
            cast.sign(
                author, "act", cast.dataset_body(author, version=version, manifest=digest(f"m{version}"))
            )
        )
    with pytest.raises(AlreadyExists):
        cast.put(cast.sign(author, "act", cast.dataset_body(author, version=7, manifest=digest("m"))))


def test_a_policy_that_refuses_custom_code_refuses_it(at):
    cast = at("enrol")
    policy = Policy(custom_code="refuse")
    for author in cast.units:
        cast.put(cast.sign(author, "act", cast.dataset_body(author, policy=policy)))
    cast.ask()
    with pytest.raises(PolicyRefused, match="own code"):
        cast.put(grant()(cast))
    # Without code the same grant stands.
    plain = cast.put(cast.sign(cast.developer, "act", cast.job_body(code="")))
    cast.put(cast.sign(cast.units[0], "grant", cast.grant_body(cast.units[0], job=plain.digest)))


def test_a_reviewer_whom_the_grant_does_not_name_cannot_decide(at):
    """The root vouches for three; the grant names two of them."""
    cast = at("countersign")
    two = {author.fingerprint: author.reviewers()[:2] for author in cast.units}
    for author in cast.units:
        cast.put(cast.sign(author, "grant", cast.grant_body(author, reviewers=two[author.fingerprint])))
    cast.challenge().offer_all().release_keys().hand_in()
    author = cast.units[0]
    third = cast.sign(author, "review-3", cast.decision_body(author, 2))
    with pytest.raises(PermissionDenied, match="reviewer that the grant names"):
        cast.put(third)
    cast.put(cast.sign(author, "review-2", cast.decision_body(author, 2)))


def test_the_developer_is_never_among_those_who_review(at):
    """Whoever submitted a job never reviews its output: a source unit that asks is no source unit of that job."""
    cast = at("begin")
    both = Actor("Hospital and developer", "source-unit", "developer", reviewers=1)
    for actor in (cast.operator, cast.buyer, both):
        cast.put(cast.sign(actor, "root", actor.body))
    cast.units = [both]
    cast.put(cast.sign(both, "act", cast.dataset_body(both)))
    with pytest.raises(InvalidInput, match="developer among them"):
        cast.put(cast.sign(both, "act", cast.job_body(developer=both.fingerprint)))
    # The same request by somebody else stands.
    cast.put(cast.sign(cast.developer, "root", cast.developer.body))
    cast.ask()


def test_a_log_belongs_to_its_own_unit_alone(at):
    cast = at("hand_in")
    log = next(a for a in cast.output.body.artifacts if a.role == "log")
    assert [u.source_unit for u in log.units] == [cast.units[0].fingerprint]
    assert cast.output.body.sandbox_tier == TIER


# -- demands of a grant hold for every enclave of the run


@pytest.mark.parametrize(("tier", "demanded", "stands"), [
    (TIER, TIER, True), ("namespaces+seccomp", TIER, False), ("namespaces+seccomp", "namespaces+seccomp", True),
    (TIER, "namespaces+seccomp", True), ("namespaces+seccomp", "any", True), (TIER, "perfect", False),
])  # fmt: skip
def test_what_one_unit_demands_every_enclave_must_give(at, tier, demanded, stands):
    """The third unit demands; it is the first one's enclave that offers."""
    cast = at("countersign")
    for author in cast.units:
        changes = {"sandbox_tier": demanded} if author is cast.units[2] else {}
        cast.put(cast.sign(author, "grant", cast.grant_body(author, **changes)))
    cast.challenge()
    statement = offer(evidence=cast.evidence().model_copy(update={"sandbox_tier": tier}))(cast)
    if stands:
        cast.put(statement)
    else:
        with pytest.raises(PolicyRefused, match="weaker"):
            cast.put(statement)


def test_software_evidence_meets_no_demand_for_hardware(at):
    cast = at("countersign")
    for author in cast.units:
        changes = {"evidence_kind": "snp"} if author is cast.units[2] else {}
        cast.put(cast.sign(author, "grant", cast.grant_body(author, **changes)))
    cast.challenge()
    with pytest.raises(PolicyRefused, match="weaker"):
        cast.put(offer()(cast))


# -- an approval ends


def approve(cast: Cast, number: int, reviewer: int, days: int = 1) -> str:
    author = cast.units[number]
    body = cast.decision_body(author, reviewer, expires=cast.now + days * DAY)
    cast.put(cast.sign(author, f"review-{reviewer}", body))
    return cast.job.state


def test_an_approval_that_has_expired_counts_no_more(at):
    """Control: within its days the same approval is the one that was missing."""
    cast = at("hand_in")
    for number in range(3):
        for reviewer in (1, 2):
            if (number, reviewer) != (2, 2):
                assert approve(cast, number, reviewer) == "in-review"
    late = cast.fork()
    assert approve(cast, 2, 2) == "approved"
    late.now += 2 * DAY
    assert approve(late, 2, 2) == "in-review"
    # Whoever approved may do so again, and then it stands.
    for number, reviewer in ((0, 1), (0, 2), (1, 1), (1, 2)):
        assert approve(late, number, reviewer) == "in-review"
    assert approve(late, 2, 1) == "approved"


def test_a_decision_that_stands_is_not_made_twice(at):
    cast = at("hand_in")
    approve(cast, 0, 1, days=3)
    cast.now += 2 * DAY
    with pytest.raises(AlreadyExists):
        approve(cast, 0, 1)
    cast.now += 2 * DAY
    assert approve(cast, 0, 1) == "in-review"


def test_a_rejection_does_not_expire(at):
    cast = at("hand_in")
    cast.put(rejection()(cast))
    cast.now += 3 * DAY
    for number, reviewer in ((0, 1), (0, 2), (1, 1)):
        with pytest.raises(InvalidTransition):
            approve(cast, number, reviewer)
    assert cast.job.state == "rejected"


def test_what_was_approved_and_has_expired_is_not_released(at):
    cast = at("approve_all")
    release = cast.sign(cast.operator, "act", cast.release_body())
    cast.fork().put(release)
    cast.now += 2 * DAY
    with pytest.raises(PolicyRefused):
        cast.put(cast.sign(cast.operator, "act", release.body))
    # It waits for approvals again, instead of for nobody.
    assert approve(cast, 0, 1) == "in-review"
    for number in range(3):
        for reviewer in (1, 2):
            if (number, reviewer) != (0, 1):
                state = approve(cast, number, reviewer)
    assert state == "approved"
    assert cast.release().job.state == "released"


def test_a_release_does_not_expire(at):
    """What the buyer may fetch today it may fetch in a month: the shares were handed on."""
    cast = at("release")
    cast.now += 29 * DAY
    assert cast.job.released == ("model.safetensors", "metrics.json")
    cast.receive()
    assert cast.job.receipt

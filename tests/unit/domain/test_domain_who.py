"""Who: for every kind of statement, its author's role, part in the job, and the one key that signs it."""

import dataclasses

import pytest
from support.cast import Actor, Cast, digest

from trustspace.domain import rules
from trustspace.domain.bodies import BODIES, Party
from trustspace.domain.permissions import SIGNS
from trustspace.errors import PermissionDenied, Stale, TrustspaceError, Unauthenticated, VerificationFailed


@dataclasses.dataclass(frozen=True)
class Act:
    """When a statement may stand, who signs it with which key, and the field that names what it is about."""

    after: str
    author: str
    key: str
    body: object
    about: str = "job"
    # Somebody with the same role who has no part in it.
    stranger: str = "other_unit"
    blind: bool = False


def unit_body(method, *more):
    return lambda cast: getattr(cast, method)(cast.units[0], *more)


ACTS = {
    "dataset": Act("enrol", "unit", "act", unit_body("dataset_body"), ""),
    "dataset-withdrawn": Act("describe", "unit", "act", unit_body("withdrawal_body"), "dataset"),
    "job": Act("describe", "developer", "act", lambda cast: cast.job_body(), "", "other_developer"),
    "job-countersignature": Act(
        "ask", "buyer", "act", lambda cast: cast.countersignature_body(), "job", "other_buyer"
    ),
    "job-cancellation": Act(
        "ask", "developer", "act", lambda cast: cast.cancellation_body(), "job", "other_developer"
    ),
    "grant": Act("countersign", "unit", "grant", unit_body("grant_body")),
    "refusal": Act("ask", "unit", "grant", lambda cast: cast.refusal_body()),
    "run-nonce": Act(
        "grant_all", "unit", "broker", lambda cast: cast.nonce_body(cast.units[0], cast.units[1])
    ),
    "run-offer": Act("challenge", "unit", "enclave", unit_body("offer_body")),
    "code-release": Act(
        "offer_all",
        "developer",
        "broker",
        lambda cast: cast.release_code_body(cast.units[0]),
        "job",
        "other_developer",
        blind=True,
    ),
    "key-release": Act("offer_all", "unit", "broker", unit_body("release_key_body")),
    "run-failed": Act("release_keys", "unit", "enclave", unit_body("failed_body")),
    "output": Act("release_keys", "unit", "enclave", unit_body("output_body")),
    "decision": Act("hand_in", "unit", "review-1", unit_body("decision_body", 1)),
    "revocation": Act("hand_in", "unit", "review-1", lambda cast: cast.revocation_body()),
    "release": Act("approve_all", "operator", "act", lambda cast: cast.release_body(), "job", ""),
    "receipt": Act("release", "buyer", "act", lambda cast: cast.receipt_body(), "job", "other_buyer"),
}
every_act = pytest.mark.parametrize("kind", ACTS)


def actor(cast: Cast, name: str) -> Actor:
    return cast.units[0] if name == "unit" else getattr(cast, name)


def refusal_of(cast: Cast, statement) -> TrustspaceError:
    with pytest.raises(TrustspaceError) as caught:
        cast.apply(statement)
    return caught.value


def test_every_kind_of_statement_is_covered():
    assert set(ACTS) | {"party"} == set(BODIES) == set(SIGNS) == set(rules._RULES) | {"party"}


@every_act
def test_the_right_author_with_the_right_key_may(at, kind):
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    statement = cast.put(cast.sign(actor(cast, act.author), act.key, act.body(cast)))
    assert statement.type == kind


@every_act
def test_no_other_key_of_the_same_party_will_do(at, kind):
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    author = actor(cast, act.author)
    others = [
        name
        for name in author.keys.names()
        if name != act.key and not name.startswith(("receive", "review-open"))
    ]
    if kind in ("decision", "revocation"):  # any reviewer whom the grant names may
        others = [name for name in others if not name.startswith("review-")]
    assert "root" in others, "the root signs descriptions and nothing else"
    for key in others:
        error = refusal_of(cast, cast.sign(author, key, act.body(cast)))
        assert isinstance(error, VerificationFailed), key


@every_act
def test_nobody_signs_in_anothers_name(at, kind):
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    author, thief = (
        actor(cast, act.author),
        Actor("Thief", "source-unit", "developer", "buyer", "operator", reviewers=3),
    )
    statement = cast.sign(thief, act.key, act.body(cast), by=author.fingerprint)
    assert isinstance(refusal_of(cast, statement), VerificationFailed)


@every_act
def test_an_unknown_party_may_nothing(at, kind):
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    unknown = Actor("Unknown", "source-unit", "developer", "buyer", "operator", reviewers=3)
    assert isinstance(refusal_of(cast, cast.sign(unknown, act.key, act.body(cast))), Unauthenticated)


@every_act
def test_a_party_without_the_role_may_not(at, kind):
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    # The auditor has every right to be here, and none to act.
    error = refusal_of(cast, cast.sign(cast.auditor, "act", act.body(cast)))
    assert isinstance(error, PermissionDenied)
    assert all(role in str(error) for role in SIGNS[kind][0])


@pytest.mark.parametrize("kind", [kind for kind, act in ACTS.items() if act.about and act.stranger])
def test_a_stranger_cannot_tell_whether_the_thing_exists(at, kind):
    """Permission comes before existence: the refusals are the same word for word."""
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    body, stranger = act.body(cast), actor(cast, act.stranger)
    absent = body.model_copy(update={act.about: digest("there is no such thing")})
    for_existing = refusal_of(cast, cast.sign(stranger, act.key, body))
    for_absent = refusal_of(cast, cast.sign(stranger, act.key, absent))
    assert isinstance(for_existing, PermissionDenied)
    assert (type(for_existing), str(for_existing)) == (type(for_absent), str(for_absent))


def test_a_job_is_submitted_by_the_developer_that_it_names(at):
    cast = at("describe")
    error = refusal_of(cast, cast.sign(cast.other_developer, "act", cast.job_body()))
    assert isinstance(error, PermissionDenied)


@every_act
@pytest.mark.parametrize(("seconds", "stands"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_clocks_may_differ_by_five_minutes(at, kind, seconds, stands):
    act = ACTS[kind]
    cast = at(act.after, act.blind)
    statement = cast.sign(actor(cast, act.author), act.key, act.body(cast), issued=cast.now + seconds)
    if stands:
        cast.put(statement)
    else:
        assert isinstance(refusal_of(cast, statement), Stale)


# -- a party's own description


def test_a_party_describes_itself_with_its_root_key(at):
    cast, newcomer = at("enrol"), Actor("New", "buyer")
    cast.put(cast.sign(newcomer, "root", newcomer.body))
    newer = newcomer.body.model_copy(update={"sequence": 2})
    assert isinstance(refusal_of(cast, cast.sign(newcomer, "act", newer)), VerificationFailed)


def test_a_description_under_anothers_fingerprint_is_refused(at):
    cast, thief = at("enrol"), Actor("Thief", "source-unit", reviewers=1)
    victim = cast.units[0]
    stolen_name = cast.sign(thief, "root", thief.body, by=victim.fingerprint)
    assert isinstance(refusal_of(cast, stolen_name), VerificationFailed)
    stolen_root = cast.sign(
        thief, "root", thief.body.model_copy(update={"root": victim.root.hex()}), by=victim.fingerprint
    )
    assert isinstance(refusal_of(cast, stolen_root), VerificationFailed)


@pytest.mark.parametrize("sequence", [1, 2, 3])
def test_only_a_newer_description_replaces_one(at, sequence):
    cast = at("enrol")
    unit = cast.units[0]
    cast.put(cast.sign(unit, "root", unit.body.model_copy(update={"sequence": 2})))
    statement = cast.sign(unit, "root", unit.body.model_copy(update={"sequence": sequence}))
    if sequence == 3:
        cast.put(statement)
    else:
        assert isinstance(refusal_of(cast, statement), Stale)


def test_roles_stay_as_they_were_agreed(at):
    cast = at("enrol")
    body: Party = cast.developer.body
    greedy = body.model_copy(update={"sequence": 2, "roles": ("developer", "operator")})
    error = refusal_of(cast, cast.sign(cast.developer, "root", greedy))
    assert "roles" in str(error)


def test_a_key_that_the_root_no_longer_vouches_for_signs_nothing(at):
    """Positive control: the same statement stands before the key is dropped."""
    cast = at("countersign")
    unit = cast.units[0]
    statement = cast.sign(unit, "grant", cast.grant_body(unit))
    cast.fork().put(statement)
    fewer = tuple(key for key in unit.body.keys if key.use != "grant")
    cast.put(cast.sign(unit, "root", unit.body.model_copy(update={"sequence": 2, "keys": fewer})))
    assert isinstance(refusal_of(cast, statement), VerificationFailed)

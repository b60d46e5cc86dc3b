"""Blind code in the rules: neither side opens its half of a run before the other has agreed to it.

At each moment the honest statement stands; what is refused beside it differs in one thing.
"""

import pytest
from support.cast import DAY, Cast, digest

from trustspace.domain.bodies import HOST_CAN_READ, BlindCode, Challenge, Policy
from trustspace.domain.permissions import may_read_blob, may_read_statement
from trustspace.domain.records import BlobRecord, ChallengeRecord, OfferRecord
from trustspace.domain.replay import replay
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    PermissionDenied,
    PolicyRefused,
    Stale,
)  # fmt: skip


@pytest.fixture
def blind(at):
    return lambda step: at(step, blind=True)


def asks(cast: Cast, **changes):
    return cast.sign(cast.developer, "act", cast.job_body(**changes))


def code_key(cast: Cast, number: int = 0, **changes):
    return cast.sign(cast.developer, "broker", cast.release_code_body(cast.units[number], **changes))


def data_key(cast: Cast, number: int = 0, **changes):
    unit = cast.units[number]
    return cast.sign(unit, "broker", cast.release_key_body(unit, **changes))


def fails(cast: Cast, number: int = 0, reason: str = "host") -> None:
    unit = cast.units[number]
    cast.put(cast.sign(unit, "enclave", cast.failed_body(unit, reason=reason)))


# -- the job, and the policies it meets


def test_a_blind_job_says_that_the_host_of_an_enclave_can_read_it(blind):
    cast = blind("describe")
    silent = cast.blind_code(host_can_read="")
    with pytest.raises(PolicyRefused, match="host of an enclave") as refused:
        cast.apply(asks(cast, blind=silent))
    assert "host_can_read" in (refused.value.fix or "")
    cast.fork().put(asks(cast, evidence_kind="snp", blind=silent))
    cast.put(asks(cast))


def test_blind_code_is_code(blind):
    cast = blind("describe")
    with pytest.raises(InvalidInput, match="has none"):
        cast.apply(asks(cast, code=""))


@pytest.mark.parametrize("words", ["yes", "the host can read this code", HOST_CAN_READ.upper()])
def test_only_the_exact_words_count(blind, words):
    with pytest.raises(ValueError, match="host_can_read"):
        BlindCode(commitment=digest("c"), entry="main.py", files=1, sealed_bytes=1, host_can_read=words)


@pytest.mark.parametrize(
    ("policy", "stands"),
    [
        (Policy(), False),
        (Policy(blind_code="refuse"), False),
        (Policy(custom_code="refuse", blind_code="accept"), False),
        (Policy(blind_code="accept"), True),
    ],
)
def test_a_source_units_policy_decides(policy, stands):
    cast = Cast(units=1, reviewers=1, threshold=1, blind=True).enrol()
    unit = cast.units[0]
    cast.put(cast.sign(unit, "act", cast.dataset_body(unit, policy=policy)))
    cast.ask().countersign()
    granted = cast.sign(unit, "grant", cast.grant_body(unit))
    if stands:
        cast.put(granted)
    else:
        with pytest.raises(PolicyRefused, match="policy refuses"):
            cast.put(granted)


def test_open_code_needs_nothing_of_this(at):
    """Control: a policy that refuses blind code grants open code as before."""
    assert at("release_keys").job.state == "running"


# -- challenges: the developer is a key holder, and only of blind code


def test_the_developer_challenges_the_enclaves_of_a_blind_job_only(at, blind):
    for cast, stands in ((blind("grant_all"), True), (at("grant_all"), False)):
        nonce = cast.sign(cast.developer, "broker", cast.nonce_body(cast.developer, cast.units[0]))
        if stands:
            cast.put(nonce)
        else:
            with pytest.raises(PermissionDenied):
                cast.put(nonce)


def test_an_offer_answers_the_developer_too(blind):
    cast = blind("challenge")
    unit = cast.units[0]
    given = cast.challenges_for(unit)
    assert cast.developer.fingerprint in {c.key_holder for c in given}
    without = tuple(c for c in given if c.key_holder != cast.developer.fingerprint)
    with pytest.raises(InvalidInput, match="every key holder"):
        cast.apply(cast.sign(unit, "enclave", cast.offer_body(unit, challenges=without)))
    invented = (*without, Challenge(key_holder=cast.developer.fingerprint, challenge=digest("invented")))
    with pytest.raises(InvalidInput, match="not given to it"):
        cast.apply(cast.sign(unit, "enclave", cast.offer_body(unit, challenges=invented)))
    cast.put(cast.sign(unit, "enclave", cast.offer_body(unit)))


@pytest.mark.parametrize("step", ["release_keys", "hand_in", "approve_all", "release"])
def test_whatever_has_become_of_the_job_a_developers_challenge_stands(blind, step):
    """A refusal would tell its developer, to the second, when a run has ended."""
    cast = blind(step)
    state = cast.job.state
    nonce = cast.nonce_body(cast.developer, cast.units[0])
    cast.put(cast.sign(cast.developer, "broker", nonce))
    assert cast.job.state == state
    # Control: the same of a source unit is refused there, in words that name the state.
    theirs = cast.sign(cast.units[1], "broker", cast.nonce_body(cast.units[1], cast.units[0]))
    with pytest.raises(InvalidTransition, match=state):
        cast.apply(theirs)


def test_a_developer_cannot_fill_the_ledger_with_challenges(blind):
    """One for each enclave until an offer answers it; and that it is answered, the developer sees anyway."""
    cast = blind("challenge")
    more = cast.sign(cast.developer, "broker", cast.nonce_body(cast.developer, cast.units[0]))
    with pytest.raises(AlreadyExists, match="to answer already"):
        cast.apply(more)
    cast.put(cast.sign(cast.units[0], "enclave", cast.offer_body(cast.units[0])))
    cast.put(more)
    with pytest.raises(AlreadyExists, match="to answer already"):
        cast.apply(cast.sign(cast.developer, "broker", cast.nonce_body(cast.developer, cast.units[0])))
    # Control: a source unit may give another; its own people see how the run stands.
    cast.put(cast.sign(cast.units[1], "broker", cast.nonce_body(cast.units[1], cast.units[2])))


# -- the developer's half


def test_no_code_before_every_source_unit_has_granted(blind):
    cast = blind("countersign")
    with pytest.raises(PolicyRefused, match="every source unit has granted"):
        cast.apply(code_key(cast))
    for unit in cast.units[:2]:
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))
    with pytest.raises(PolicyRefused, match="every source unit has granted"):
        cast.apply(code_key(cast))
    cast.put(cast.sign(cast.units[2], "grant", cast.grant_body(cast.units[2])))
    with pytest.raises(Stale):
        cast.apply(code_key(cast))  # agreed, and there is no run yet to release it to
    cast.challenge().offer_all()
    cast.put(code_key(cast))


def test_a_code_release_is_for_an_offer_of_its_own_job(blind):
    cast = blind("offer_all")
    with pytest.raises(Stale):
        cast.apply(code_key(cast, offer=digest("none")))
    old = cast.job.offers[cast.units[0].fingerprint]
    cast.put(asks(cast, title="Another"))
    cast.countersign().grant_all().challenge().offer_all()
    with pytest.raises(Stale):
        cast.apply(code_key(cast, offer=old))
    cast.put(code_key(cast))


def test_a_code_release_is_for_a_run_that_is_on(blind):
    cast = blind("offer_all")
    late = code_key(cast)
    fails(cast)
    with pytest.raises(Stale):
        cast.apply(late)
    cast.challenge().offer_all()
    cast.put(code_key(cast))


def test_only_the_jobs_developer_releases_its_code(blind):
    cast = blind("offer_all")
    body = cast.release_code_body(cast.units[0])
    with pytest.raises(PermissionDenied):
        cast.apply(cast.sign(cast.other_developer, "broker", body))
    with pytest.raises(PermissionDenied):
        cast.apply(cast.sign(cast.units[0], "broker", body))


def test_open_code_has_no_key_to_release(at):
    cast = at("offer_all")
    with pytest.raises(InvalidInput, match="not blind"):
        cast.apply(code_key(cast))


def with_offer(cast: Cast, **evidence) -> Cast:
    """As if an offer with this evidence had been let in."""
    offer = cast.offer(cast.units[0])
    changed = offer.body.evidence.model_copy(update=evidence)
    cast.view.install(
        [offer.model_copy(update={"body": offer.body.model_copy(update={"evidence": changed})})]
    )
    return cast


def test_software_evidence_gets_code_only_with_the_words(blind):
    cast = blind("offer_all")
    silent = cast.job.body.model_copy(update={"blind": cast.blind_code(host_can_read="")})
    cast.view.install([cast.job.model_copy(update={"body": silent})])
    with pytest.raises(PolicyRefused, match="does not say that the host"):
        cast.apply(code_key(cast))
    cast.apply(code_key(with_offer(cast, kind="snp")))


def test_software_evidence_never_passes_for_hardware(blind):
    cast = blind("offer_all")
    demanding = cast.job.body.model_copy(update={"evidence_kind": "snp"})
    cast.view.install([cast.job.model_copy(update={"body": demanding})])
    with pytest.raises(PolicyRefused, match="weaker than the job demands"):
        cast.apply(code_key(cast))
    cast.apply(code_key(with_offer(cast, kind="snp")))


def test_one_release_for_each_offer_and_the_same_answer_after_its_end(blind):
    cast = blind("offer_all")
    for number in range(3):
        cast.put(code_key(cast, number))
    with pytest.raises(AlreadyExists):
        cast.apply(code_key(cast))
    cast.release_keys()
    again = code_key(cast)
    fails(cast, reason="job-failed")
    assert cast.view.get(OfferRecord, again.body.offer).ended
    # A developer who asks once more learns nothing of how the run went.
    with pytest.raises(AlreadyExists):
        cast.apply(again)


@pytest.mark.parametrize("end", ["refusal", "cancellation", "expiry"])
def test_what_has_ended_gets_neither_key(blind, end):
    cast = blind("offer_all")
    cast.put(code_key(cast, 1))
    code, data = code_key(cast, 0), data_key(cast, 1)
    cast.fork().put(code)
    cast.fork().put(data)
    if end == "refusal":
        cast.put(cast.sign(cast.units[2], "grant", cast.refusal_body()))
    elif end == "cancellation":
        cast.put(cast.sign(cast.developer, "act", cast.cancellation_body()))
    else:
        cast.now += 31 * DAY
        code, data = code_key(cast, 0), data_key(cast, 1)
    for statement in (code, data):
        with pytest.raises((Stale, PolicyRefused)):
            cast.apply(statement)


# -- the source unit's half


def test_no_data_key_before_the_code_is_released_to_that_offer(blind):
    cast = blind("offer_all")
    cast.put(code_key(cast, 1))
    with pytest.raises(PolicyRefused, match="not released its code"):
        cast.apply(data_key(cast, 0))
    cast.put(data_key(cast, 1))
    cast.put(code_key(cast, 0))
    cast.put(data_key(cast, 0))


def test_a_run_begins_when_both_halves_are_there_for_all(blind):
    cast = blind("offer_all")
    for number in range(3):
        cast.put(code_key(cast, number))
        assert cast.job.state == "granted"
        cast.put(data_key(cast, number))
    assert cast.job.state == "running"
    assert cast.hand_in().approve_all().release().receive().job.state == "released"


def test_code_that_was_released_counts_as_a_run(blind):
    """Otherwise an enclave that fails before the data key comes could have the code opened without end."""
    cast = blind("offer_all")  # each grant allows two runs
    for _ in range(2):
        assert cast.job.state == "granted"
        cast.put(code_key(cast))
        fails(cast)
        if cast.job.state == "granted":
            cast.challenge()
            cast.put(cast.sign(cast.units[0], "enclave", cast.offer_body(cast.units[0])))
    assert cast.job.state == "failed"
    assert cast.grant(cast.units[0]).runs_used == 0


def test_an_enclave_offers_no_more_once_its_runs_are_used_up(blind):
    cast = blind("challenge")
    record = cast.grant(cast.units[0])
    cast.view.install([record.model_copy(update={"code_releases": 1})])
    cast.apply(cast.sign(cast.units[0], "enclave", cast.offer_body(cast.units[0])))
    cast.view.install([record.model_copy(update={"code_releases": 2})])
    with pytest.raises(PolicyRefused, match="used up"):
        cast.apply(cast.sign(cast.units[0], "enclave", cast.offer_body(cast.units[0])))


# -- who sees what

DEVELOPERS = {
    "job", "job-countersignature", "job-cancellation", "grant", "refusal", "run-nonce", "run-offer", "code-release",
}  # fmt: skip
ALL = {*DEVELOPERS, "key-release", "run-failed", "output", "decision", "release", "receipt"}


def readable(cast: Cast, who: str) -> set[str]:
    return {kind for kind in ALL if may_read_statement(cast.view, who, kind, cast.job)}


@pytest.mark.parametrize("step", ["offer_all", "release_keys", "hand_in", "release"])
def test_the_developer_sees_offers_and_nothing_of_how_a_run_ends(blind, step):
    cast = blind(step)
    assert readable(cast, cast.developer.fingerprint) == DEVELOPERS
    assert readable(cast, cast.other_developer.fingerprint) == set()


def test_a_developer_who_is_the_buyer_as_well_sees_both(blind):
    cast = blind("offer_all")
    both = cast.job.body.model_copy(update={"buyer": cast.developer.fingerprint})
    cast.view.install([cast.job.model_copy(update={"body": both})])
    assert readable(cast, cast.developer.fingerprint) == DEVELOPERS


def test_what_a_developer_sees_can_be_replayed_by_it(blind):
    """With key releases, failures and outputs left out, the rest must still stand: its broker acts on nothing else."""
    cast = blind("release_keys")
    fails(cast, 1, "members")
    cast.challenge().offer_all().release_code().release_keys()
    assert cast.job.state == "running"
    cast.put(cast.sign(cast.developer, "broker", cast.nonce_body(cast.developer, cast.units[0])))
    cast.hand_in()
    seen = [s for s in cast.statements if s.type in {*DEVELOPERS, "party", "dataset"}]
    view = replay(seen, cast.trust())
    offers = {c.statement for c in view.all(OfferRecord) if c.code_released}
    assert offers == {o.statement for o in cast.view.all(OfferRecord)}
    unused = [c for c in view.all(ChallengeRecord) if not c.used]
    assert [c.key_holder for c in unused] == [cast.developer.fingerprint]


def test_ciphertext_goes_to_those_whose_enclaves_open_it(blind):
    cast = blind("grant_all")
    record = cast.view.get(BlobRecord, cast.job.body.code)
    readers = {a.name for a in cast.actors if may_read_blob(cast.view, a.fingerprint, record)}
    assert readers == {"Hospital A", "Hospital B", "Hospital C", "Dev GmbH"}

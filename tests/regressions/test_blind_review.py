"""Blind code and the budget of bits, as somebody who wants to break them found them."""

import contextlib
from types import SimpleNamespace

import pytest
from support.cast import Cast
from support.enclaves import CODE, JOB
from support.story import Story

from trustspace.cli.quiet import job_document
from trustspace.client.code_broker import CodeBroker
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.domain.bodies import Policy
from trustspace.domain.permissions import may_read_statement
from trustspace.domain.records import OfferRecord
from trustspace.errors import BudgetExhausted, PermissionDenied, PolicyRefused, Stale, Unavailable
from trustspace.transport.links import SpaceLink


def running(runs: int) -> Cast:
    """Three source units train with blind code, two would be enough, and the third has dropped out of the run."""
    cast = Cast(units=3, reviewers=1, threshold=1, runs=runs, minimum=2, blind=True).until("release_keys")
    assert cast.job.state == "running"
    lost = cast.units[2]
    cast.put(cast.sign(lost, "enclave", cast.failed_body(lost)))
    assert cast.job.state == "running"
    return cast


def challenge(cast: Cast, by: int):
    """A challenge of a source unit's to the enclave that has dropped out."""
    unit = cast.units[by]
    return cast.sign(unit, "broker", cast.nonce_body(unit, cast.units[2]))


# -- what a developer learns by what it may read, and by how its own statements are refused


def test_no_challenge_tells_when_an_enclave_has_failed_for_the_last_time(subtests):
    """The developer reads challenges in their second: those of a return that is not priced must not exist."""
    with subtests.test("control: with a run left it comes back, which is priced"):
        cast = running(runs=2)
        given = cast.put(challenge(cast, 0))
        assert may_read_statement(cast.view, cast.developer.fingerprint, given.type, cast.job)
    with subtests.test("no run is left"):
        cast = running(runs=1)
        with pytest.raises(PolicyRefused, match="used up"):
            cast.put(challenge(cast, 0))


@pytest.mark.parametrize("step", ["hand_in", "approve_all", "release"])
def test_a_code_release_that_comes_too_late_does_not_say_how_the_run_ended(step):
    """An enclave came back, and the others handed in before its code came: the developer asks as often as it likes."""
    cast = running(runs=2)
    for number in range(3):
        cast.put(challenge(cast, number))
    cast.put(cast.sign(cast.developer, "broker", cast.nonce_body(cast.developer, cast.units[2])))
    cast.put(cast.sign(cast.units[2], "enclave", cast.offer_body(cast.units[2])))
    late = cast.sign(cast.developer, "broker", cast.release_code_body(cast.units[2]))
    cast.fork().put(late)  # control: in time it stands
    for unit in cast.units[:2]:
        cast.put(cast.sign(unit, "enclave", cast.output_body(unit, members=tuple(cast.units[:2]))))
    if step != "hand_in":
        cast.approve_all()
    if step == "release":
        cast.release()
    assert not cast.view.get(OfferRecord, late.body.offer).ended
    with pytest.raises(Stale) as refused:
        cast.put(late)
    assert cast.job.state not in str(refused.value)


# -- code goes nowhere that data cannot follow


@pytest.mark.parametrize("end", ["nothing", "the grant expires", "the dataset is withdrawn"])
def test_no_code_for_an_enclave_whose_data_can_no_longer_open(end):
    cast = Cast(units=1, reviewers=1, threshold=1, blind=True).until("offer_all")
    unit = cast.units[0]
    if end == "the grant expires":
        cast.now = cast.grant(unit).body.expires + 1
        assert cast.now < cast.job.body.expires
    elif end == "the dataset is withdrawn":
        cast.put(cast.sign(unit, "act", cast.withdrawal_body(unit)))
    released = cast.sign(cast.developer, "broker", cast.release_code_body(unit))
    if end == "nothing":
        cast.put(released)
    else:
        with pytest.raises(PolicyRefused, match=r"expired|withdrawn"):
            cast.put(released)


# -- the developer's half, when the space would rather that it stayed


@pytest.fixture
def story():
    made = Story(policy=DEFAULT_POLICY.model_copy(update={"blind_code": "accept"}))
    yield made
    made.close()


SEALED = JOB.replace('path = "code"', 'path = "code"\nblind = true\nhost_can_read = true')


@pytest.mark.parametrize("hides", ["the job", "its lists"])
def test_the_key_of_an_expired_job_is_destroyed_whatever_the_space_shows(story, monkeypatch, hides):
    story.ask(SEALED, CODE)

    def hidden(*_, **__):
        raise PermissionDenied("There is no such job.") if hides == "the job" else Unavailable("No answer.")

    monkeypatch.setattr(SpaceLink, "prove" if hides == "the job" else "view", hidden)
    broker = CodeBroker(story.developer)

    def attend() -> bool:
        with contextlib.suppress(Unavailable):
            assert broker.attend() == 0
        return any(name.startswith("code-") for name in story.developer.keys.names())

    assert attend(), "control: it may still run"
    monkeypatch.setattr(story.developer.session, "_clock", lambda: story.record.body.expires + 1)
    assert not attend()


# -- the budget


def test_a_source_unit_is_not_told_what_a_developer_spent_with_another():
    cast = Cast(units=2, reviewers=1, threshold=1, runs=1, kind="compute").enrol()
    first, second = cast.units
    limited = Policy(quiet_millibits_per_developer=5000)
    cast.put(cast.sign(first, "act", cast.dataset_body(first, policy=limited)))
    cast.put(cast.sign(second, "act", cast.dataset_body(second)))
    whole, cast.units = cast.units, [first]
    parameters = {"limits": {"wall_seconds": 600}}
    ask = lambda: cast.put(cast.sign(cast.developer, "act", cast.job_body(parameters=parameters)))  # noqa: E731
    ask()
    cast.countersign().grant_all().challenge().offer_all().release_keys()
    assert cast.job.state == "running"
    cast.units = whole
    ask()
    cast.countersign()
    refused = {}
    for unit in cast.units:
        with pytest.raises(BudgetExhausted) as error:
            cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))
        refused[unit.name] = str(error.value) + repr(error.value.details)
    assert "3.17" in refused[first.name], "control: its own account"
    assert "3.17" not in refused[second.name]


def test_what_a_grant_is_asked_for_says_that_others_may_raise_it():
    cast = Cast(units=2, reviewers=1, threshold=1, runs=1, minimum=2).until("countersign")
    first, second = cast.units
    home = SimpleNamespace(fingerprint=first.fingerprint, roles=("source-unit",), remembered=lambda *_: None)
    asked = lambda: SimpleNamespace(  # noqa: E731
        dossier=SimpleNamespace(view=cast.view), job=cast.job, datasets=()
    )
    before = job_document(home, asked(), 1)
    cast.put(cast.sign(first, "grant", cast.grant_body(first)))
    cast.put(cast.sign(second, "grant", cast.grant_body(second, runs=50)))
    after = job_document(home, asked())
    assert after["told_millibits"] > before["told_millibits"], "control: it was no bound"
    assert before["counted_with_one_run"] == [second.fingerprint]
    assert after["counted_with_one_run"] == []

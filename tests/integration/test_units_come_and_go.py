"""Four hospitals ask, drop out, come back, stop and cancel: over the wire, with the product's own clients."""

import pytest
from support.enclaves import write_job
from support.units import HEAD, TRAIN, USE, Consortium
from support.world import World

from trustspace.client import jobs, releases, review
from trustspace.client.broker import Broker
from trustspace.client.datasets import resolve
from trustspace.domain.bodies import SMALL_SUMS, KeyRelease
from trustspace.domain.certificate import load, verify
from trustspace.errors import (
    InvalidInput,
    InvalidTransition,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    Unavailable,
    VerificationFailed,
)  # fmt: skip


@pytest.fixture
def fresh():
    world = World()
    options = {"units": 4, "minimum": 3, "reviewers": 2, "threshold": 2}
    yield lambda **changes: Consortium(world, **{**options, **changes})
    world.close()


def running(consortium, runs=2):
    consortium.grant(runs)
    consortium.offer()
    assert consortium.release_keys() == [1] * len(consortium.units)
    return consortium


def state(consortium):
    return consortium.world.state(consortium.job)


def approve(consortium, number, artifacts=()):
    unit = consortium.units[number]
    for person in unit.people:  # red, and so approved by two
        opened = review.open_case(unit.home, consortium.job, person)
        review.approve(unit.home, opened, artifacts, comment="looked at it", accept_red=True)
    return state(consortium)


# -- asking


def ask(consortium, *uses):
    text = HEAD.format(kind="train", minimum=2) + "".join(uses) + TRAIN
    return jobs.submit(consortium.developer, write_job(consortium.world, text))


def use(unit, dataset="cytology"):
    return USE.format(dataset=dataset, unit=unit)


def test_datasets_of_one_name_are_told_apart_by_whose_they_are(fresh):
    consortium = fresh(units=2, minimum=2)
    body = consortium.record().body
    assert [u.dataset for u in body.datasets] == [unit.dataset for unit in consortium.units]
    assert body.source_units == tuple(unit.home.fingerprint for unit in consortium.units)
    # The name in the developer's trust file is the developer's own business: it is not signed.
    assert "Hospital" not in str(body.parameters)
    with pytest.raises(InvalidInput, match="Several source units"):
        ask(consortium, use("Hospital A"), use("").replace('source_unit = ""\n', ""))


def test_a_joint_job_asks_one_dataset_of_each(fresh):
    consortium = fresh(units=2, minimum=2)
    unit = consortium.units[0]
    unit.dataset_name = "histology"
    unit.describe()
    with pytest.raises(InvalidInput, match="two datasets of one source unit"):
        ask(consortium, use("Hospital A"), use("Hospital A", "histology"))
    with pytest.raises(NotFound):
        ask(consortium, use("Hospital A"), use("Hospital Z"))
    assert ask(consortium, use("Hospital A", "histology"), use("Hospital B"))


def test_a_digest_is_a_name_too_and_must_be_of_the_unit_that_is_named(fresh):
    consortium = fresh(units=2, minimum=2)
    first, second = consortium.units
    with pytest.raises(InvalidInput, match="no dataset of that source unit"):
        ask(consortium, use("Hospital A", second.dataset), use("Hospital B"))
    digest = ask(consortium, use("Hospital A", first.dataset), use("Hospital B", second.dataset))
    parameters = first.home.session.job(digest).job(digest).body.parameters
    assert [d["id"] for d in parameters["datasets"]] == ["cytology", "cytology"]


def test_a_space_that_lists_one_units_dataset_as_anothers_is_found_out(fresh, monkeypatch):
    """Otherwise the developer would ask of one hospital what it meant to ask of another."""
    consortium = fresh(units=2, minimum=2)
    home, (first, second) = consortium.developer, consortium.units
    honest = home.session.link.view

    def lying(kind, *more):
        found = honest(kind, *more)
        for item in found if kind == "datasets" else ():
            # Each is listed under the other's name.
            units = {
                first.home.fingerprint: second.home.fingerprint,
                second.home.fingerprint: first.home.fingerprint,
            }
            item["source_unit"] = units[item["source_unit"]]
        return found

    assert resolve(home, "Hospital A/cytology").statement == first.dataset
    monkeypatch.setattr(home.session.link, "view", lying)
    with pytest.raises(VerificationFailed, match="another dataset"):
        resolve(home, "Hospital A/cytology")


def test_sums_of_two_are_granted_in_words(fresh):
    consortium = fresh(units=2, minimum=2)
    home = consortium.units[0].home
    with pytest.raises(PolicyRefused, match="two source units alone"):
        jobs.grant(home, consortium.job)
    drafted = jobs.draft_grant(home, jobs.request(home, consortium.job), small_sums=True)
    assert drafted.small_sums == SMALL_SUMS == "two source units can compute each other's part"
    jobs.grant(home, consortium.job, small_sums=True)
    # A client that does not ask its people is refused by the space.
    other = consortium.units[1].home
    silent = jobs.draft_grant(other, jobs.request(other, consortium.job), small_sums=True)
    with pytest.raises(PolicyRefused, match="two source units alone"):
        other.submit(silent.model_copy(update={"small_sums": ""}), "grant")


# -- dropping out and coming back


def test_what_three_made_the_fourth_reviews_as_well(fresh):
    """It drops out of the run, keeps its veto, sees its evidence, and its shares are in what the buyer opens."""
    consortium = running(fresh())
    consortium.fail(3)
    assert state(consortium) == "running"
    consortium.hand_in(2, 0, 1)
    assert state(consortium) == "in-review"
    assert [approve(consortium, number) for number in (0, 1, 2)] == ["in-review"] * 3
    with pytest.raises(InvalidTransition):
        releases.fetch(consortium.buyer, consortium.job)
    assert approve(consortium, 3) == "released"
    delivered, certificate = releases.fetch(consortium.buyer, consortium.job)
    assert {d.name: d.content for d in delivered} == consortium.contents
    found = verify(load(certificate.to_bytes()), consortium.buyer.trust())
    assert set(found.reviewers) == {person for unit in consortium.units for person in unit.people}


def test_nothing_is_reviewed_before_all_have_signed(fresh):
    consortium = running(fresh())
    consortium.hand_in(0, 1, 2)
    unit = consortium.units[0]
    with pytest.raises(NotFound, match="no output to review yet"):
        review.open_case(unit.home, consortium.job, unit.people[0])
    consortium.hand_in(3)
    assert review.open_case(unit.home, consortium.job, unit.people[0])


def test_an_enclave_comes_back_into_the_run(fresh):
    consortium = running(fresh())
    run = consortium.record().run
    consortium.fail(1)
    consortium.offer([1])
    assert state(consortium) == "running"
    assert consortium.release_keys() == [0, 1, 0, 0]
    assert (state(consortium), consortium.record().run) == ("running", run)
    consortium.hand_in()
    assert state(consortium) == "in-review"


def test_who_comes_back_once_too_often_does_not_stop_the_others(fresh, monkeypatch):
    """Its broker has counted its last run and lost it. Before a run it would refuse the job; here the run goes on."""
    consortium = running(fresh())
    consortium.fail(1)
    consortium.offer([1])
    home = consortium.units[1].home
    submit = home.submit
    with monkeypatch.context() as patch:

        def die(body, *more):
            if isinstance(body, KeyRelease):
                raise Unavailable("killed here")
            return submit(body, *more)

        patch.setattr(home, "submit", die)
        with pytest.raises(Unavailable):
            Broker(home).attend()
    consortium.fail(1)
    consortium.offer([1])
    assert Broker(home).attend() == 0
    assert not home.remembered("refused", consortium.job)
    assert state(consortium) == "running"
    for number in (0, 2, 3):
        consortium.units[number].act(consortium.pack(number, members=(0, 2, 3)))
    assert state(consortium) == "in-review"


def test_below_the_minimum_everybody_begins_anew(fresh):
    consortium = running(fresh())
    consortium.fail(1)
    consortium.fail(2)
    assert state(consortium) == "granted"
    consortium.offer()
    assert consortium.release_keys() == [1] * 4
    assert state(consortium) == "running"


# -- stopping


def test_a_source_unit_stops_a_run_now(fresh):
    consortium = running(fresh())
    jobs.refuse(consortium.units[2].home, consortium.job)
    assert state(consortium) == "refused"
    assert consortium.record().offers == {}
    assert consortium.release_keys() == [0] * 4


@pytest.mark.parametrize("stage", ["granted", "running", "in-review"])
def test_a_developer_cancels(fresh, stage):
    consortium = fresh()
    consortium.grant(2)
    consortium.offer()
    if stage != "granted":
        consortium.release_keys()
    if stage == "in-review":
        consortium.hand_in()
    assert state(consortium) == stage
    with pytest.raises(PermissionDenied):
        jobs.cancel(consortium.units[0].home, consortium.job)
    jobs.cancel(consortium.developer, consortium.job)
    assert state(consortium) == "cancelled"
    assert consortium.release_keys() == [0] * 4
    # Developer and buyer may read that statement: it is the developer's own.
    for home in (consortium.developer, consortium.buyer):
        kinds = {s.type for s in home.session.dossier(_subject(consortium)).statements}
        assert "job-cancellation" in kinds
        assert not kinds & {"run-offer", "output", "run-failed"}
    with pytest.raises(InvalidTransition, match="nothing left to cancel"):
        jobs.cancel(consortium.developer, consortium.job)


def _subject(consortium):
    from trustspace.transport.links import Subject

    return Subject("job", consortium.job)


# -- a result of each one's own


def test_each_reviews_its_own_result_of_a_computation(fresh):
    consortium = fresh(units=3, minimum=3, kind="compute").until_review()
    opened = [review.open_case(u.home, consortium.job, u.people[0]) for u in consortium.units]
    assert {a.name for a in opened[0].output.body.artifacts} >= {
        "summary.json",
        "summary-2.json",
        "summary-3.json",
    }
    with pytest.raises(PermissionDenied, match="holds no share"):
        review.approve(
            consortium.units[0].home, opened[0], ("summary-2.json",), comment="curious", accept_red=True
        )
    assert [approve(consortium, number) for number in range(3)] == ["in-review", "in-review", "released"]
    delivered, _ = releases.fetch(consortium.buyer, consortium.job)
    assert [d.name for d in delivered] == ["summary.json", "summary-2.json", "summary-3.json"]

"""The differential privacy of a dataset: what a grant caps, what jobs spend of it, and when there is none left."""

import pytest
from support.cast import Series

from trustspace.domain import budget
from trustspace.domain.records import JobRecord
from trustspace.errors import BudgetExhausted, PolicyRefused


def claim(epsilon="3"):
    return {"privacy": {"epsilon": epsilon, "delta": "0.0001"}, "limits": {"wall_seconds": 600}}


class Trainings(Series):
    """Trainings on a dataset with so many thousandths of epsilon."""

    def __init__(self, limit):
        super().__init__(runs=1)
        self.publish(1, privacy_millis=limit)

    def asked(self, parameters=None, by=None):
        developer = by or self.developer
        body = self.job_body(
            developer=developer.fingerprint, code="", parameters=claim() if parameters is None else parameters
        )
        self.put(self.sign(developer, "act", body))
        return self.countersign()

    def granted(self, millis=3000, **changes):
        self.put(self.sign(self.unit, "grant", self.grant_body(self.unit, privacy_millis=millis, **changes)))
        return self

    def begun(self, *, by=None):
        self.asked(by=by).granted()
        job = self.job.statement
        self.challenge().offer_all().release_keys()
        return job

    def spent(self):
        return budget.privacy_spent(self.view, self.unit.fingerprint, "cytology")


def test_it_is_spent_at_the_first_key_and_not_before():
    cast = Trainings(10_000)
    cast.asked().granted()
    job = cast.job.statement
    assert cast.spent() == {}
    cast.challenge().offer_all().release_keys()
    assert cast.spent() == {job: 3000}


def test_every_run_that_a_grant_allows_counts():
    cast = Trainings(10_000)
    cast.asked().granted(9000, runs=3)
    cast.challenge().offer_all().release_keys()
    assert set(cast.spent().values()) == {9000}


def test_a_grant_must_allow_what_the_job_claims():
    cast = Trainings(10_000)
    cast.asked()
    for millis, runs in ((0, 1), (2999, 1), (3000, 2)):
        with pytest.raises(PolicyRefused, match=r"could spend a differential privacy of epsilon [36]"):
            cast.granted(millis, runs=runs)
    cast.granted(3000)


def test_a_grant_of_a_job_without_a_claim_allows_none():
    cast = Trainings(10_000)
    cast.asked({"limits": {"wall_seconds": 600}})
    with pytest.raises(PolicyRefused, match="grant allows 3"):
        cast.granted(3000)
    cast.granted(0)
    cast.challenge().offer_all().release_keys()
    assert cast.spent() == {}


def test_the_jobs_of_all_developers_spend_it_together():
    cast = Trainings(6000)
    cast.begun()
    cast.begun(by=cast.other_developer)
    cast.asked()
    with pytest.raises(BudgetExhausted, match=r"epsilon 6 on dataset cytology: 6 is spent.* could spend 3"):
        cast.granted()
    # A job that claims nothing is another matter: its evidence is.
    cast.asked({"limits": {"wall_seconds": 600}}).granted(0)


def test_a_version_is_no_new_dataset():
    cast = Trainings(3000)
    cast.begun()
    cast.publish(2, privacy_millis=3000)
    cast.asked()
    with pytest.raises(BudgetExhausted, match="3 is spent"):
        cast.granted()
    cast.publish(3, privacy_millis=6000)
    cast.asked().granted()


def test_what_was_granted_beside_is_checked_again_at_the_key():
    cast = Trainings(3000)
    jobs = []
    for by in (cast.developer, cast.other_developer):
        cast.asked(by=by).granted()
        jobs.append(cast.job)
    cast.challenge().offer_all().release_keys()
    assert list(cast.spent().values()) == [3000]
    first = jobs[0].statement
    other = next(job for job in cast.view.all(JobRecord) if job.statement == first)
    with pytest.raises(BudgetExhausted, match="3 is spent"):
        budget.require(cast.view, other, cast.dataset(cast.unit))


@pytest.mark.parametrize(
    ("epsilon", "millis"), [("3", 3000), ("0.5", 500), ("0.0001", 1), ("2.0001", 2001), ("100", 100_000)]
)
def test_a_claim_counts_in_thousandths_rounded_up(epsilon, millis):
    cast = Trainings(10_000)
    cast.asked(claim(epsilon))
    assert budget.privacy_of(cast.job.body) == millis


@pytest.mark.parametrize("privacy", [[], {}, {"epsilon": 3}, {"epsilon": "1e3"}, {"epsilon": "-1"}, "3"])
def test_a_claim_that_cannot_be_read_spends_all_there_is(privacy):
    cast = Trainings(10_000)
    cast.asked({"privacy": privacy, "limits": {"wall_seconds": 600}})
    with pytest.raises(BudgetExhausted):
        cast.granted(2**53 - 1)

"""Encrypted scoring in the rules: the budget of sums, what a model is not, and files that are never released."""

import pytest
from support.cast import Series, digest

from trustspace.domain import budget, rules_request
from trustspace.domain.binding import score_context
from trustspace.errors import BudgetExhausted, InvalidInput, PolicyRefused


def score(groups=(), result="group-sums"):
    return {"score": {"groups": list(groups), "result": result}, "limits": {"wall_seconds": 600}}


class Scorings(Series):
    """Jobs that score, on a dataset with a limit on sums."""

    def __init__(self, limit, **policy):
        super().__init__(runs=2, kind="score")
        self.publish(1, score_sums_per_developer=limit, **policy)

    def granted(self, by=None, **changes):
        developer = by or self.developer
        body = self.job_body(developer=developer.fingerprint, **{"parameters": score("ab"), **changes})
        self.put(self.sign(developer, "act", body))
        self.countersign().grant_all()
        return self.job.statement

    def begun(self, **changes):
        job = self.granted(**changes)
        self.challenge().offer_all().release_keys()
        return job

    def spent(self, by=None):
        who = (by or self.developer).fingerprint
        return budget.sums_spent(self.view, self.unit.fingerprint, "cytology", who)


def test_sums_are_spent_at_the_first_key_once_for_all_runs():
    cast = Scorings(8)
    job = cast.granted()
    assert cast.spent() == {}
    cast.challenge().offer_all().release_keys()
    assert cast.spent() == {job: 4}
    cast.put(cast.sign(cast.unit, "enclave", cast.failed_body(cast.unit)))
    cast.challenge().offer_all().release_keys()
    assert cast.grant(cast.unit).runs_used == 2
    assert cast.spent() == {job: 4}


def test_the_job_that_does_not_fit_is_not_granted():
    cast = Scorings(8)
    cast.begun()
    cast.begun()
    with pytest.raises(
        BudgetExhausted, match=r"at most 8 sums of scores of dataset cytology: 8 are spent.* get 1"
    ):
        cast.granted(parameters=score())
    # Nor one over the next version of the same data, under its own limit.
    cast.publish(2, score_sums_per_developer=8)
    with pytest.raises(BudgetExhausted, match="sums"):
        cast.granted()
    cast.publish(3, score_sums_per_developer=12)
    cast.granted()


def test_another_developer_has_sums_of_its_own():
    cast = Scorings(4)
    cast.begun()
    cast.begun(by=cast.other_developer)
    assert sum(cast.spent(cast.other_developer).values()) == 4


def test_rows_and_other_kinds_of_jobs_cost_no_sums():
    cast = Scorings(0)
    cast.begun(parameters=score(result="rows"))
    assert cast.spent() == {}
    cast.begun(kind="compute", parameters={"limits": {"wall_seconds": 600}})
    with pytest.raises(BudgetExhausted, match="sums"):
        cast.granted(parameters=score())
    with pytest.raises(BudgetExhausted, match="sums"):
        cast.granted(parameters={"limits": {"wall_seconds": 600}})


def test_the_key_itself_is_refused_to_a_job_that_was_granted_while_there_was_room(monkeypatch):
    cast = Scorings(4)
    cast.begun()
    with monkeypatch.context() as without:
        without.setattr(rules_request.budget, "require", lambda *_: None)
        cast.granted()
    cast.challenge().offer_all()
    with pytest.raises(BudgetExhausted, match="sums"):
        cast.release_keys()


def test_an_encrypted_model_is_no_code():
    cast = Scorings(100, custom_code="refuse")
    cast.granted()
    with pytest.raises(PolicyRefused, match="own code"):
        cast.granted(kind="compute", parameters={"limits": {"wall_seconds": 600}})


def test_a_job_that_scores_has_a_model_and_it_is_not_blind():
    cast = Scorings(100)
    for changes in ({"code": ""}, {"blind": cast.blind_code()}):
        with pytest.raises(InvalidInput, match="encrypted model"):
            cast.granted(**changes)


def test_what_belongs_to_a_source_unit_is_never_approved():
    """By the rules, whoever signs for it; and what is not of that role can be."""
    for role, held in (("own", True), ("result", False)):
        cast = Scorings(100)
        cast.begun()
        body = cast.output_body(cast.unit)
        first = body.artifacts[0].model_copy(update={"role": role})
        cast.put(
            cast.sign(
                cast.unit, "enclave", body.model_copy(update={"artifacts": (first, *body.artifacts[1:])})
            )
        )
        decision = cast.decision_body(cast.unit, 1, artifacts=(first.name,))
        if held:
            with pytest.raises(PolicyRefused, match="never released"):
                cast.put(cast.sign(cast.unit, "review-1", decision))
        else:
            cast.put(cast.sign(cast.unit, "review-1", decision))


def test_proofs_are_bound_to_all_that_the_job_says():
    cast = Scorings(100)
    body = cast.job_body()
    context = score_context(body)
    assert score_context(body.model_copy(update={"code": digest("another model")})) == context
    for changes in (
        {"developer": digest("x")}, {"buyer": digest("x")}, {"title": "x"}, {"expires": body.expires + 1},
        {"parameters": score("abc")}, {"buyer_key": digest("x")}, {"supersedes": digest("x")},
    ):  # fmt: skip
        assert score_context(body.model_copy(update=changes)) != context

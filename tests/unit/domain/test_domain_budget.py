"""The budget of bits in the rules: what is spent, what is refused, and what a developer could take without it."""

import math

import pytest
from support.cast import NOW, Cast, digest

from trustspace.domain import budget, leakage, rules_request, rules_run, states
from trustspace.domain.bodies import Policy
from trustspace.domain.records import DatasetRecord, JobRecord
from trustspace.domain.replay import MemoryView, replay
from trustspace.domain.rules import apply
from trustspace.errors import BudgetExhausted

ONE_RUN = leakage.bits_per_job(wall_seconds=600, runs=[1]).told_millibits
UNLIMITED = 2**53 - 1


def asked(**limits):
    return {"parameters": {"limits": {"wall_seconds": 600, **limits}}}


class Series(Cast):
    """One source unit and its dataset under a limit; jobs of one run each, one after another."""

    def __init__(self, limit, **options):
        super().__init__(units=1, reviewers=1, threshold=1, **{"runs": 1, "kind": "compute", **options})
        self.focus = ""
        self.enrol()
        self.unit = self.units[0]
        policy = Policy(quiet_millibits_per_developer=limit)
        self.put(self.sign(self.unit, "act", self.dataset_body(self.unit, policy=policy)))

    def version(self, number, limit):
        """The dataset's next version, which the jobs after it use."""
        body = self.dataset_body(
            self.unit, version=number, manifest=digest(f"manifest {number}"), mock=digest(f"mock {number}"),
            policy=Policy(quiet_millibits_per_developer=limit),
        )  # fmt: skip
        self.put(self.sign(self.unit, "act", body))

    @property
    def job(self):
        """The newest job, or the one in focus."""
        return self.view.get(JobRecord, self.focus) if self.focus else super().job

    def dataset(self, unit):
        """The newest version, or the one that the job in focus uses."""
        if self.focus:
            return self.view.get(DatasetRecord, self.job.body.datasets[0].dataset)
        return [d for d in self.view.all(DatasetRecord) if d.source_unit == unit.fingerprint][-1]

    def submitted(self, by=None, **changes):
        developer = by or self.developer
        body = self.job_body(developer=developer.fingerprint, **{**asked(), **changes})
        self.put(self.sign(developer, "act", body))
        return self.countersign()

    def granted(self, **changes):
        self.submitted(**changes).grant_all()
        return self.job.statement

    def offered(self):
        return self.challenge().offer_all()

    def begun(self, **changes):
        """A job whose data key is released; returns its digest."""
        job = self.granted(**changes)
        self.offered().release_keys()
        assert self.job.state == "running"
        return job

    def failed(self):
        self.put(self.sign(self.unit, "enclave", self.failed_body(self.unit)))

    def spent(self, by=None):
        developer = (by or self.developer).fingerprint
        return budget.spent(self.view, self.unit.fingerprint, "cytology", developer)


def test_a_job_counts_from_its_first_key_and_whole():
    """Granting spends nothing; a second run spends nothing more."""
    cast = Series(UNLIMITED, runs=2)
    told = leakage.bits_per_job(wall_seconds=600, runs=[2]).told_millibits
    job = cast.granted()
    assert cast.spent() == {}
    cast.offered()
    assert cast.spent() == {}
    cast.release_keys()
    assert cast.spent() == {job: told}
    cast.failed()
    cast.offered().release_keys()
    assert cast.grant(cast.unit).runs_used == 2
    assert cast.spent() == {job: told}


def test_a_grant_of_what_cannot_run_is_refused():
    cast = Series(ONE_RUN - 1)
    cast.submitted()
    with pytest.raises(
        BudgetExhausted, match=r"3\.169 bits about dataset cytology.* 0 are spent.*tell 3\.17\."
    ):
        cast.grant_all()
    assert cast.job.state == "submitted"
    Series(ONE_RUN).granted()


def test_no_budget_is_no_job():
    with pytest.raises(BudgetExhausted):
        Series(0).granted()


@pytest.mark.parametrize(("runs", "wall"), [(2, 600), (1, 3600)])
def test_more_runs_and_longer_ones_cost_more(runs, wall):
    """What fits with one short run does not with two, or with a long one; nor if no limit is stated."""
    cast = Series(ONE_RUN, runs=runs)
    cast.submitted(**asked(wall_seconds=wall))
    with pytest.raises(BudgetExhausted):
        cast.grant_all()
    cast = Series(ONE_RUN)
    cast.submitted(parameters={})
    with pytest.raises(BudgetExhausted):
        cast.grant_all()


def test_the_last_job_that_fits_runs_and_the_next_is_refused():
    cast = Series(3 * ONE_RUN)
    for _ in range(3):
        cast.begun()
    assert sum(cast.spent().values()) == 3 * ONE_RUN
    with pytest.raises(BudgetExhausted, match=r"9\.51 are spent"):
        cast.granted()


def test_another_developer_has_a_budget_of_its_own():
    cast = Series(ONE_RUN)
    cast.begun()
    with pytest.raises(BudgetExhausted):
        cast.granted()
    cast.begun(by=cast.other_developer)
    assert sum(cast.spent(cast.other_developer).values()) == ONE_RUN


def test_a_job_that_was_granted_while_there_was_room_gets_no_key_once_there_is_none():
    """Two jobs that fit alone and not together are both granted; only one of them is given the data."""
    cast = Series(ONE_RUN)
    first = cast.granted()
    cast.granted()
    second = cast.job.statement
    cast.offered().release_keys()
    assert cast.spent() == {second: ONE_RUN}
    cast.focus = first
    cast.offered()
    with pytest.raises(BudgetExhausted):
        cast.release_keys()


def test_key_release_itself_is_refused(monkeypatch):
    """Not only the grant: whoever got round that is refused at the key, and not if the rule is taken away."""
    cast = Series(ONE_RUN)
    cast.begun()
    with monkeypatch.context() as without:
        without.setattr(rules_request.budget, "require", lambda *_: None)
        cast.granted()
        cast.offered()
    with pytest.raises(BudgetExhausted):
        cast.release_keys()
    with monkeypatch.context() as without:
        without.setattr(rules_run.budget, "require", lambda *_: None)
        cast.release_keys()
    assert cast.job.state == "running"


def test_a_new_version_is_the_same_dataset_under_its_own_limit():
    cast = Series(ONE_RUN)
    cast.begun()
    cast.version(2, ONE_RUN)
    with pytest.raises(BudgetExhausted):
        cast.granted()
    cast.version(3, 2 * ONE_RUN)
    cast.begun()
    assert sum(cast.spent().values()) == 2 * ONE_RUN


def test_what_is_paid_for_runs_again_though_the_limit_is_reached_meanwhile():
    """A job on the version with the lower limit has its second run, whatever jobs on the other have spent since."""
    two_runs = leakage.bits_per_job(wall_seconds=600, runs=[2]).told_millibits
    cast = Series(10 * two_runs, runs=2)
    first = cast.granted()
    cast.version(2, two_runs)
    second = cast.begun()
    cast.failed()
    cast.focus = first
    cast.offered().release_keys()
    cast.focus = second
    with pytest.raises(BudgetExhausted):
        budget.require(cast.view, cast.job, cast.dataset(cast.unit))
    cast.offered().release_keys()
    assert cast.job.state == "running"


def test_a_joint_job_draws_on_every_dataset():
    """Whose limit is the lowest decides, also about the others' grants."""
    cast = Cast(units=3, reviewers=1, threshold=1, runs=1)
    cast.enrol()
    together = leakage.bits_per_job(wall_seconds=600, runs=[1, 1, 1]).told_millibits
    strict = cast.units[2]
    for unit in cast.units:
        limit = together - 1 if unit is strict else together
        policy = Policy(quiet_millibits_per_developer=limit)
        cast.put(cast.sign(unit, "act", cast.dataset_body(unit, policy=policy)))
    cast.put(cast.sign(cast.developer, "act", cast.job_body(**asked())))
    cast.countersign()
    for unit in cast.units:
        with pytest.raises(BudgetExhausted):
            cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))


def test_a_grant_of_more_runs_counts_for_all():
    """Each source unit's runs make the job longer; the last to grant is refused what the first could not have."""
    cast = Cast(units=3, reviewers=1, threshold=1, runs=1)
    cast.enrol()
    limit = leakage.bits_per_job(wall_seconds=600, runs=[1, 1, 1]).told_millibits
    for unit in cast.units:
        policy = Policy(quiet_millibits_per_developer=limit)
        cast.put(cast.sign(unit, "act", cast.dataset_body(unit, policy=policy)))
    cast.put(cast.sign(cast.developer, "act", cast.job_body(**asked())))
    cast.countersign()
    for unit in cast.units[:2]:
        cast.put(cast.sign(unit, "grant", cast.grant_body(unit)))
    with pytest.raises(BudgetExhausted):
        cast.put(cast.sign(cast.units[2], "grant", cast.grant_body(cast.units[2], runs=2)))
    cast.put(cast.sign(cast.units[2], "grant", cast.grant_body(cast.units[2])))
    assert cast.job.state == "granted"


def test_blind_code_costs_what_its_developer_reads_besides(at):
    """The same terms, three source units with two runs each: three further starts are seen in their second."""
    plain, blind = at("grant_all"), at("grant_all", blind=True)
    prices = [budget.price(cast.view, cast.job).told_millibits for cast in (plain, blind)]
    longest = leakage.LONGEST_SECONDS
    assert prices == [
        leakage.bits_per_job(wall_seconds=longest, runs=[2, 2, 2], blind=told).told_millibits
        for told in (False, True)
    ]
    assert prices[1] > prices[0] + 3 * leakage.millibits(longest)


def test_an_auditor_who_replays_everything_finds_what_a_space_let_through(monkeypatch):
    cast = Series(ONE_RUN)
    cast.begun()
    with monkeypatch.context() as dishonest:
        dishonest.setattr(rules_request.budget, "require", lambda *_: None)
        cast.begun()
    view = MemoryView()
    *before, last = [n for n, s in enumerate(cast.statements) if s.type == "grant"]
    assert before
    for statement in cast.statements[:last]:
        view.install(apply(view, statement, statement.issued))
    with pytest.raises(BudgetExhausted):
        apply(view, cast.statements[last], cast.statements[last].issued)
    # Who has only one job's statements before them cannot tell: that is what the broker's own count is for.
    second = cast.job.statement
    shown = [s for s in cast.statements if getattr(s.body, "job", s.digest) in (second, s.digest)]
    own = [s for s in shown if s.type != "job" or s.digest == second]
    assert replay(own, cast.trust()).get(JobRecord, second).state == "running"


def test_bits_are_exact_for_people():
    assert [budget.in_bits(m) for m in (0, 1, 100, 3170, 100_000, 99_999)] == [
        "0", "0.001", "0.1", "3.17", "100", "99.999",
    ]  # fmt: skip


# -- the attack: a secret through the ends of runs


SLOTS = leakage.moments(leakage.run_seconds(600), leakage.SLOT_SECONDS)


def exfiltrate(limit, secret, symbols):
    """A colluding developer and its code: each job ends in the slot, and in the way, that the secret's next digit says.

    Returns the digits that the developer reads off what it is told.
    """
    cast = Series(limit)
    read = []
    for place in range(symbols):
        digit = secret // (2 * SLOTS) ** place % (2 * SLOTS)
        slot, fails = divmod(digit, 2)
        begins = NOW + (place + 1) * 86_400
        # Late in a slot: so the run can end in most slots.
        cast.now = begins - begins % 600 + 599
        try:
            cast.begun(expires=cast.now + 86_400)
        except BudgetExhausted:
            break
        cast.now += slot * 600
        if fails:
            cast.failed()
        else:
            cast.hand_in()
        # The developer asks once in every slot, and never learns more.
        moves = cast.job.moves
        seen = [states.coarse_state(moves, begins - begins % 600 + 600 * n, 600) for n in range(1, SLOTS + 3)]
        changed = next(n for n, word in enumerate(seen) if word in ("in review", "not released"))
        read.append(2 * changed + (seen[changed] == "not released"))
    return read


def test_a_secret_leaves_by_the_ends_of_runs_until_the_budget_is_spent():
    """Without a limit all of a 60 bit secret; with one no more bits than it says."""
    secret, base = 0x0DDB_A11C_0FFE_E42, 2 * SLOTS
    symbols = math.ceil(60 / math.log2(base))
    digits = [secret // base**n % base for n in range(symbols)]
    assert exfiltrate(UNLIMITED, secret, symbols) == digits
    limit = 7 * ONE_RUN
    some = exfiltrate(limit, secret, symbols)
    assert some == digits[:7]
    assert 1000 * len(some) * math.log2(base) <= limit
    assert exfiltrate(ONE_RUN - 1, secret, symbols) == []

"""The budget of bits on the command line: what an officer sets, and what everybody reads of a policy."""

import pytest

from trustspace.client import datasets
from trustspace.domain.bodies import Policy
from trustspace.errors import Unavailable
from trustspace.evidence.words_policy import in_words


@pytest.fixture
def sealed(invoke, tmp_path, monkeypatch):
    """Submit a small table with these options; returns the policy that would be published with it."""
    home, file = tmp_path / "h", tmp_path / "table.csv"
    invoke("--home", home, "party", "new", "--name", "A", "--role", "source-unit", "--reviewer", "R")
    file.write_text("\n".join(["size", *(str(n % 40) for n in range(200))]) + "\n", encoding="utf-8")
    found = []

    def submit(_home, _proposal, **options):
        found.append(options["policy"])
        raise Unavailable("The sealing would begin now.")

    monkeypatch.setattr(datasets, "submit", submit)

    def call(*options):
        given = ("--name", "d", "--title", "t", "--yes", *options)
        shown = invoke("--home", home, "dataset", "submit", file, *given)
        assert found, shown
        return found[-1]

    return call


@pytest.mark.parametrize(
    ("options", "bits"), [((), 100), (("--quiet-bits", "7"), 7), (("--quiet-bits", "0"), 0)]
)
def test_the_officer_sets_the_budget_in_bits(sealed, options, bits):
    policy = sealed(*options)
    assert policy.quiet_millibits_per_developer == 1000 * bits
    rest = policy.model_copy(update={"quiet_millibits_per_developer": 100_000})
    assert rest == datasets.DEFAULT_POLICY


def test_less_than_nothing_is_refused(invoke, tmp_path):
    code, out, err = invoke("--json", "--home", tmp_path, "dataset", "submit", tmp_path, "--quiet-bits", "-1")
    assert code != 0
    assert "quiet-bits" in out + err


def test_a_policy_says_its_budget():
    for millibits, said in (
        (100_000, "at most 100 bits by all jobs of one developer"),
        (2500, "at most 2.5 bits by all jobs of one developer"),
        (0, "nothing: no job may run"),
    ):
        policy = Policy(quiet_millibits_per_developer=millibits)
        assert in_words(policy, "quiet_millibits_per_developer", "en") == said
    assert Policy().quiet_millibits_per_developer == 100_000


@pytest.mark.parametrize(
    ("options", "sums"), [((), 200), (("--score-sums", "9"), 9), (("--score-sums", "0"), 0)]
)
def test_the_officer_sets_the_budget_of_sums(sealed, options, sums):
    policy = sealed(*options)
    assert policy.score_sums_per_developer == sums
    assert policy.model_copy(update={"score_sums_per_developer": 200}) == datasets.DEFAULT_POLICY
    said = f"at most {sums} by all jobs of one developer" if sums else "none"
    assert in_words(policy, "score_sums_per_developer", "en") == said

"""What a person is told of how a joint job's sums are protected, and what accepting it means, in both languages."""

from types import SimpleNamespace

import pytest
from test_cli_together import PEOPLE, UNITS, job

from trustspace.cli import i18n, jobview, together
from trustspace.cli.output import Output
from trustspace.domain.bodies import Grant, Reviewer, SumTerms, recovery_words

WORDS = "any 3 of the 4 source units together can open every single update"
SCHEMES = {
    "pairwise-masks-v1": ("pairwise masks (pairwise-masks-v1)", 0),
    "lattice-sum-s-v1": ("homomorphic encryption on lattices (lattice-sum-s-v1)", 0),
    "lattice-sum-l-v1": ("homomorphic encryption on lattices (lattice-sum-l-v1)", 3),
}


def asked(scheme="lattice-sum-l-v1", needed=3):
    return job().model_copy(update={"sums": SumTerms(scheme=scheme, needed=needed)})


def told(capsys, request):
    together.show_together(Output(as_json=False), request, PEOPLE, UNITS[0])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_how_updates_are_protected(capsys, scheme):
    said, needed = SCHEMES[scheme]
    out = told(capsys, asked(scheme, needed))
    assert f"Updates are protected by {said}." in out
    assert ("--recovery" in out) == bool(needed)


def test_what_losing_some_costs_is_said_before_it_is_granted(capsys):
    out = told(capsys, asked())
    assert "survives the loss of 1 source unit(s), because 3 of the 4 are enough to open a sum" in out
    assert "The same 3 together could also open every single update." in out
    assert f"with --recovery: “{WORDS}”." in out
    assert recovery_words(asked()) == WORDS
    i18n.use("zh")
    out = told(capsys, asked())
    # Both what a person reads and what is signed.
    assert WORDS in out
    assert "survives the loss" not in out
    assert "--recovery" in out


@pytest.mark.parametrize("said", [WORDS, ""])
def test_a_grant_says_that_it_accepts_it(capsys, said):
    body = Grant(
        job="1" * 64, datasets=("2" * 64,), enclave="3" * 64,
        reviewers=(Reviewer(holder="Dr Li", review="4" * 64, review_open="5" * 64),), reviewer_threshold=2,
        evidence_kind="software", sandbox_tier="any", runs=1, expires=0, recovery=said,
    )  # fmt: skip
    people = SimpleNamespace(name=lambda party: party[:4])
    view = SimpleNamespace(
        datasets=(), job=SimpleNamespace(body=asked(), statement="1" * 64), code={}, parameters=None
    )
    jobview.show_grant(Output(as_json=False), view, people, body)
    out = " ".join(capsys.readouterr().out.split())
    line = "You accept that sums can be opened without some of you, in these words"
    assert (line in out) == bool(said)
    assert (WORDS in out) == bool(said)


def test_programs_are_told_too():
    document = together.result_document(asked(), SimpleNamespace(members=UNITS[:3]), PEOPLE)
    assert document["sums"] == {"scheme": "lattice-sum-l-v1", "needed": 3}
    assert together.result_document(job("compute"), SimpleNamespace(members=()), PEOPLE)["sums"] is None


def test_the_switch_is_explained(invoke):
    code, out, _ = invoke("job", "grant", "--help")
    assert code == 0
    assert "--recovery" in out
    assert "fewer than all source units together can open every single update" in " ".join(out.split())

"""Encrypted scoring from end to end: hidden weights, plain rows, and only what each side may open."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import scores
from support.enclaves import write_job
from support.story import Story

from trustspace.aggregation.paillier.proofs import proven_bits
from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client import jobs, scoring
from trustspace.domain.bodies import Policy
from trustspace.errors import AlreadyExists, InvalidInput, NotFound, PolicyRefused, VerificationFailed
from trustspace.evidence.checks import small_cells
from trustspace.jobs.artifacts import parse_json
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.scores import carried


@pytest.fixture
def story(monkeypatch):
    scores.small_keys(monkeypatch)
    story = Story()
    yield story
    story.close()


def expected(story, table, weights=scores.WEIGHTS):
    """The score of every row, its values cut to the ranges that the description shows."""
    found = np.full(table.num_rows, weights["intercept"])
    for name, weight in weights["weights"].items():
        low, high = (float(end.strip(' "')) for end in scores.ranges(story)[name].split(","))
        found += weight * np.clip(table.column(name).to_numpy(), low, high)
    return found


def test_sums_by_group(story):
    scores.until_review(story)
    story.approve()
    (delivered,), _ = story.fetch()
    found = {group.label: group for group in scoring.decrypt(story.developer, story.job, delivered.content)}
    table = story.table
    for label in ("B", "M"):
        rows = table.filter(np.asarray(table.column("diagnosis")) == label)
        assert found[label].rows == rows.num_rows
        assert found[label].mean == pytest.approx(expected(story, rows).mean(), abs=0.01)
    assert (found["other"].rows, found["other"].mean) == (0, None)


def test_the_reviewer_is_told_what_the_ciphertext_can_hold(story):
    scores.until_review(story)
    check = story.case().report.check("small_cells")
    assert check.status == "warned"
    assert check.facts["key"] == scoring.private_key(story.developer).public.digest()
    assert (check.facts["encrypted_sums"], check.facts["sums_spent"], check.facts["sums_limit"]) == (
        2,
        4,
        200,
    )
    assert check.facts["smallest_group"] >= 10
    assert check.facts["weight_bits"] == proven_bits(15, 2)
    # A weight, the sum of a feature over fewer than 128 rows, two of these, and a sign.
    assert check.facts["sum_bits"] == 15 + 15 + 2
    assert story.case().report.check("custom_code").status == "passed"
    assert story.case().report.check("digests").status == "passed"
    sizes = story.case().report.check("sizes")
    assert (sizes.status, sizes.facts["bytes_carried"], sizes.facts["records_that_fit"]) == ("passed", 8, 0)
    assert sizes.facts["bytes"] > 500
    assert story.case().report.verdict == "amber"
    # A second job of the same developer is counted on.
    scores.until_review(story)
    assert story.case().report.check("small_cells").facts["sums_spent"] == 8


def test_a_stricter_policy_than_the_run_was_made_with_fails_the_report(story):
    scores.until_review(story)
    story.approve()
    (delivered,), _ = story.fetch()
    parameters = Parameters.from_json(story.record.body.parameters)
    facts = SimpleNamespace(
        kind="score",
        sums_spent=4,
        rows=120,
        patients=120,
        released=None,
        scores=carried(parse_json(delivered.content), parameters),
    )
    assert small_cells(facts, Policy()).status == "warned"
    assert small_cells(facts, Policy(minimum_cell_count=11)).status == "failed"
    assert small_cells(facts, Policy(score_sums_per_developer=3)).status == "failed"
    assert small_cells(facts, Policy(score_sums_per_developer=4)).status == "warned"
    facts.scores = replace(facts.scores, rows=5)
    assert small_cells(facts, Policy()).status == "passed"
    facts.scores = None
    assert small_cells(facts, Policy()).status == "could_not_run"


def test_scores_of_rows_are_for_their_source_unit_alone(story):
    scores.until_review(story, scores.score_text(story, 'result = "rows"', "logistic"))
    assert story.case().report.check("small_cells").status == "passed"
    roles = {a.name: a.role for a in story.case().output.body.artifacts}
    assert roles == {"scores.json": "result", "blinds.json": "own", "run.log": "log"}
    with pytest.raises(PolicyRefused, match="never released"):
        story.approve(artifacts=("scores.json", "blinds.json"))
    story.approve()
    (delivered,), certificate = story.fetch()
    assert delivered.name == "scores.json"
    assert [a.name for a in certificate.artifacts] == ["scores.json"]
    masked = scoring.decrypt(story.developer, story.job, delivered.content)
    found = scoring.unblinded(story.hospital, story.case(), masked)
    exact = 1 / (1 + np.exp(-expected(story, story.table)))
    assert np.abs(np.array(found) - exact).max() < 0.005
    # What the developer wrote is of this job, this key, and whole.
    value = json.loads(masked)
    for change in ({"job": "0" * 64}, {"key": "0" * 64}, {"numbers": value["numbers"][256:]}, {"numbers": "zz"},
                   {"step": "x"}, {"offset": "inf"}, {"more": ""}, {"format": ""}):  # fmt: skip
        with pytest.raises(VerificationFailed):
            scoring.unblinded(story.hospital, story.case(), json.dumps({**value, **change}).encode())


def test_only_the_keys_holder_decrypts(story):
    scores.until_review(story)
    story.approve()
    (delivered,), _ = story.fetch()
    with pytest.raises(NotFound, match="no key"):
        scoring.decrypt(story.buyer, story.job, delivered.content)
    scoring.generate_key(story.buyer, 1024)
    with pytest.raises(NotFound, match="no weights"):
        scoring.decrypt(story.buyer, story.job, delivered.content)
    story.buyer.remember("score", story.job, story.developer.remembered("score", story.job))
    with pytest.raises(VerificationFailed, match="another key"):
        scoring.decrypt(story.buyer, story.job, delivered.content)


def test_a_key_is_made_once_and_is_sealed(story):
    public = scoring.generate_key(story.developer, 1024)
    private = scoring.private_key(story.developer)
    assert private.public == public
    with pytest.raises(AlreadyExists):
        scoring.generate_key(story.developer, 1024)
    stored = (story.developer.path / "score.key").read_bytes()
    assert private.to_bytes()[40:72] not in stored
    assert (story.developer.path / "score.key").stat().st_mode & 0o077 == 0


def test_without_a_key_or_weights_nothing_is_submitted(story):
    path = write_job(story.world, scores.score_text(story))
    path.with_name("weights.json").write_text(json.dumps(scores.WEIGHTS), encoding="utf-8")
    with pytest.raises(NotFound, match="no key for encrypted scoring"):
        jobs.submit(story.developer, path)
    path.with_name("weights.json").unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        jobs.submit(story.developer, path)


def test_the_weights_leave_the_developer_encrypted_only(story):
    """Nothing that the space holds has a weight in it, as text or as the integer that was encrypted."""
    secret = {"weights": {"size": 0.123456789, "texture": -0.987654321}, "intercept": 31.4159265}
    scores.until_review(story, weights=secret)
    held = b"".join(path.read_bytes() for path in story.world.home.rglob("*") if path.is_file())
    for word in (b"0.12345", b"-0.98765", b"31.415"):
        assert word not in held
    assert b"Mean risk by diagnosis" in held, "so the search would find what is there"


def test_the_command_line(story, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    make = scoring.generate_key
    monkeypatch.setattr(scoring, "generate_key", lambda home: make(home, 1024))

    def call(home, *arguments, code=0):
        assert run(["--home", str(home.path), *map(str, arguments)]) == code, capsys.readouterr()
        return capsys.readouterr().out

    said = json.loads(call(story.developer, "--json", "score", "keygen"))
    assert said["bits"] == 1024
    assert json.loads(call(story.developer, "--json", "score", "key"))["key"] == said["key"]
    path = write_job(story.world, scores.score_text(story))
    path.with_name("weights.json").write_text(json.dumps(scores.WEIGHTS), encoding="utf-8")
    story.job = json.loads(call(story.developer, "--json", "job", "submit", path))["job"]
    jobs.countersign(story.buyer, story.job)
    shown = call(story.hospital, "job", "show", story.job[:12])
    assert "Encrypted scoring" in shown
    assert "only the platform's own code meets the data" in shown
    assert "at most 4, of weights that nobody else can read" in shown
    assert "0 of 200 sums are spent" in shown
    assert "加密打分" in call(story.hospital, "--lang", "zh", "job", "show", story.job[:12])
    i18n.use("en")
    document = json.loads(call(story.hospital, "--json", "job", "show", story.job[:12]))
    assert (document["quiet"]["score_sums"], document["quiet"]["budgets"][0]["score_sums_limit"]) == (4, 200)
    granted = call(story.hospital, "job", "grant", story.job[:12], "--reviewer", "Dr Li", "--yes")
    assert "Weights that none of you can read" in granted
    assert story.run() == "in-review"
    story.approve()
    call(story.buyer, "release", "fetch", story.job[:12], "--into", tmp_path)
    table = call(story.developer, "score", "decrypt", story.job[:12], tmp_path / "scores.json")
    assert "Mean score" in table
    groups = json.loads(
        call(story.developer, "--json", "score", "decrypt", story.job[:12], tmp_path / "scores.json")
    )["groups"]
    assert [g["group"] for g in groups] == ["B", "M", "other", "missing"]
    assert float(groups[1]["mean"]) > float(groups[0]["mean"])
    call(
        story.developer,
        "score",
        "decrypt",
        story.job[:12],
        tmp_path / "scores.json",
        "--into",
        tmp_path / "x",
        code=2,
    )

    assert "Sums of encrypted scores that developers" in call(story.hospital, "dataset", "show", "cytology")
    shown = json.loads(call(story.developer, "--json", "dataset", "show", "cytology"))["quiet"]
    assert (shown["score_sums_limit"], shown["score_sums_spent"][0]["sums"]) == (200, 4)

    scores.until_review(story, scores.score_text(story, 'result = "rows"'))
    assert "never: it is yours" in call(
        story.hospital, "review", "show", story.job[:12], "--reviewer", "Dr Li"
    )
    story.approve()
    call(story.buyer, "release", "fetch", story.job[:12], "--into", tmp_path / "rows")
    file, masked, opened = (
        tmp_path / "rows" / "scores.json",
        tmp_path / "masked.json",
        tmp_path / "scores.csv",
    )
    call(story.developer, "score", "decrypt", story.job[:12], file, code=2)
    call(story.developer, "score", "decrypt", story.job[:12], file, "--into", masked)
    call(story.hospital, "score", "unblind", story.job[:12], masked, "--reviewer", "Dr Li", "--into", opened)
    lines = opened.read_text().splitlines()
    assert lines[0] == "row,score"
    assert len(lines) == 1 + story.table.num_rows
    assert opened.stat().st_mode & 0o077 == 0
    assert float(lines[1].split(",")[1]) == pytest.approx(expected(story, story.table)[0], abs=0.02)

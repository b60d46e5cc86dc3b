"""A reviewer's own home on the command line: card, adoption, a review by two, and what such a home refuses."""

import json

import pytest
from support.story import Story

from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client.datasets import DEFAULT_POLICY

LI, WANG = "Dr Li", "Dr Wang"


@pytest.fixture
def stage(capsys, monkeypatch):
    """Hospital A, whose policy demands two reviewers, and whose people have homes of their own."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in ("TRUSTSPACE_HOME", "TRUSTSPACE_PASSPHRASE", "TRUSTSPACE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    made = Stage(capsys)
    yield made
    made.story.close()
    i18n.use("en")


class Stage:
    def __init__(self, capsys):
        self.capsys = capsys
        policy = DEFAULT_POLICY.model_copy(update={"reviewers": 2, "minimum_cell_count": 12})
        self.story = Story(people=(), policy=policy)
        self.root = self.story.world.path
        self.unit = self.story.hospital.path

    def call(self, home, *arguments, code=0, lang="en"):
        found = run(["--home", str(home), "--lang", lang, *map(str, arguments)])
        out = self.capsys.readouterr()
        assert found == code, out.out + out.err
        return out.out + out.err

    def json(self, home, *arguments, code=0):
        found = run(["--json", "--home", str(home), *map(str, arguments)])
        out = self.capsys.readouterr()
        assert found == code, out.out + out.err
        assert out.err == ""
        return json.loads(out.out)

    def take_in(self, name, *options):
        home, answer = self.root / name.lower().replace(" ", "-"), self.root / "adoption.json"
        made = self.json(home, "reviewer", "new", "--name", name)
        adopted = self.json(
            self.unit, "reviewer", "adopt", home / "card.json", "--out", answer, "--yes", *options
        )
        assert made["fingerprint"] == adopted["fingerprint"]
        assert self.json(home, "reviewer", "join", answer)["unit"] == self.story.hospital.fingerprint
        return home


def test_two_reviewers_at_two_homes_decide(stage):
    text = stage.call(stage.unit, "party", "show")
    assert "nothing can be granted without one" in text
    li, wang = stage.take_in(LI), stage.take_in(WANG)
    for text in (stage.call(stage.unit, "party", "show"), stage.call(stage.unit, "reviewer", "show")):
        assert "Every reviewer has a home of their own" in text
    assert stage.json(stage.unit, "reviewer", "show")["reviewers_elsewhere"] == [LI, WANG]
    job = stage.story.ask()[:12]
    # What the policy demands need not be said again.
    granted = stage.json(stage.unit, "job", "grant", job, "--yes")
    assert (granted["reviewers"], granted["threshold"]) == ([LI, WANG], 2)
    assert stage.story.run() == "in-review"
    assert [entry["statement"][:12] for entry in stage.json(li, "review", "list")["reviews"]] == [job]
    shown = stage.json(li, "review", "show", job)
    assert shown["reviewer"] == LI
    assert shown["policy_changes"] == ["minimum_cell_count", "reviewers"]
    text = stage.call(li, "review", "show", job)
    assert "at least 12 (by default: at least 10)" in text
    assert "Reference trainings" not in text
    assert "Your own rules for cytology" in stage.call(wang, "job", "show", job)
    given = ("--accept-red", "--comment", "seen")
    assert stage.json(li, "review", "approve", job, *given)["state"] == "in-review"
    # From the unit's own home nobody is the second one.
    assert "home of their own" in stage.call(
        stage.unit, "review", "approve", job, "--reviewer", WANG, *given, code=6
    )
    assert "home of Dr Li" in stage.call(li, "review", "approve", job, "--reviewer", WANG, *given, code=6)
    assert stage.json(wang, "review", "approve", job, *given)["state"] == "released"


def test_a_reviewers_home_does_nothing_else(stage):
    li = stage.take_in(LI)
    job = stage.story.ask()[:12]
    (stage.root / "t.csv").write_text("size\n1\n", encoding="utf-8")
    for refused in (
        ("job", "grant", job, "--yes"), ("job", "refuse", job), ("broker", "serve"), ("party", "show"),
        ("dataset", "submit", stage.root / "t.csv", "--name", "d", "--title", "t", "--yes"),
        ("dataset", "withdraw", "cytology", "--yes"), ("reviewer", "remove", LI, "--yes"),
        ("reviewer", "adopt", li / "card.json", "--out", stage.root / "x", "--yes"),
    ):  # fmt: skip
        assert "reviewer's own home" in stage.call(li, *refused, code=5), refused
    assert not (stage.root / "x").exists()
    for taken in (("party", "new", "--name", "B", "--role", "buyer"), ("reviewer", "new", "--name", WANG)):
        assert "another home" in stage.call(li, *taken, code=7)
    # To look is allowed.
    assert "cytology" in stage.call(li, "dataset", "list")
    assert stage.json(li, "dataset", "show", "cytology")["policy_changes"] == [
        "minimum_cell_count",
        "reviewers",
    ]
    assert job in stage.call(li, "job", "list")
    assert stage.json(li, "ledger", "verify")
    assert "Hospital A" in stage.call(li, "trust", "list")
    assert LI in stage.call(li, "reviewer", "show")


def test_the_fingerprint_is_asked_for_and_a_removal_too(stage, monkeypatch):
    import io

    home = stage.root / "li"
    stage.call(home, "reviewer", "new", "--name", LI)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    text = stage.call(stage.unit, "reviewer", "adopt", home / "card.json", "--out", stage.root / "x", code=1)
    shown = stage.json(home, "reviewer", "show")["fingerprint"]
    assert shown[:8] in text.replace(" ", "")
    assert "telephone" in text
    assert stage.story.hospital.reviewers_elsewhere == ()
    li = stage.take_in(WANG)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "Remove the reviewer" in stage.call(stage.unit, "reviewer", "remove", WANG, code=1)
    assert stage.json(li, "review", "list") == {"reviews": []}
    stage.call(stage.unit, "reviewer", "remove", WANG, "--yes")
    assert "不再为这位审查员担保" in stage.call(li, "review", "list", code=5, lang="zh")
    assert stage.call(stage.unit, "reviewer", "remove", WANG, "--yes", code=6)


def test_homes_of_today_go_on_and_say_what_they_are(stage):
    story = Story()
    try:
        text = stage.call(story.hospital.path, "party", "show")
        assert "a rule of this machine only" in text
        assert stage.json(story.hospital.path, "party", "show")["reviewers_here"] == [LI, WANG]
        job = story.ask()[:12]
        text = stage.call(story.hospital.path, "job", "grant", job, "--threshold", "2", "--yes")
        assert "a rule of this machine only" in text
        assert story.run() == "in-review"
        # With two people's keys in it, somebody has to say who they are.
        assert "--reviewer" in stage.call(story.hospital.path, "review", "show", story.job[:12], code=2)
        assert (
            stage.json(story.hospital.path, "review", "reject", story.job[:12], "--reviewer", WANG)["state"]
            == "rejected"
        )
    finally:
        story.close()

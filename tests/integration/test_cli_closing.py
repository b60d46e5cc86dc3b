"""Changes asked for, revocations and approvals that lapse, on the command line of each party."""

import json

import pytest
from support.enclaves import write_job
from support.story import PEOPLE, TWO_OUTPUTS, TWO_OUTPUTS_CODE, Story

from trustspace.cli import i18n
from trustspace.cli.main import run


@pytest.fixture(scope="module")
def told():
    story = Story()
    story.world.space.reader.slot_seconds = 0
    yield story
    story.close()
    i18n.use("en")


@pytest.fixture
def shown(capsys, monkeypatch):
    """What a command prints, and the code that it ends with."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(home, *arguments, code=0):
        ended = run(["--home", str(home.path), *map(str, arguments)])
        out = capsys.readouterr()
        assert ended == code, out.out + out.err
        return out.out + out.err

    return call


@pytest.fixture
def read(shown):
    return lambda home, *arguments, code=0: json.loads(shown(home, "--json", *arguments, code=code))


def test_changes_are_asked_for_and_answered(told, shown, read, tmp_path):
    told.until_review()
    first = told.job
    note = tmp_path / "note.txt"
    note.write_text("请合并第三组。\n", encoding="utf-8")
    review = ("review", "changes", first, "--reviewer", "Dr Li")
    assert "reason" in shown(told.hospital, *review, code=2)
    assert "small-groups" in shown(told.hospital, *review, "--reason", "because", code=2)
    done = read(told.hospital, *review, "--reason", "small-groups", "--reason", "other", "--note-file", note)
    assert (done["state"], done["reasons"]) == ("changes-requested", ["small-groups", "other"])

    # The developer reads it, in its own language; the buyer the reasons alone.
    text = shown(told.developer, "job", "show", first)
    assert "Groups of few patients stand out" in text
    assert "请合并第三组。" in text
    assert "人数很少的分组会显现出来" in shown(told.developer, "--lang", "zh", "job", "show", first)
    buyers = read(told.buyer, "job", "show", first)
    assert (buyers["state"], buyers["changes"]["reasons"], buyers["changes"]["note"]) == (
        "changes requested", ["small-groups", "other"], "",
    )  # fmt: skip
    assert "changes requested" in shown(told.developer, "job", "list")
    shown(told.buyer, "release", "fetch", first, "--into", tmp_path / "out", code=8)

    # It answers; reviewers see to what.
    job = write_job(told.world, TWO_OUTPUTS, TWO_OUTPUTS_CODE)
    answer = read(told.developer, "job", "submit", job, "--answers", first[:10])
    assert answer["answers"] == first
    asked = shown(told.hospital, "job", "show", answer["job"])
    assert f"It answers job {first[:12]}, “Mean size by diagnosis”." in asked
    assert "Groups of few patients stand out" in asked
    assert "请合并第三组。" not in asked, "the note is the developer's"
    told.job = answer["job"]
    shown(told.buyer, "job", "countersign", told.job)
    told.grant()
    assert told.run() == "in-review"
    case = read(told.hospital, "review", "show", told.job, "--reviewer", "Dr Li")
    assert (case["answers"]["job"], case["answers"]["changes"]["reasons"]) == (
        first,
        ["small-groups", "other"],
    )
    assert "It answers job" in shown(told.hospital, "review", "show", told.job, "--reviewer", "Dr Li")
    shown(told.developer, "job", "submit", job, "--answers", "00", code=6)


def test_a_revocation_before_and_after_the_receipt(told, shown, read, tmp_path):
    told.until_review()
    first = told.job
    shown(told.hospital, "review", "approve", first, "--reviewer", "Dr Li")
    done = read(told.hospital, "review", "revoke", first, "--reviewer", "Dr Li", "--yes")
    assert (done["state"], done["notice"]) == ("revoked", False)
    text = shown(told.buyer, "release", "fetch", first, "--into", tmp_path / "none", code=8)
    assert "revoked by Hospital A" in text
    assert not (tmp_path / "none").exists()
    assert "REVOKED by Hospital A (Dr Li)" in shown(told.developer, "job", "show", first)
    assert "已被 Hospital A（Dr Li）撤销" in shown(told.buyer, "--lang", "zh", "job", "show", first)
    shown(told.hospital, "review", "revoke", first, "--reviewer", "Dr Li", "--yes", code=7)

    told.until_review()
    shown(told.hospital, "review", "approve", told.job, "--reviewer", "Dr Li")
    into = tmp_path / "out"
    assert read(told.buyer, "release", "fetch", told.job, "--into", into)["revoked"] is None
    verify = ("verify", "certificate", into / "certificate.json", "--trust", into / "trust.json")
    assert "nobody has revoked it" in shown(told.buyer, *verify, "--online")
    text = shown(told.hospital, "review", "revoke", told.job, "--reviewer", "Dr Li", "--yes")
    assert "gave a receipt before" in text
    # Offline the old file says nothing of it, and says that; asked online, and made anew, it does.
    offline = shown(told.buyer, *verify)
    assert "REVOKED" not in offline
    assert "add --online" in offline
    assert read(told.buyer, *verify)["revoked"] is False
    for party in (told.buyer, told.developer, told.auditor):
        assert "REVOKED by Hospital A (Dr Li)" in shown(party, *verify, "--online")
    assert read(told.buyer, *verify, "--online")["revoked"] is True
    assert "REVOKED by Hospital A" in shown(told.buyer, "release", "fetch", told.job, "--into", into)
    assert "the certificate itself holds a revocation" in shown(told.buyer, *verify)
    assert read(told.buyer, *verify)["revoked"] is True


def test_an_approval_says_until_when_it_counts(told, shown, read):
    told.until_review(reviewers=PEOPLE, threshold=2)
    approve = ("review", "approve", told.job, "--reviewer", "Dr Li", "--comment", "seen")
    assert "--valid-days" in shown(told.hospital, *approve, "--valid-days", "0", code=2)
    done = read(told.hospital, *approve, "--valid-days", "3")
    people = read(told.hospital, "review", "show", told.job, "--reviewer", "Dr Li")["four_eyes"]
    assert abs(people["reviewers"][0]["expires"] - done["expires"]) < 120
    # The colleague is shown nothing of it, in words or in JSON.
    hidden = read(told.hospital, "review", "show", told.job, "--reviewer", "Dr Wang")
    assert hidden["four_eyes"] == {
        "required": 2, "approved": None, "blind": True,
        "reviewers": [
            {"name": "Dr Li", "decision": "hidden", "expires": 0, "comment": "", "reasons": []},
            {"name": "Dr Wang", "decision": "", "expires": 0, "comment": "", "reasons": []},
        ],
    }  # fmt: skip
    for arguments in (("review", "list"), ("review", "list", "--reviewer", "Dr Wang"), ("job", "list")):
        assert "decided_by" not in shown(told.hospital, "--json", *arguments)
    assert "approve" not in shown(told.hospital, "review", "list", "--reviewer", "Dr Wang")
    shown(told.hospital, "review", "approve", told.job, "--reviewer", "Dr Wang")
    text = shown(told.hospital, "review", "show", told.job, "--reviewer", "Dr Wang")
    assert "seen" in text


def test_a_grant_follows_the_policy(told, shown, read):
    told.ask()
    assert read(told.hospital, "job", "grant", told.job, "--yes")["threshold"] == 1
    told.ask()
    shown(told.hospital, "job", "grant", told.job, "--reviewer", "Dr Li", "--threshold", "2", "--yes", code=2)
    assert read(told.hospital, "job", "grant", told.job, "--threshold", "2", "--yes")["threshold"] == 2

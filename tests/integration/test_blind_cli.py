"""Blind code on the command line: what each party is shown, and the broker that a developer runs."""

import json
import subprocess
import sys

import pytest
from support.enclaves import JOB, until
from support.story import Story

from trustspace.cli import i18n
from trustspace.cli.main import run
from trustspace.client import blindcode
from trustspace.client.broker import Broker
from trustspace.client.datasets import DEFAULT_POLICY

CANARY = "canary-51c2"
CODE = f"""
def run(inputs, outputs):
    outputs.json("summary.json", {{"rows": inputs.table().num_rows}})  # {CANARY}
"""
SEALED = JOB.replace('path = "code"', 'path = "code"\nblind = true\nhost_can_read = true')


@pytest.fixture
def story():
    found = Story(policy=DEFAULT_POLICY.model_copy(update={"blind_code": "accept"}))
    yield found
    found.close()
    i18n.use("en")


@pytest.fixture
def shown(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(home, *arguments):
        code = run(["--home", str(home.path), *arguments])
        out = capsys.readouterr()
        assert code == 0, out.out + out.err
        return out.out

    return call


def serve(home):
    command = [sys.executable, "-m", "trustspace", "--json", "--home", str(home.path), "broker", "serve"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_everybody_is_shown_the_word_and_nobody_the_code(story, shown):
    story.ask(SEALED, CODE)
    for home in (story.hospital, story.developer, story.buyer):
        text = shown(home, "job", "show", story.job[:12], "--code")
        assert "blind" in text
        assert "main.py: run(inputs, outputs)" in text
        assert story.record.body.blind.commitment in text
        assert "summary.json" in text
        assert "there is none to show" in text
        assert CANARY not in text
    assert "盲代码" in shown(story.hospital, "--lang", "zh", "job", "show", story.job[:12])
    document = json.loads(shown(story.hospital, "--json", "job", "show", story.job[:12]))
    assert document["blind"]["files"] == 1
    assert document["code"] == {}
    # Control: open code is shown to the source unit, whole.
    story.ask(JOB, CODE)
    text = shown(story.hospital, "job", "show", story.job[:12], "--code")
    assert CANARY in text
    assert json.loads(shown(story.hospital, "--json", "job", "show", story.job[:12]))["blind"] is None


def test_a_grant_and_a_review_say_it(story, shown):
    story.ask(SEALED, CODE)
    text = shown(story.hospital, "job", "grant", story.job[:12], "--reviewer", "Dr Li", "--yes")
    assert "Code that none of you has read meets the data" in text
    with_broker = serve(story.developer)
    try:
        assert json.loads(with_broker.stdout.readline())["fingerprint"] == story.developer.fingerprint
        until(
            lambda: (Broker(story.hospital).attend(), story.enclave.attend(), story.state == "in-review")[-1]
        )
    finally:
        with_broker.terminate()
        assert with_broker.wait(30) == 0
        with_broker.stdout.close()
    text = shown(story.hospital, "review", "show", story.job[:12], "--reviewer", "Dr Li")
    assert "The code is blind" in text
    assert "Columns it sees" in text
    assert CANARY not in text


def test_submitting_says_to_keep_the_broker_running(story, shown):
    story.ask(SEALED, CODE)  # writes the files
    path = story.world.path / "job" / "job.toml"
    text = shown(story.developer, "job", "submit", str(path))
    assert "trustspace broker serve" in text
    found = json.loads(shown(story.developer, "--json", "job", "submit", str(path)))
    assert found["blind"] is True
    assert found["job"] in blindcode.kept(story.developer)
    shown(story.developer, "job", "cancel", found["job"], "--yes")
    assert found["job"] not in blindcode.kept(story.developer)


def test_only_who_has_keys_to_release_runs_a_broker(story, capsys):
    assert run(["--home", str(story.buyer.path), "broker", "serve"]) == 5
    assert "keys to release" in capsys.readouterr().err
    keys = tuple(key for key in story.developer.party.keys if key.use == "broker")
    story.developer.publish(without=keys)
    assert run(["--home", str(story.developer.path), "broker", "serve"]) == 6
    assert "trustspace broker key" in capsys.readouterr().err
    assert run(["--home", str(story.developer.path), "broker", "key"]) == 0
    assert [k.use for k in story.world.again(story.developer).party.keys].count("broker") == 1

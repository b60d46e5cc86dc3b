"""Bits before release over a real space: the broker's own count, what people see, and a secret that is sent bit by bit."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import pytest
from support.enclaves import patients, publish

from regressions.helpers import Stage, crash_before_release
from trustspace.cli.main import run
from trustspace.client import budgets, datasets, jobs
from trustspace.client.broker import Broker
from trustspace.client.home import PartyHome
from trustspace.domain import budget, leakage
from trustspace.domain.bodies import Policy
from trustspace.errors import BudgetExhausted, InvalidInput, Unavailable
from trustspace.space.home import SpaceHome

ONE_RUN = leakage.bits_per_job(wall_seconds=600, runs=[1]).told_millibits
UNLIMITED = 2**53 - 1

JOB = """
[job]
title = "Mean size"
purpose = "Planning a study."
kind = "compute"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "{dataset}"
version = {version}
columns = ["size", "diagnosis"]

[code]
path = "code"

[compute]
outputs = [{{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }}]
"""
# Fails if the patient in this place is ill: one bit by each job.
THIEF = """
def run(inputs, outputs):
    if inputs.table().column("diagnosis")[{place}].as_py() == "M":
        raise ValueError
    outputs.json("summary.json", {{}})
"""


def asking(dataset: str = "limited", version: int = 1) -> str:
    return JOB.format(dataset=dataset, version=version)


def limited(stage: Stage, millibits: int, name: str = "limited") -> str:
    """Publish the patients again, under this limit."""
    policy = datasets.DEFAULT_POLICY.model_copy(update={"quiet_millibits_per_developer": millibits})
    return publish(stage.hospital, stage.world, patients(), name=name, policy=policy)


def told(stage: Stage, job: str) -> str:
    """What the developer reads once the slot is over."""
    space = stage.world.space
    clock, space._clock = space._clock, lambda: time.time() + 2 * space.reader.slot_seconds
    try:
        return next(j["state"] for j in jobs.listing(stage.developer) if j["statement"] == job)
    finally:
        space._clock = clock


def steal(stage: Stage, name: str, places: int) -> list[bool]:
    """One job after the other, each asking about another patient; what the developer reads of each."""
    read = []
    for place in range(places):
        try:
            job = stage.granted(asking(name), THIEF.format(place=place))
        except BudgetExhausted:
            break
        stage.run()
        word = told(stage, job)
        assert word in ("in review", "not released")
        read.append(word == "not released")
    return read


def test_diagnoses_leave_one_by_one_until_the_budget_is_spent(stage: Stage):
    """Nobody approved anything, and with no limit a developer reads every patient's diagnosis all the same."""
    places = 6
    truth = [value == "M" for value in patients().column("diagnosis").to_pylist()[:places]]
    assert len(set(truth)) == 2
    limited(stage, UNLIMITED, "open")
    assert steal(stage, "open", places) == truth
    limited(stage, 2 * ONE_RUN)
    assert steal(stage, "limited", places) == truth[:2]


# -- the broker's own count


def forget(monkeypatch):
    """A space that shows no job but the one in question: its rules find nothing that was spent."""
    monkeypatch.setattr(budget, "require", lambda *_: None)


def unasked(monkeypatch):
    """A grant that its source unit's client did not check either."""
    monkeypatch.setattr(budgets, "require", lambda *_: None)


def test_a_space_that_hides_what_was_spent_does_not_get_another_key(stage: Stage, monkeypatch):
    limited(stage, ONE_RUN)
    text = asking()
    stage.granted(text)
    stage.run()
    forget(monkeypatch)
    unasked(monkeypatch)
    job = stage.granted(text)
    stage.run()
    # It ends visibly, and no key of it was given.
    assert stage.state(job) == "refused"
    assert not stage.logged(job, "key-release")
    assert stage.hospital.remembered("refused", job)
    # Without the count the same job is given the key.
    monkeypatch.setattr(budgets, "count", lambda *_: None)
    job = stage.granted(text)
    stage.run()
    assert stage.state(job) == "in-review"


def test_a_crash_between_counting_and_sealing_gives_no_bits_back(stage: Stage, monkeypatch):
    """The broker dies with the count written down and nothing sealed: another job does not get what is left of it."""
    limited(stage, ONE_RUN)
    text = asking()
    job = stage.granted(text)
    stage.broker.attend()
    stage.enclave.attend()
    forget(monkeypatch)
    unasked(monkeypatch)
    with monkeypatch.context() as patch:
        crash_before_release(stage.hospital, patch)
        with pytest.raises(Unavailable):
            stage.broker.attend()
    assert not stage.logged(job, "key-release")
    again = stage.world.again(stage.hospital)
    assert budgets.spent(again, "limited") == {stage.developer.fingerprint: ONE_RUN}
    other = stage.granted(text)
    stage.broker = Broker(again)
    stage.broker.attend()
    stage.enclave.attend()
    stage.broker.attend()
    assert stage.state(other) == "refused"
    # The job that was counted goes on, and is not counted twice.
    assert stage.logged(job, "key-release")
    assert budgets.spent(again, "limited") == {stage.developer.fingerprint: ONE_RUN}


def test_two_brokers_on_one_home_do_not_both_spend_the_last_bits(tmp_path, monkeypatch):
    """Otherwise two jobs that come at the same moment would each find the budget unspent."""
    home = PartyHome.create(tmp_path / "hospital", "Hospital A", ("source-unit",), reviewers=("Dr Li",))
    state = PartyHome.state

    def slow(self):
        found = state(self)
        time.sleep(0.2)  # long enough for the other to read the same
        return found

    monkeypatch.setattr(PartyHome, "state", slow)
    dataset = SimpleNamespace(dataset="limited", policy=Policy(quiet_millibits_per_developer=ONE_RUN))
    counted = []

    def count(name):
        try:
            with PartyHome(home.path).changing() as held:
                budgets.count(held, dataset, "developer", name, ONE_RUN)
            counted.append("counted")
        except BudgetExhausted:
            counted.append("none left")

    brokers = [threading.Thread(target=count, args=(name,)) for name in ("one", "two")]
    for broker in brokers:
        broker.start()
    for broker in brokers:
        broker.join()
    assert sorted(counted) == ["counted", "none left"]
    assert sum(state(home)["quiet"]["limited"]["developer"].values()) == ONE_RUN


def test_what_cannot_be_counted_is_not_released(stage: Stage, monkeypatch):
    """The count is written in one step with the run's: a full disk leaves neither, and no key."""
    limited(stage, ONE_RUN)
    job = stage.granted(asking())
    stage.broker.attend()
    stage.enclave.attend()
    before = stage.hospital.state()
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(28, "No space left on device")

        patch.setattr("trustspace.client.acting.write_atomic", full)
        with pytest.raises(OSError, match="No space left"):
            stage.broker.attend()
    assert stage.hospital.state() == before
    assert not stage.logged(job, "key-release")


def test_a_new_version_does_not_begin_anew(stage: Stage, monkeypatch):
    """Otherwise an update of the table would be another budget for the same patients."""
    limited(stage, ONE_RUN)
    stage.granted(asking())
    stage.run()
    limited(stage, ONE_RUN)
    text = asking(version=2)
    with pytest.raises(BudgetExhausted):
        stage.granted(text)
    forget(monkeypatch)
    unasked(monkeypatch)
    job = stage.granted(text)
    stage.run()
    assert stage.state(job) == "refused"


def test_a_grant_is_refused_before_anybody_signs_it(stage: Stage, monkeypatch):
    """The source unit's own count and the space's rules say so each by itself."""
    limited(stage, ONE_RUN)
    text = asking()
    stage.granted(text)
    stage.run()
    with monkeypatch.context() as patch:
        forget(patch)
        with pytest.raises(BudgetExhausted, match=r"3\.17 are spent"):
            stage.granted(text)
    with monkeypatch.context() as patch:
        unasked(patch)
        with pytest.raises(BudgetExhausted, match=r"3\.17 are spent"):
            stage.granted(text)
    job = stage.ask(text)
    with pytest.raises(BudgetExhausted):
        jobs.grant(stage.hospital, job, runs=2)


# -- what people see


def read(capsys, home, *arguments):
    assert run(["--home", str(home.path), *arguments]) == 0
    return capsys.readouterr().out


def test_everybody_concerned_sees_what_is_spent(stage: Stage, capsys):
    limited(stage, 5 * ONE_RUN)
    job = stage.granted(asking(), runs=1)
    stage.run()
    developer = stage.developer.fingerprint
    shown = json.loads(read(capsys, stage.hospital, "--json", "dataset", "show", "limited"))
    assert (
        shown["quiet"]["limit_millibits"] == shown["policy"]["quiet_millibits_per_developer"] == 5 * ONE_RUN
    )
    assert [(s["developer"], s["millibits"]) for s in shown["quiet"]["spent"]] == [(developer, ONE_RUN)]
    text = " ".join(read(capsys, stage.hospital, "dataset", "show", "limited").split())
    assert "What developers may have learned before release" in text
    assert "3.17 12.68" in text
    # The developer learns as much about itself, another party nothing.
    own = json.loads(read(capsys, stage.developer, "--json", "dataset", "show", "limited"))
    assert [s["millibits"] for s in own["quiet"]["spent"]] == [ONE_RUN]
    assert (
        json.loads(read(capsys, stage.buyer, "--json", "dataset", "show", "limited"))["quiet"]["spent"] == []
    )
    quiet = json.loads(read(capsys, stage.hospital, "--json", "job", "show", job[:12]))["quiet"]
    expected = leakage.bits_per_job(wall_seconds=600, runs=[1])
    privacy = quiet.pop("privacy")
    assert (privacy["millis"], [b["limit_millis"] for b in privacy["budgets"]]) == (0, [10_000])
    assert quiet == {
        "told_millibits": expected.told_millibits,
        "ledger_millibits": expected.ledger_millibits,
        "counted_with_one_run": [],
        "budgets": [
            {
                "dataset": "limited", "source_unit": stage.hospital.fingerprint, "spent_millibits": ONE_RUN,
                "limit_millibits": 5 * ONE_RUN, "counted": True, "score_sums_spent": 0, "score_sums_limit": 200,
            }
        ],
        "score_sums": 0,
    }  # fmt: skip
    text = read(capsys, stage.hospital, "job", "show", job[:12])
    assert "At most 3.17 bits" in text
    assert "limited: 3.17 of 15.85 bits are spent by this developer's jobs." in text
    assert "at most 3.17 of 15.85 bits" in read(capsys, stage.developer, "job", "show", job[:12])


def test_the_grant_view_reckons_with_the_runs_that_are_asked_for(stage: Stage, capsys):
    job = stage.ask()
    text = read(capsys, stage.hospital, "job", "grant", job[:12], "--runs", "3", "--yes")
    assert "At most 9.279 bits" in text
    told_now = leakage.bits_per_job(wall_seconds=600, runs=[3]).told_millibits
    quiet = json.loads(read(capsys, stage.hospital, "--json", "job", "show", job[:12]))["quiet"]
    assert quiet["told_millibits"] == told_now == 9279


def test_no_space_tells_in_steps_finer_than_budgets_reckon_with(stage: Stage):
    path = stage.world.home / "space.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("slot_seconds = 600", "slot_seconds = 599"), encoding="utf-8")
    with pytest.raises(InvalidInput, match="slot_seconds"):
        SpaceHome(stage.world.home)
    path.write_text(text, encoding="utf-8")

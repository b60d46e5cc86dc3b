"""The evidence benchmark counts verdicts and judges goals as it says; public tools see what they must. No time is looked at."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"case", "seed", "verdict", "expected", "seconds", "training_seconds", "first_seconds", "peers"}


def module(name):
    return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(autouse=True)
def _root_in_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def row(case, seed, verdict, expected, *, training=1.0, first=0.5, peers=None):
    areas = {"membership": 0.7, "references": 0.75} if peers is not None else {}
    return {
        "case": case, "seed": seed, "verdict": verdict, "expected": expected, "seconds": 4.0, "trainings": 4,
        "training_seconds": training, "first_seconds": first, "again_seconds": training, "reference_seconds": 2.0,
        "right_of_100": 75, "decided_by": "membership, references", "areas": areas, "peers": peers or {},
    }  # fmt: skip


def told(auc, verdict=None):
    return {
        "seconds": 1.0, "auc": auc, "beyond_chance": auc > 0.6, "rule_tpr": 1.0, "rule_fpr": 0.8, "verdict": verdict
    }  # fmt: skip


def test_verdicts_are_counted_goals_judged_and_tools_quoted():
    page = module("evidence_page")
    rows = [
        row("overfitted", 1, "red", "red", peers={"art": told(0.7), "sacroml": told(0.8, "against release")}),
        row("overfitted", 2, "amber", "red", first=2.5, peers={"art": told(0.5), "sacroml": told(0.5, "for release")}),
        row("overfitted", 3, "red", "red", training=200.0, first=3.9, peers={"art": told(0.9)}),
        row("small cells", 1, "red", "red"),
    ]  # fmt: skip
    cases = page.by_case(rows)
    found = page.detection(cases).rows
    assert found[0][:5] == ("overfitted", "red", "2 of 3", "0.09 to 0.99", "amber 1")
    assert found[1][2:5] == ("1 of 1", "0.02 to 1.00", "-")
    # Two seconds for a training of one, a fiftieth of one of 200 seconds.
    assert [line[:3] for line in page.goals(cases).rows] == [
        ("overfitted", "2 of 3", "3.90 s"),
        ("small cells", "1 of 1", "0.50 s"),
    ]
    shown = dict(zip(page.tools(cases).head, page.tools(cases).rows[0], strict=True))
    assert shown["here"] == "2 red, 1 amber"
    assert shown["ART: beyond chance"] == "2 of 3"
    assert shown["sacroml: against release"] == "1 of 2"
    assert set(page.tools(cases).rows[1][2:]) == {"not seen"}


def test_chance_is_as_wide_as_few_people_make_it():
    beyond = module("tools").beyond_chance
    assert not beyond({"auc": 0.56, "judged": [80, 34]})
    assert beyond({"auc": 0.56, "judged": [800, 340]})
    assert not beyond({"auc": 0.4, "judged": [800, 340]})


def test_tools_that_cannot_be_had_are_left_out_and_named(tmp_path, monkeypatch):
    environments, process = module("peers.environments"), module("peers.process")

    def none(lock, cache):
        raise environments.Unavailable(f"no package index knows {lock}")

    monkeypatch.setattr(process, "interpreter", none)
    with module("tools").Tools(tmp_path) as tools:
        assert tools.missing == {name: f"no package index knows {name}" for name in ("art", "sacroml")}
        assert tools.judge({}, 1) == {}
    result = module("common").Result("evidence", {})
    module("evidence_page").fill(result, [row("overfitted", 1, "red", "red")], tools.missing)
    assert result.facts["art, left out"] == "no package index knows art"


def test_tools_are_locked_by_digest():
    environments = module("peers.environments")
    for tool in environments.TOOLS:
        assert (environments.HERE / tool.driver).is_file()
        lines = (environments.HERE / f"{tool.lock}.lock").read_text(encoding="ascii").splitlines()
        packages = [number for number, line in enumerate(lines) if not line.startswith(" ")]
        assert packages
        for number in packages:
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.a-z]*(\+cpu)? \\", lines[number])
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", lines[number + 1])


def people(seed, *, leaking):
    """What a model says of 400 people it was trained on and 170 others; a leaking one is surer and right of the first."""
    draw = np.random.default_rng(seed)
    member, labels = np.arange(570) < 400, draw.integers(0, 2, 570)
    sure = draw.beta(8, 1.5, 570)
    wrong = draw.random(570) < 0.15
    if leaking:
        sure, wrong = np.where(member, draw.beta(30, 1, 570), sure), wrong & ~member
    positive = np.where((labels == 1) ^ wrong, sure, 1 - sure)
    return {
        "outputs": np.stack([1 - positive, positive], axis=1).tolist(), "labels": labels.tolist(),
        "members": member.tolist(), "seed": seed,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["art", "sacroml"])
def test_a_tool_tells_a_leaking_model_from_one_that_is_not(name):
    environments, process = module("peers.environments"), module("peers.process")
    tool = next(tool for tool in environments.TOOLS if tool.scheme == name)
    try:
        driven = process.Driven(tool, environments.CACHE)
    except environments.Unavailable as why:
        pytest.skip(f"{name} cannot be had here: {why}")
    with driven:
        leaking = driven.ask(people(1, leaking=True))
        sound = driven.ask(people(1, leaking=False))
        again = driven.ask(people(1, leaking=False))
    assert leaking["auc"] > 0.75
    # Its own chance is wide: 34 or 85 people outside are asked about.
    assert 0.35 < sound["auc"] < 0.65
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in sound.items() if k != "seconds"
    }
    if name == "sacroml":
        assert (leaking["verdict"], sound["verdict"]) == ("against release", "for release")
    else:
        assert leaking["rule_tpr"] - leaking["rule_fpr"] > 0.1
        assert abs(sound["rule_tpr"] - sound["rule_fpr"]) < 0.1


@pytest.mark.slow
def test_tools_are_shown_the_model_and_the_split_that_the_enclave_judged(tmp_path):
    from support.judged import played, report_of
    from support.simulated import SimulatedLauncher

    from trustspace.jobs.metrics import auc, per_row_loss

    outputs, tools = module("outputs"), module("tools")
    case = outputs.CASES["hidden rows"](1)
    simulated = SimulatedLauncher()
    try:
        keeper = tools.Keeper(simulated)
        found = played(
            case.files[0], [case.tables[0]], tmp_path, code=case.code, patient_column=outputs.PATIENT,
            launcher=keeper.as_launcher(), **case.policy,
        )  # fmt: skip
    finally:
        simulated.close()
    told = tools.answers(keeper.given)
    member = np.asarray(told["members"], dtype=float)
    positive = np.asarray(told["outputs"])[:, 1]
    loss = per_row_loss(
        "binary", np.log(positive / (1 - positive))[:, None], np.asarray(told["labels"], float)
    )
    # Every patient has one row: the area of the fit is the one in the report.
    facts = report_of(found).check("membership").facts
    assert [int(member.sum()), int((1 - member).sum())] == [facts["patients_in"], facts["patients_out"]]
    assert auc(member, -loss) == pytest.approx(float(facts["area"][0]), abs=1e-3)


@pytest.mark.slow
@pytest.mark.isolation
def test_it_runs_and_writes_a_row_for_each_case_and_seed(tmp_path):
    file = tmp_path / "evidence.json"
    command = [sys.executable, "-m", "benchmarks.evidence", "--seeds", "2", "--json", str(file)]
    command += ["--only", "regularised", "--only", "small cells"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert [(r["case"], r["seed"]) for r in content["rows"]] == [
        ("regularised", 1), ("small cells", 1), ("regularised", 2), ("small cells", 2),
    ]  # fmt: skip
    for found in content["rows"]:
        assert set(found) >= FIELDS
        assert found["peers"] == {}
        assert (found["seconds"] > 0, found["training_seconds"] > 0) == (True, True)
    for line in content["parts"]["evidence"]["rows"]:
        assert line["name"] in done.stdout

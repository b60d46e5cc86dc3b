"""One encrypted model over two hospitals: each has results of its own, and nobody opens the other's masks."""

import json

import numpy as np
import pytest
from support import scores
from support.enclaves import patients
from support.joint import USE, Joint
from support.world import World

from trustspace.client import releases, review, scoring
from trustspace.errors import NotFound, PermissionDenied, TrustspaceError, VerificationFailed

JOB = """
[job]
title = "Risk over two hospitals"
purpose = "A study."
kind = "score"

[parties]
buyer = "City Clinic"

[terms]
minimum_participants = {minimum}

[score]
model = "linear"
weights = "weights.json"
result = "rows"
features = { size = [SIZE] , texture = [TEXTURE] }
"""


@pytest.fixture
def joint(monkeypatch):
    scores.small_keys(monkeypatch)
    world, made = World(), None
    try:
        table = patients(120)
        # Of the same values, so that both describe them alike; the rows of the one are the other's, backwards.
        made = Joint(world, tables=[table, table.take(np.arange(119, -1, -1))], reviewers=1)
        made.attend()
        yield made
    finally:
        if made is not None:
            made.close()
        world.close()


def test_each_hospital_opens_its_own_rows(joint):
    first, second = joint.hospitals
    ranges = scores.ranges(joint, f"{first.name}/cytology")
    (joint.world.path / "job").mkdir(exist_ok=True)
    (joint.world.path / "job" / "weights.json").write_text(json.dumps(scores.WEIGHTS), encoding="utf-8")
    scoring.generate_key(joint.developer, 1024)
    joint.ask(
        JOB.replace("SIZE", ranges["size"]).replace("TEXTURE", ranges["texture"]),
        minimum=2,
        use=USE,
        threshold=1,
    )
    joint.until("in-review", "failed", "refused")
    names = {a.name: a.role for a in joint.output().body.artifacts}
    assert names == {
        f"{n}.{a}": r
        for n in (1, 2)
        for a, r in (("scores.json", "result"), ("run.log", "log"), ("blinds.json", "own"))
    }
    assert joint.approve() == "released"
    delivered = {d.name: d.content for d in releases.fetch(joint.buyer, joint.job)[0]}
    assert set(delivered) == {"1.scores.json", "2.scores.json"}
    masked = [scoring.decrypt(joint.developer, joint.job, delivered[f"{n}.scores.json"]) for n in (1, 2)]
    opened = []
    for hospital, answer in zip((first, second), masked, strict=True):
        case = review.open_case(hospital.home, joint.job, hospital.reviewer)
        opened.append(scoring.unblinded(hospital.home, case, answer))
    assert opened[0] == opened[1][::-1]
    assert len(set(opened[0])) > 50
    # The other's file gives nothing under one's own masks, and the other's masks do not open.
    case = review.open_case(second.home, joint.job, second.reviewer)
    with pytest.raises(VerificationFailed):
        assert scoring.unblinded(second.home, case, masked[0]) == opened[0]
    with pytest.raises((PermissionDenied, NotFound)):
        review.open_artifact(second.home, case, "1.blinds.json")
    blob = next(a.blob for a in joint.output().body.artifacts if a.name == "1.blinds.json")
    for stranger in (second.home, joint.buyer, joint.developer):
        with pytest.raises(TrustspaceError):
            stranger.session.link.fetch(blob, 1 << 20)
    assert first.home.session.link.fetch(blob, 1 << 20)

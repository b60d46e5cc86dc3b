"""Encrypted scoring in tests: a job, a model and a key that is quick to make and far too small to be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.enclaves import write_job
from support.story import Story
from trustspace.aggregation.paillier import keys
from trustspace.client import jobs, scoring
from trustspace.client.datasets import resolve

WEIGHTS = {"weights": {"size": 0.75, "texture": -2.5}, "intercept": -1.25}
SCORE = """
[job]
title = "Mean risk by diagnosis"
purpose = "How the score behaves on your patients."
kind = "score"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "cytology"
version = 1
columns = ["size", "texture", "diagnosis"]

[score]
model = "{model}"
weights = "weights.json"
features = {{ size = [{size}], texture = [{texture}] }}
{rest}
"""


def small_keys(patch: pytest.MonkeyPatch) -> None:
    """Let 1024 bits be enough for a Paillier key, in this process and until the patch is undone."""
    patch.setattr(keys, "KEY_BITS", (1024, *keys.KEY_BITS))


def ranges(story: Any, name: str = "cytology") -> dict[str, str]:
    """The features' ranges as the dataset's description shows them."""
    columns = resolve(story.developer, name, 1).body.description["columns"]
    return {c["name"]: f'"{c["low"]}", "{c["high"]}"' for c in columns if c["low"]}


def score_text(
    story: Story,
    rest: str = 'group = "diagnosis"\ngroups = ["B", "M"]',
    model: str = "linear",
    **changed: str,
) -> str:
    """The job file, with ``rest`` at the end of its [score]."""
    text = SCORE.format(model=model, rest=rest, **{**ranges(story), **changed})
    return text if "group" in rest else text.replace(', "diagnosis"]', "]")


def ask(story: Story, text: str = "", weights: Any = WEIGHTS) -> str:
    """Submit a job that scores, with a key of 1024 bits, and have it countersigned."""
    path = write_job(story.world, text or score_text(story))
    path.with_name("weights.json").write_text(json.dumps(weights), encoding="utf-8")
    if not (story.developer.path / "score.key").exists():
        scoring.generate_key(story.developer, 1024)
    story.job = jobs.submit(story.developer, path)
    jobs.countersign(story.buyer, story.job)
    return story.job


def until_review(story: Story, text: str = "", weights: Any = WEIGHTS) -> Story:
    """Ask, grant and run."""
    ask(story, text, weights)
    story.grant()
    assert story.run() == "in-review", story.enclave.failures()
    return story

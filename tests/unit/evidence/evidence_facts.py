"""The facts of a sound run, to be spoilt one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trustspace.evidence.facts import Delivered, DigestPair, Participation, PartMetrics, RunFacts
from trustspace.jobs.artifacts import ArtifactFacts, DeclaredArtifact
from trustspace.jobs.disclosure import Disclosure
from trustspace.jobs.tensors import TensorInfo

A, B = "a" * 64, "b" * 64
SHAPES = (("model.bias", (1,)), ("model.weight", (1, 30)))
MODEL = "model.safetensors"
EARLIER = Delivered(output=A, title="Earlier model", datasets=("ward-a",), bytes=900)
ELSEWHERE = Delivered(output=B, title="Other model", datasets=("ward-b",), bytes=900)

TOGETHER = Participation(
    rounds=22, smallest=4, minimum=3, source_units=4, own_part="all", scheme="pairwise-masks-v1", opened_by=4
)
TABLES = Disclosure(minimum=10, counts=40, hidden=8, derived=0, narrowest=5, alike=0)


def sound(**changes: Any) -> RunFacts:
    """Facts that give a green report, with ``changes``."""
    facts = RunFacts(
        kind="train",
        model="logistic_regression",
        custom_code=False,
        declared=(
            DeclaredArtifact("metrics.json", "application/json", 1 << 20),
            DeclaredArtifact(MODEL, "application/x-safetensors", 1 << 20, SHAPES),
        ),
        observed=(
            ArtifactFacts("metrics.json", "application/json", 400),
            ArtifactFacts(
                MODEL, "application/x-safetensors", 800, tuple(TensorInfo(n, "F32", s) for n, s in SHAPES)
            ),
        ),
        digests=(DigestPair("parameters", A, A), DigestPair("ward-a version 1", B, B)),
        commitments=(("metrics.json", A), (MODEL, B)),
        datasets=("ward-a",),
        rows=455,
        patients=455,
        withheld_patients=114,
        record_bytes=240,
        training=PartMetrics(455, 0.07, 0.99, 0.98),
        withheld=PartMetrics(114, 0.10, 0.98, 0.96),
        sandbox_tier="namespaces+landlock+seccomp",
        sandbox_tier_demanded="any",
        evidence_kind="software",
        evidence_kind_demanded="software",
        custody="own",
    )
    return replace(facts, **changes)


def counted(found: Disclosure | None = TABLES, **changes: Any) -> RunFacts:
    """Facts of a statistics job whose policy excuses the check of a model, with ``changes``."""
    return sound(
        kind="statistics",
        model="",
        declared=(DeclaredArtifact("statistics.json", "application/json", 1 << 20),),
        observed=(ArtifactFacts("statistics.json", "application/json", 900),),
        commitments=(("statistics.json", A),),
        withheld_patients=0,
        training=None,
        withheld=None,
        statistics=found,
        **changes,
    )

"""The facts of a sound run, to be spoilt one at a time."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from trustspace.evidence.facts import Delivered, DigestPair, Judgement, Participation, PartMetrics, RunFacts
from trustspace.jobs.artifacts import ArtifactFacts, DeclaredArtifact
from trustspace.jobs.chance import GENERATOR
from trustspace.jobs.claim import PrivateTraining
from trustspace.jobs.disclosure import Disclosure
from trustspace.jobs.stored import StoredRows
from trustspace.jobs.tensors import TensorInfo
from trustspace.privacy.membership import Estimate, Membership
from trustspace.privacy.overlap import Comparison
from trustspace.privacy.references import References

A, B = "a" * 64, "b" * 64
SHAPES = (("model.bias", (1,)), ("model.weight", (1, 30)))
MODEL = "model.safetensors"
EARLIER = Delivered(output=A, title="Earlier model", datasets=("ward-a",), bytes=900)
ELSEWHERE = Delivered(output=B, title="Other model", datasets=("ward-b",), bytes=900)

TOGETHER = Participation(
    rounds=22, smallest=4, minimum=3, source_units=4, own_part="all", scheme="pairwise-masks-v1", opened_by=4
)
HARMLESS = Membership(
    members=455, others=114, auc=Estimate(0.51, 0.45, 0.57, 0.5, 0.56), tail=Estimate(0.01, 0.0, 0.04, 0.01, 0.04),
    tpr=Estimate(0.01, 0.0, 0.03, 0.01, 0.03), epsilon=0.0, guesses=20, right=11, audited=228, roc=((0.0, 0.0), (0.1, 0.1)),
    edges=(0.0, 0.5, 1.0), members_histogram=(400, 55), others_histogram=(100, 14),
)  # fmt: skip
# So many that an area of chance could pass.
CANARIES = replace(
    HARMLESS,
    members=30,
    others=25,
    auc=Estimate(0.55, 0.40, 0.69, 0.5, 0.66),
    audited=55,
    guesses=32,
    right=18,
)
COMPARED = References(4, "lira", HARMLESS, (("lira", HARMLESS),), ((7, 0.9),))
JUDGED = Judgement(
    PartMetrics(455, 0.07, 0.99, 0.98), PartMetrics(114, 0.10, 0.98, 0.96), HARMLESS, COMPARED,
    (("patient 7", 0.9),), "same", canaries=CANARIES,
)  # fmt: skip
PROMISED = PrivateTraining(
    epsilon=3.0, delta=0.0001, patients=455, told_patients=455, rate=0.07, steps=286, noise=1.4, accounted=2.9997,
    check=2.68, generator=GENERATOR,
)  # fmt: skip
TABLES = Disclosure(minimum=10, counts=40, hidden=8, derived=0, narrowest=5, alike=0)

NOTHING = {"minimum_cell_count": 10, "source_units": 1, "rows": 455, "numeric": [], "tables": []}


def sound(**changes: Any) -> RunFacts:
    """Facts that give a green report, with ``changes``, also of what was judged."""
    of_judged = {name: changes.pop(name) for name in [f.name for f in fields(Judgement)] if name in changes}
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
        judged=JUDGED,
        sandbox_tier="namespaces+landlock+seccomp",
        sandbox_tier_demanded="any",
        evidence_kind="software",
        evidence_kind_demanded="software",
        custody="own",
        differencing=Comparison(),
        precision="bf16",
        stored=StoredRows("yes"),
        private=PROMISED,
        canaries_percent=20 if changes.get("kind", "train") == "train" else 0,
    )
    return replace(facts, **{"judged": replace(facts.judged, **of_judged), **changes})


def counted(found: Disclosure | None = TABLES, **changes: Any) -> RunFacts:
    """Facts of a statistics job whose policy excuses the check of a model, with ``changes``."""
    return sound(
        kind="statistics",
        model="",
        declared=(DeclaredArtifact("statistics.json", "application/json", 1 << 20),),
        observed=(ArtifactFacts("statistics.json", "application/json", 900),),
        commitments=(("statistics.json", A),),
        withheld_patients=0,
        judged=Judgement(repeated="same"),
        statistics=found,
        **{"released": NOTHING, "parts": (), "private": None, **changes},
    )

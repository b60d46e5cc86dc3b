"""What an enclave saw of a run, as plain values: the only thing a report is built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from trustspace.errors import VerificationFailed
from trustspace.jobs.artifacts import (
    ArtifactFacts,
    DeclaredArtifact,
    declared_artifacts,
    describe_artifact,
    parse_json,
)
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.metrics import EVALUATION_FORMAT, NOT_MEASURABLE, is_decimal_text
from trustspace.jobs.spec import Parameters


@dataclass(frozen=True)
class DigestPair:
    """A thing that ran: its digest in the granted statements and the one computed from the bytes that ran."""

    name: str
    granted: str
    observed: str


@dataclass(frozen=True)
class PartMetrics:
    """A model's metrics on one part of the rows; None where it was not measurable or does not apply."""

    rows: int
    loss: float | None
    auc: float | None = None
    accuracy: float | None = None
    r2: float | None = None


@dataclass(frozen=True)
class Delivered:
    """Something this buyer received from this source unit before."""

    output: str
    title: str
    datasets: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class RunFacts:
    """Everything that the report says follows from these.

    ``commitments``: artifact name and hex commitment of its content. ``rows`` and ``patients``: of the part
    the job saw; ``record_bytes``: mean size of one of these rows, in bytes, in the columns the job saw.
    ``training`` and ``withheld`` are None when the evaluation did not run. Tiers and kinds as in statements.
    """

    kind: Literal["train", "compute"]
    model: str
    custom_code: bool
    declared: tuple[DeclaredArtifact, ...]
    observed: tuple[ArtifactFacts, ...]
    digests: tuple[DigestPair, ...]
    commitments: tuple[tuple[str, str], ...]
    datasets: tuple[str, ...]
    rows: int
    patients: int
    withheld_patients: int
    record_bytes: int
    training: PartMetrics | None
    withheld: PartMetrics | None
    sandbox_tier: str
    sandbox_tier_demanded: str
    evidence_kind: str
    evidence_kind_demanded: str
    custody: Literal["own", "operator-hosted"]
    history: tuple[Delivered, ...] = ()

    @classmethod
    def of(
        cls,
        parameters: Parameters,
        artifacts: Sequence[RawArtifact],
        *,
        digests: Sequence[DigestPair],
        commitments: Mapping[str, str],
        rows: int,
        patients: int,
        withheld_patients: int,
        record_bytes: int,
        evaluation: tuple[PartMetrics | None, PartMetrics | None],
        sandbox_tier: str,
        sandbox_tier_demanded: str,
        evidence_kind: str,
        evidence_kind_demanded: str,
        custody: Literal["own", "operator-hosted"] = "own",
        history: Sequence[Delivered] = (),
    ) -> Self:
        """The facts of a run of ``parameters`` that handed out ``artifacts``.

        ``evaluation`` is (training, withheld) as :func:`read_evaluation` gives it, (None, None) without one.
        Raises VerificationFailed for an artifact whose form is not sound.
        """
        return cls(
            kind=parameters.kind,
            model=parameters.train.model if parameters.train is not None else "",
            custom_code=parameters.runs_custom_code,
            declared=declared_artifacts(parameters),
            observed=tuple(describe_artifact(raw) for raw in artifacts),
            digests=tuple(digests),
            commitments=tuple(sorted(commitments.items())),
            datasets=tuple(use.id for use in parameters.datasets),
            rows=rows,
            patients=patients,
            withheld_patients=withheld_patients,
            record_bytes=record_bytes,
            training=evaluation[0],
            withheld=evaluation[1],
            sandbox_tier=sandbox_tier,
            sandbox_tier_demanded=sandbox_tier_demanded,
            evidence_kind=evidence_kind,
            evidence_kind_demanded=evidence_kind_demanded,
            custody=custody,
            history=tuple(history),
        )


def read_evaluation(data: bytes) -> tuple[PartMetrics | None, PartMetrics | None]:
    """(training, withheld) metrics from the ``evaluate`` program's metrics.json.

    A developer's model code may have run where these bytes were written, so they are parsed strictly.
    Raises VerificationFailed.
    """
    value = parse_json(data)
    if not isinstance(value, dict) or value.get("format") != EVALUATION_FORMAT:
        raise VerificationFailed(
            "The evaluation's metrics are not of format {format}.", format=EVALUATION_FORMAT
        )
    return _part(value.get("training")), _part(value.get("withheld"))


def _part(value: object) -> PartMetrics | None:
    if value is None:
        return None
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(value, dict) or type(rows) is not int or rows < 0:
        raise VerificationFailed("The evaluation's metrics are not metrics.")
    return PartMetrics(rows, *(_number(value.get(name)) for name in ("loss", "auc", "accuracy", "r2")))


def _number(value: object) -> float | None:
    if value is None or value == NOT_MEASURABLE:
        return None
    if not is_decimal_text(value):
        raise VerificationFailed("The evaluation's metrics hold something that is not a decimal number.")
    return float(str(value))

"""What an enclave saw of a run, as plain values: the only thing a report is built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from trustspace.crypto.canonical import MAX_INTEGER
from trustspace.errors import VerificationFailed
from trustspace.jobs.artifacts import (
    ArtifactFacts,
    DeclaredArtifact,
    declared_artifacts,
    describe_artifact,
    parse_json,
)
from trustspace.jobs.claim import PrivateTraining, observed
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.disclosure import Disclosure, disclosure
from trustspace.jobs.metrics import EVALUATION_FORMAT, NOT_MEASURABLE, is_decimal_text
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.people import CountTable, count_tables
from trustspace.jobs.scores import MAX_SCORES_BYTES, SCORES_ARTIFACT, Carried, carried
from trustspace.jobs.sections import STATISTICS_ARTIFACT
from trustspace.jobs.stored import StoredRows
from trustspace.privacy.groups import Group
from trustspace.privacy.membership import Membership
from trustspace.privacy.overlap import Comparison
from trustspace.privacy.references import References
from trustspace.privacy.tables import Amounts

Repeated = Literal["same", "other", "not_run"]


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
class Judgement:
    """What was measured of a result; for one domain's reviewers alone. None: it could not be measured.

    ``training`` and ``withheld``: a model's metrics on either side; ``unrounded``: those on the withheld side before it
    was rounded for export. ``membership``: how well someone who holds it could tell who was in the data;
    ``references``: the same with trainings anew to compare with. ``exposed``: the patients who stand out most, by the
    source's own key, with the share of the others that look less as if they had been in.
    ``repeated``: whether the same computation gave the same bytes again. ``groups``: how well the patients of each
    group that the job names are told apart, by the same comparison. ``canaries``: how well those are whose label was
    exchanged, by the model's fit to it; they count in nothing else.
    """

    training: PartMetrics | None = None
    withheld: PartMetrics | None = None
    membership: Membership | None = None
    references: References | None = None
    exposed: tuple[tuple[str, float], ...] = field(default=(), repr=False)
    repeated: Repeated = "not_run"
    groups: tuple[Group, ...] = ()
    unrounded: PartMetrics | None = None
    canaries: Membership | None = None


@dataclass(frozen=True)
class Delivered:
    """Something this buyer received from this source unit before."""

    output: str
    title: str
    datasets: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Participation:
    """How the sums of a joint job came about, as this source unit's enclave saw it.

    ``rounds``: sums that were opened. ``smallest``: the fewest source units in any of them, ``minimum``: the
    fewest agreed, ``source_units``: how many the job names. ``own_part``: in how many of the sums this unit's
    data is. ``scheme``: name of what protected each part. ``opened_by``: how many source units together open a sum,
    all of them unless the grant said otherwise.
    """

    rounds: int
    smallest: int
    minimum: int
    source_units: int
    own_part: Literal["all", "some", "none"]
    scheme: str
    opened_by: int


@dataclass(frozen=True)
class RunFacts:
    """Everything that the report says follows from these.

    ``commitments``: artifact name and hex commitment of its content. ``rows`` and ``patients``: of the part
    the job saw; ``record_bytes``: mean size of one of these rows, in bytes, in the columns the job saw.
    Tiers and kinds as in statements.
    ``joint``: whether several source units made one result by sums; then ``participants`` says how, None when
    that is not known. ``statistics``: what a job of that kind released, None when it is not there. ``blind``:
    whether the developer sealed its code, so that no reviewer can read what ran. ``scores``: what encrypted scores can
    tell, None without them; ``sums_spent``: how many sums of scores the developer's jobs may have got of this data,
    this one among them. ``measurement``: digest of the platform's package that ran, as its evidence states it.
    ``private``: what was seen of a training that claims differential privacy, None where none is claimed or, of a joint
    one, where this unit's part was not seen; ``promised``: whether one is claimed.
    ``released``: the statistics.json of a job that counts. ``differencing``: what the output says together with earlier
    ones, None when that is not known. ``parts``: the largest parts of the unit's patients in sums, None likewise.
    ``precision``: in which a model's weights leave, "" without one; ``stored``: what was seen of rows in the files,
    None when nobody looked. ``canaries_percent``: of the audited patients, how many the job agreed to be canaries.
    """

    kind: Literal["train", "statistics", "compute", "score"]
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
    judged: Judgement
    sandbox_tier: str
    sandbox_tier_demanded: str
    evidence_kind: str
    evidence_kind_demanded: str
    custody: Literal["own", "operator-hosted"]
    history: tuple[Delivered, ...] | None = ()
    joint: bool = False
    participants: Participation | None = None
    statistics: Disclosure | None = None
    blind: bool = False
    scores: Carried | None = None
    sums_spent: int = 0
    released: Mapping[str, Any] | None = field(default=None, repr=False)
    differencing: Comparison | None = None
    parts: tuple[Amounts, ...] | None = None
    measurement: str = ""
    private: PrivateTraining | None = None
    promised: bool = False
    precision: Literal["", "bf16", "float32"] = ""
    stored: StoredRows | None = None
    counts: tuple[CountTable, ...] = ()
    canaries_percent: int = 0

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
        judged: Judgement,
        sandbox_tier: str,
        sandbox_tier_demanded: str,
        evidence_kind: str,
        evidence_kind_demanded: str,
        custody: Literal["own", "operator-hosted"] = "own",
        history: Sequence[Delivered] | None = (),
        participants: Participation | None = None,
        prefix: str = "",
        blind: bool = False,
        sums_spent: int = 0,
        differencing: Comparison | None = None,
        parts: Sequence[Amounts] | None = None,
        measurement: str = "",
        stored: StoredRows | None = None,
        private: PrivateTraining | None = None,
    ) -> Self:
        """The facts of a run of ``parameters`` that handed out ``artifacts``.

        ``participants`` belongs to a joint job, ``private`` to a joint one with differential privacy. ``prefix`` stands
        before the names that artifacts are handed out under, where every source unit has its own. Raises
        VerificationFailed for one whose form is not sound.
        """
        return cls(
            kind=parameters.kind,
            model=parameters.train.model if parameters.train is not None else "",
            custom_code=parameters.runs_custom_code,
            precision=parameters.train.precision if parameters.train is not None else "",
            stored=stored,
            canaries_percent=parameters.terms.canaries,
            counts=count_tables(artifacts, rows) if parameters.kind == "compute" else (),
            declared=tuple(replace(d, name=prefix + d.name) for d in declared_artifacts(parameters)),
            observed=tuple(replace(describe_artifact(raw), name=prefix + raw.name) for raw in artifacts),
            digests=tuple(digests),
            commitments=tuple(sorted(commitments.items())),
            datasets=tuple(use.id for use in parameters.datasets),
            rows=rows,
            patients=patients,
            withheld_patients=withheld_patients,
            record_bytes=record_bytes,
            judged=judged,
            sandbox_tier=sandbox_tier,
            sandbox_tier_demanded=sandbox_tier_demanded,
            evidence_kind=evidence_kind,
            evidence_kind_demanded=evidence_kind_demanded,
            custody=custody,
            history=tuple(history) if history is not None else None,
            joint=parameters.is_joint,
            participants=participants,
            statistics=_disclosed(parameters, artifacts),
            blind=blind,
            scores=_carried(parameters, artifacts),
            private=private or observed(parameters, artifacts, patients),
            promised=parameters.privacy is not None,
            sums_spent=sums_spent,
            released=_released(parameters, artifacts),
            differencing=differencing,
            parts=tuple(parts) if parts is not None else None,
            measurement=measurement,
        )


def _disclosed(parameters: Parameters, artifacts: Sequence[RawArtifact]) -> Disclosure | None:
    found = _released(parameters, artifacts)
    return disclosure(found, parameters) if found is not None else None


def _released(parameters: Parameters, artifacts: Sequence[RawArtifact]) -> Any:
    found = [raw.data for raw in artifacts if raw.name == STATISTICS_ARTIFACT]
    return parse_json(found[0]) if parameters.kind == "statistics" and found else None


def _carried(parameters: Parameters, artifacts: Sequence[RawArtifact]) -> Carried | None:
    found = [raw.data for raw in artifacts if raw.name == SCORES_ARTIFACT]
    if parameters.kind != "score" or not found:
        return None
    return carried(parse_json(found[0], limit=MAX_SCORES_BYTES), parameters)


def read_evaluation(
    data: bytes,
) -> tuple[PartMetrics | None, PartMetrics | None, PartMetrics | None]:
    """(training, withheld, unrounded) metrics from the ``evaluate`` program's metrics.json.

    A developer's model code may have run where these bytes were written, so they are parsed strictly.
    Raises VerificationFailed.
    """
    value = parse_json(data)
    if not isinstance(value, dict) or value.get("format") != EVALUATION_FORMAT:
        raise VerificationFailed(
            "The evaluation's metrics are not of format {format}.", format=EVALUATION_FORMAT
        )
    return _part(value.get("training")), _part(value.get("withheld")), _part(value.get("unrounded"))


def _part(value: object) -> PartMetrics | None:
    if value is None:
        return None
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(value, dict) or type(rows) is not int or not 0 <= rows <= MAX_INTEGER:
        raise VerificationFailed("The evaluation's metrics are not metrics.")
    return PartMetrics(rows, *(_number(value.get(name)) for name in ("loss", "auc", "accuracy", "r2")))


def _number(value: object) -> float | None:
    if value is None or value == NOT_MEASURABLE:
        return None
    if not is_decimal_text(value):
        raise VerificationFailed("The evaluation's metrics hold something that is not a decimal number.")
    return float(str(value))

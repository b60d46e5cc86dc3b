"""The parameters of a job, which are signed, and the rules between them.

They stand in the ``job`` statement as canonical JSON, every default written out, and are all that an enclave
and a worker know of the job.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from trustspace.aggregation.selection import Selection, select
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.messages import problems_of
from trustspace.jobs.registry import handed_bytes
from trustspace.jobs.sections import MIB, DatasetUse, Limits, Section, Terms, Train, rule, to_tuple
from trustspace.jobs.sections_compute import Compute
from trustspace.jobs.sections_joint import (
    Federated,
    Statistics,
    Sums,
    all_alike,
    check_federated,
    check_private,
)
from trustspace.jobs.sections_private import Privacy, check_ranges
from trustspace.jobs.sections_score import Score

FORMAT = "trustspace-parameters-v1"
Kind = Literal["train", "statistics", "compute", "score"]
SECTIONS: tuple[Kind, ...] = ("train", "statistics", "compute", "score")
# One in so many of the patients trained on may have another label: with a fifth withheld that is what half of the
# audited patients come to, and what it costs is measured (docs/evidence.md, canaries). Beyond, what is judged would be
# another model than the one that was asked for.
MOST_CHANGED = 8


class Parameters(Section):
    """Everything that decides what a run does, apart from data and code."""

    format: Literal["trustspace-parameters-v1"] = "trustspace-parameters-v1"
    kind: Kind
    datasets: Annotated[
        tuple[DatasetUse, ...], Field(min_length=1, max_length=256), BeforeValidator(to_tuple)
    ]
    train: Train | None = None
    federated: Federated | None = None
    statistics: Statistics | None = None
    compute: Compute | None = None
    score: Score | None = None
    sums: Sums | None = None
    privacy: Privacy | None = None
    terms: Terms = Terms()
    limits: Limits = Limits()

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """Write out what follows from the number of datasets."""
        datasets = value.get("datasets") if isinstance(value, dict) else None
        if not isinstance(datasets, list | tuple):
            return value
        filled = dict(value)
        if filled.get("kind") == "train" and len(datasets) > 1 and filled.get("federated") is None:
            filled["federated"] = {}
        if filled.get("privacy") is not None:
            filled["federated"] = all_alike(filled.get("federated"))
        if len(datasets) > 1 and filled.get("kind") in ("train", "statistics") and filled.get("sums") is None:
            filled["sums"] = {}
        # All of them: a set that may shrink tells more about who left it, and that is for the job to ask for.
        default = max(1, len(datasets) - _dropouts(filled.get("sums")))
        terms = filled.get("terms", {})
        if isinstance(terms, Terms) and "minimum_participants" not in terms.model_fields_set:
            filled["terms"] = terms.model_copy(update={"minimum_participants": default})
        elif isinstance(terms, dict):
            filled["terms"] = {"minimum_participants": default, **terms}
        return filled

    @property
    def is_joint(self) -> bool:
        """Whether several source units compute one result together, in rounds of secure sums."""
        return len(self.datasets) > 1 and self.kind in ("train", "statistics")

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that a model is trained on, in the order of its inputs."""
        return self.datasets[0].columns

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns of a training that hold plain numbers, the target among them where it is one."""
        train = self.training()
        plain = () if train.is_image else tuple(n for n in self.features if n not in train.categories)
        return (*plain, train.target) if train.task == "regression" else plain

    @property
    def selection(self) -> Selection | None:
        """How the sums of a joint job are protected; None where there are none.

        Raises the rule's error where the wishes do not go together.
        """
        if self.sums is None:
            return None
        try:
            return select(len(self.datasets), self.sums.scheme, self.sums.dropouts, self.sums.cheats)
        except InvalidInput as error:
            field = str(error.details.get("field", "sums.dropouts"))
            details = {k: v for k, v in error.details.items() if k != "field"}
            raise rule(field, error.message, error.fix, **details) from None

    @property
    def weighed(self) -> tuple[str, ...]:
        """The columns that an encrypted model weighs, in the order of its weights."""
        group = self.scoring().group
        return tuple(name for name in self.features if name != group)

    @property
    def runs_custom_code(self) -> bool:
        """Whether code of the developer's meets the data."""
        return self.compute is not None or (self.train is not None and self.train.model == "custom")

    @property
    def brings_blob(self) -> bool:
        """Whether something of the developer's own goes into a run: code, or an encrypted model."""
        return self.runs_custom_code or self.score is not None

    @property
    def entry(self) -> tuple[str, str] | None:
        """File and function that the code bundle must define, or None when there is no code."""
        if not self.runs_custom_code:
            return None
        return ("model.py", "build") if self.train is not None else ("main.py", "run")

    def columns_of(self, index: int) -> tuple[str, ...]:
        """The columns that a run may see of the dataset at ``index``: those named and, in training, the target.

        Raises InvalidInput when the job names fewer datasets.
        """
        if not 0 <= index < len(self.datasets):
            raise InvalidInput("The job names fewer than {count} datasets.", count=index + 1)
        use = self.datasets[index]
        return use.columns if self.train is None else (*use.columns, self.train.target)

    def training(self) -> Train:
        """The [train] section; raises InvalidInput for a job that trains nothing."""
        if self.train is None:
            raise InvalidInput("This job does not train a model.")
        return self.train

    def federation(self) -> Federated:
        """The [federated] section; raises InvalidInput for a job that does not train over several units."""
        if self.federated is None:
            raise InvalidInput("This job does not train over several source units.")
        return self.federated

    def counting(self) -> Statistics:
        """The [statistics] section; raises InvalidInput for a job of another kind."""
        if self.statistics is None:
            raise InvalidInput("This job does not compute statistics.")
        return self.statistics

    def computing(self) -> Compute:
        """The [compute] section; raises InvalidInput for a job of another kind."""
        if self.compute is None:
            raise InvalidInput("This job does not compute with the developer's code.")
        return self.compute

    def scoring(self) -> Score:
        """The [score] section; raises InvalidInput for a job of another kind."""
        if self.score is None:
            raise InvalidInput("This job does not score with an encrypted model.")
        return self.score

    def to_json(self) -> dict[str, Any]:
        """As it is signed: JSON values without floats or nulls, every default written out.

        Whose a dataset is stands in the job's statement, by fingerprint, and not here by a name.
        """
        value: dict[str, Any] = self.model_dump(
            mode="json", exclude_none=True, exclude={"datasets": {"__all__": {"source_unit"}}}
        )
        return value

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The parameters of a signed statement; VerificationFailed unless they are in their one form."""
        try:
            parameters = cls.model_validate(value)
        except ValidationError as error:
            raise VerificationFailed(
                "The job's parameters break a rule: {reason}",
                reason=problems_of(error, cls)[0].public_message,
            ) from None
        if parameters.to_json() != value:
            raise VerificationFailed("The job's parameters are not written out in full.")
        return parameters

    @model_validator(mode="after")
    def _rules(self) -> Self:
        check_sections(self)
        if self.terms.canaries and self.train is None:
            raise rule(
                "terms.canaries",
                "{field} must be 0 unless a model is trained.",
                "Remove it: no label is learnt, and nobody is withheld by a coin.",
            )
        if self.terms.minimum_participants > len(self.datasets):
            raise rule(
                "terms.minimum_participants",
                "{field} is larger than the number of datasets.",
                "Lower it or add a dataset.",
            )
        if self.is_joint and self.terms.minimum_participants < 2:
            raise rule(
                "terms.minimum_participants",
                "{field} must be at least 2 for a job over several source units.",
                "With one there is no sum: its numbers would be seen. Use 3 where there are as many.",
            )
        if self.sums is not None:
            self._sum_rules(self.sums)
        if self.kind != "compute" and any(use.columns != self.features for use in self.datasets):
            raise rule(
                "datasets",
                "{field} name different columns.",
                "Name the same columns, in the same order, of every dataset.",
            )
        if self.train is not None:
            self._training_rules(self.train)
        if self.privacy is not None:
            self._privacy_rules(self.privacy)
        if self.statistics is not None:
            self._statistics_rules(self.statistics)
        if self.score is not None:
            self._score_rules(self.score)
        if self.compute is not None:
            declared = sum(output.max_bytes for output in self.compute.outputs)
            if declared > self.limits.output_mib * MIB:
                raise rule(
                    "limits.output_mib",
                    "{field} is smaller than all declared outputs together.",
                    "Raise it to {needed}, or lower max_bytes.",
                    needed=-(-declared // MIB),
                )
        return self

    def _sum_rules(self, sums: Sums) -> None:
        if not self.is_joint:
            raise rule(
                "sums",
                "The section [{field}] belongs to jobs that add up over several source units.",
                "Remove it, or name more datasets.",
            )
        if self.terms.minimum_participants > len(self.datasets) - sums.dropouts:
            raise rule(
                "terms.minimum_participants",
                "{field} leaves no room for the source units that sums.dropouts allows to be lost.",
                "Lower it to {most}, or lower sums.dropouts.",
                most=len(self.datasets) - sums.dropouts,
            )
        assert self.selection is not None

    def _training_rules(self, train: Train) -> None:
        if train.target in self.features:
            raise rule(
                "train.target",
                "{field} is also among the columns.",
                "Take it out of datasets.columns: a model must not see what it predicts.",
            )
        if any(name not in self.features for name in train.categories):
            raise rule(
                "train.categories",
                "{field} names a column that is not among the columns.",
                "Add it to datasets.columns or remove it.",
            )
        if train.is_image and len(self.features) != 1:
            raise rule(
                "datasets",
                "{field} must name exactly one column for a model of images.",
                "Name the image column only.",
            )
        needed = handed_bytes(train, self.features) + MIB
        if needed > self.limits.output_mib * MIB:
            raise rule(
                "limits.output_mib",
                "{field} is smaller than the model.",
                "Raise it to {needed}, or make the model smaller.",
                needed=-(-needed // MIB),
            )
        if self.terms.withheld_percent < 5:
            raise rule(
                "terms.withheld_percent",
                "{field} must be from 5 to 50 for training.",
                "Without patients that training never sees, nobody can judge the model.",
            )
        if self.terms.canaries:
            self._canary_rules(train)

    def _canary_rules(self, train: Train) -> None:
        if train.task == "regression" or train.model == "custom":
            raise rule(
                "terms.canaries",
                "{field} must be 0 for a target that is a number, and for the developer's own model.",
                "Remove it: only a class can be exchanged, and only the platform's own code may meet the labels.",
            )
        withheld, canaries = self.terms.withheld_percent, self.terms.canaries
        # Coins leave half of them in: of the patients trained on, canaries * withheld / (100 - withheld) percent.
        most = (100 - withheld) * 100 // (MOST_CHANGED * withheld)
        if canaries > most:
            raise rule(
                "terms.canaries",
                "{field} changes the label of more than one in eight of the patients trained on.",
                "Lower it to {most}, or lower terms.withheld_percent.",
                most=most,
            )

    def _privacy_rules(self, privacy: Privacy) -> None:
        if self.train is None:
            raise rule(
                "privacy",
                "The section [{field}] does not belong to a job of kind {kind}.",
                "Remove it.",
                kind=self.kind,
            )
        if self.federated is not None:
            check_private(self.federated)
        check_ranges(privacy, self.numbers)

    def _statistics_rules(self, statistics: Statistics) -> None:
        if not statistics.used <= set(self.features):
            raise rule(
                "statistics",
                "{field} names a column that is not among the columns.",
                "Add it to datasets.columns or remove it.",
            )
        if not statistics.used >= set(self.features):
            raise rule(
                "datasets",
                "{field} name a column that [statistics] does not use.",
                "Remove it: a job sees only what it needs.",
            )
        if self.terms.withheld_percent != 0:
            raise rule(
                "terms.withheld_percent",
                "{field} must be 0 for statistics.",
                "Remove it: there is no model to be judged on withheld patients.",
            )

    def _score_rules(self, score: Score) -> None:
        if any(set(use.columns) != score.used for use in self.datasets):
            raise rule(
                "datasets",
                "{field} must name exactly the columns that [score] uses.",
                "Name the features and, where there is one, the column in group.",
            )
        if self.terms.withheld_percent != 0:
            raise rule(
                "terms.withheld_percent",
                "{field} must be 0 for scores.",
                "Remove it: every row is scored, and no model is trained.",
            )


def check_sections(job: Parameters) -> None:
    """Raise the rule's error unless exactly the sections of this kind of job are there."""
    for name in SECTIONS:
        present = getattr(job, name) is not None
        if name == job.kind and not present:
            raise rule(
                name, "The section [{field}] is missing.", "A job of kind {kind} needs it.", kind=job.kind
            )
        if name != job.kind and present:
            raise rule(
                name,
                "The section [{field}] does not belong to a job of kind {kind}.",
                "Remove it.",
                kind=job.kind,
            )
    if job.federated is not None:
        if job.train is None:
            raise rule(
                "federated",
                "The section [{field}] does not belong to a job of kind {kind}.",
                "Remove it.",
                kind=job.kind,
            )
        if len(job.datasets) == 1:
            raise rule(
                "federated",
                "The section [{field}] belongs to training over several datasets.",
                "Remove it, or name more datasets.",
            )
        check_federated(job.federated, job.train)


def _dropouts(sums: Any) -> int:
    """How many source units a job's sums do without, as far as that can be told before it is checked."""
    found = (
        sums.dropouts if isinstance(sums, Sums) else sums.get("dropouts", 0) if isinstance(sums, dict) else 0
    )
    return found if type(found) is int and found > 0 else 0

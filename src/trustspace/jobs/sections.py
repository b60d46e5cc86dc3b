"""The sections of a job file, each a strict frozen model, and the rules between their fields.

Decimals are kept as exact text (``"0.05"``): what is signed holds integers, strings and booleans only. Every
bound is here and in the published schema. Every field carries an example, which error messages show.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

MODEL_ARTIFACT = "model.safetensors"
METRICS_ARTIFACT = "metrics.json"
STATISTICS_ARTIFACT = "statistics.json"
MEDIA_TYPES = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".png": "image/png",
    ".safetensors": "application/x-safetensors",
}
MIB = 1 << 20

ModelName = Literal["logistic_regression", "mlp", "small_cnn", "custom"]
Loss = Literal["binary_cross_entropy", "cross_entropy", "mean_squared_error"]
Task = Literal["binary", "multiclass", "regression"]
Precision = Literal["bf16", "float32"]
LOSS_OF_TASK: dict[Task, Loss] = {
    "binary": "binary_cross_entropy",
    "multiclass": "cross_entropy",
    "regression": "mean_squared_error",
}


def rule(field: str, message: str, fix: str, **details: str | int) -> PydanticCustomError:
    """An error of a rule between fields; ``field`` is relative to the section that raises it."""
    return PydanticCustomError(
        "job_rule", "{message}", {"field": field, "message": message, "fix": fix, **details}
    )


def no_default(schema: dict[str, Any]) -> None:
    """Leave the default out of a field's published schema, where it follows from other fields."""
    schema.pop("default", None)


def to_tuple(value: Any) -> Any:
    """A list of a parsed file as the tuple that a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


def _to_decimal_text(value: Any) -> Any:
    """``0.050``, ``"5e-2"`` and ``0.05`` are all ``"0.05"``; anything else is left for the error."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise PydanticCustomError("decimal_type", "not a decimal number")
    if isinstance(value, str) and len(value) > 40:
        raise PydanticCustomError("decimal_type", "not a decimal number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise PydanticCustomError("decimal_type", "not a decimal number") from None
    if not number.is_finite() or abs(number.adjusted()) > 20 or len(number.as_tuple().digits) > 20:
        raise PydanticCustomError("decimal_type", "not a decimal number")
    text = format(number.normalize(), "f")
    return "0" if Decimal(text) == 0 else text


def _within(low: str, high: str) -> Any:
    def check(value: str) -> str:
        if not Decimal(low) <= Decimal(value) <= Decimal(high):
            raise PydanticCustomError("decimal_range", "out of range", {"low": low, "high": high})
        return value

    return check


class Between:
    """An after-validator with bounds, which also writes them into the JSON schema."""

    def __init__(self, low: str, high: str) -> None:
        self.low, self.high = low, high

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_within(self.low, self.high), handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        del schema, handler
        sign = "^-?" if self.low.startswith("-") else "^"
        return {
            "anyOf": [
                {"type": "number", "minimum": float(self.low), "maximum": float(self.high)},
                {"type": "string", "pattern": sign + r"[0-9]+(\.[0-9]+)?$"},
            ]
        }


def _label(value: Any) -> Any:
    """A category as it is written in the data: TOML's ``1`` and ``true`` are both ``"1"``."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, int) else value


# No control character and nothing that changes the direction of text: people read these before they sign.
_VISIBLE = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_VISIBLE)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Label = Annotated[Line, BeforeValidator(_label, json_schema_input_type=str | int | bool)]
DecimalText = Annotated[str, BeforeValidator(_to_decimal_text)]


class Section(BaseModel):
    """Base of every section: strict types, no unknown field, no change afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DatasetUse(Section):
    """A dataset version and the columns that the job wants to see of it."""

    id: Annotated[
        Identifier, Field(description="The dataset's name in the catalogue.", examples=["breast-cancer"])
    ]
    version: Annotated[int, Field(ge=1, le=10**9, description="Its version.", examples=[1])]
    columns: Annotated[
        tuple[Line, ...],
        Field(
            min_length=1,
            max_length=4096,
            description="The columns to compute with; for training, the features.",
            examples=[["age", "mean radius"]],
        ),
        BeforeValidator(to_tuple),
    ]
    source_unit: Annotated[
        Line | None,
        Field(
            description="Whose dataset it is, as the trust file names it; needed where two have the same name.",
            examples=["north-hospital"],
        ),
    ] = None

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if len(set(self.columns)) != len(self.columns):
            raise rule("columns", "{field} names a column twice.", "Name each column once.")
        return self


class Train(Section):
    """Training by the platform's own loop."""

    model: Annotated[ModelName, Field(description="What to train; custom needs [code].", examples=["mlp"])]
    target: Annotated[Line, Field(description="The column to predict.", examples=["diagnosis"])]
    positive: Annotated[
        Label | None,
        Field(description="Two classes: the value that counts as 1; all others are 0.", examples=["M"]),
    ] = None
    classes: Annotated[
        tuple[Label, ...] | None,
        Field(
            min_length=2,
            max_length=256,
            description="Several classes: every value.",
            examples=[["A", "B", "C"]],
        ),
        BeforeValidator(to_tuple),
    ] = None
    loss: Annotated[
        Loss | None,
        Field(description="Follows from the target when left out.", examples=["binary_cross_entropy"]),
    ] = None
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...] | None,
        Field(min_length=1, max_length=8, description="Widths of an mlp's hidden layers.", examples=[[32]]),
        BeforeValidator(to_tuple),
    ] = None
    categories: Annotated[
        dict[
            Line,
            Annotated[tuple[Label, ...], Field(min_length=1, max_length=256), BeforeValidator(to_tuple)],
        ],
        Field(
            max_length=256,
            description="Columns that hold categories, with every category; others are numbers.",
            examples=[{"sex": ["female", "male"]}],
        ),
    ] = {}
    image_size: Annotated[
        int | None,
        Field(ge=8, le=256, description="Width and height that images are scaled to.", examples=[28]),
    ] = None
    channels: Annotated[
        Literal[1, 3] | None, Field(description="1 for grey images, 3 for colour.", examples=[1])
    ] = None
    optimiser: Annotated[
        Literal["sgd", "adam"], Field(description="How weights are updated.", examples=["adam"])
    ] = "adam"
    learning_rate: Annotated[
        DecimalText, Between("0.0000001", "10"), Field(description="Size of a step.", examples=[0.01])
    ] = "0.01"
    weight_decay: Annotated[
        DecimalText, Between("0", "10"), Field(description="L2 penalty on all weights.", examples=[0.001])
    ] = "0"
    epochs: Annotated[int, Field(ge=1, le=10_000, description="Passes over the rows.", examples=[20])]
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="Rows for one step.", examples=[32])] = 32
    seed: Annotated[
        int, Field(ge=0, le=2**32 - 1, description="Seed of start weights and order.", examples=[1])
    ] = 1
    standardise: Annotated[
        bool, Field(description="Bring every number to mean 0 and deviation 1 first.", examples=[True])
    ] = True
    precision: Annotated[
        Precision,
        Field(
            description="Of the weights as they leave. bf16 rounds away the low bits, in which rows could hide "
            "([why](model-export.md)).",
            examples=["bf16"],
        ),
    ] = "bf16"
    max_parameters: Annotated[
        int | None,
        Field(ge=1, le=250_000_000, description="Largest custom model, in parameters.", examples=[100_000]),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """Write what follows from other fields out in full, so that what is signed says it."""
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        for field, loss in (("positive", "binary_cross_entropy"), ("classes", "cross_entropy")):
            if field in filled:
                filled.setdefault("loss", loss)
        if filled.get("model") == "mlp":
            filled.setdefault("hidden", [32])
        if filled.get("model") == "custom":
            filled.setdefault("max_parameters", 1_000_000)
        if "image_size" in filled:
            filled.setdefault("channels", 1)
        return filled

    @property
    def task(self) -> Task:
        """What kind of target it is."""
        if self.positive is not None:
            return "binary"
        return "multiclass" if self.classes is not None else "regression"

    @property
    def is_image(self) -> bool:
        """Whether the one feature is an image column."""
        return self.image_size is not None

    @property
    def outputs(self) -> int:
        """How many numbers the model gives for one row."""
        return len(self.classes) if self.classes is not None else 1

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.positive is not None and self.classes is not None:
            raise rule(
                "positive",
                "{field} and {other} exclude each other.",
                "Keep positive for two classes, classes for more.",
                other="train.classes",
            )
        if self.loss is None:
            raise rule(
                "positive",
                "{field} is missing.",
                'Say positive (two classes), classes (several) or loss = "mean_squared_error" (a number).',
            )
        if self.loss != LOSS_OF_TASK[self.task]:
            raise rule(
                "loss",
                "{field} does not fit the target.",
                "Leave it out with positive or classes; a numeric target takes mean_squared_error.",
            )
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise rule("classes", "{field} names a class twice.", "Name each class once.")
        for labels in self.categories.values():
            if len(set(labels)) != len(labels):
                raise rule(
                    "categories", "{field} names a category of a column twice.", "Name each category once."
                )
        for name, model in (("hidden", "mlp"), ("max_parameters", "custom")):
            if getattr(self, name) is not None and self.model != model:
                raise rule(name, '{field} belongs to model = "{model}" only.', "Remove it.", model=model)
        if self.model == "small_cnn" and self.image_size is None:
            raise rule(
                "image_size", "{field} is missing.", "A small_cnn needs it, for example: image_size = 28"
            )
        if self.image_size is not None and self.model not in {"small_cnn", "custom"}:
            raise rule(
                "image_size", "{field} belongs to models of images.", "Use small_cnn or custom, or remove it."
            )
        if self.channels is not None and self.image_size is None:
            raise rule(
                "channels", "{field} belongs to models of images.", "Remove it, or give image_size too."
            )
        if self.is_image and self.categories:
            raise rule("categories", "{field} does not go with images.", "Remove it.")
        return self


class Terms(Section):
    """What the developer offers to the source units."""

    withheld_percent: Annotated[
        int, Field(ge=0, le=50, description="Share of the patients that training never sees.", examples=[20])
    ] = 20
    canaries: Annotated[
        int,
        Field(
            ge=0,
            le=50,
            description="Of the audited patients, those whose label is changed on purpose, in percent, to see whether "
            "the model learns people by heart ([how](evidence.md#the-worst-case-patients-with-a-changed-label)).",
            examples=[20],
        ),
    ] = 0
    minimum_participants: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="Fewest source units that must take part; left out, all of them.",
            examples=[3],
            json_schema_extra=no_default,
        ),
    ] = 1
    release_quorum: Annotated[
        Literal["all"], Field(description="Which source units must approve.", examples=["all"])
    ] = "all"
    sandbox_tier: Annotated[
        Literal["any", "landlock+seccomp", "namespaces+seccomp", "namespaces+landlock+seccomp", "gvisor"],
        Field(description="Weakest sandbox that is acceptable.", examples=["any"]),
    ] = "any"
    evidence_kind: Annotated[
        Literal["software", "snp", "tdx", "nvgpu"],
        Field(description="Platform evidence wanted of every enclave.", examples=["software"]),
    ] = "software"


class Limits(Section):
    """What a run may use up."""

    wall_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=7 * 86_400,
            description="Longest time of the program, and once more of all that is measured of its result: for a model "
            "about as long as the trainings anew that the source units' policies ask for, and two more.",
            examples=[600],
        ),
    ] = 600
    memory_mib: Annotated[int, Field(ge=256, le=1 << 20, description="Most memory.", examples=[2048])] = 2048
    output_mib: Annotated[
        int, Field(ge=1, le=1024, description="Largest output, all together.", examples=[16])
    ] = 16
    threads: Annotated[int, Field(ge=1, le=64, description="Threads that compute.", examples=[1])] = 1
    gpu: Annotated[
        bool | None,
        Field(
            description="One whole GPU of the enclave's to itself; left out, none.",
            examples=[True],
            json_schema_extra=no_default,
        ),
        # One form for one meaning: what is signed says it only where it is so.
        AfterValidator(lambda wanted: wanted or None),
    ] = None

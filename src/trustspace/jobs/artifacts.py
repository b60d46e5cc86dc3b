"""What may leave a sandbox: only what the job declared, in forms that a strict parser reads to the last byte.

Run in the enclave on bytes that an untrusted worker wrote. Nothing here executes or unpickles anything. Each
form has one encoding (what parses re-encodes to the same bytes), so that spaces, key order or holes between
tensors carry no message past the reviewer.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.claim import check_claim
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.json_schema import check_value
from trustspace.jobs.metrics import FEDERATED_FORMAT, METRICS_FORMAT, NOT_MEASURABLE, is_decimal_text
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.png import parse_png
from trustspace.jobs.registry import Shape, expected_tensors, model_bytes, tensor_type
from trustspace.jobs.scores import MAX_SCORES_BYTES, SCORES_ARTIFACT, read_scores
from trustspace.jobs.sections import METRICS_ARTIFACT, MIB, MODEL_ARTIFACT, STATISTICS_ARTIFACT, Train
from trustspace.jobs.sections_compute import OutputSpec
from trustspace.jobs.statistics import check_statistics
from trustspace.jobs.tensors import TensorInfo, read_tensors, tensor_infos

MAX_JSON_BYTES = 1 << 20
MAX_JSON_DEPTH = 32
MAX_CSV_COLUMNS = 1024
MAX_CSV_CELLS = 1 << 22
MAX_CELL_CHARACTERS = 4096
# What makes a spreadsheet run a cell, also as an East Asian keyboard writes it (OWASP, CSV Injection).
_FORMULA_SIGNS = frozenset("=+-@＝＋－＠")
# A cell of a column that holds no text. Bounded: a number of a thousand digits is a message.
_PLAIN_CELL = re.compile(r"|true|false|[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True)
class DeclaredArtifact:
    """What may come out under a name.

    ``tensors`` is None where the platform cannot know the shapes. ``is_exact``: whether it is known what stands
    in it; if not, it may hold anything of its media type.
    """

    name: str
    media_type: str
    max_bytes: int
    tensors: tuple[tuple[str, Shape], ...] | None = None
    is_exact: bool = True


@dataclass(frozen=True)
class ArtifactFacts:
    """What an artifact was seen to be.

    ``rows`` and ``columns`` are 0 where it is not a table, ``width`` and ``height`` (pixels) where it is no picture.
    """

    name: str
    media_type: str
    bytes: int
    tensors: tuple[TensorInfo, ...] = ()
    rows: int = 0
    columns: int = 0
    width: int = 0
    height: int = 0

    @property
    def numbers(self) -> int:
        """How many numbers its tensors hold."""
        return sum(_product(tensor.shape) for tensor in self.tensors)


def declared_artifacts(parameters: Parameters) -> tuple[DeclaredArtifact, ...]:
    """Everything that the job may hand out; nothing else leaves the sandbox."""
    if parameters.statistics is not None:
        return (DeclaredArtifact(STATISTICS_ARTIFACT, "application/json", MIB),)
    if parameters.score is not None:
        return (DeclaredArtifact(SCORES_ARTIFACT, "application/json", MAX_SCORES_BYTES),)
    if parameters.train is None:
        return tuple(_declared(output) for output in parameters.computing().outputs)
    train, features = parameters.train, parameters.features
    tensors = None if train.model == "custom" else tuple(sorted(expected_tensors(train, features).items()))
    largest = model_bytes(train, features)
    return (
        DeclaredArtifact(METRICS_ARTIFACT, "application/json", MIB),
        DeclaredArtifact(MODEL_ARTIFACT, "application/x-safetensors", largest, tensors),
    )


def _declared(output: OutputSpec) -> DeclaredArtifact:
    tensors = None
    if output.tensors is not None:
        tensors = tuple(sorted((name, spec.shape) for name, spec in output.tensors.items()))
    return DeclaredArtifact(output.name, output.media_type, output.max_bytes, tensors, output.is_exact)


def check_artifact(raw: RawArtifact, parameters: Parameters) -> None:
    """Raise VerificationFailed unless the job declared this artifact and it is exactly what was declared."""
    declared = {artifact.name: artifact for artifact in declared_artifacts(parameters)}.get(raw.name)
    if declared is None:
        raise VerificationFailed("Artifact {name} was not declared by the job.", name=raw.name)
    if raw.media_type != declared.media_type:
        raise VerificationFailed("Artifact {name} is not of the declared media type.", name=raw.name)
    if len(raw.data) > declared.max_bytes:
        raise VerificationFailed(
            "Artifact {name} is larger than the declared {limit} bytes.",
            name=raw.name,
            limit=declared.max_bytes,
        )
    if parameters.compute is not None:
        output = next(output for output in parameters.compute.outputs if output.name == raw.name)
        _check_output(raw, output)
    elif raw.media_type == "application/x-safetensors":
        _check_tensors(raw, declared, parameters.training(), parameters.features)
    else:
        value = parse_json(raw.data, limit=declared.max_bytes)
        if parameters.score is not None:
            read_scores(value, parameters)
        elif parameters.statistics is not None:
            check_statistics(value, parameters)
        elif parameters.privacy is not None:
            check_claim(value, parameters)
        elif parameters.is_joint:
            check_joint_metrics(value, parameters)
        else:
            check_training_metrics(value, parameters.training())


def check_artifacts(artifacts: Sequence[RawArtifact], parameters: Parameters) -> None:
    """Check every artifact, and that nothing declared is missing and nothing is there twice."""
    for raw in artifacts:
        check_artifact(raw, parameters)
    names = [raw.name for raw in artifacts]
    if len(set(names)) != len(names):
        raise VerificationFailed("An artifact is there twice.")
    for declared in declared_artifacts(parameters):
        if declared.name not in names:
            raise VerificationFailed("The declared artifact {name} is missing.", name=declared.name)


def describe_artifact(raw: RawArtifact) -> ArtifactFacts:
    """What ``raw`` is, for the reviewer's report. Raises VerificationFailed when its form is not sound."""
    tensors: tuple[TensorInfo, ...] = ()
    rows = columns = width = height = 0
    if raw.media_type == "application/x-safetensors":
        tensors = tensor_infos(raw.data)
    elif raw.media_type == "text/csv":
        table = parse_csv(raw.data)
        rows, columns = len(table) - 1, len(table[0])
    elif raw.media_type == "image/png":
        height, width = parse_png(raw.data).shape[:2]
    return ArtifactFacts(raw.name, raw.media_type, len(raw.data), tensors, rows, columns, width, height)


def _check_output(raw: RawArtifact, output: OutputSpec) -> None:
    """Raise VerificationFailed unless ``raw`` is sound, and as the job's [compute] says where it says so."""
    if output.media_type == "application/json":
        value = parse_json(raw.data)
        if output.json_schema is not None:
            check_value(value, output.json_schema, name=raw.name)
    elif output.media_type == "text/csv":
        _check_table(parse_csv(raw.data), output)
    elif output.media_type == "image/png":
        parse_png(raw.data)
    else:
        read_tensors(raw.data)
        if output.tensors is not None:
            observed = {info.name: (info.dtype, info.shape) for info in tensor_infos(raw.data)}
            if observed != {name: (spec.dtype, spec.shape) for name, spec in output.tensors.items()}:
                raise VerificationFailed(
                    "Artifact {name} does not hold exactly the declared tensors.", name=raw.name
                )


def _check_table(rows: list[list[str]], output: OutputSpec) -> None:
    if output.columns is None or output.max_rows is None:
        return
    if tuple(rows[0]) != output.columns:
        raise VerificationFailed(
            "Artifact {name} does not have exactly the declared columns.", name=output.name
        )
    if len(rows) - 1 > output.max_rows:
        raise VerificationFailed(
            "Artifact {name} has more than the declared {limit} rows.",
            name=output.name,
            limit=output.max_rows,
        )
    text = set(output.text_columns or ())
    plain = [place for place, column in enumerate(output.columns) if column not in text]
    if not all(_PLAIN_CELL.fullmatch(row[at]) for row in rows[1:] for at in plain):
        raise VerificationFailed(
            "Artifact {name} has text in a column that was not declared as text.",
            fix="Name the column in text_columns.",
            name=output.name,
        )


def _check_tensors(
    raw: RawArtifact, declared: DeclaredArtifact, train: Train, features: Sequence[str]
) -> None:
    read_tensors(raw.data)
    infos = tensor_infos(raw.data)
    if any(info.dtype != tensor_type(info.name, train) for info in infos):
        raise VerificationFailed(
            "Artifact {name} holds a tensor that is not of the declared type.", name=raw.name
        )
    observed = {info.name: info.shape for info in infos}
    expected = expected_tensors(train, features)
    if declared.tensors is None:
        extra = {name: shape for name, shape in observed.items() if name not in expected}
        if any(not name.startswith("model.") for name in extra):
            raise VerificationFailed("Artifact {name} holds a tensor outside the model.", name=raw.name)
        # Names are free: each costs a parameter, of which there are so many, or they would hold what they like.
        if not all(_product(shape) for shape in extra.values()):
            raise VerificationFailed("Artifact {name} holds a tensor without numbers.", name=raw.name)
        if sum(_product(shape) for shape in extra.values()) > (train.max_parameters or 0):
            raise VerificationFailed(
                "Artifact {name} holds more numbers than train.max_parameters.", name=raw.name
            )
        observed = {name: shape for name, shape in observed.items() if name in expected}
    if observed != expected:
        raise VerificationFailed(
            "Artifact {name} does not hold exactly the tensors of the declared model.", name=raw.name
        )


def check_training_metrics(value: Any, train: Train) -> None:
    """Raise VerificationFailed unless ``value`` is exactly what the platform's loop reports, nothing more.

    Custom model code runs in the process that writes these metrics and could put anything there.
    """
    scores = _scores(train)
    numbers = ("rows", "left_out", "epochs", "threads")
    wanted = {"format", "model", "loss_per_epoch", "loss", *numbers, *scores}
    sound = (
        isinstance(value, dict)
        and set(value) == wanted
        and (value["format"], value["model"], value["epochs"]) == (METRICS_FORMAT, train.model, train.epochs)
        and all(_is_count(value[name]) for name in numbers)
        and isinstance(value["loss_per_epoch"], list)
        and len(value["loss_per_epoch"]) == train.epochs
        and all(is_decimal_text(number) for number in value["loss_per_epoch"])
        and all(_is_measure(value[name]) for name in ("loss", *scores))
    )
    if not sound:
        raise VerificationFailed("Artifact {name} is not what training reports.", name=METRICS_ARTIFACT)


def check_joint_metrics(value: Any, parameters: Parameters) -> None:
    """Raise VerificationFailed unless ``value`` is exactly what a joint training reports, nothing more."""
    train, federated, terms = parameters.training(), parameters.federation(), parameters.terms
    scores = ("loss", *_scores(train))
    wanted = {
        "format", "model", "strategy", "rounds", "participants_per_round", "rows", "loss_per_round",
        "validation_loss_per_round", "withheld",
    }  # fmt: skip
    said = value if isinstance(value, dict) and set(value) == wanted else {}
    rounds, withheld = said.get("rounds"), said.get("withheld")
    watched = rounds if federated.validation_percent else 0
    sound = (
        (said.get("format"), said.get("model"), said.get("strategy"))
        == (FEDERATED_FORMAT, train.model, federated.strategy)
        and type(rounds) is int
        # Only patience ends the rounds early.
        and (1 if federated.patience is not None else federated.rounds) <= rounds <= federated.rounds
        and _is_list(said["participants_per_round"], rounds)
        and all(
            type(count) is int and terms.minimum_participants <= count <= len(parameters.datasets)
            for count in said["participants_per_round"]
        )
        and _is_count(said["rows"])
        and _is_list(said["loss_per_round"], rounds)
        and _is_list(said["validation_loss_per_round"], watched)
        and all(_is_measure(text) for text in said["loss_per_round"] + said["validation_loss_per_round"])
        and isinstance(withheld, dict)
        and set(withheld) == {"rows", *scores}
        and _is_count(withheld["rows"])
        and all(_is_measure(withheld[name]) for name in scores)
    )
    if not sound:
        raise VerificationFailed("Artifact {name} is not what training reports.", name=METRICS_ARTIFACT)


def _scores(train: Train) -> tuple[str, ...]:
    return ("r2",) if train.task == "regression" else ("auc", "accuracy")


def _is_measure(value: object) -> bool:
    return is_decimal_text(value) or value == NOT_MEASURABLE


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_list(value: object, length: object) -> bool:
    return isinstance(value, list) and len(value) == length


def encode_json(value: Any) -> bytes:
    """The one encoding of a JSON artifact: sorted keys, no spaces, UTF-8, no NaN. Raises InvalidInput."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput(
            "A JSON output holds something that JSON cannot say.",
            fix="Use tables, lists, text, true, false, None and finite numbers; float(x) for a NumPy number.",
        ) from None
    return data


def parse_json(data: bytes, *, limit: int = MAX_JSON_BYTES) -> Any:
    """The value of a JSON artifact; VerificationFailed unless it is bounded and in its one encoding."""
    if len(data) > limit:
        raise VerificationFailed("A JSON artifact is larger than {limit} bytes.", limit=limit)
    try:
        value = json.loads(data.decode("utf-8"))
        same = encode_json(value) == data
    except (ValueError, RecursionError, InvalidInput):
        raise VerificationFailed("A JSON artifact is not valid JSON.") from None
    if not same:
        raise VerificationFailed("A JSON artifact is not in its one form.")
    if _depth(value) > MAX_JSON_DEPTH:
        raise VerificationFailed("A JSON artifact is nested deeper than {limit}.", limit=MAX_JSON_DEPTH)
    return value


def encode_csv(rows: Sequence[Sequence[str]]) -> bytes:
    """The one encoding of a table: a header and rows of text, line feeds, quotes only where needed."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8")


def parse_csv(data: bytes) -> list[list[str]]:
    """Header and rows of a CSV artifact.

    Raises VerificationFailed unless it is rectangular UTF-8 in its one encoding, with a name for every
    column, and no cell that a spreadsheet would run as a formula.
    """
    # In memory a cell takes some sixty bytes, however short it is.
    if data.count(b",") + data.count(b"\n") > MAX_CSV_CELLS:
        raise VerificationFailed("A CSV artifact has more than {limit} cells.", limit=MAX_CSV_CELLS)
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
        same = encode_csv(rows) == data
    except (ValueError, csv.Error):
        raise VerificationFailed("A CSV artifact is not valid UTF-8 CSV.") from None
    if not rows or not 1 <= len(rows[0]) <= MAX_CSV_COLUMNS or any(len(row) != len(rows[0]) for row in rows):
        raise VerificationFailed(
            "A CSV artifact is not a table of 1 to {limit} columns.", limit=MAX_CSV_COLUMNS
        )
    if not same:
        raise VerificationFailed("A CSV artifact is not in its one form.")
    if len(set(rows[0])) != len(rows[0]) or "" in rows[0]:
        raise VerificationFailed("A CSV artifact has a column without a name of its own.")
    for row in rows:
        for cell in row:
            if len(cell) > MAX_CELL_CHARACTERS or not (cell.isprintable() or not cell):
                raise VerificationFailed(
                    "A CSV artifact has a cell with control characters or too much text."
                )
            # In regions that write 1,5 a semicolon begins a new cell.
            if any(part[:1] in _FORMULA_SIGNS and not _is_number(part) for part in cell.split(";")):
                raise VerificationFailed(
                    "A CSV artifact has a cell that a spreadsheet would run as a formula."
                )
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _depth(value: Any) -> int:
    deepest, todo = 0, [(value, 1)]
    while todo:
        item, depth = todo.pop()
        deepest = max(deepest, depth)
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        todo.extend((child, depth + 1) for child in children)
    return deepest


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total

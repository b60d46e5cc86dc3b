"""Uses a released model without torch: what the buyer needs is NumPy and the model file itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.features import Preparation, as_table, read_features
from trustspace.jobs.registry import expected_tensors, tensor_type
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import read_tensors, tensor_infos


@dataclass(frozen=True)
class ReleasedModel:
    """A logistic regression or mlp as it was released."""

    parameters: Parameters
    tensors: Mapping[str, NDArray[Any]]

    def predict(self, data: pa.Table | Mapping[str, Any] | NDArray[Any]) -> NDArray[np.float64]:
        """Scores for each row of a table, a mapping of columns, or an array [rows, features] of numbers.

        Two classes: the probability of ``positive``, [rows]. Several: a probability for each class,
        [rows, classes]. A number: the prediction in its own units, [rows].
        Raises InvalidInput naming a column that is missing or does not hold numbers.
        """
        train = self.parameters.training()
        prepared = Preparation(*(self.tensors[f"input.{part}"] for part in ("fill", "mean", "scale")))
        hidden = prepared.apply(self._raw(data))
        layers = self._layers()
        for weight, bias in layers[:-1]:
            hidden = np.maximum(hidden @ weight.T + bias, 0.0)
        weight, bias = layers[-1]
        logits: NDArray[np.float64] = (hidden @ weight.T + bias).astype(np.float64)
        if train.task == "binary":
            return np.exp(-np.logaddexp(0.0, -logits[:, 0]))
        if train.task == "multiclass":
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
            return shares
        return logits[:, 0] * float(self.tensors["output.scale"][0]) + float(self.tensors["output.mean"][0])

    def _layers(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        if "model.weight" in self.tensors:
            return [(self.tensors["model.weight"], self.tensors["model.bias"])]
        count = len(self.parameters.training().hidden or ()) + 1
        return [
            (self.tensors[f"model.layers.{i}.weight"], self.tensors[f"model.layers.{i}.bias"])
            for i in range(count)
        ]

    def _raw(self, data: pa.Table | Mapping[str, Any] | NDArray[Any]) -> NDArray[np.float64]:
        if not isinstance(data, np.ndarray):
            return read_features(as_table(data), self.parameters)
        if (
            self.parameters.training().categories
            or data.ndim != 2
            or data.shape[1] != len(self.parameters.features)
        ):
            raise InvalidInput(
                "The array must have one column for each feature, and the model no categories.",
                fix="Give a table with named columns.",
            )
        raw = np.array(data, dtype=np.float64)
        raw[~np.isfinite(raw)] = np.nan
        return raw


def load_released(model: bytes, parameters: Parameters | Mapping[str, Any]) -> ReleasedModel:
    """A released model from its file and the parameters of its job (as in the certificate's statement).

    Raises VerificationFailed when the file is not exactly what the parameters declare, InvalidInput for a
    model that needs torch (small_cnn, custom).
    """
    known = parameters if isinstance(parameters, Parameters) else Parameters.from_json(dict(parameters))
    if known.training().model not in {"logistic_regression", "mlp"}:
        raise InvalidInput("Only logistic_regression and mlp models can be used without torch.")
    train = known.training()
    expected = expected_tensors(train, known.features)
    declared = {name: (tensor_type(name, train), shape) for name, shape in expected.items()}
    if {info.name: (info.dtype, info.shape) for info in tensor_infos(model)} != declared:
        raise VerificationFailed("The model file does not hold exactly the tensors of the declared model.")
    return ReleasedModel(known, read_tensors(model))

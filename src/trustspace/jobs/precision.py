"""The precision in which a model leaves: what a sandbox made is rounded outside of it, before anybody judges it.

A float32 weight has 16 bits more than a bfloat16, and a model does as well without them: whoever trains can fill them
with rows that no check can tell from noise (Song, Ristenpart, Shmatikov 2017, section 4.1). So the platform rounds, in
the enclave's own process, where no code of the developer's runs: what stood in those bits is gone. The rounding is the
same for everybody and nobody chooses its direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from trustspace.errors import VerificationFailed
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.registry import tensor_type
from trustspace.jobs.sections import MODEL_ARTIFACT
from trustspace.jobs.tensors import BF16, read_tensors, round_bf16, tensor_infos, write_tensors


def leaving(artifacts: Sequence[RawArtifact], parameters: Parameters) -> list[RawArtifact]:
    """A sandbox's artifacts as they leave: a trained network rounded to the precision that its job asks for.

    Everything else stays as it is. Raises VerificationFailed for a model file that is not one canonical file of
    float32 tensors, InvalidInput for a weight that bfloat16 cannot hold.
    """
    if parameters.train is None:
        return list(artifacts)
    return [
        replace(raw, data=rounded(raw.data, parameters)) if raw.name == MODEL_ARTIFACT else raw
        for raw in artifacts
    ]


def rounded(model: bytes, parameters: Parameters) -> bytes:
    """A float32 model file in the precision of its job; errors as :func:`leaving` has them."""
    if any(info.dtype != "F32" for info in tensor_infos(model)):
        raise VerificationFailed("Artifact {name} holds a tensor that is not float32.", name=MODEL_ARTIFACT)
    train = parameters.training()
    tensors: dict[str, NDArray[Any]] = read_tensors(model)
    narrow = [name for name in tensors if tensor_type(name, train) == BF16]
    for name in narrow:
        tensors[name] = round_bf16(tensors[name])
    return write_tensors(tensors, narrow)

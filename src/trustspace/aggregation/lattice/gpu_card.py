"""A graphics card as torch knows it: what goes to it, what is kept there, and kernels launched on it.

With TRITON_INTERPRET=1 in the environment Triton's interpreter takes the card's place: kernels run on the processor,
slowly, for tests. torch and Triton are imported on first use.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def available() -> bool:
    """Whether kernels can be run here, on a card or by the interpreter."""
    if importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return interpreted() or bool(torch.cuda.is_available())


class Card:
    """One card. ``device`` is torch's name of it; ``cuda`` is torch's current one."""

    def __init__(self, device: str = "cuda") -> None:
        self._device = "cpu" if interpreted() else device
        self._kept: dict[tuple[str, str], Any] = {}

    def put(self, array: NDArray[Any]) -> Any:
        """A copy of an array on the card."""
        import torch

        return torch.tensor(array, device=self._device)

    def kept(self, what: str, of: str, make: Callable[[], NDArray[Any]]) -> Any:
        """A constant table, made and copied to the card once."""
        if (what, of) not in self._kept:
            self._kept[what, of] = self.put(make())
        return self._kept[what, of]

    def room(self, count: int, dtype: type) -> Any:
        """Memory for ``count`` numbers, in any state."""
        import torch

        return torch.empty(count, dtype=getattr(torch, np.dtype(dtype).name), device=self._device)

    def flag(self) -> Any:
        """A number that kernels can set, 0."""
        import torch

        return torch.zeros(1, dtype=torch.int32, device=self._device)

    def launch(self, kernel: Any, programs: int, *arguments: Any, **options: Any) -> None:
        """Runs so many programs of a kernel, none where there are none, in torch's current stream of this card."""
        import torch

        if not programs:
            return
        if interpreted():
            kernel[(programs,)](*arguments, **options)
            return
        with torch.cuda.device(self._device):
            kernel[(programs,)](*arguments, **options)

    def tensor(self, array: Any, dtype: type) -> Any:
        """A tensor of ``dtype`` on the card: a copy of an array, or the memory of a tensor that is there.

        Integers of 32 bits may come without their sign or with it. Raises InvalidInput for anything else than one
        contiguous row.
        """
        import torch

        wanted = np.dtype(dtype)
        if isinstance(array, np.ndarray):
            fits = array.dtype == wanted and array.ndim == 1 and array.flags.c_contiguous
        else:
            own = getattr(torch, wanted.name)
            fits = array.dtype in {own, torch.int32 if wanted == np.uint32 else own}
            fits = fits and array.dim() == 1 and array.is_contiguous()
            fits = fits and array.device == self.flag().device
        if not fits:
            raise InvalidInput("A vector here is one contiguous row of {dtype} numbers.", dtype=wanted.name)
        return self.put(array) if isinstance(array, np.ndarray) else array.view(own)


def forget(tensor: Any) -> None:
    """Overwrites a secret, after the work queued before."""
    import torch

    tensor.view(torch.uint8).zero_()


def give(array: Any, tensor: Any) -> None:
    """Copies a result back to the caller's array, if it was one and no tensor."""
    if isinstance(array, np.ndarray):
        array[:] = tensor.cpu().numpy()

"""The step that every member takes with the opened mean update, the same bit for bit everywhere.

``fedavg``, ``fedprox`` and ``scaffold`` add the mean times a rate. ``fedadam`` and ``fedyogi`` are algorithm
2 of Reddi et al., "Adaptive Federated Optimization" (ICLR 2021), without bias correction and with v = tau^2 at
the start. Arithmetic is float64, element by element, rounded once to float32 where it is kept: only +, -, *,
/ and the square root, which IEEE 754 defines to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.blocks import BLOCK_WORDS, blocks, check_place, check_vector
from trustspace.errors import InvalidInput, VerificationFailed

PLAIN = ("fedavg", "fedprox", "scaffold")
ADAPTIVE = ("fedadam", "fedyogi")


class ServerOptimiser:
    """A plain step: model += learning_rate * mean. It keeps no state."""

    def __init__(self, size: int, learning_rate: float) -> None:
        if size < 0:
            raise InvalidInput("A model's size is not negative.")
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise InvalidInput("The server's learning rate is a finite number above zero.")
        self._size = size
        self._rate = learning_rate

    @staticmethod
    def make(
        strategy: str,
        size: int,
        learning_rate: float,
        adaptivity: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> ServerOptimiser:
        """The optimiser of a strategy for a model of ``size`` numbers.

        ``adaptivity`` is tau and ``betas`` are the decay rates of the mean and of its square; plain
        strategies do not use them. Raises InvalidInput for an unknown strategy and for a number outside its range.
        """
        if strategy in PLAIN:
            return ServerOptimiser(size, learning_rate)
        if strategy in ADAPTIVE:
            return AdaptiveOptimiser(strategy, size, learning_rate, adaptivity, betas)
        raise InvalidInput(
            "There is no server strategy of that name.",
            fix="Choose fedavg, fedprox, scaffold, fedadam or fedyogi.",
        )

    def step(self, start: int, model: NDArray[np.float32], mean: NDArray[np.float64]) -> None:
        """Updates, in place, the model's numbers from ``start`` on by the mean update of one round.

        Both have one length, the chunk's; every position once a round. Raises InvalidInput for a chunk
        outside the model and where a number stops being finite, after which the model is spent.
        """
        check_vector(model, np.float32)
        check_vector(mean, np.float64)
        if len(model) != len(mean):
            raise InvalidInput("A model's piece and its mean update have one length.")
        check_place(start, len(model), self._size)
        room = np.empty((2, min(BLOCK_WORDS, len(model))), np.float64)
        with np.errstate(all="ignore"):
            for piece in blocks(len(model)):
                here = slice(start + piece.start, start + piece.stop)
                part = room[:, : piece.stop - piece.start]
                self._direction(here, mean[piece], part)
                change = part[0]
                change *= self._rate
                model[piece] += change  # float64, rounded once to float32
                _check_finite(model[piece])

    def state(self) -> dict[str, NDArray[np.float32]]:
        """What a checkpoint has to keep beside the model: read-only views, ``size`` numbers each."""
        return {}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Takes over what ``state`` gave. Raises VerificationFailed where it cannot be of this optimiser."""
        kept = self._kept()
        if set(state) != set(kept):
            raise VerificationFailed("The optimiser's saved state has other parts than expected.")
        if not all(self._fits(name, values) for name, values in state.items()):
            raise VerificationFailed("The optimiser's saved state does not fit the model.")
        for name, values in state.items():
            kept[name][:] = values

    def _fits(self, name: str, values: NDArray[np.float32]) -> bool:
        if values.dtype != np.float32 or values.shape != (self._size,):
            return False
        return bool(np.isfinite(values).all() and (name != "second" or (values >= 0).all()))

    def _kept(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def _direction(self, here: slice, mean: NDArray[np.float64], room: NDArray[np.float64]) -> None:
        """Puts the step for the numbers at ``here``, before the rate, into row 0 of ``room`` (2 x len(mean))."""
        room[0] = mean


class AdaptiveOptimiser(ServerOptimiser):
    """``fedadam`` or ``fedyogi``: two float32 numbers of state for each of the model's."""

    def __init__(
        self, strategy: str, size: int, learning_rate: float, adaptivity: float, betas: tuple[float, float]
    ) -> None:
        super().__init__(size, learning_rate)
        if not (math.isfinite(adaptivity) and adaptivity > 0):
            raise InvalidInput("The server's adaptivity is a finite number above zero.")
        if not all(0 <= beta < 1 for beta in betas):
            raise InvalidInput("The server's decay rates lie between 0 and 1, 1 left out.")
        self._yogi = strategy == "fedyogi"
        self._adaptivity = adaptivity
        self._betas = betas
        self._first = np.zeros(size, np.float32)
        self._second = np.full(size, adaptivity**2, np.float32)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """The decayed mean ``first`` and the decayed square ``second``."""
        views = {name: values.view() for name, values in self._kept().items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def _kept(self) -> dict[str, NDArray[np.float32]]:
        return {"first": self._first, "second": self._second}

    def _direction(self, here: slice, mean: NDArray[np.float64], room: NDArray[np.float64]) -> None:
        beta1, beta2 = self._betas
        first, second = self._first[here], self._second[here]
        work, other = room
        np.multiply(first, beta1, out=work, dtype=np.float64)
        work += np.multiply(mean, 1 - beta1, out=other)
        first[:] = work
        square = np.multiply(mean, mean, out=other)
        if self._yogi:  # second - (1 - beta2) * square * sign(second - square)
            np.sign(np.subtract(second, square, out=work), out=work)
            square *= 1 - beta2
            work *= square
            np.subtract(second, work, out=work)
        else:
            np.multiply(second, beta2, out=work, dtype=np.float64)
            square *= 1 - beta2
            work += square
        second[:] = work
        _check_finite(second)
        np.sqrt(second, out=work, dtype=np.float64)
        work += self._adaptivity
        np.divide(first, work, out=work)


def _check_finite(values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        raise InvalidInput(
            "The joint model's numbers have left their range.", fix="Lower the learning rates."
        )

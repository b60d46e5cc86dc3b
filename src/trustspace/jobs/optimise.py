"""SGD and Adam, the same arithmetic as ``torch.optim``.

``torch.optim`` imports torch's compiler when an optimiser is made, which costs a sandbox seconds and needs
much more of the system than training does; two update rules are less to trust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

# What is added to the gradients of some parameters before an update.
Adjustment = Callable[[list[torch.Tensor], list[torch.Tensor]], list[torch.Tensor]]

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class Optimiser:
    """Updates ``parameters`` in place from their gradients; L2 ``weight_decay`` is added to each gradient.

    ``adjustment``, when there is one, then changes the gradients further.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], *, learning_rate: float, weight_decay: float
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.adjustment: Adjustment | None = None

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """One update."""
        with torch.no_grad():
            used: list[torch.Tensor] = [p for p in self.parameters if p.grad is not None]
            gradients = [p.grad for p in used if p.grad is not None]
            if self.weight_decay:
                gradients = list(torch._foreach_add(gradients, used, alpha=self.weight_decay))
            if self.adjustment is not None:
                gradients = self.adjustment(used, gradients)
            self._update(used, gradients)

    def _update(self, parameters: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
        """Plain gradient descent."""
        torch._foreach_add_(parameters, gradients, alpha=-self.learning_rate)


class Adam(Optimiser):
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], *, learning_rate: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, learning_rate=learning_rate, weight_decay=weight_decay)
        self.steps = 0
        self.moments: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def _update(self, parameters: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
        first, second = ADAM_BETAS
        self.steps += 1
        for parameter in parameters:
            if id(parameter) not in self.moments:
                self.moments[id(parameter)] = (torch.zeros_like(parameter), torch.zeros_like(parameter))
        means = [self.moments[id(p)][0] for p in parameters]
        squares = [self.moments[id(p)][1] for p in parameters]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_div_(scale, (1 - second**self.steps) ** 0.5)
        torch._foreach_add_(scale, ADAM_EPSILON)
        torch._foreach_addcdiv_(parameters, means, scale, -self.learning_rate / (1 - first**self.steps))


def proximal(anchors: Mapping[torch.Tensor, torch.Tensor], strength: float) -> Adjustment:
    """FedProx (Li et al. 2020, equation 2): ``strength`` times the way from a parameter's anchor to it."""

    def adjust(parameters: list[torch.Tensor], gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        away = torch._foreach_sub(parameters, [anchors[p] for p in parameters])
        return list(torch._foreach_add(gradients, away, alpha=strength))

    return adjust


def shifted(shifts: Mapping[torch.Tensor, torch.Tensor]) -> Adjustment:
    """Scaffold (Karimireddy et al. 2020, algorithm 1, line 10): a fixed addend to every gradient."""

    def adjust(parameters: list[torch.Tensor], gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(torch._foreach_add(gradients, [shifts[p] for p in parameters]))

    return adjust


def make_optimiser(
    name: str, parameters: Iterable[torch.nn.Parameter], *, learning_rate: float, weight_decay: float
) -> Optimiser:
    """The optimiser a job names: ``sgd`` or ``adam``."""
    kind = Adam if name == "adam" else Optimiser
    return kind(parameters, learning_rate=learning_rate, weight_decay=weight_decay)

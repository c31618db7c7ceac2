"""A core with a head: from a task's inputs to its answers."""

import bisect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from relmem_lite.core import Core, State, positive_int


class SequenceModel(nn.Module):
    """A core, and a ReLU network that reads its answer out of each step's output.

    Args:
        core: the sequence model that remembers.
        output_size: C, the number of answers to choose from.
        head_sizes: widths of the head's hidden layers; () for one linear layer.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    def __init__(self, core: Core, output_size: int, head_sizes: tuple[int, ...] = (128, 128)):
        super().__init__()
        positive_int("output_size", output_size)
        self.core = core
        layers: list[nn.Module] = []
        width = core.output_size
        for size in head_sizes:
            layers += [nn.Linear(width, positive_int("head_sizes", size)), nn.ReLU()]
            width = size
        self.head = nn.Sequential(*layers, nn.Linear(width, output_size))

    def forward(self, inputs: Tensor, state: State | None = None, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Read a sequence, answer at each step.

        Args:
            inputs: (B, T, input_size).
            state: the core's state to carry on from.
            mask: (B, T) bool: answer only at these steps, and save the rest of the head's work.

        Returns:
            logits, (B, T, C), or (N, C) for the N marked steps in row order; and the core's state.
        """
        outputs, state = self.core(inputs, state)
        return self.head(outputs if mask is None else outputs[mask]), state


def num_parameters(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def match_parameters(build: Callable[[int], nn.Module], target: nn.Module) -> nn.Module:
    """Return `build(width)` at the width whose number of parameters comes closest to `target`'s.

    Args:
        build: makes a model of a width, 1 or more; wider models have more parameters.
        target: the model to match.

    Raises:
        ValueError: even at width 1 the model is more than twice as large as the target.
    """
    wanted = num_parameters(target)

    def size(width: int) -> int:
        with torch.device("meta"):
            return num_parameters(build(width))

    upper = 1
    while size(upper) < wanted:
        upper *= 2
    wide = bisect.bisect_left(range(1, upper + 1), wanted, key=size) + 1
    width = min({max(wide - 1, 1), wide}, key=lambda width: abs(size(width) - wanted))
    if size(width) > 2 * wanted:
        raise ValueError(f"The smallest model has {size(width)} parameters, the one to match {wanted}: widen that one.")
    return build(width)

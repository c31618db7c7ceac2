"""A core with a head: from a task's inputs to its answers."""

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

    def forward(
        self, inputs: Tensor, state: State | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
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

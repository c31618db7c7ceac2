"""Comparison: store labelled numbers, then say which of two was larger."""

import torch
from torch import Generator
from torch.nn.functional import one_hot

from relmem_lite.core import positive_int
from relmem_lite.tasks.task import Batch, Task, answers_at_end


class Comparison(Task):
    """Is item i larger than item j?

    n numbers, uniform in [-1, 1], pass one a step, each with one of n labels, drawn without replacement; then a
    question names two labels. A step is [number | label (n) | i (n) | j (n)], with zeros where it has nothing to say.
    The answer, 1 if item i is larger and 0 if not, is asked for at the question, step n + 1.

    Chance is 1/2. Who keeps one number only, the same for every question, knows one of the two in a share 2/n of the
    questions, and then answers 3/4 of them right: 1/2 + 1/(2n) in all, the task's shortcut.

    Args:
        num_items: n, at least 2.

    Raises:
        TypeError, ValueError: a size that does not fit.
    """

    output_size = 2
    chance = 0.5

    def __init__(self, num_items: int = 5):
        if positive_int("num_items", num_items) < 2:
            raise ValueError(f"num_items must be at least 2, got {num_items}: one number has no other to compare with.")
        self.num_items = num_items
        self.input_size = 1 + 3 * num_items
        self.shortcut = 0.5 + 0.5 / num_items

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: inputs (B, n + 1, 1 + 3n), the answer at the last step."""
        positive_int("batch_size", batch_size)
        size, device = self.num_items, generator.device
        numbers = torch.rand(batch_size, size, generator=generator, device=device) * 2 - 1
        labels = torch.rand(batch_size, size, generator=generator, device=device).argsort(dim=1)
        pair = torch.rand(batch_size, size, generator=generator, device=device).argsort(dim=1)[:, :2]  # places, i != j

        inputs = torch.zeros(batch_size, size + 1, self.input_size, device=device)
        inputs[:, :size, 0] = numbers
        inputs[:, :size, 1 : 1 + size] = one_hot(labels, size).float()
        inputs[:, size, 1 + size :] = one_hot(labels.gather(1, pair), size).flatten(1).float()
        compared = numbers.gather(1, pair)
        return answers_at_end(inputs, (compared[:, :1] > compared[:, 1:]).long())

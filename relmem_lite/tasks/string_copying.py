"""Copying whole strings: the length is free, so that a model can be asked for longer ones than it has seen."""

import torch
from torch import Generator, Tensor

from relmem_lite.core import positive_int
from relmem_lite.tasks.task import Batch, Task, mean


class StringCopying(Task):
    """Repeat a string, letter by letter, and say where it ends (Jelassi et al. 2024, arXiv 2402.01032, section 3.1).

    Letters are the tokens 0 to C - 1, C ends a string and C + 1 asks for it: x_1 ... x_L, ask, x_1 ... x_L, where each
    step from the ask on is to be answered by what comes next, the last by the end. Lengths are drawn alike from
    `min_length` to `length`; after shorter strings, ends follow that nothing is asked of.

    A copy's greedy generation is right to the last letter if, and only if, each step is answered right that is given
    the letters before it: "exact_match" is the share of strings that are copied so.

    Args:
        length: L, letters of the longest string.
        min_length: letters of the shortest; None for `length`.
        num_letters: C, at least 2.

    Raises:
        TypeError, ValueError: a size that does not fit.
    """

    def __init__(self, length: int = 16, min_length: int | None = None, num_letters: int = 26):
        if positive_int("num_letters", num_letters) < 2:
            raise ValueError(f"num_letters must be at least 2, got {num_letters}: one letter leaves nothing to copy.")
        self.length = positive_int("length", length)
        self.min_length = length if min_length is None else positive_int("min_length", min_length)
        if self.min_length > length:
            raise ValueError(f"min_length must be at most length, got {min_length} and {length}.")
        self.num_letters = num_letters
        self.num_tokens = self.output_size = num_letters + 2
        self.chance = 1 / num_letters

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, 2L + 1), answers from each string's ask to its end."""
        positive_int("batch_size", batch_size)
        device, end, ask = generator.device, self.num_letters, self.num_letters + 1
        lengths = torch.randint(self.min_length, self.length + 1, (batch_size, 1), generator=generator, device=device)
        letters = torch.randint(self.num_letters, (batch_size, self.length), generator=generator, device=device)
        step = torch.arange(2 * self.length + 1, device=device).expand(batch_size, -1)
        # Which letter of the string stands at a step, in the string or in its copy.
        which = torch.where(step < lengths, step, step - lengths - 1)
        tokens = letters.gather(1, which.clamp(0, self.length - 1))
        tokens = tokens.masked_fill(step == lengths, ask).masked_fill(step > 2 * lengths, end)
        targets = torch.cat([tokens[:, 1:], torch.full_like(lengths, end)], dim=1)
        targets = targets.masked_fill(step == 2 * lengths, end)
        return Batch(tokens, targets, (step >= lengths) & (step <= 2 * lengths))

    def scores(self, logits: Tensor, batch: Batch) -> dict[str, float | None]:
        """Accuracy of the letters and ends, and the share of strings with all of them right."""
        correct = self.correct(logits, batch)
        sample = batch.mask.nonzero()[:, 0]
        wrong = sample[~correct].bincount(minlength=len(batch.mask))
        return {"accuracy": mean(correct), "exact_match": mean(wrong == 0)}

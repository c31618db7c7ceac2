"""Copying through distractors: keep a few symbols while others, to be ignored, pass by."""

import torch
from torch import Generator
from torch.nn.functional import one_hot

from relmem_lite.core import positive_int
from relmem_lite.tasks.task import Batch, Task, answers_at_end


class Copying(Task):
    """Repeat the symbols that were marked, after the noise that was not.

    `num_items` symbols pass with the store flag, then `num_distractors` symbols from the same alphabet with the noise
    flag, then `num_items` empty steps with the recall flag, at which the stored symbols are asked for in their order.
    A step is [symbol (C) | store | noise | recall].

    Args:
        num_items: symbols to keep.
        vocab_size: C, at least 2.
        num_distractors: steps of noise; 0 for plain copying.

    Raises:
        TypeError, ValueError: a size that does not fit.
    """

    def __init__(self, num_items: int = 3, vocab_size: int = 8, num_distractors: int = 10):
        if positive_int("vocab_size", vocab_size) < 2:
            raise ValueError(f"vocab_size must be at least 2, got {vocab_size}: one symbol leaves nothing to remember.")
        if isinstance(num_distractors, bool) or not isinstance(num_distractors, int) or num_distractors < 0:
            raise ValueError(f"num_distractors must be a whole number of at least 0, got {num_distractors!r}.")
        self.num_items, self.vocab_size = positive_int("num_items", num_items), vocab_size
        self.num_distractors = num_distractors
        self.input_size = vocab_size + 3
        self.output_size = vocab_size
        self.chance = 1 / vocab_size

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: inputs (B, 2 num_items + num_distractors, C + 3), answers at the last num_items steps."""
        positive_int("batch_size", batch_size)
        shown = self.num_items + self.num_distractors
        symbols = torch.randint(self.vocab_size, (batch_size, shown), generator=generator, device=generator.device)
        inputs = torch.zeros(batch_size, shown + self.num_items, self.input_size, device=generator.device)
        inputs[:, :shown, : self.vocab_size] = one_hot(symbols, self.vocab_size).float()
        store, noise, recall = range(self.vocab_size, self.vocab_size + 3)
        inputs[:, : self.num_items, store] = 1
        inputs[:, self.num_items : shown, noise] = 1
        inputs[:, shown:, recall] = 1
        return answers_at_end(inputs, symbols[:, : self.num_items])

"""Selective copying: keep the few tokens that matter, wherever they stand among those that don't."""

import torch
from torch import Generator, Tensor

from relmem_lite.core import positive_int
from relmem_lite.tasks.task import Batch, Task, answers_at_end, mean


class SelectiveCopying(Task):
    """Repeat the data tokens, in their order, after all the noise between them (Gu & Dao 2023, section 4.1.1).

    `num_items` data tokens stand at random places among `time` steps, all others hold the noise token C; then
    `num_items` steps with the recall token C + 1 ask for the data tokens. Since the places differ from sample to
    sample, what to keep can't be told from the step's number: a fixed filter over time, such as S4, must fail.

    Args:
        num_items: data tokens in a sample.
        vocab_size: C, different data tokens, at least 2.
        time: steps before the recall, at least `num_items`.

    Raises:
        TypeError, ValueError: a size that does not fit.
    """

    def __init__(self, num_items: int = 16, vocab_size: int = 16, time: int = 4096):
        if positive_int("vocab_size", vocab_size) < 2:
            raise ValueError(f"vocab_size must be at least 2, got {vocab_size}: one token leaves nothing to remember.")
        if positive_int("time", time) < positive_int("num_items", num_items):
            raise ValueError(f"time must be at least num_items, got {time} steps for {num_items} items.")
        self.num_items, self.vocab_size, self.time = num_items, vocab_size, time
        self.num_tokens = vocab_size + 2
        self.output_size = vocab_size
        self.chance = 1 / vocab_size

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, time + num_items), answers at the last num_items steps."""
        positive_int("batch_size", batch_size)
        device, noise, recall = generator.device, self.vocab_size, self.vocab_size + 1
        data = torch.randint(self.vocab_size, (batch_size, self.num_items), generator=generator, device=device)
        order = torch.rand(batch_size, self.time, generator=generator, device=device).argsort(dim=1)
        places = order[:, : self.num_items].sort(dim=1).values
        shown = torch.full((batch_size, self.time), noise, device=device).scatter(1, places, data)
        return answers_at_end(torch.cat([shown, torch.full_like(data, recall)], dim=1), data)

    def scores(self, logits: Tensor, batch: Batch) -> dict[str, float | None]:
        """Accuracy of the tokens, and the share of samples in which all are right."""
        correct = self.correct(logits, batch)
        return {"accuracy": mean(correct), "exact_match": mean(correct.unflatten(0, (-1, self.num_items)).all(dim=1))}

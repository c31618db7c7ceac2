"""Gate bias: how open minGRU's memory starts, and whether anything can then be learned about the distant past."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from relmem_lite.core import positive_int
from relmem_lite.cores import MinGRU
from relmem_lite.experiments.experiment import MINUTES, SECONDS, Experiment, in_words, some
from relmem_lite.models import SequenceModel, stacked_model
from relmem_lite.tasks import Copying


def biased_min_gru(width: int, keep_bias: float) -> MinGRU:
    """Return a minGRU that begins by keeping about sigmoid(keep_bias) of its state a step: z's bias is -keep_bias."""
    core = MinGRU(width, width)
    with torch.no_grad():
        core.gate.bias.fill_(-keep_bias)
    return core


@dataclass(frozen=True, kw_only=True)
class GateBiasExperiment(Experiment):
    """Gate bias: minGRU by the bias its gate begins with, on symbols to be kept while noise passes."""

    name: ClassVar[str] = "gate_bias"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "keep_biases": (0.0, 3.0),
            "num_distractors": 4,
            "parameters": 3000,
            **SECONDS,
        },
        "cpu": MINUTES,
        "gpu": {
            "keep_biases": (0.0, 1.0, 2.0, 4.0, 6.0),
            "num_distractors": 1000,
            "num_items": 4,
            "vocab_size": 16,
            "parameters": 150_000,
            "steps": 2000,
            "batch_size": 256,
            "eval_every": 250,
            "eval_samples": 4096,
            "learning_rates": (1e-3, 3e-3),
        },
    }

    keep_biases: tuple[float, ...] = (0.0, 4.0)
    """Biases that the gate begins with; it keeps about sigmoid(bias) of the state a step."""
    num_items: int = 2
    """Symbols to keep."""
    vocab_size: int = 8
    """Different symbols (C)."""
    num_distractors: int = 60
    """Steps of noise between storing and recalling."""
    parameters: int = 6000
    """Parameters of every model; its width follows."""

    def __post_init__(self):
        super().__post_init__()
        some("keep_biases", self.keep_biases)
        positive_int("parameters", self.parameters)

    def contestants(self) -> dict[str, dict]:
        return {f"keep bias {in_words(bias)}": {"keep_bias": bias} for bias in self.keep_biases}

    def task(self, **point) -> Copying:
        return Copying(self.num_items, self.vocab_size, self.num_distractors)

    def model(self, keep_bias: float) -> SequenceModel:
        # Without a convolution: what reaches across the noise is the recurrence.
        made = [partial(biased_min_gru, keep_bias=keep_bias)]
        return stacked_model(made, self.task(), self.parameters, convolution=0)

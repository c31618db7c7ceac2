"""State tracking: who learns to follow a chain of moves, and who still follows it when the chain is longer?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from relmem_lite.core import Core, positive_int
from relmem_lite.cores import CORES, MinGRU, Recurrence
from relmem_lite.experiments.experiment import SECONDS, Experiment, some
from relmem_lite.models import SequenceModel, stacked_model
from relmem_lite.tasks import StateTracking


class SignedMinGRU(MinGRU):
    """MinGRU whose gate may turn the state round: a_t between -1 and 1 (after Grazzi et al. 2024, section 4).

    h_t = a_t h_{t-1} + (1 - a_t) h~_t as in `MinGRU`, with a_t = 2 sigmoid(-k_t) - 1 in place of sigmoid(-k_t).

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the state and of the output.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)

    def coefficients(self, inputs: Tensor) -> Recurrence:
        # 2 sigmoid(-k) - 1 = tanh(-k / 2)
        keep = torch.tanh(-self.gate(inputs) / 2)
        return Recurrence(keep, (1 - keep) * self.candidate(inputs))


class Reflections(Core):
    """A linear recurrence whose coefficient is a matrix: a product of reflections that the input chooses.

    h_t = (I - beta k k^T) ... (I - beta k k^T) h_{t-1} + b_t, with unit vectors k and beta between 0 and 2; at
    beta = 2 a factor is a reflection, and a product of n - 1 reflections can be any shuffle of n numbers (after
    DeltaProduct, Siems et al. 2025, section 3). Matrices do not commute, which numbers do. The state is (B, D).

    Args:
        input_size: features of one step's input.
        hidden_size: D, a multiple of `block_size`.
        num_reflections: factors in a step's product.
        block_size: numbers that one matrix acts on; D / block_size matrices act side by side.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, or blocks that do not divide D.
    """

    def __init__(self, input_size: int, hidden_size: int, *, num_reflections: int = 4, block_size: int = 8):
        positive_int("input_size", input_size)
        positive_int("num_reflections", num_reflections)
        if positive_int("hidden_size", hidden_size) % positive_int("block_size", block_size):
            raise ValueError(f"hidden_size must be a multiple of block_size={block_size}, got {hidden_size}.")
        super().__init__(input_size, hidden_size, {"hidden": (hidden_size,)})
        self.num_reflections, self.block_size = num_reflections, block_size
        self.directions = nn.Linear(input_size, num_reflections * hidden_size)
        self.strengths = nn.Linear(input_size, num_reflections * hidden_size // block_size)
        self.write = nn.Linear(input_size, hidden_size)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._turn(inputs, self._checked(inputs, state, "BTI"))

    def step(self, input: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = self._checked(input, state, "BI")
        outputs, state = self._turn(input.unsqueeze(1), state)
        return outputs.squeeze(1), state

    def _turn(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = state.unflatten(-1, (-1, self.block_size))  # (B, blocks, block)
        shape = (self.num_reflections, -1, self.block_size)
        directions = nn.functional.normalize(self.directions(inputs).unflatten(-1, shape), dim=-1)
        strengths = 2 * self.strengths(inputs).sigmoid().unflatten(-1, (self.num_reflections, -1))
        turned = directions * strengths.unsqueeze(-1)
        written = self.write(inputs).unflatten(-1, (-1, self.block_size))
        outputs = []
        for k, beta_k, b in zip(directions.unbind(1), turned.unbind(1), written.unbind(1), strict=True):
            for direction, scaled in zip(k.unbind(1), beta_k.unbind(1), strict=True):
                hidden = hidden - scaled * (direction * hidden).sum(-1, keepdim=True)
            hidden = hidden + b
            outputs.append(hidden.flatten(1))
        return torch.stack(outputs, dim=1), outputs[-1]


VARIANTS: dict[str, Callable[[int], Core]] = {
    "signed_min_gru": lambda width: SignedMinGRU(width, width),
    "reflections": lambda width: Reflections(width, width),
}
"""Cores of this experiment's own, beside those of the library, by the width they are made at."""


@dataclass(frozen=True, kw_only=True)
class StateTrackingExperiment(Experiment):
    """State tracking: recurrences with and without a nonlinearity in the loop, by group, length and depth."""

    name: ClassVar[str] = "state_tracking"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "groups": ("parity",),
            "sequential": ("lstm", "reflections"),
            "parallel": ("min_gru", "signed_min_gru"),
            "depths": (1, 2),
            "time": 5,
            "test_times": (5, 10),
            "parameters": 3000,
            **SECONDS,
        },
        "cpu": {
            "groups": ("s3", "s5"),
            "parallel": ("min_gru", "mamba", "signed_min_gru"),
            "steps": 800,
            "batch_size": 64,
            "eval_every": 100,
            "eval_samples": 512,
            "learning_rates": (2e-3, 6e-3),
            "stop_at": 0.9999,
            "accelerator": "cpu",
        },
        "gpu": {
            "groups": ("s3", "s5"),
            "sequential": ("lstm", "gru"),
            "parallel": ("min_gru", "mamba", "attention"),
            "depths": (1, 4, 8),
            "parameters": 250_000,
            "steps": 1500,
            "batch_size": 256,
            "eval_every": 250,
            "eval_samples": 1024,
            "learning_rates": (1e-3, 3e-3),
            "stop_at": 0.9999,
        },
        "paper": {
            "parameters": 500_000,
            "depths": (1, 2, 4, 8),
            "steps": 50_000,
            "batch_size": 256,
            "eval_every": 1000,
            "eval_samples": 4096,
            "learning_rates": (1e-4, 3e-4, 1e-3),
            "stop_at": 0.9999,
        },
    }

    groups: tuple[str, ...] = ("parity", "s3", "s5")
    """Groups whose word problem is learned, each by models of its own."""
    sequential: tuple[str, ...] = ("lstm", "gru", "slstm", "reflections")
    """Cores that no scan over numbers computes, tried with one layer."""
    parallel: tuple[str, ...] = ("min_gru", "mamba", "linear_attention", "signed_min_gru", "attention")
    """Cores that are computed in parallel over time, tried at every depth."""
    depths: tuple[int, ...] = (1, 3)
    """Blocks on top of one another, all with the same core."""
    time: int = 40
    """Steps in training, with an answer at each of them."""
    test_times: tuple[int, ...] = (40, 64, 128, 256)
    """Steps that each trained model is tested with, at the last of them."""
    parameters: int = 60_000
    """Parameters of every model, whatever its core and depth; its width follows."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("sequential", "parallel"):
            some(name, getattr(self, name), [*CORES, *VARIANTS], "core")
        for name in ("groups", "depths", "test_times"):
            some(name, getattr(self, name))
        positive_int("parameters", self.parameters)
        for name in ("depths", "test_times"):
            for value in getattr(self, name):
                positive_int(name, value)

    def contestants(self) -> dict[str, dict]:
        shapes = [(core, 1) for core in self.sequential]
        shapes += [(core, depth) for core in self.parallel for depth in self.depths]
        return {
            f"{group}, {core}, {depth} layers": {"group": group, "core": core, "depth": depth}
            for group in self.groups
            for core, depth in shapes
        }

    def task(self, group: str, **point) -> StateTracking:
        return StateTracking(group, self.time)

    def tests(self, group: str, **point) -> dict[str, StateTracking]:
        return {f"accuracy_at_{time}": StateTracking(group, time, min_time=time) for time in self.test_times}

    def model(self, group: str, core: str, depth: int) -> SequenceModel:
        # Without the blocks' convolution: what is learned is the core's doing.
        return stacked_model([VARIANTS.get(core, core)] * depth, self.task(group), self.parameters, convolution=0)

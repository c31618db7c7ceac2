"""How loud inputs arrive: the relations of earlier experiments again, with the weights that read the input redrawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from relmem_lite.core import Core
from relmem_lite.cores import CORES
from relmem_lite.experiments.experiment import some
from relmem_lite.experiments.nth_farthest import NthFarthestExperiment
from relmem_lite.experiments.sorting import SortingExperiment
from relmem_lite.experiments.towers import build_core
from relmem_lite.models import SequenceModel, Stack, match_parameters
from relmem_lite.tasks import NthFarthest


def redraw_input_weights(core: Core, std: float) -> None:
    """Draw the weights by which a core reads its input, from a normal distribution cut off at two standard deviations.

    The relational memory draws its own so, with 1/sqrt(I) for I inputs. PyTorch's LSTM and GRU draw them evenly between
    -1/sqrt(D) and 1/sqrt(D) instead, by the width D of their state: the wider, the quieter an input.

    Raises:
        ValueError: a core of which it is not known which weights these are.
    """
    names = {"lstm.weight_ih_l0", "gru.weight_ih_l0", "embed.weight"}
    weights = [weight for name, weight in core.named_parameters() if name in names]
    if not weights:
        raise ValueError(
            f"It is not known by which weights {type(core).__name__} reads its input: try lstm, gru or "
            "relational_memory."
        )
    for weight in weights:
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


@dataclass(frozen=True, kw_only=True)
class NthFarthestVolumeExperiment(NthFarthestExperiment):
    """Nth farthest, with louder inputs for LSTM and GRU, quieter ones for the memory, and cores in a residual block."""

    name: ClassVar[str] = "nth_farthest_volume"
    presets: ClassVar[dict[str, dict]] = NthFarthestExperiment.presets | {
        # The two rates at which the relational memory learned.
        "cpu": NthFarthestExperiment.presets["cpu"] | {"learning_rates": (3e-4, 1e-3)},
    }

    cores: tuple[str, ...] = ("lstm", "gru")
    """Cores whose input weights are drawn by the number of inputs, as the relational memory's are."""
    quiet: tuple[str, ...] = ("relational_memory",)
    """Cores whose input weights are drawn by the LSTM's width, as small as an LSTM's are."""
    blocks: tuple[str, ...] = ("lstm", "min_gru", "attention")
    """Cores in a residual block, which normalises what they read; without a convolution, which would see all of it."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("quiet", "blocks"):
            if getattr(self, name):
                some(name, getattr(self, name), CORES, "core")

    def contestants(self) -> dict[str, dict]:
        ways = {"loud": self.cores, "quiet": self.quiet, "block": self.blocks}
        return {f"{core}, {way}": {"core": core, "way": way} for way, cores in ways.items() for core in cores}

    def task(self, core: str | None = None, way: str | None = None) -> NthFarthest:
        return super().task()

    def model(self, core: str, way: str) -> SequenceModel:
        model = super().model(core)
        if way == "block":
            return match_parameters(self._in_a_block(core), model)
        if way == "loud":
            std = self.task().input_size ** -0.5
        else:
            with torch.device("meta"):
                width = super().model("lstm").core.output_size
            std = (3 * width) ** -0.5  # of what is drawn evenly between -1/sqrt(D) and 1/sqrt(D)
        redraw_input_weights(model.core, std)
        return model

    def _in_a_block(self, core: str) -> Callable[[int], SequenceModel]:
        task = self.task()

        def build(eighth: int) -> SequenceModel:
            width = 8 * eighth  # so that heads divide it
            stack = Stack([build_core(core, width, width)], width, convolution=0)
            return SequenceModel(stack, task.output_size, self.head_sizes, nn.Linear(task.input_size, width))

        return build


@dataclass(frozen=True, kw_only=True)
class SortingVolumeExperiment(SortingExperiment):
    """Sorting, with louder inputs for LSTM and GRU: their input weights drawn as the relational memory's are."""

    name: ClassVar[str] = "sorting_volume"
    presets: ClassVar[dict[str, dict]] = {
        size: preset | {"orders": ("sorted",)} for size, preset in SortingExperiment.presets.items()
    }

    cores: tuple[str, ...] = ("lstm", "gru")
    """Cores whose input weights are drawn by the number of inputs, as the relational memory's are."""

    def model(self, core: str, **point) -> SequenceModel:
        model = super().model(core, **point)
        redraw_input_weights(model.core, self.task(core=core, **point).input_size ** -0.5)
        return model

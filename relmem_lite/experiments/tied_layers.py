"""Tied layers: one block used again and again against as many different ones, and against reuse over time alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from relmem_lite.core import Core, State, positive_int
from relmem_lite.cores import find_core
from relmem_lite.experiments.copying_and_tracking import BASE, CopyingAndTrackingExperiment
from relmem_lite.models import Block, Stack


class TiedStack(Core):
    """One residual `Block` applied `times` times, each time with a state of its own: depth without new weights.

    It is a `Stack` of as many blocks that share all their weights (after Dehghani et al. 2018, Universal Transformers).

    Args:
        core: name of the block's core.
        width: D, features of a step's input and output.
        times: how often the block is applied.
        options: those of `Block`, such as `convolution=0`.
    """

    def __init__(self, core: str, width: int, times: int, **options):
        block = Block(find_core(core).of_width(width, width), width, **options)
        shapes = {f"{turn}.{name}": shape for turn in range(times) for name, shape in block.state_shapes.items()}
        super().__init__(width, width, shapes)
        self.times, self.block, self.norm = times, block, nn.LayerNorm(width)

    def initial_state(self, batch_size: int) -> State:
        return self._state(list(self.block._parts(self.block.initial_state(batch_size))) * self.times)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._through(inputs, self._checked(inputs, state, "BTI"), self.block)

    def step(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._through(input, self._checked(input, state, "BI"), self.block.step)

    def _through(self, stream: Tensor, state: State, run: Callable) -> tuple[Tensor, State]:
        parts, kept = iter(self._parts(state)), []
        for _ in range(self.times):
            stream, block_state = run(stream, self.block._state([next(parts) for _ in self.block.state_shapes]))
            kept += self.block._parts(block_state)
        return self.norm(stream), self._state(kept)


@dataclass(frozen=True, kw_only=True)
class TiedLayersExperiment(CopyingAndTrackingExperiment):
    """Tied layers: a block once, the same block several times, several blocks; and GRU, which reuses its own over time.

    A tied stack spends all parameters on its one block, which is wider than each of several, and costs more time.
    """

    name: ClassVar[str] = "tied_layers"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": BASE["smoke"] | {"depth": 2},
        "cpu": BASE["cpu"],
        "gpu": BASE["gpu"] | {"depth": 6, "parameters": 300_000},
    }

    depth: int = 3
    """How often the tied block is applied, and how many different blocks there are in the untied stack."""

    def __post_init__(self):
        super().__post_init__()
        positive_int("depth", self.depth)

    def stacks(self) -> dict[str, dict]:
        return {
            "min_gru once": {"core": "min_gru", "blocks": 1, "times": 1},
            "min_gru tied": {"core": "min_gru", "blocks": 1, "times": self.depth},
            "min_gru untied": {"core": "min_gru", "blocks": self.depth, "times": 1},
            "gru once": {"core": "gru", "blocks": 1, "times": 1},
        }

    def stack(self, width: int, convolution: int, core: str, blocks: int, times: int) -> Core:
        if times > 1:
            return TiedStack(core, width, times, convolution=convolution)
        return Stack([core] * blocks, width, convolution=convolution)

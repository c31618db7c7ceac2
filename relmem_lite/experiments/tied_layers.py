"""Tied layers: one block used again and again against as many different ones, and against reuse over time alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from relmem_lite.core import Core, State, positive_int
from relmem_lite.cores import find_core
from relmem_lite.experiments.experiment import Experiment, some
from relmem_lite.models import Block, SequenceModel, Stack, match_parameters
from relmem_lite.tasks import SelectiveCopying, StateTracking, Task


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
class TiedLayersExperiment(Experiment):
    """Tied layers: a block once, the same block several times, several blocks; and GRU, which reuses its own over time.

    A tied stack spends all parameters on its one block, which is wider than each of several, and costs more time.
    """

    name: ClassVar[str] = "tied_layers"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "time": 6,
            "num_items": 2,
            "track_time": 4,
            "depth": 2,
            "parameters": 3000,
            "steps": 4,
            "batch_size": 8,
            "eval_every": 2,
            "eval_samples": 32,
            "seeds": (0,),
        },
        "cpu": {
            "steps": 300,
            "batch_size": 32,
            "eval_every": 100,
            "eval_samples": 512,
            "learning_rates": (3e-3, 1e-2),
            "accelerator": "cpu",
        },
        "gpu": {
            "time": 256,
            "num_items": 16,
            "vocab_size": 16,
            "track_time": 40,
            "depth": 6,
            "parameters": 300_000,
            "steps": 2000,
            "batch_size": 64,
            "eval_every": 250,
            "eval_samples": 1024,
            "learning_rates": (1e-3, 3e-3),
        },
    }

    tasks: tuple[str, ...] = ("selective_copying", "s3")
    """Selective copying, or a group's word problem, such as s3; each is learned by models of its own."""
    depth: int = 3
    """How often the tied block is applied, and how many different blocks there are in the untied stack."""
    time: int = 32
    """Steps before the recall in selective copying (L)."""
    num_items: int = 4
    """Data tokens to keep."""
    vocab_size: int = 8
    """Different data tokens (C)."""
    track_time: int = 20
    """Steps of a word problem, with an answer at each."""
    parameters: int = 10_000
    """Parameters of every model; its width follows."""

    def __post_init__(self):
        super().__post_init__()
        some("tasks", self.tasks)
        for name in ("depth", "parameters"):
            positive_int(name, getattr(self, name))

    def contestants(self) -> dict[str, dict]:
        shapes = {
            "min_gru once": {"core": "min_gru", "blocks": 1, "times": 1},
            "min_gru tied": {"core": "min_gru", "blocks": 1, "times": self.depth},
            "min_gru untied": {"core": "min_gru", "blocks": self.depth, "times": 1},
            "gru once": {"core": "gru", "blocks": 1, "times": 1},
        }
        return {f"{task}, {name}": {"on": task} | shape for task in self.tasks for name, shape in shapes.items()}

    def task(self, on: str, **point) -> Task:
        if on == "selective_copying":
            return SelectiveCopying(self.num_items, self.vocab_size, self.time)
        return StateTracking(on, self.track_time)

    def model(self, on: str, core: str, blocks: int, times: int) -> SequenceModel:
        task, convolution = self.task(on), 4 if on == "selective_copying" else 0

        def build(width: int) -> SequenceModel:
            if times > 1:
                stack = TiedStack(core, width, times, convolution=convolution)
            else:
                stack = Stack([core] * blocks, width, convolution=convolution)
            return SequenceModel(stack, task.output_size, (), nn.Embedding(task.num_tokens, width))

        return match_parameters(build, self.parameters)

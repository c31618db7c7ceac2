"""Gate networks: does minGRU's gate see more if it is a small network instead of one linear layer?"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from relmem_lite.core import positive_int
from relmem_lite.cores import MinGRU
from relmem_lite.experiments.experiment import Experiment, some
from relmem_lite.models import SequenceModel, Stack, match_parameters
from relmem_lite.tasks import SelectiveCopying, StateTracking, Task


class NetworkGateMinGRU(MinGRU):
    """MinGRU whose gate is a network with one hidden ReLU layer of the state's size.

    h_t = (1 - z_t) h_{t-1} + z_t h~_t as in `MinGRU`, with z_t = sigmoid(W_2 relu(W_1 x_t + b_1) + b_2). The gate still
    sees the input alone.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the state, of the output and of the gate's hidden layer.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.gate = nn.Sequential(nn.Linear(input_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size))

    def _keep_logits(self, inputs: Tensor) -> Tensor:
        return -self.gate(inputs)


VARIANTS: dict[str, tuple[type[MinGRU], int]] = {
    "linear": (MinGRU, 0),
    "network": (NetworkGateMinGRU, 0),
    "linear, network after": (MinGRU, 1),
}
"""The core of each variant, and how wide the network after it is, in multiples of the stream's width: 0 for none."""


@dataclass(frozen=True, kw_only=True)
class GateNetworksExperiment(Experiment):
    """Gate networks: minGRU with linear gates, with gates that are networks, and with the network after the core."""

    name: ClassVar[str] = "gate_networks"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "time": 6,
            "num_items": 2,
            "track_time": 4,
            "parameters": 3000,
            "steps": 4,
            "batch_size": 8,
            "eval_every": 2,
            "eval_samples": 32,
            "seeds": (0,),
        },
        "cpu": {
            "variants": ("linear", "network"),
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
            "depth": 3,
            "parameters": 150_000,
            "steps": 2000,
            "batch_size": 64,
            "eval_every": 250,
            "eval_samples": 1024,
            "learning_rates": (1e-3, 3e-3),
        },
    }

    tasks: tuple[str, ...] = ("selective_copying", "s3")
    """Selective copying, or a group's word problem, such as s3; each is learned by models of its own."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Gates to compare, linear, a network, or linear with a network after the core."""
    depth: int = 1
    """Blocks on top of one another."""
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
        some("variants", self.variants, VARIANTS, "variant")
        positive_int("depth", self.depth)
        positive_int("parameters", self.parameters)

    def contestants(self) -> dict[str, dict]:
        return {f"{task}, {gate}": {"on": task, "gate": gate} for task in self.tasks for gate in self.variants}

    def task(self, on: str, **point) -> Task:
        if on == "selective_copying":
            return SelectiveCopying(self.num_items, self.vocab_size, self.time)
        return StateTracking(on, self.track_time)

    def model(self, on: str, gate: str) -> SequenceModel:
        task, (core, expansion) = self.task(on), VARIANTS[gate]
        # As in the experiment of each task: the convolution would track a short chain of moves by itself.
        convolution = 4 if on == "selective_copying" else 0

        def build(width: int) -> SequenceModel:
            cores = [core(width, width) for _ in range(self.depth)]
            stack = Stack(cores, width, convolution=convolution, expansion=expansion)
            return SequenceModel(stack, task.output_size, (), nn.Embedding(task.num_tokens, width))

        return match_parameters(build, self.parameters)

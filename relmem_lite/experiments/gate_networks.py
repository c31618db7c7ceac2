"""Gate networks: does minGRU's gate see more if it is a small network instead of one linear layer?"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from relmem_lite.core import positive_int
from relmem_lite.cores import MinGRU
from relmem_lite.experiments.copying_and_tracking import BASE, CopyingAndTrackingExperiment
from relmem_lite.experiments.experiment import some
from relmem_lite.models import Stack


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
class GateNetworksExperiment(CopyingAndTrackingExperiment):
    """Gate networks: minGRU with linear gates, with gates that are networks, and with the network after the core."""

    name: ClassVar[str] = "gate_networks"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": BASE["smoke"],
        "cpu": BASE["cpu"] | {"variants": ("linear", "network")},
        "gpu": BASE["gpu"] | {"depth": 3, "parameters": 150_000},
    }

    variants: tuple[str, ...] = tuple(VARIANTS)
    """Gates to compare, linear, a network, or linear with a network after the core."""
    depth: int = 1
    """Blocks on top of one another."""

    def __post_init__(self):
        super().__post_init__()
        some("variants", self.variants, VARIANTS, "variant")
        positive_int("depth", self.depth)

    def stacks(self) -> dict[str, dict]:
        return {gate: {"gate": gate} for gate in self.variants}

    def stack(self, width: int, convolution: int, gate: str) -> Stack:
        core, expansion = VARIANTS[gate]
        cores = [core(width, width) for _ in range(self.depth)]
        return Stack(cores, width, convolution=convolution, expansion=expansion)

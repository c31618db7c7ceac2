"""Every core as a layer, timed on this machine beside torch's own and beside a loop in Python."""

import copy
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from relmem_lite.bench.results import Contestant, Results, measure
from relmem_lite.bench.timing import matmul_rate
from relmem_lite.core import Core, positive_int
from relmem_lite.cores import CORES, GRU, MinGRU
from relmem_lite.models import num_parameters


class Size(NamedTuple):
    """One layer: sequences, steps, and features that go in and come out."""

    batch: int
    time: int
    width: int


SIZES = [*(Size(16, time, 128) for time in (64, 256, 512, 1024, 4096)), Size(64, 64, 256), Size(64, 512, 256)]
SIZES.append(Size(16, 16_384, 128))
GPU_SIZES = [Size(64, time, 512) for time in (64, 128, 512, 1024, 4096, 16_384)]


def benchmark_layers(
    rounds: int = 5,
    threads: int | None = None,
    limit: float = 6.0,
    memory: float = 6.0,
    record: Path | None = None,
) -> None:
    """Every core as a layer, forward and backward, by length and width: time, peak memory, error.

    Args:
        rounds: Turns that each layer takes; the table gives medians.
        threads: Processor threads; as many as torch takes by itself if not given.
        limit: Seconds after which one turn is too slow for a layer to be tried at more steps.
        memory: Gigabytes that a layer may be expected to take, from what it took at fewer steps.
        record: File to write the results into, as JSON.
    """
    positive_int("rounds", rounds)
    if threads is not None:
        torch.set_num_threads(positive_int("threads", threads))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = Results("layers", device, "layer")
    results.extra["matmul_flops_per_second"] = matmul_rate(device)
    print(results.heading("(B, T, width)"))
    last: dict[str, tuple[int, dict]] = {}
    for size in GPU_SIZES if device.type == "cuda" else SIZES:
        numbers = size.batch * size.time * size.width
        contestants = {}
        for name, build in layers().items():
            if name in last:
                growth = max(1.0, numbers / last[name][0])
                slow = last[name][1]["seconds"][0] > limit
                large = last[name][1]["peak_bytes"] * growth > memory * 1e9
                # Attention's time grows with the square of the length.
                if growth > 1 and (slow or large or last[name][1]["seconds"][0] * growth**2 > 20 * limit):
                    continue
            contestants[name] = Contestant(*_turn(build, size, device))
        for name, row in measure(contestants, rounds, limit).items():
            results.add(name, size._asdict() | row | results.floors(*_least_work(layers()[name], size)))
            last[name] = (numbers, row)
        print(results.table(size._asdict()), flush=True)
        results.save(record)
    if record is not None:
        print(f"\nRecord: {record}")


def layers() -> dict[str, Callable[[int], nn.Module]]:
    """Return every layer to be timed, by name: functions from a width to a module."""
    made: dict[str, Callable[[int], nn.Module]] = {
        name: partial(_of_width, core) for name, core in CORES.items() if name not in ("lstm", "gru")
    }
    made["min_gru in log-space"] = lambda width: MinGRU(width, width, log_space=True)
    made["torch.nn.GRU"] = lambda width: nn.GRU(width, width, batch_first=True)
    made["torch.nn.LSTM"] = lambda width: nn.LSTM(width, width, batch_first=True)
    made["GRU, loop in Python"] = LoopedGRU
    if find_spec("minGRU_pytorch"):
        from minGRU_pytorch.minGRU import minGRU

        made["minGRU-pytorch"] = minGRU
    return made


class LoopedGRU(GRU):
    """The GRU stepped through in Python: what the minGRU paper's speed-ups were measured against."""

    def __init__(self, width: int):
        super().__init__(width, width)

    forward = Core.forward


def _of_width(core: type[Core], width: int) -> Core:
    return core.of_width(width, width)


def _turn(
    build: Callable[[int], nn.Module], size: Size, device: torch.device
) -> tuple[Callable[[], object], Callable[[], float]]:
    """Return what is timed, forward and backward, and what finds the error of the outputs against float64."""
    torch.manual_seed(0)
    layer = build(size.width).to(device)
    # As in the middle of a network, the input takes a gradient too.
    inputs = torch.randn(size, device=device, requires_grad=True)

    def turn() -> None:
        layer.zero_grad(set_to_none=True)
        inputs.grad = None
        _outputs(layer, inputs).sum().backward()

    def error() -> float:
        # One sequence is enough to see it, and as much as float64 should take of the memory.
        with torch.no_grad():
            one = inputs[:1]
            exact = _outputs(copy.deepcopy(layer).double(), one.double())
            return (_outputs(layer, one).double() - exact).abs().max().item()

    return turn, error


def _least_work(build: Callable[[int], nn.Module], size: Size) -> tuple[float, float]:
    """Return the bytes that any such layer moves, forward and backward, and the operations that it computes.

    Moved are inputs, outputs and both their gradients, the inputs twice, and the weights three times. Computed are two
    operations a weight and step forward, four backward, which leaves out what has no weights, as attention's scores.
    """
    with torch.device("meta"):
        weights = num_parameters(build(size.width))
    steps = size.batch * size.time
    return 4.0 * (5 * steps * size.width + 3 * weights), 6.0 * weights * steps


def _outputs(layer: nn.Module, inputs: Tensor) -> Tensor:
    outputs = layer(inputs)
    return outputs if isinstance(outputs, Tensor) else outputs[0]

"""Every way to compute h_t = a_t h_{t-1} + b_t, timed on this machine beside one another and beside a plain copy."""

import statistics
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from relmem_lite.bench.results import Contestant, Results, measure
from relmem_lite.bench.timing import take_turns
from relmem_lite.core import positive_int
from relmem_lite.scans import available_methods, scan
from relmem_lite.scans.operator import kernel


class Size(NamedTuple):
    """One recurrence: sequences, steps and channels."""

    batch: int
    time: int
    channels: int


# Lengths at one width, widths at one length, and the three at which the compiled kernel is held to its promise; all
# powers of two, since a peer takes no others.
SIZES = [
    *(Size(16, time, 128) for time in (64, 256, 512, 2048, 4096, 16_384)),
    *(Size(16, 512, channels) for channels in (32, 512)),
    Size(64, 512, 256),
    Size(4, 8192, 128),
]
GPU_SIZES = [*(Size(64, time, 256) for time in (64, 512, 4096, 16_384)), Size(64, 4096, 1024)]


def benchmark_scan(
    rounds: int = 5,
    threads: int | None = None,
    limit: float = 4.0,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    record: Path | None = None,
) -> None:
    """Every way to scan, forward and backward, by length and width: time, peak memory, error against float64.

    Args:
        rounds: Turns that each method takes; the table gives medians.
        threads: Processor threads; as many as torch takes by itself if not given.
        limit: Seconds after which one turn is too slow for a method to be tried at more steps.
        dtype: Number format, float32, bfloat16 or float16.
        record: File to write the results into, as JSON.
    """
    positive_int("rounds", rounds)
    if threads is not None:
        torch.set_num_threads(positive_int("threads", threads))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = getattr(torch, dtype)
    results = Results("scan", device, "method")
    print(results.heading("(B, T, D)"))
    too_slow: dict[str, int] = {}
    for size in GPU_SIZES if device.type == "cuda" else SIZES:
        given = _Given(size, device, numbers)
        contestants = {
            name: Contestant(partial(given.turn, run), partial(given.error, run))
            for name, run in _methods(device, numbers).items()
            if size.time * size.batch * size.channels < too_slow.get(name, 2**62)
        }
        # Forward two tensors are read and one is written, backward three and two.
        floors = results.floors(8 * given.b.nbytes)
        for name, row in measure(contestants, rounds, limit).items():
            results.add(name, size._asdict() | row | floors)
            if row["seconds"][0] > limit:
                too_slow[name] = size.time * size.batch * size.channels
        print(results.table(size._asdict()), flush=True)
        results.save(record)
    results.extra["kernels"] = [_floor(size, device, rounds) for size in _promised(device)]
    print(
        "\nThe kernel alone, into memory that is there, beside a copy of as many bytes (3 tensors forward, 5 backward):"
    )
    for row in results.extra["kernels"]:
        took, floor = row["forward"] + row["backward"], row["floor"]
        line = f"({row['batch']}, {row['time']}, {row['channels']})"
        print(f"  {line:18} {took * 1e3:.2f} ms, floor {floor * 1e3:.2f} ms, {took / floor:.2f} times the floor")
    results.save(record)
    if record is not None:
        print(f"\nRecord: {record}")


def _promised(device: torch.device) -> list[Size]:
    if device.type == "cuda":
        return [Size(64, 4096, 1024)]
    return [Size(16, 512, 128), Size(64, 512, 256), Size(4, 8192, 128)]


def _methods(device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    methods = {name: lambda a, b, name=name: scan(a, b, method=name) for name in available_methods(device)}
    methods["naive loop"] = naive_loop
    if find_spec("minGRU_pytorch"):
        from minGRU_pytorch.minGRU import heinsen_associative_scan_log

        methods["minGRU-pytorch"] = lambda a, b: heinsen_associative_scan_log(a.log(), b.log())
    if find_spec("accelerated_scan"):
        for name in ("warp", "scalar", "ref") if device.type == "cuda" else ("ref",):
            # One of them is compiled as it is imported, which needs CUDA's own compiler.
            with suppress(ImportError, OSError, RuntimeError):
                peer = import_module(f"accelerated_scan.{name}")
                methods[f"accelerated-scan, {name}"] = partial(_time_last, peer.scan)
    return methods


def _time_last(scan_over_last: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    return scan_over_last(a.transpose(1, 2).contiguous(), b.transpose(1, 2).contiguous()).transpose(1, 2)


def naive_loop(a: Tensor, b: Tensor) -> Tensor:
    """Scan as one writes it first: every step's slice gets a gradient of the whole tensor's size."""
    h, states = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


class _Given:
    """One recurrence to scan: what is timed, forward and backward, and the error of the states against float64."""

    def __init__(self, size: Size, device: torch.device, dtype: torch.dtype):
        generator = torch.Generator(device).manual_seed(0)
        # Positive values, since two of the methods take no others.
        self.a = torch.randn(size, generator=generator, device=device).sigmoid().to(dtype).requires_grad_()
        self.b = (torch.randn(size, generator=generator, device=device).abs() + 0.01).to(dtype).requires_grad_()
        self.grad = torch.randn(size, generator=generator, device=device).to(dtype)

    def turn(self, run: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.a.grad = self.b.grad = None
        run(self.a, self.b).backward(self.grad)

    @torch.no_grad()
    def error(self, run: Callable[[Tensor, Tensor], Tensor]) -> float:
        return (run(self.a, self.b) - self._exact).abs().max().item()

    @cached_property
    def _exact(self) -> Tensor:
        """States in float64, by a loop."""
        return scan(self.a.double(), self.b.double(), method="loop" if self.a.is_cuda else "auto")


def _floor(size: Size, device: torch.device, rounds: int) -> dict:
    """Time the fastest kernel into outputs that are there, beside what its traffic takes at the speed of a copy."""
    name = available_methods(device)[0]
    module = kernel(name)
    a, h, grad, grad_a, grad_b, other = (torch.rand(size, device=device) for _ in range(6))
    h0, grad_h0 = torch.zeros(2, size.batch, size.channels, device=device)
    seconds = take_turns(
        {
            "forward": lambda: module.forward(a, grad, h0, other),
            "backward": lambda: module.backward(a, h, h0, grad, grad_a, grad_b, grad_h0),
            "copy": lambda: other.copy_(h),
        },
        # Short turns, many of them: a neighbour's moment must not decide.
        max(20, rounds),
    )
    forward, backward, copy = (statistics.median(seconds[name]) for name in ("forward", "backward", "copy"))
    # A copy moves two tensors; the scan reads two and writes one, its gradient reads three and writes two.
    return size._asdict() | {"kernel": name, "forward": forward, "backward": backward, "floor": 8 / 2 * copy}

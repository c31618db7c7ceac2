"""Timing that survives a shared machine: contestants take turns, and the ratio of each turn is what counts."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Timing(NamedTuple):
    """Seconds of one contestant: the median over the rounds, and the quartiles around it."""

    median: float
    low: float
    high: float


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time every contestant once a round, after one untimed round, and return each one's seconds by round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds + 1):
        for name, run in contestants.items():
            _wait_for_device()
            started = time.perf_counter()
            run()
            _wait_for_device()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def summary(values: list[float]) -> Timing:
    """Return the median of the values and their quartiles."""
    if len(values) == 1:
        return Timing(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high)


def ratio(slower: list[float], faster: list[float]) -> Timing:
    """Return how many times as long the first took as the second, round by round."""
    return summary([a / b for a, b in zip(slower, faster, strict=True)])


def matmul_rate(device: torch.device, rounds: int = 7) -> float:
    """Return the floating-point operations a second that a large square float32 matrix product reaches here."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device).unbind()
    seconds = take_turns({"matmul": lambda: a @ b}, rounds)["matmul"]
    return 2 * size**3 / statistics.median(seconds)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

"""What a served model keeps, core by core: a page on which the reader sets length, batch, budget and size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from relmem_lite.core import Core, nearest, positive_int
from relmem_lite.cores import LSTM, CausalAttention, LinearAttention, Mamba, MinGRU, RelationalMemory
from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import GREY, figure, on_both, style_of

HEAD = 128
"""Features of a head, as in most large models."""
SHARED_BY = 4
"""Heads that share one head's keys and values, where they are grouped (Ainslie et al. 2023, section 2.2)."""
WINDOW = 4096
"""Steps that attention looks back on, where it has a window."""
EVERY = 8
"""Layers of which one is attention, where a stack is a hybrid."""
BYTES_PER_NUMBER = 2
"""Bytes of a number, of the weights as of the state: bfloat16."""
SLOWEST, FASTEST = 25, 3200
"""Gigabytes a second that can be read from memory: a laptop's, and those of a large accelerator."""
SIZES = ((16, 1024), (24, 2048), (32, 4096), (40, 5120))
"""Models to choose from: layers, and features of a layer."""


class Kept(NamedTuple):
    """What a model keeps of one sequence: `fixed` numbers, and `each` more for every step, or every step in a window.

    Attributes:
        fixed: numbers that are there from the first step on.
        each: numbers that every step adds.
        window: how many of the last steps are kept; None for all.
    """

    fixed: int
    each: int
    window: int | None

    def numbers(self, time: int) -> int:
        """Return how many numbers are kept after `time` steps."""
        return self.fixed + self.each * (time if self.window is None else min(time, self.window))


class _Row(NamedTuple):
    """A line of the figure: its name, whose colour it has, the layers of a model, and their window."""

    name: str
    style: str
    layers: Callable[[int, int], list[tuple[Core, int]]]
    window: int | None = None


def _all(build: Callable[[int], Core]) -> Callable[[int, int], list[tuple[Core, int]]]:
    return lambda layers, width: [(build(width), layers)]


def _attention(width: int, shared_by: int = 1) -> Core:
    # Heads that share keys and values keep as much as attention that has only the heads that are shared.
    return CausalAttention(width, width // shared_by, num_heads=width // shared_by // HEAD)


def _grouped(width: int) -> Core:
    return _attention(width, SHARED_BY)


def _hybrid(layers: int, width: int) -> list[tuple[Core, int]]:
    attention = layers // EVERY
    return [(MinGRU(width, width), layers - attention), (_grouped(width), attention)]


_ROWS = {
    "min_gru": _Row("minGRU", "min_gru", _all(lambda width: MinGRU(width, width))),
    "lstm": _Row("LSTM", "lstm", _all(lambda width: LSTM(width, width))),
    "relational_memory": _Row(
        "RMC, 4 slots",
        "relational_memory",
        _all(lambda width: RelationalMemory(width, num_slots=4, num_heads=width // HEAD, head_size=HEAD)),
    ),
    "mamba": _Row("Mamba, 16 numbers a channel", "mamba", _all(lambda width: Mamba(width, width))),
    "linear_attention": _Row(
        "linear attention",
        "linear_attention",
        _all(lambda width: LinearAttention(width, width, num_heads=width // HEAD)),
    ),
    "window": _Row(f"attention, window of {WINDOW:,}", "attention", _all(_grouped), WINDOW),
    "hybrid": _Row(f"hybrid: {EVERY - 1} minGRU, 1 attention", "hybrid", _hybrid),
    "grouped": _Row(f"attention, {SHARED_BY} heads share a cache", "attention", _all(_grouped)),
    "attention": _Row("attention", "attention", _all(_attention)),
}


def kept(core: str, layers: int, width: int) -> Kept:
    """Return what a model of one of the figure's cores keeps of a sequence, as `Core.state_size` counts it.

    The cores alone: a causal convolution before each would add 3 D numbers a layer, whatever the core.

    Args:
        core: "min_gru", "lstm", "relational_memory" (4 slots), "mamba" (16 states a channel), "linear_attention",
            "attention", each in every layer; "grouped", attention in which 4 heads share keys and values; "window",
            the same over the last 4,096 steps; or "hybrid", of whose layers one in 8 is "grouped", the others minGRU.
        layers: cores on top of one another; for a hybrid at least 8.
        width: D, features of each, a multiple of 512: heads have 128, and 4 of them share keys and values.

    Raises:
        TypeError, ValueError: an unknown core, or a size that does not fit.
    """
    if core not in _ROWS:
        raise ValueError(nearest(core, list(_ROWS), "core"))
    positive_int("layers", layers)
    if positive_int("width", width) % (HEAD * SHARED_BY):
        raise ValueError(f"width must be a multiple of {HEAD * SHARED_BY}, {SHARED_BY} heads of {HEAD}, got {width}.")
    if core == "hybrid" and layers < EVERY:
        raise ValueError(f"A hybrid with one attention layer in {EVERY} has at least {EVERY} layers, got {layers}.")
    with torch.device("meta"):
        made = _ROWS[core].layers(layers, width)
    first, second = (sum(count * layer.state_size(time) for layer, count in made) for time in (0, 1))
    return Kept(first, second - first, _ROWS[core].window)


def num_weights(layers: int, width: int) -> int:
    """Return the weights of a model, 12 D^2 a layer: 4 D^2 in attention and 8 D^2 in an MLP four times as wide."""
    return 12 * layers * width**2


def in_words(count: float) -> str:
    """Return a number of bytes as people say it: "512 B", "16.4 kB", "2.15 GB"; 1 kB is 1,000 bytes."""
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    # Rounded first, or 999,999 would be 1,000 kB.
    count = float(f"{count:.3g}")
    power = 0
    while count >= 1000 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {units[power]}" if count < 1000 else f"{count:,.0f} {units[power]}"


@dataclass(frozen=True, repr=False)
class MemoryCost(MovingFigure):
    """What `memory_cost` returns; a notebook shows it as a page with sliders, a terminal as a table."""

    page = "memory_cost.html"
    title = "Which core fits beside the weights"

    time: int
    batch: int
    budget: float
    speed: int
    size: int
    sizes: tuple[tuple[int, int], ...]
    kept: dict[str, tuple[Kept, ...]]

    def state_bytes(self, core: str) -> int:
        """Return the bytes that all sequences of the batch keep, at the length and size chosen."""
        return BYTES_PER_NUMBER * self.batch * self.kept[core][self.size].numbers(self.time)

    def weight_bytes(self) -> int:
        """Return the bytes of the weights, at the size chosen."""
        return BYTES_PER_NUMBER * num_weights(*self.sizes[self.size])

    def token_seconds(self, core: str) -> float:
        """Return the least time for a token of every sequence: to read weights and states once from memory."""
        return (self.weight_bytes() + self.state_bytes(core)) / (self.speed * 1e9)

    def fits(self, core: str) -> bool:
        """Say whether weights and states fit in the budget."""
        return self.weight_bytes() + self.state_bytes(core) <= self.budget * 1e9

    def __repr__(self) -> str:
        layers, width = self.sizes[self.size]
        lines = [
            f"{layers} layers of {width:,}, length {self.time:,}, batch {self.batch:,}, budget {self.budget:g} GB, "
            f"{in_words(self.weight_bytes())} of them for weights:"
        ]
        for core in self.kept:
            verdict = "fits" if self.fits(core) else "does not fit"
            lines.append(f"  {_ROWS[core].name:32} {in_words(self.state_bytes(core)):>8}  {verdict}")
        return "\n".join(lines)

    def words(self) -> str:
        """Say what each core keeps at the start."""
        first, *_ = repr(self).split("\n")
        return first + " " + ", ".join(f"{_ROWS[core].name} {in_words(self.state_bytes(core))}" for core in self.kept)

    def data(self) -> dict:
        """Return what the page computes from."""
        return {
            "time": self.time,
            "batch": self.batch,
            "budget": self.budget,
            "speed": self.speed,
            "slowest": SLOWEST,
            "size": self.size,
            "bytes": BYTES_PER_NUMBER,
            "sizes": [[*size, num_weights(*size)] for size in self.sizes],
            "rows": [
                {"name": _ROWS[core].name, "color": on_both(style_of(_ROWS[core].style).color), "kept": counts}
                for core, counts in self.kept.items()
            ],
        }

    def still(self):
        """Draw the bars as they are at first."""
        fig, ax = figure(0.9 + 0.42 * len(self.kept))
        weights, budget = self.weight_bytes() / 1e9, self.budget
        for row, core in enumerate(self.kept):
            state, style = self.state_bytes(core), style_of(_ROWS[core].style)
            ax.barh(row, budget, color="white", edgecolor=GREY, height=0.6)
            ax.barh(row, min(weights, budget), color="#BFC3C6", height=0.6)
            shown = max(0.0, min(state / 1e9, budget - weights))
            ax.barh(row, shown, left=weights, color=style.color, height=0.6, hatch=None if self.fits(core) else "///")
            ax.text(budget * 1.02, row, f"{in_words(state)}{'' if self.fits(core) else ': too much'}", va="center")
        ax.set_yticks(range(len(self.kept)), [_ROWS[core].name for core in self.kept])
        ax.set(xlim=(0, budget * 1.8), ylim=(len(self.kept) - 0.5, -0.5), xlabel="GB (grey: weights)")
        ax.set_xticks([0, budget])
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        return fig


def memory_cost(
    cores: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int]] = SIZES,
    *,
    time: int = 65_536,
    batch: int = 16,
    budget: int = 40,
    speed: int = 800,
    size: int = 0,
) -> MemoryCost:
    """Return a small page that answers which core fits in a memory, and how fast: plain HTML, no kernel needed.

    The reader sets the length of the context, the number of sequences at once, the memory, its speed and the model's
    size; each core has a bar, its weights (12 D^2 a layer for all) and the bytes that it keeps of the sequences, in 16
    bits a number, and the least time for a token: weights and what is kept have to be read once. Activations of the
    step being computed are left out: they are the same for all, and small.

    Args:
        cores: lines of the figure, names that `kept` knows; None for all.
        sizes: models to choose from, each (layers, D).
        time: the length shown first, a power of two from 1,024 to 1,048,576.
        batch: the number of sequences shown first, a power of two up to 256.
        budget: gigabytes shown first, from 8 to 80.
        speed: of the memory at first, gigabytes a second, 25 times a power of two up to 3,200.
        size: place of the model shown first among the sizes.

    Raises:
        TypeError, ValueError: an unknown core, a size that does not fit, or a start that the sliders can't show.
    """
    cores = tuple(_ROWS) if cores is None else tuple(cores)
    for name, value, low, high in (("time", time, 1024, 2**20), ("batch", batch, 1, 256)):
        if positive_int(name, value) & (value - 1) or not low <= value <= high:
            raise ValueError(f"{name} must be a power of two from {low:,} to {high:,}, got {value:,}.")
    if not 8 <= positive_int("budget", budget) <= 80:
        raise ValueError(f"budget must be from 8 to 80 gigabytes, got {budget}.")
    if positive_int("speed", speed) not in [SLOWEST * 2**power for power in range(8)]:
        raise ValueError(f"speed must be {SLOWEST} times a power of two, up to {FASTEST:,}, got {speed:,}.")
    sizes = tuple((layers, width) for layers, width in sizes)
    if not cores or not sizes:
        raise ValueError("There is nothing to show: give at least one core and one size.")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < len(sizes):
        raise ValueError(f"size is the place of one of {len(sizes)} sizes, from 0 to {len(sizes) - 1}, got {size!r}.")
    counts = {core: tuple(kept(core, *each) for each in sizes) for core in cores}
    return MemoryCost(time, batch, budget, speed, size, sizes, counts)

"""How much a state can recall, as a page on which the reader moves the pairs and the size of the state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from relmem_lite.core import positive_int
from relmem_lite.figures.lines import direct_labels
from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import GREY, INK, figure, on_both, set_title, style_of
from relmem_lite.tasks import accuracy_within, bits_needed

BITS_A_FLOAT = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Recalled:
    """What one trained core recalled: `points` are (pairs, accuracy), `floats` what it keeps after `at` pairs.

    `grows` are the floats that every further pair adds; 0 for a state of fixed size.
    """

    core: str
    floats: int
    points: tuple[tuple[int, float], ...]
    at: int = 1
    grows: int = 0

    def __post_init__(self):
        style_of(self.core)
        for name in ("floats", "at"):
            positive_int(name, getattr(self, name))
        if self.grows < 0 or self.floats + (1 - self.at) * self.grows < 0:
            raise ValueError(
                f"{self.core} keeps {self.floats} floats after {self.at} pairs: {self.grows} a pair do not fit."
            )
        for pairs, accuracy in self.points:
            positive_int("pairs", pairs)
            if not 0 <= accuracy <= 1:
                raise ValueError(f"{self.core}: the accuracy at {pairs} pairs must be from 0 to 1, got {accuracy}.")
        numbers = [pairs for pairs, _ in self.points]
        if numbers != sorted(set(numbers)) or not numbers:
            raise ValueError(f"{self.core}: points must be (pairs, accuracy), each number once, fewest pairs first.")


@dataclass(frozen=True, repr=False)
class RecallFigure(MovingFigure):
    """What `recall_figure` returns; a notebook shows it as a page with two sliders and a choice of precision."""

    page = "recall.html"
    title = "What a state of a given size can recall, and what trained ones did"

    recalled: tuple[Recalled, ...]
    choices: int
    pairs: int
    floats: int
    bits: int
    max_pairs: int
    max_floats: int

    def words(self) -> str:
        """Say what the figure shows before it is moved."""
        needed, kept = bits_needed(self.pairs, self.choices), self.floats * self.bits
        best = accuracy_within(kept, self.pairs, self.choices)
        allowed = "The bound forbids nothing here."
        if kept < needed:
            allowed = f"No memory of that size can answer more than {math.floor(100 * best)} % right."
        return (
            f"Pairs shown: {self.pairs}; they need {needed:,.0f} bits. Floats kept: {self.floats:,}; at {self.bits} "
            f"bit{'s' * (self.bits > 1)} each they keep {kept:,}. {allowed}"
        )

    def __repr__(self) -> str:
        return f"RecallFigure of {len(self.recalled)} recorded cores: {self.words()}"

    def data(self) -> dict:
        """Return the bound as a table, and what was recorded."""
        styles = [style_of(each.core) for each in self.recalled]
        cores = [
            asdict(each) | {"name": style.name, "color": on_both(style.color), "words": on_both(style.text_color)}
            for each, style in zip(self.recalled, styles, strict=True)
        ]
        return {
            "cores": cores,
            "choices": self.choices,
            "start": {"pairs": self.pairs, "floats": self.floats, "bits": self.bits},
            "limits": {"pairs": self.max_pairs, "floats": self.max_floats},
            "precisions": BITS_A_FLOAT,
            "bound": [[round(number, 7) for number in point] for point in bound_table(self.choices)],
        }

    def still(self):
        """Draw the bound at the size that is shown first, and the recorded cores of about that size."""
        fig, ax = figure(4.2)
        pairs = [2 ** (power / 4) for power in range(4 * int(math.log2(self.max_pairs)) + 1)]
        best = [accuracy_within(self.floats * self.bits / each, 1, self.choices) for each in pairs]
        ax.fill_between(pairs, best, 1, color=GREY, alpha=0.16, linewidth=0)
        ax.plot(pairs, best, color=INK, label="the bound")
        for core in self.recalled:
            kept = core.floats + (self.pairs - core.at) * core.grows
            if self.floats / 2 <= kept <= self.floats * 2:
                style = style_of(core.core)
                look = {"color": style.color, "marker": style.marker, "linestyle": style.line}
                ax.plot(*zip(*core.points, strict=True), label=f"{style.name}, {kept:,} floats", **look)
        ticks = [4**power for power in range(int(math.log2(self.max_pairs) / 2) + 1)]
        ax.set(xscale="log", xlabel="pairs shown", ylabel="accuracy", ylim=(0, 1.02))
        ax.set_xticks(ticks, list(map(str, ticks)))
        ax.minorticks_off()
        direct_labels(ax)
        set_title(ax, f"The best that {self.floats:,} floats of {self.bits} bit{'s' * (self.bits > 1)} can recall")
        return fig


def bound_table(choices: int, points: int = 129) -> list[tuple[float, float]]:
    """Return (bits kept for each answer, best accuracy) from chance to 1, dense enough for straight lines between.

    Accuracies lie closer together towards 1, where the last errors cost the most bits.
    """
    shares = [math.sin(math.pi / 2 * number / (points - 1)) for number in range(points)]
    accuracies = [1 / choices + (1 - 1 / choices) * share for share in shares]
    return [(bits_needed(1, choices, min(accuracy, 1.0)), accuracy) for accuracy in accuracies]


def recall_figure(
    recalled: Iterable[Recalled],
    *,
    choices: int = 64,
    pairs: int = 64,
    floats: int = 16,
    bits: int = 8,
    max_pairs: int = 256,
    max_floats: int = 8192,
) -> RecallFigure:
    """Return the bound on recall as a small page to move things on: plain HTML, no kernel needed.

    Sliders set the pairs shown and the floats kept, both in powers of two, and radio buttons the bits used of a float.
    The page draws the best accuracy that any memory of that size can have at each number of pairs, and what recorded
    cores reached whose states have about that many floats: half as many to twice as many.

    Args:
        recalled: what recorded cores reached; may be empty.
        choices: C, values that an answer is chosen from, at least 2.
        pairs: shown first, a power of two.
        floats: kept at first, a power of two.
        bits: used of a float at first, one of 1, 2, 4, 8, 16, 32.
        max_pairs: that the slider reaches, a power of two from 2 on.
        max_floats: likewise.

    Raises:
        TypeError, ValueError: a size that is no power of two up to the most, bits that are not offered, or fewer than
            two choices.
    """
    bits_needed(1, choices)  # which refuses choices that leave nothing to remember
    if positive_int("bits", bits) not in BITS_A_FLOAT:
        raise ValueError(f"bits must be one of {', '.join(map(str, BITS_A_FLOAT))}, got {bits}.")
    for name, size, limit in (("pairs", pairs, max_pairs), ("floats", floats, max_floats)):
        if positive_int(f"max_{name}", limit) & (limit - 1) or limit < 2:
            raise ValueError(f"max_{name} must be a power of two from 2 on, got {limit}.")
        if positive_int(name, size) & (size - 1) or size > limit:
            raise ValueError(f"{name} must be a power of two up to {limit}, as the slider has them, got {size}.")
    return RecallFigure(tuple(recalled), choices, pairs, floats, bits, max_pairs, max_floats)

"""A scan drawn level by level: a picture, and the same as a page that the reader steps through."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import GREY, INK, figure, set_title, style_of
from relmem_lite.scans import scan

Level = list[tuple[int, int]]
"""What happens at once: pairs (t, s), for which cell t becomes cell s followed by cell t."""


def schedules(steps: int) -> dict[str, list[Level]]:
    """Return how each method joins `steps` cells, level by level (Hillis & Steele 1986, Blelloch 1990)."""
    return {
        "loop": [[(t, t - 1)] for t in range(1, steps)],
        "Hillis-Steele": _hillis_steele(steps),
        "Blelloch": _blelloch(steps),
        "chunked": _chunked(steps),
    }


def _hillis_steele(steps: int) -> list[Level]:
    levels, distance = [], 1
    while distance < steps:
        levels.append([(t, t - distance) for t in range(distance, steps)])
        distance *= 2
    return levels


def _blelloch(steps: int) -> list[Level]:
    levels, distance = [], 1
    while 2 * distance <= steps:
        levels.append([(t, t - distance) for t in range(2 * distance - 1, steps, 2 * distance)])
        distance *= 2
    while distance > 1:
        distance //= 2
        levels.append([(t, t - distance) for t in range(3 * distance - 1, steps, 2 * distance)])
    return [level for level in levels if level]


def _chunked(steps: int) -> list[Level]:
    length = math.isqrt(steps - 1) + 1
    starts = range(0, steps, length)
    levels = [[(s + i, s + i - 1) for s in starts if s + i < steps] for i in range(1, length)]
    levels += [[(s + length - 1, s - 1)] for s in starts[1:-1]]
    carried = {s + length - 1 for s in starts[1:-1]}
    levels.append([(t, t // length * length - 1) for t in range(length, steps) if t not in carried])
    return [level for level in levels if level]


@dataclass(frozen=True, repr=False)
class ScanStepper(MovingFigure):
    """What `scan_stepper` returns; a notebook shows it as a page with buttons, radio buttons and sliders."""

    page = "scan_stepper.html"
    title = "The same scan, level by level"

    a: tuple[float, ...]
    b: tuple[float, ...]
    method: str
    schedules: Mapping[str, list[Level]]
    states: tuple[float, ...]

    def __repr__(self) -> str:
        states = ", ".join(f"{state:.2f}" for state in self.states)
        return f"ScanStepper of {', '.join(self.schedules)}; the states are {states}"

    def words(self) -> str:
        """Say which states the levels lead to."""
        levels = self.schedules[self.method]
        return (
            f"{self.method}: {len(levels)} levels, {sum(map(len, levels))} joins in all. They lead to the states "
            + ", ".join(f"{state:.2f}" for state in self.states)
            + "."
        )

    def data(self) -> dict:
        """Return the steps and how each method joins them."""
        return {"a": self.a, "b": self.b, "method": self.method, "schedules": self.schedules}

    def still(self):
        """Draw the method that is shown first, with all its levels."""
        return scan_levels(self.a, self.b, self.schedules[self.method], self.method).figure


def scan_stepper(
    a: Sequence[float],
    b: Sequence[float],
    levels: Mapping[str, Iterable[Level]] | None = None,
    *,
    method: str | None = None,
) -> ScanStepper:
    """Return h_t = a_t h_{t-1} + b_t as a small page to step through, from h_0 = 0: plain HTML, no kernel needed.

    Each cell shows what it writes and, until all steps before it are joined in, what it keeps (×). The reader chooses
    the method, steps with Back and Next, and sets the a by sliders.

    Args:
        a: what each step keeps, T numbers; for a page that a phone can show, at most 8.
        b: what each step writes, T numbers.
        levels: the methods to choose from, by name, each a list of levels as `schedules` returns them, which is also
            the default.
        method: the name of the method shown first; the first of `levels` if not given.

    Raises:
        ValueError: a and b of different lengths or empty, an unknown method, or a level that names a cell that is
            not there, joins a cell to a later one, or changes one cell twice.
    """
    a, b = _numbers(a, b)
    levels = schedules(len(a)) if levels is None else levels
    levels = {name: _checked_levels(name, each, len(a)) for name, each in levels.items()}
    method = next(iter(levels)) if method is None else method
    if method not in levels:
        raise ValueError(f"There is no method {method!r} to show: choose one of {', '.join(levels)}.")
    return ScanStepper(a, b, method, levels, _states(a, b))


def scan_levels(a: Sequence[float], b: Sequence[float], levels: Iterable[Level], title: str):
    """Draw the same as a picture: inputs on top, then one row a level, with each cell that the level changes.

    Args:
        a: what each step keeps, T numbers.
        b: what each step writes, T numbers.
        levels: one of the values of `schedules`.
        title: what the picture shows.

    Returns:
        The Axes.

    Raises:
        ValueError: as for `scan_stepper`.
    """
    a, b = _numbers(a, b)
    levels = _checked_levels(title, levels, len(a))
    _, ax = figure(0.75 + 0.72 * (len(levels) + 1))
    ax.set(xlim=(-1.25, len(a) - 0.5), ylim=(len(levels) + 0.34, -0.62))
    ax.set_axis_off()
    cells = [(kept, written, t) for t, (kept, written) in enumerate(zip(a, b, strict=True))]
    for t, cell in enumerate(cells):
        ax.text(t, -0.42, f"$t={t + 1}$", ha="center", va="center", fontsize=13, color=INK)
        ax.plot([t, t], [0, len(levels)], color=GREY, alpha=0.35, linewidth=1, zorder=1)
        _draw_cell(ax, t, 0, cell)
    ax.text(-0.6, 0, "steps", ha="right", va="center", fontsize=13, color=GREY)
    for row, joins in enumerate(levels, 1):
        ax.text(-0.6, row, f"level {row}", ha="right", va="center", fontsize=13, color=GREY)
        before, cells = cells, list(cells)
        for t, s in joins:
            (early_kept, early_written, first), (kept, written, _) = before[s], before[t]
            cells[t] = (kept * early_kept, kept * early_written + written, first)
            for source in (s, t):
                ax.plot([source, t], [row - 0.74, row - 0.26], color=INK, linewidth=1.2, zorder=2)
                ax.plot([source, source], [row - 1, row - 0.74], color=INK, linewidth=1.2, zorder=1)
            _draw_cell(ax, t, row, cells[t])
    set_title(ax, title)
    return ax


def _draw_cell(ax, t, row, cell):
    kept, written, first = cell
    style = style_of("min_gru")
    box = {"boxstyle": "round,pad=0.28", "facecolor": "white", "edgecolor": GREY, "linewidth": 1}
    words, weight = f"{written:.2f}\n×{kept:.2f}", "normal"
    if first == 0:
        words, weight = f"{written:.2f}", "bold"
        box |= {"facecolor": "#D5EDE4", "edgecolor": style.color, "linewidth": 1.8}
    at = {"ha": "center", "va": "center", "fontsize": 12.5, "linespacing": 1.0}
    ax.text(t, row, words, color=INK, fontweight=weight, bbox=box, zorder=3, **at)


def _numbers(a, b) -> tuple[tuple[float, ...], tuple[float, ...]]:
    a, b = tuple(map(float, a)), tuple(map(float, b))
    if len(a) != len(b) or not a:
        raise ValueError(f"a and b must have one number for each step, got {len(a)} and {len(b)}.")
    return a, b


def _states(a, b) -> tuple[float, ...]:
    kept, written = (torch.tensor(numbers, dtype=torch.float64).reshape(1, -1, 1) for numbers in (a, b))
    return tuple(scan(kept, written, method="loop").flatten().tolist())


def _checked_levels(name: str, levels: Iterable[Level], steps: int) -> list[Level]:
    levels = [[(int(t), int(s)) for t, s in joins] for joins in levels]
    for number, joins in enumerate(levels, 1):
        changed = [t for t, _ in joins]
        for t, s in joins:
            if not 0 <= s < t < steps:
                raise ValueError(
                    f"{name}, level {number}: ({t}, {s}) must be two cells from 0 to {steps - 1}, the later one first."
                )
        if len(set(changed)) < len(changed):
            raise ValueError(f"{name}, level {number} changes one cell twice: that takes two levels.")
    return levels

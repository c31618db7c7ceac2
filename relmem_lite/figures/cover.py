"""The book's cover: one sequence, four memories, one question; a drawing of the argument, not a measurement."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from relmem_lite.figures.style import GREY, INK, WIDTH, style_of

ITEMS = {"A": 3, "B": 7, "C": 1, "D": 9, "E": 4}
ITEM_COLORS = {"A": "#8CB8E8", "B": "#F2A65E", "C": "#E9DC7C", "D": "#5CC5A4", "E": "#F2A3C0"}
RIGHT, WRONG = "#0B6B4F", "#B3261E"

# All in inches: the drawing's coordinates.
HEIGHT = 8.84
COLUMNS = [0.56 + 0.87 * step for step in range(5)]  # the middle of each time step
CELL_WIDTH, CELL_HEIGHT = 0.58, 0.23
EDGE = COLUMNS[-1] + CELL_WIDTH / 2  # where the last memory ends
SCAN_HEIGHT = 0.54
ANSWER = 5.94  # the middle of the question and of the answers


def cover():
    """Draw what four architectures keep of the same five items, and what each answers to the same question.

    Time goes from left to right: under each item stands the memory after that item. One blended vector (LSTM),
    slots that read one another (RMC), one blended vector updated in parallel (minGRU), everything (attention). The
    picture is a schematic and says so. Returns the Figure, `style.WIDTH` inches wide.
    """
    fig = plt.figure(figsize=(WIDTH, HEIGHT), facecolor="white", layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    ax.set_axis_off()
    _header(ax)
    top = HEIGHT - 1.34
    for core, kept, draw, height, right in _ROWS:
        style = style_of(core)
        _panel(ax, top, height + 0.6)
        _name(ax, style, kept, top - 0.23)
        start = draw(ax, top - 0.46, style)
        _answer(ax, start, right, style)
        top -= height + 0.68
    ax.text(0.16, 0.1, "A drawing. The chapters measure it.", va="bottom", color=GREY, fontsize=13)
    return fig


def _header(ax):
    y = HEIGHT - 0.8
    ax.text(0.2, HEIGHT - 0.28, "Five numbers go by once", fontsize=16, fontweight="bold", color=INK, va="center")
    ax.text(ANSWER, HEIGHT - 0.28, "Then you ask", fontsize=16, fontweight="bold", color=INK, va="center", ha="center")
    for x, (item, value) in zip(COLUMNS, ITEMS.items(), strict=True):
        _tile(ax, x, y, item, value)
    ax.add_patch(_arrow((0.26, y - 0.38), (EDGE + 0.08, y - 0.38), INK))
    _tile(ax, ANSWER - 0.66, y, "B")
    ax.text(ANSWER - 0.13, y, ">", ha="center", va="center", fontsize=20, color=INK)
    _tile(ax, ANSWER + 0.38, y, "D")
    ax.text(ANSWER + 0.8, y, "?", ha="center", va="center", fontsize=20, color=INK)


def _panel(ax, top, height):
    shape = FancyBboxPatch(
        (0.1, top - height),
        WIDTH - 0.2,
        height,
        boxstyle="round,pad=0,rounding_size=0.12",
        facecolor="#F4F5F7",
        edgecolor="none",
        zorder=0,
    )
    ax.add_patch(shape)


def _name(ax, style, kept, y):
    ax.add_patch(Rectangle((0.26, y - 0.13), 0.09, 0.26, facecolor=style.color, edgecolor="none"))
    line = y - 0.075  # the baseline of both texts
    name = ax.text(0.44, line, style.name, fontsize=16, fontweight="bold", color=style.text_color)
    place = {"xycoords": (name, "data"), "xytext": (9, 0), "textcoords": "offset points"}
    ax.annotate(kept, (1, line), **place, fontsize=14, color=INK, va="baseline")


def _tile(ax, x, y, item, value=""):
    ax.add_patch(
        FancyBboxPatch(
            (x - 0.3, y - 0.24),
            0.6,
            0.48,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=ITEM_COLORS[item],
            edgecolor=INK,
            linewidth=1.2,
        )
    )
    ax.text(x, y, f"{item} {value}".strip(), ha="center", va="center", fontsize=16, fontweight="bold", color=INK)


def _answer(ax, start, right, style):
    y = start[1]
    color = RIGHT if right else WRONG
    ax.add_patch(_arrow(start, (ANSWER - 0.66, y), style.color, 2))
    ax.text(ANSWER - 0.12, y, "no" if right else "yes", ha="right", va="center", fontsize=19, color=INK)
    ax.add_patch(Circle((ANSWER + 0.25, y), 0.24, facecolor=color, edgecolor="none"))
    mark = [(-0.1, 0), (-0.03, -0.09), (0.12, 0.1)] if right else [(-0.09, -0.09), (0.09, 0.09)]
    strokes = [mark] if right else [mark, [(-0.09, 0.09), (0.09, -0.09)]]
    for stroke in strokes:
        ax.plot(
            [ANSWER + 0.25 + dx for dx, _ in stroke],
            [y + dy for _, dy in stroke],
            color="white",
            linewidth=3.2,
            solid_capstyle="round",
            solid_joinstyle="round",
        )


def _cell(ax, x, y, color, text="", edge=INK):
    ax.add_patch(
        Rectangle(
            (x - CELL_WIDTH / 2, y - CELL_HEIGHT), CELL_WIDTH, CELL_HEIGHT, facecolor=color, edgecolor=edge, linewidth=1
        )
    )
    if text:
        ax.text(x, y - CELL_HEIGHT / 2 - 0.01, text, ha="center", va="center", fontsize=12.5, color=INK)


def _arrow(start, end, color, width=1.4, bend=0.0, style="-|>", head=11):
    return FancyArrowPatch(
        start,
        end,
        arrowstyle=style,
        mutation_scale=head,
        color=color,
        linewidth=width,
        shrinkA=0,
        shrinkB=0,
        connectionstyle=f"arc3,rad={bend}",
        zorder=5,
    )


def _blended(step):
    """The colours of a vector's four cells once the items up to `step` have been written over one another."""
    cells = np.ones((4, 3)) * 0.9
    for item in list(ITEMS)[: step + 1]:
        rates = np.array([0.6, 0.5, 0.42, 0.35])[:, None]
        cells = (1 - rates) * cells + rates * np.array(to_rgb(ITEM_COLORS[item]))
        cells = 0.8 * cells + 0.2 * cells.mean(axis=0)
    return [to_hex(cell) for cell in cells]


def _vector(ax, x, top, step):
    for row, color in enumerate(_blended(step)):
        _cell(ax, x, top - row * CELL_HEIGHT, color)


def _one_vector(ax, top, style):
    middle = top - 2 * CELL_HEIGHT
    for step, x in enumerate(COLUMNS):
        _vector(ax, x, top, step)
    for before, after in pairwise(COLUMNS):
        ax.add_patch(_arrow((before + CELL_WIDTH / 2, middle), (after - CELL_WIDTH / 2, middle), style.color, 2))
    return EDGE, middle


def _slots(ax, top, style):
    slots = [["A", "B", "C", "D"][: step + 1] for step in range(4)] + [["A", "B", "E", "D"]]
    for x, held in zip(COLUMNS, slots, strict=True):
        for row in range(4):
            item = held[row] if row < len(held) else None
            _cell(
                ax, x, top - row * CELL_HEIGHT, ITEM_COLORS.get(item, "white"), f"{item} {ITEMS[item]}" if item else ""
            )
    rows = [top - (row + 0.5) * CELL_HEIGHT for row in range(4)]
    for before, after in pairwise(COLUMNS):
        for start in rows:
            for end in rows:
                ax.plot(
                    [before + CELL_WIDTH / 2, after - CELL_WIDTH / 2], [start, end], color=style.color, linewidth=0.9
                )
    ax.add_patch(_arrow((EDGE, rows[1]), (EDGE, rows[3]), style.color, 2, bend=-0.9, style="<|-|>"))
    return EDGE + 0.23, rows[2]


def _all_at_once(ax, top, style):
    levels = [top - 0.05 - (SCAN_HEIGHT - 0.15) / 3 * level for level in range(4)]
    base = top - SCAN_HEIGHT
    for level, distance in enumerate((1, 2, 4)):
        for step, x in enumerate(COLUMNS):
            for source in {step, step - distance}:
                if source >= 0:
                    ax.plot([COLUMNS[source], x], levels[level : level + 2], color=style.color, linewidth=1.3)
    for y in levels:
        ax.plot(COLUMNS, [y] * 5, "o", color=style.color, markersize=4.5)
    for step, x in enumerate(COLUMNS):
        _vector(ax, x, base, step)
    return EDGE, base - 2 * CELL_HEIGHT


def _everything(ax, top, style):
    for step, x in enumerate(COLUMNS):
        for row, item in enumerate(list(ITEMS)[: step + 1]):
            _cell(ax, x, top - row * CELL_HEIGHT, ITEM_COLORS[item], f"{item} {ITEMS[item]}")
    middle = top - 2.5 * CELL_HEIGHT
    meeting = EDGE + 0.5
    for row in (1.5, 3.5):
        ax.plot([EDGE, meeting], [top - row * CELL_HEIGHT, middle], color=style.color, linewidth=2)
    return meeting, middle


_ROWS = [  # core, what it keeps, how that is drawn and how tall, whether the answer is right
    ("lstm", "one vector", _one_vector, 4 * CELL_HEIGHT, False),
    ("relational_memory", "slots that read one another", _slots, 4 * CELL_HEIGHT, True),
    ("min_gru", "one vector, all steps at once", _all_at_once, 4 * CELL_HEIGHT + SCAN_HEIGHT, False),
    ("attention", "everything: it grows", _everything, 5 * CELL_HEIGHT, True),
]

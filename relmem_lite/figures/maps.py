"""Tables of numbers as pictures: attention, gates, what can still be read; one sequential and one signed map."""

from __future__ import annotations

import math

import numpy as np

from relmem_lite.figures.style import DIVERGING, INK, SEQUENTIAL, WIDTH, contrast, figure, set_title

NUMBER_SIZE = 12.5


def heat_map(
    values,
    row_labels=None,
    column_labels=None,
    *,
    ax=None,
    low: float = 0.0,
    high: float = 1.0,
    numbers: bool | None = None,
    value_label: str | None = None,
    row_title: str | None = None,
    column_title: str | None = None,
    title: str | None = None,
):
    """A table of values from white (`low`) to dark (`high`): stored item x time, gate x time.

    `values` (rows, columns), an array or tensor; NaN (an item not stored yet) is drawn pale grey. Labels are
    sequences of that many strings. Values are printed in their cells when they fit (`numbers` decides instead), and
    a colour bar, with `value_label`, stands beside the map when they are not. Returns the Axes.
    """
    return _map(
        values,
        row_labels,
        column_labels,
        ax,
        SEQUENTIAL,
        low,
        high,
        numbers,
        value_label,
        row_title,
        column_title,
        title,
    )


def signed_map(
    values,
    row_labels=None,
    column_labels=None,
    *,
    ax=None,
    limit: float | None = None,
    numbers: bool | None = None,
    value_label: str | None = None,
    row_title: str | None = None,
    column_title: str | None = None,
    title: str | None = None,
):
    """A table of signed values from blue over white, which is zero, to orange.

    `values` (rows, columns). The scale goes from -`limit` to `limit`, by default the largest absolute value.
    The other arguments are heat_map's. Returns the Axes.
    """
    values = _array(values)
    if limit is None:
        limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        limit = limit or 1.0
    return _map(
        values,
        row_labels,
        column_labels,
        ax,
        DIVERGING,
        -limit,
        limit,
        numbers,
        value_label,
        row_title,
        column_title,
        title,
    )


def attention_map(
    weights,
    row_labels=None,
    column_labels=None,
    ax=None,
    *,
    numbers: bool | None = None,
    title: str | None = None,
    row_title: str | None = "who reads",
    column_title: str | None = "what is read",
):
    """One head's attention weights: each row shows where one query looks, on a scale fixed from 0 to 1.

    `weights` (queries, keys). With one column more than rows, as in RelationalMemory, the last is named "input".
    Values are printed in the cells when they fit. Returns the Axes.
    """
    weights = _array(weights)
    if weights.ndim != 2:
        raise ValueError(f"weights has shape {weights.shape} where (queries, keys) was expected: choose one head.")
    row_labels, column_labels = _slot_labels(weights.shape, row_labels, column_labels, "slot {}", "input")
    ax = heat_map(
        weights,
        row_labels,
        column_labels,
        ax=ax,
        numbers=numbers,
        title=title,
        row_title=row_title,
        column_title=column_title,
        value_label="attention weight",
    )
    ax.xaxis.set_label_position("top")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return ax


def attention_over_time(
    attention,
    step_labels=None,
    row_labels=None,
    column_labels=None,
    *,
    head: int | str = 0,
    block: int = -1,
    panels_per_row: int = 4,
    title: str | None = None,
):
    """Small multiples: one attention map for each time step of one sequence.

    `attention`: (T, blocks, H, S, S+1), one sequence of recording["attention"]; or (T, H, S, S+1); or (T, S, S+1).
    `head` is a number, or "mean" over the heads; `block` a number. `step_labels` name the panels ("1: store A").
    Returns the Figure.
    """
    attention = _array(attention)
    if not 3 <= attention.ndim <= 5:
        raise ValueError(
            f"attention has shape {attention.shape} where (T, blocks, H, S, S+1) of ONE sequence was expected: "
            "choose one of the batch, as in recording['attention'][0]."
        )
    if attention.ndim == 5:
        attention = attention[:, block]
    if attention.ndim == 4:
        if head != "mean" and not 0 <= head < attention.shape[1]:
            raise ValueError(f"head is {head}; there are heads 0 to {attention.shape[1] - 1}, and 'mean'.")
        attention = attention.mean(axis=1) if head == "mean" else attention[:, head]
    steps, height, width = attention.shape
    step_labels = [f"step {step + 1}" for step in range(steps)] if step_labels is None else list(step_labels)
    if len(step_labels) != steps:
        raise ValueError(f"There are {len(step_labels)} step labels for {steps} steps.")
    row_labels, column_labels = _slot_labels((height, width), row_labels, column_labels, "{}", "in")
    columns = min(panels_per_row, steps)
    rows = math.ceil(steps / columns)
    panel = (WIDTH - 0.5) / max(columns, 2)
    fig, axes = figure(rows * (panel * min(height / width, 1.6) + 0.55) + 1.3, rows, columns, squeeze=False)
    for step, ax in enumerate(axes.flat):
        if step >= steps:
            ax.set_axis_off()
            continue
        image = ax.imshow(attention[step], cmap=SEQUENTIAL, vmin=0, vmax=1)
        _grid(ax, attention[step].shape)
        ax.set_title(step_labels[step], fontsize=13, fontweight="normal", pad=4)
        ax.set_yticks(range(height), row_labels if step % columns == 0 else [""] * height)
        ax.set_xticks(range(width), column_labels if step + columns >= steps else [""] * width)
        ax.tick_params(length=0)
    label = "attention weight (down: who reads; across: what is read)"
    fig.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=28, label=label, ticks=[0, 0.5, 1])
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=15)
    return fig


def _array(values):
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=float)


def _slot_labels(shape, row_labels, column_labels, pattern, last):
    height, width = shape
    slots = [pattern.format(slot + 1) for slot in range(max(height, width))]
    if row_labels is None:
        row_labels = slots[:height]
    if column_labels is None:
        column_labels = [*slots[:height], last] if width == height + 1 else slots[:width]
    return list(row_labels), list(column_labels)


def _map(
    values, row_labels, column_labels, ax, colormap, low, high, numbers, value_label, row_title, column_title, title
):
    values = _array(values)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"values has shape {values.shape} where (rows, columns), neither of them 0, was expected.")
    for labels, count, what in ((row_labels, values.shape[0], "row"), (column_labels, values.shape[1], "column")):
        if labels is not None and len(labels) != count:
            raise ValueError(f"There are {len(labels)} {what} labels for {count} {what}s.")
    if ax is None:
        ax = figure(min(max(1.6 + 0.42 * values.shape[0], 2.6), 6.5))[1]
    image = ax.imshow(values, cmap=colormap, vmin=low, vmax=high, aspect="auto")
    _grid(ax, values.shape)
    _ticks(ax.yaxis, row_labels, values.shape[0], at_most=16)
    _ticks(ax.xaxis, column_labels, values.shape[1], at_most=12)
    ax.set(xlabel=column_title, ylabel=row_title)
    if title:
        set_title(ax, title)
    if numbers is None:
        share = ax.get_position().width / values.shape[1] * ax.figure.get_figwidth() * 0.85
        numbers = share > 0.5 and values.shape[0] <= 10
    if numbers:
        _print_numbers(ax, values, image)
    else:
        ax.figure.colorbar(image, ax=ax, label=value_label, fraction=0.05, pad=0.02)
    return ax


def _ticks(axis, labels, count, at_most):
    places = np.arange(0, count, math.ceil(count / at_most))
    axis.set_ticks(places, [str(place + 1) if labels is None else str(labels[place]) for place in places])


def _grid(ax, shape):
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=0.8, color="#9A9EA3")
    if max(shape) <= 24:
        ax.set_xticks(np.arange(0.5, shape[1] - 1), minor=True)
        ax.set_yticks(np.arange(0.5, shape[0] - 1), minor=True)
        ax.grid(which="minor", color="#D5D8DB", linewidth=0.7)
        ax.tick_params(which="minor", length=0)


def _print_numbers(ax, values, image):
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        cell = image.cmap(image.norm(value))[:3]
        text = f"{value:.2f}".replace("-0.00", "0.00")
        color = max(INK, "#FFFFFF", key=lambda ink: contrast(ink, cell))
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=NUMBER_SIZE)

"""Curves: several seeds as a band, lines that say what a score means, labels that stand where the eye is."""

from __future__ import annotations

import matplotlib.patheffects as patheffects
import numpy as np
from matplotlib.markers import MarkerStyle

from relmem_lite.figures.style import GREY, INK, PALE, figure, readable, set_title, style_of, wrap

LABEL_SIZE = 13


def reference_line(ax, y: float, label: str, place: str | None = None):
    """A thin grey horizontal line at `y` (chance, shortcut, bound) with `label` written on the line itself.

    Call it after the curves are drawn: the label then takes the place along the line that covers least of them.
    `place` decides instead: "left", "center" or "right", with "above" or "below", as in "right below".
    Returns the label's Text.
    """
    ax.axhline(y, color=GREY, linewidth=1.1, zorder=1.5)
    places = [f"{x} {side}" for side in ("above", "below") for x in ("right", "left", "center")]
    if place is not None and place not in places:
        raise ValueError(f"place is {place!r}; it can be {', '.join(places)}, or None to choose by itself.")
    return _where_least_is_covered(ax, places if place is None else [place], _reference_label, y, label)


def _reference_label(ax, place, y, label):
    horizontal, side = place.split()
    above = side == "above"
    return ax.annotate(
        label,
        xy=({"left": 0.01, "center": 0.5, "right": 0.99}[horizontal], y),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, 5 if above else -7),
        textcoords="offset points",
        ha=horizontal,
        va="bottom" if above else "top",
        color=GREY,
        fontsize=LABEL_SIZE,
        zorder=4,
        path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
    )


def _busy_pixels(ax):
    """Points in pixels (N, 2) along every drawn curve and the edges of every band."""
    points = [np.zeros((0, 2))]
    paths = [(line.get_xydata(), line.get_transform()) for line in ax.lines if line.get_transform() == ax.transData]
    paths += [(path.vertices, ax.transData) for band in ax.collections for path in band.get_paths()]
    for vertices, transform in paths:
        pixels = transform.transform(np.asarray(vertices, dtype=float))
        pixels = pixels[np.isfinite(pixels).all(axis=1)]
        if len(pixels) > 1:
            stops = np.linspace(0, len(pixels) - 1, max(2 * len(pixels), 400))
            points.append(np.stack([np.interp(stops, np.arange(len(pixels)), pixels[:, i]) for i in (0, 1)], axis=1))
    return np.concatenate(points)


def _where_least_is_covered(ax, places, write, *what):
    """`write(ax, place, *what)` at the first of `places` whose Text covers least of curves and other labels."""
    ax.figure.draw_without_rendering()
    busy = _busy_pixels(ax)

    def cost(place):
        text = write(ax, place, *what)
        box = text.get_window_extent(ax.figure.canvas.get_renderer())
        text.remove()
        covered = ((busy > [box.x0 - 4, box.y0 - 4]) & (busy < [box.x1 + 4, box.y1 + 4])).all(axis=1).sum()
        others = sum(box.overlaps(other.get_window_extent()) for other in ax.texts)
        outside = box.y0 < ax.bbox.y0 or box.y1 > ax.bbox.y1 or box.x0 < ax.bbox.x0 or box.x1 > ax.bbox.x1
        return covered + 1000 * others + 5000 * outside

    return write(ax, min(places, key=cost) if len(places) > 1 else places[0], *what)


def direct_labels(ax, lines=None, gap: float = 6.0):
    """Write each line's label to the right of the axes at the height where the line ends, instead of a legend.

    Labels that would overlap move apart, with a hair line from each to the height where its own curve ends. `lines`
    defaults to every line of `ax` with a label; `gap` is the distance from the axes in points. Call it last, when
    the limits are set. Returns the list of Annotations, in the order of the lines.
    """
    if lines is None:
        lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    lines = [line for line in lines if np.isfinite(line.get_ydata()).any()]
    if not lines:
        return []
    ax.figure.draw_without_rendering()
    ends = []  # the last value of each line
    for line in lines:
        y = np.asarray(line.get_ydata(), dtype=float)
        ends.append(y[np.isfinite(y)][-1])
    pixels_per_point = ax.figure.dpi / 72
    heights = np.array([1.25 * LABEL_SIZE * (line.get_label().count("\n") + 1) for line in lines]) * pixels_per_point
    wanted = np.array([ax.transData.transform((0, end))[1] for end in ends])
    placed = _spread(wanted, heights, ax.bbox.y0, ax.bbox.y1)
    annotations = []
    for line, end, target, place in zip(lines, ends, wanted, placed, strict=True):
        color = readable(line.get_color())
        moved = abs(place - target) > 2 * pixels_per_point
        shift = gap * (2.2 if moved else 1) * pixels_per_point
        annotations.append(
            ax.annotate(
                line.get_label(),
                xy=(1, end),
                xycoords=ax.get_yaxis_transform(),
                xytext=(1 + shift / ax.bbox.width, (place - ax.bbox.y0) / ax.bbox.height),
                textcoords="axes fraction",
                color=color,
                fontsize=LABEL_SIZE,
                va="center",
                ha="left",
                linespacing=1.1,
                annotation_clip=False,
                # To the label's left edge: towards its middle, the line would cross the labels beside it.
                arrowprops=dict(arrowstyle="-", color=color, linewidth=0.9, shrinkA=1, shrinkB=1, relpos=(0, 0.5))
                if moved
                else None,
            )
        )
    return annotations


def _label_end(ax, place, line):
    """The label of a curve that ends within the axes, beside its last point."""
    offset, horizontal, vertical = place
    return ax.annotate(
        line.get_label(),
        xy=line.get_xydata()[-1],
        xytext=offset,
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=readable(line.get_color()),
        fontsize=LABEL_SIZE,
        fontweight="bold",
        zorder=6,
        path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
    )


_BESIDE_THE_END = [
    ((0, 8), "left", "bottom"),
    ((0, 8), "right", "bottom"),
    ((0, -8), "right", "top"),
    ((0, -8), "left", "top"),
    ((8, 0), "left", "center"),
]


def _spread(wanted, heights, low, high):
    """The places nearest to `wanted` at which labels of these heights neither overlap nor leave [low, high]."""
    order = np.argsort(wanted, kind="stable")
    blocks = []  # each block: [members, sum of (wanted - offset within the block), height]
    for index in order:
        blocks.append([[index], wanted[index] - heights[index] / 2, heights[index]])
        while len(blocks) > 1 and _bottom(blocks[-2]) + blocks[-2][2] > _bottom(blocks[-1]):
            members, total, height = blocks.pop()
            below = blocks[-1]
            below[1] += total - len(members) * below[2]
            below[0] += members
            below[2] += height
    placed = np.zeros(len(wanted))
    floor = low
    ceilings = []
    for block in blocks:
        start = max(_bottom(block), floor)
        ceilings.append(start)
        floor = start + block[2]
    ceiling = max(high, low + float(heights.sum()))
    for block, start in zip(reversed(blocks), reversed(ceilings), strict=True):
        start = min(start, ceiling - block[2])
        ceiling = start
        for member in block[0]:
            placed[member] = start + heights[member] / 2
            start += heights[member]
    return placed


def _bottom(block):
    return block[1] / len(block[0])


def band(ax, x, runs, core: str, label: str | None = None, **line_options):
    """Several seeds of one core: the mean as a line in the core's style, the range from least to greatest as a band.

    `x` (N,); `runs` (seeds, N), or (N,) for one seed; NaN where a seed has no value. `label` defaults to the core's
    name; `line_options` override the line's style. Returns the mean's Line2D.
    """
    x, runs = np.asarray(x, dtype=float), np.atleast_2d(np.asarray(runs, dtype=float))
    if x.ndim != 1 or runs.ndim != 2 or runs.shape[1] != len(x):
        raise ValueError(f"runs has shape {runs.shape} where (seeds, {len(x)}) was expected, with x of {x.shape}.")
    style = style_of(core)
    options = {
        "color": style.color,
        "linestyle": style.line,
        "marker": style.marker,
        "markevery": max(1, len(x) // 8),
        # A marker without a face, such as a cross, is nothing but its edge.
        **({"markeredgecolor": "white", "markeredgewidth": 0.8} if MarkerStyle(style.marker).is_filled() else {}),
        "label": style.name if label is None else label,
        "gid": core,
        "zorder": 3,
    } | line_options
    known = ~np.isnan(runs).all(axis=0)
    if len(runs) > 1:
        low, high = np.full(len(x), np.nan), np.full(len(x), np.nan)
        low[known], high[known] = np.nanmin(runs[:, known], axis=0), np.nanmax(runs[:, known], axis=0)
        ax.fill_between(x, low, high, color=options["color"], alpha=0.18, linewidth=0, zorder=2)
    mean = np.full(len(x), np.nan)
    mean[known] = np.nanmean(runs[:, known], axis=0)
    return ax.plot(x, mean, **options)[0]


def learning_curves(
    runs,
    score: str | None = None,
    *,
    task=None,
    chance: float | None = None,
    shortcut: float | None = None,
    shortcut_label: str = "shortcut",
    label=None,
    live=(),
    x: str = "step",
    title: str | None = None,
    ax=None,
):
    """Score against training steps (or seconds), one line and band a core, with the lines of chance and shortcut.

    `runs`: an experiment's record (`recorded.load(...)`), of which each core's best learning rate is drawn; or a
    list of RunRecords, of the same as dicts, or of {"core": name, "curve": [{"step", "seconds", "loss", score}, ...]}.
    `label(run)` splits a core's runs into several groups and names them. `live`: runs made on the spot, drawn thicker
    over the others, each its own line. `score` is a key of the curve's points, by default the task's main score, for
    which `task` (or the record) gives `chance` and `shortcut` unless they are given. `x`: "step" or "seconds".
    The band covers the steps that all seeds of a group have seen; a seed that was trained for longer goes on as a thin
    line, and a dot ends every seed that stopped earlier than another of its group. Returns the Axes.
    """
    if x not in ("step", "seconds"):
        raise ValueError(f'x is {x!r}; it can be "step" or "seconds".')
    if ax is None:
        ax = figure(4.2)[1]
    lines_of_task = {name: getattr(task, name, None) for name in ("chance", "shortcut")}
    main_score = getattr(task, "score_name", "accuracy")
    if isinstance(runs, dict):
        lines_of_task = {name: runs["task"].get(name) for name in lines_of_task} if task is None else lines_of_task
        main_score = runs["task"].get("score", main_score)
        runs = _best_runs(runs)
    score = main_score if score is None else score
    if score != main_score:
        lines_of_task = dict.fromkeys(lines_of_task)
    runs, live = list(runs), list(live)
    if not runs and not live:
        return missing(ax, "no runs recorded yet")
    lines, fresh = [], []
    for core, name, curves in _groups(runs, label, score, x):
        lines.append(_group(ax, core, name, curves, number=sum(line.get_gid() == core for line in lines)))
    for core, name, curves in _groups(live, label, score, x):
        for xs, ys in curves:
            outline = [patheffects.Stroke(linewidth=5.5, foreground=INK), patheffects.Normal()]
            line = band(ax, xs, ys, core, f"{name}, live", linewidth=3, linestyle="-", marker="", zorder=5)
            line.set_path_effects(outline)
            fresh.append(line)
    ax.set_xlabel("training step" if x == "step" else "seconds of training")
    ax.set_ylabel(score.replace("_", " "))
    ax.set_xlim(left=0)
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines + fresh])
    if np.nanmin(values) >= 0 and np.nanmax(values) <= 1 and score != "loss":
        ax.set_ylim(0, 1.05)
    if title:
        set_title(ax, title)
    direct_labels(ax, lines)
    for line in fresh:
        _where_least_is_covered(ax, _BESIDE_THE_END, _label_end, line)
    for y, word in (
        (lines_of_task["shortcut"] if shortcut is None else shortcut, shortcut_label),
        (lines_of_task["chance"] if chance is None else chance, "chance"),
    ):
        if y is not None:
            reference_line(ax, y, f"{word} = {y:.2f}")
    return ax


def _field(run, name):
    return run.get(name) if isinstance(run, dict) else getattr(run, name, None)


def _core(run) -> str:
    described = _field(run, "run") or {}
    core = _field(run, "core") or described.get("labels", {}).get("core")
    return core or described["model"]["core"]["name"]


def _learning_rate(run):
    settings = _field(run, "settings") or (_field(run, "run") or {}).get("settings", {})
    return settings.get("learning_rate")


def _best_runs(record):
    best = {core: found["learning_rate"] for core, found in record["best"].items()}
    return [run for run in record["runs"] if run["curve"] and _learning_rate(run) == best[_core(run)]]


def _groups(runs, label, score, x):
    """[(core, name, [(xs, ys), ...])] in the order in which the groups first appear."""
    groups, rates = {}, {}
    for run in runs:
        core, curve = _core(run), _field(run, "curve")
        if not curve:
            raise ValueError(f"The run of {core!r} has an empty curve: it diverged or was stopped early.")
        if score not in curve[-1]:
            known = sorted(set(curve[-1]) - {"step", "seconds"})
            raise ValueError(f"No score called {score!r} was recorded for {core!r}; there are {', '.join(known)}.")
        name = style_of(core).name if label is None else label(run)
        if rates.setdefault((core, name), _learning_rate(run)) != _learning_rate(run):
            raise ValueError(
                f"The runs of {name} have several learning rates, which is no spread over seeds: pass the whole "
                "record, choose one rate, or tell the runs apart by label=."
            )
        points = [(point[x], point[score]) for point in curve if score in point]
        groups.setdefault((core, name), []).append(np.array(points, dtype=float).T)
    return [(core, name, curves) for (core, name), curves in groups.items()]


def _group(ax, core, name, curves, number):
    style = style_of(core)
    shortest = min(xs[-1] for xs, _ in curves)
    grid = np.unique(np.concatenate([xs[xs <= shortest] for xs, _ in curves]))
    grid = grid[grid >= max(xs[0] for xs, _ in curves)]
    line_style = style.line if number == 0 else ("-", "--", ":", "-.")[number % 4]
    fill = style.color if number == 0 else "white"
    edges = {"markerfacecolor": fill, "markeredgecolor": "white" if number == 0 else style.color}
    runs = [np.interp(grid, xs, ys) for xs, ys in curves]
    line = band(ax, grid, runs, core, name, linestyle=line_style, **edges)
    longest = max(xs[-1] for xs, _ in curves)
    if longest > shortest:
        for xs, ys in curves:
            rest = xs >= shortest
            ax.plot(xs[rest], ys[rest], color=style.color, linewidth=1, linestyle="-", zorder=2.5)
            if xs[-1] < longest:
                ax.plot(xs[-1], ys[-1], "o", color=style.color, markersize=5, zorder=3.5)
    return line


def missing(ax, message):
    """A panel that says what is not there yet and how to make it, instead of a figure.

    `message`: words or an exception, such as recorded.MissingRecord with its `relmem run ...`. Returns the Axes.
    """
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_facecolor(PALE)
    for spine in ax.spines.values():
        spine.set(visible=True, color=GREY, linestyle=(0, (4, 3)))
    text = ax.text(0.5, 0.5, "", transform=ax.transAxes, ha="center", va="center", color=INK, fontsize=14)
    if ax.figure.get_layout_engine() is not None:
        ax.figure.draw_without_rendering()
    wrap(text, str(message), 0.94 * ax.get_window_extent().width)
    return ax

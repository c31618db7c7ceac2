"""One visual language for the whole book: a colour, a marker and a line style for each core, set once, here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb

WIDTH = 7.0  # inches: the one width of the book's figures; at 390 px a point is about 0.7 px
GREY = "#6B7075"  # reference lines and their labels; 4.9 to 1 on white
INK = "#1F1F1F"
PALE = "#E9EBED"  # cells that hold nothing, panels without data
WRONG = "#C1121F"  # what should not have happened; 6.2 to 1 on white, and never the only sign
DARK = "#14181E"  # the ground of dark pages


@dataclass(frozen=True)
class CoreStyle:
    """How one core is drawn: `name` for readers, `color`, `marker` and `line` (a matplotlib line style).

    `text_color` is `color`, darkened where needed until words in it reach a contrast of 4.5 to 1 on white.
    """

    name: str
    color: str
    marker: str
    line: str | tuple

    @property
    def text_color(self) -> str:
        return readable(self.color)


# The seven colours keep 3 to 1 against white and against the pale box of dark pages, and stay apart
# (CIE76 distance over 16) under simulated protanopia, deuteranopia and tritanopia: tests/test_figures.py.
LSTM_BLUE, GRU_BLUE, SLOTS_ORANGE, PARALLEL_GREEN = "#1A3A94", "#3F85EE", "#DB6400", "#159A70"
LINEAR_BROWN, ATTENTION_PINK, HYBRID_BLACK = "#5F4200", "#BE2F8C", "#1F1F1F"

CORE_STYLES = {
    "lstm": CoreStyle("LSTM", LSTM_BLUE, "s", "--"),
    "gru": CoreStyle("GRU", GRU_BLUE, "D", "-."),
    "relational_memory": CoreStyle("RMC", SLOTS_ORANGE, "o", "-"),
    "min_gru": CoreStyle("minGRU", PARALLEL_GREEN, "^", "-"),
    "min_lstm": CoreStyle("minLSTM", PARALLEL_GREEN, "v", "--"),
    "linear": CoreStyle("linear recurrence", LINEAR_BROWN, "P", (0, (5, 1.5, 1, 1.5))),
    "qrnn": CoreStyle("QRNN", LINEAR_BROWN, "X", "-"),
    "sru": CoreStyle("SRU", LINEAR_BROWN, "<", "--"),
    "sru_plus_plus": CoreStyle("SRU++", LINEAR_BROWN, "H", (0, (2, 2))),
    "s4d": CoreStyle("S4D", LINEAR_BROWN, ">", "-."),
    "mamba": CoreStyle("Mamba", LINEAR_BROWN, "p", ":"),
    "rwkv": CoreStyle("RWKV", LINEAR_BROWN, "h", (0, (3, 1, 1, 1))),
    "linear_attention": CoreStyle("linear attention", LINEAR_BROWN, "d", (0, (1, 1))),
    "slstm": CoreStyle("sLSTM", LINEAR_BROWN, "8", (0, (6, 2))),
    "signed_min_gru": CoreStyle("minGRU, signed gate", PARALLEL_GREEN, "2", (0, (3, 1.5))),
    "reflections": CoreStyle("reflections", HYBRID_BLACK, "x", (0, (1, 1.5))),
    "attention": CoreStyle("attention", ATTENTION_PINK, "*", (0, (4, 1.2))),
    "hybrid": CoreStyle("hybrid", HYBRID_BLACK, "P", (0, (7, 1.5, 1.5, 1.5))),
    "linear_attention+attention": CoreStyle("linear attention + attention", HYBRID_BLACK, "X", (0, (1.5, 1.5))),
}

# One sequential map from white and one diverging map centred at zero, in hues that no core owns alone.
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "relmem_sequential", ["#FFFFFF", "#DAD7EE", "#A79FD6", "#6F5FB4", "#43307F", "#1E1145"]
).with_extremes(bad=PALE)
DIVERGING = LinearSegmentedColormap.from_list(
    "relmem_diverging", ["#0B4A7C", "#4E93C4", "#BBD7EA", "#FFFFFF", "#F5CFA3", "#D5812B", "#7D4104"]
).with_extremes(bad=PALE)
for _colormap in (SEQUENTIAL, DIVERGING):
    mpl.colormaps.register(_colormap, force=True)


def contrast(color, background="#FFFFFF") -> float:
    """The WCAG contrast ratio of two colours (any matplotlib colours): 1 for equal, 21 for black on white."""

    def luminance(any_color):
        channels = np.array(to_rgb(any_color))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    darker, lighter = sorted((luminance(color), luminance(background)))
    return (lighter + 0.05) / (darker + 0.05)


def readable(color) -> str:
    """`color`, darkened until words in it reach a contrast of 4.5 to 1 on white."""
    channels = np.array(to_rgb(color))
    while contrast(channels) < 4.5:
        channels = channels * 0.97
    return to_hex(channels)


def on_both(color) -> str:
    """`color` as CSS for light and dark pages, where it is lightened until words in it reach 4.5 to 1."""
    channels = np.array(to_rgb(color))
    while contrast(to_hex(channels), DARK) < 4.5:
        channels = 1 - (1 - channels) * 0.97
    return f"light-dark({to_hex(color).upper()}, {to_hex(channels).upper()})"


def style_of(core: str) -> CoreStyle:
    """The style of a core, by its name ("relational_memory"), its class ("RelationalMemory") or display name ("RMC").

    Several names in one, as in "min_gru+attention", are a hybrid; one that is compared with others has a style of its
    own. Raises ValueError, with the nearest names, for a name that no style was set for.
    """
    wanted = core.replace("_", "").lower()
    for name, style in CORE_STYLES.items():
        if wanted in (name.replace("_", ""), style.name.lower()):
            return style
    if "+" in core:
        parts = [style_of(part.strip()).name for part in core.split("+")]
        hybrid = CORE_STYLES["hybrid"]
        return CoreStyle(" + ".join(parts), hybrid.color, hybrid.marker, hybrid.line)
    near = difflib.get_close_matches(core, CORE_STYLES, n=3, cutoff=0.4) or list(CORE_STYLES)
    raise ValueError(f"No core called {core!r} has a style; the nearest names are {', '.join(near)}.")


BOOK_STYLE = {
    "figure.figsize": (WIDTH, 4.0),
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "savefig.dpi": 200,
    "svg.hashsalt": "relmem_lite",
    "font.size": 13.5,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 13.5,
    "axes.facecolor": "white",
    "axes.edgecolor": "#4A4E52",
    "axes.labelcolor": INK,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": mpl.cycler(
        color=[LSTM_BLUE, SLOTS_ORANGE, PARALLEL_GREEN, ATTENTION_PINK, GRU_BLUE, LINEAR_BROWN, HYBRID_BLACK]
    ),
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "xtick.color": "#4A4E52",
    "ytick.color": "#4A4E52",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "legend.frameon": False,
    "legend.fontsize": 13,
    "image.cmap": SEQUENTIAL.name,
    "image.interpolation": "nearest",
}


def use_style(image_format: str = "svg") -> None:
    """Set matplotlib's defaults to the book's, and in a notebook draw the figures at their true width.

    Call it at the top of a chapter. Letters are sized for a figure of `WIDTH` inches shown on a phone 390 px wide.
    `image_format` is "svg" for lines; "png" (at 200 dots an inch) is lighter for large scatters and images, and
    a later cell may call `use_style("png")` and then `use_style()` again.
    """
    mpl.rcParams.update(BOOK_STYLE)
    _set_notebook_format(image_format)


def _set_notebook_format(image_format: str) -> None:
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        # The default bbox_inches="tight" would crop each figure to another width, and so to other letter sizes.
        dots = {"dpi": 200} if image_format == "png" else {}
        set_matplotlib_formats(image_format, bbox_inches=None, **dots)


def figure(height: float = 4.0, rows: int = 1, columns: int = 1, **options):
    """A new figure of the book's width and its axes: `plt.subplots` with the size decided.

    `height` is in inches. `options` go to `plt.subplots`. Returns (Figure, Axes), or an array of Axes (rows, columns)
    squeezed as `plt.subplots` does.
    """
    options.setdefault("layout", "constrained")
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **options)


def set_title(ax, finding: str):
    """Title the axes with what they show ("The LSTM forgets the first item by step 6"), wrapped to their width.

    Call it after the axes are labelled: labels on the left push them to the right. Returns the title's Text.
    """
    title = ax.set_title("", loc="left")
    wrap(title, finding, _room_for_title(ax))
    return title


def wrap(text, words: str, room: float) -> None:
    """Write words into a Text of matplotlib, in lines of at most `room` pixels as they are rendered."""
    lines = []
    for word in words.split():
        text.set_text(" ".join([*lines[-1:], word]))
        fits = lines and text.get_window_extent().width <= room
        lines[-1:] = [text.get_text()] if fits else [*lines[-1:], word]
    text.set_text("\n".join(lines))


def _room_for_title(ax) -> float:
    """Return the pixels from the left of the axes to the next panel's, or to the right of the figure."""
    page = ax.figure
    if page.get_layout_engine() is not None:
        page.draw_without_rendering()
    letter = ax.title.get_fontsize() / 72 * page.dpi
    ours = ax.get_window_extent()
    # A colour bar is no panel: it has no place in the grid, and no title.
    panels = [other.get_window_extent() for other in page.axes if other.get_subplotspec() is not None]
    beside = [
        other.x0 - letter for other in panels if other.x0 >= ours.x1 and other.y0 < ours.y1 and other.y1 > ours.y0
    ]
    return max(min([page.bbox.x1 - letter / 4, *beside]) - ours.x0, 6 * letter)

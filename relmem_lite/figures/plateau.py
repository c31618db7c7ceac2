"""README's moving picture: training on Nth farthest as it was recorded, the plateau and the break.

`python -m relmem_lite.figures.plateau assets` draws it anew: plateau.gif, and plateau.png, its last frame.
"""

import io
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from relmem_lite import recorded
from relmem_lite.figures.style import GREY, figure, set_title, style_of, use_style

DOTS_AN_INCH = 90


def plateau(record: dict, volume: dict, steps: int):
    """Accuracy of each core over the first `steps` of training, mean and spread over seeds. Returns the Figure.

    `record` is that of the experiment nth_farthest, `volume` that of nth_farthest_volume; each core has its best
    learning rate.
    """
    fig, ax = figure(3.9)
    last = record["settings"]["steps"]
    ax.set(xlim=(0, last * 1.3), ylim=(0.28, 1.02), xlabel="training step", ylabel="accuracy on new questions")
    lines = {"chance": ("guessing", 0.012, "bottom"), "shortcut": ("the shortcut: never comparing", -0.065, "top")}
    for name, (words, offset, anchor) in lines.items():
        level = record["task"][name]
        ax.axhline(level, color=GREY, linewidth=1.1, zorder=1.5)
        ax.text(last * 0.02, level + offset, f"{words}, {level:.0%}", color=GREY, fontsize=11.5, va=anchor)
    for core, words, line, place, curves in (
        ("relational_memory", "RMC", "-", -0.03, _curves(record, core="relational_memory")),
        ("lstm", "LSTM, louder", "-", 0.025, _curves(volume, core="lstm", way="loud")),
        ("lstm", "LSTM", "--", 0.025, _curves(record, core="lstm")),
        ("gru", "GRU", "-.", -0.035, _curves(record, core="gru")),
    ):
        style = style_of(core)
        seen = [step for step in curves[0] if step <= steps]
        if not seen:
            continue
        scores = [[curve[step] for curve in curves] for step in seen]
        mean = [sum(each) / len(each) for each in scores]
        ax.fill_between(
            seen, list(map(min, scores)), list(map(max, scores)), color=style.color, alpha=0.18, linewidth=0
        )
        ax.plot(seen, mean, color=style.color, linestyle=line, linewidth=2.2)
        ax.plot(seen[-1], mean[-1], color=style.color, marker=style.marker, markersize=7)
        at = seen[-1] + last * 0.02, mean[-1] + place
        ax.text(*at, words, color=style.text_color, va="center", weight="bold")
    set_title(ax, "Slots compare three numbers, and so does an LSTM that hears them")
    return fig


def _curves(record, **point):
    """Accuracy by step of each seed of a contestant, at its best learning rate."""
    (best,) = [best for best in record["best"].values() if point.items() <= best.items()]
    return [{point["step"]: point["accuracy"] for point in run["curve"]} for run in recorded.runs_at(record, best)]


def frames(record: dict, volume: dict) -> list:
    """The picture after each 100 steps, as Pillow images in one palette, that of the last."""
    from PIL import Image

    every = record["settings"]["eval_every"]
    images = []
    with plt.rc_context():
        use_style()
        for steps in range(every, record["settings"]["steps"] + 1, every):
            fig, drawn = plateau(record, volume, steps), io.BytesIO()
            fig.savefig(drawn, format="png", dpi=DOTS_AN_INCH, facecolor="white")
            plt.close(fig)
            images.append(Image.open(drawn).convert("RGB"))
    # Of whole ranges of colours, not of what is frequent: paper stays white.
    palette = images[-1].quantize(128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def write(folder: Path) -> None:
    """Write plateau.gif and plateau.png, from the records of `relmem run` nth_farthest and nth_farthest_volume."""
    images = frames(recorded.load("nth_farthest", "cpu"), recorded.load("nth_farthest_volume", "cpu"))
    durations = [110] * (len(images) - 1) + [4000]  # milliseconds; the end stays
    images[0].save(
        folder / "plateau.gif", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )
    images[-1].save(folder / "plateau.png", optimize=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

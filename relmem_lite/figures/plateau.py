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
CORES = ("relational_memory", "lstm", "gru")


def plateau(record: dict, steps: int):
    """Accuracy of each core over the first `steps` of training, mean and spread over seeds. Returns the Figure.

    `record` is that of the experiment nth_farthest; each core has its best learning rate.
    """
    fig, ax = figure(3.9)
    last = record["settings"]["steps"]
    ax.set(xlim=(0, last * 1.16), ylim=(0.28, 1.0), xlabel="training step", ylabel="accuracy on new questions")
    lines = {"chance": ("guessing", 0.012, "bottom"), "shortcut": ("the shortcut: never comparing", -0.065, "top")}
    for name, (words, offset, anchor) in lines.items():
        level = record["task"][name]
        ax.axhline(level, color=GREY, linewidth=1.1, zorder=1.5)
        ax.text(last * 0.02, level + offset, f"{words}, {level:.0%}", color=GREY, fontsize=11.5, va=anchor)
    labels = {"relational_memory": 0.0, "lstm": 0.025, "gru": -0.035}
    for core in CORES:
        style, curves = style_of(core), _curves(record, core)
        seen = [step for step in curves[0] if step <= steps]
        if not seen:
            continue
        scores = [[curve[step] for curve in curves] for step in seen]
        mean = [sum(each) / len(each) for each in scores]
        ax.fill_between(
            seen, list(map(min, scores)), list(map(max, scores)), color=style.color, alpha=0.18, linewidth=0
        )
        ax.plot(seen, mean, color=style.color, linestyle=style.line, linewidth=2.2)
        ax.plot(seen[-1], mean[-1], color=style.color, marker=style.marker, markersize=7)
        ax.text(
            seen[-1] + last * 0.02,
            mean[-1] + labels[core],
            style.name,
            color=style.text_color,
            va="center",
            weight="bold",
        )
    set_title(ax, "Only slots that read one another learn to compare three numbers")
    return fig


def _curves(record, core):
    """Accuracy by step of each seed, at the core's best learning rate."""
    rate = record["best"][core]["learning_rate"]
    labels = [run["run"]["labels"] for run in record["runs"]]
    runs = [
        run
        for run, label in zip(record["runs"], labels, strict=True)
        if label["core"] == core and label["learning_rate"] == rate
    ]
    return [{point["step"]: point["accuracy"] for point in run["curve"]} for run in runs]


def frames(record: dict) -> list:
    """The picture after each 100 steps, as Pillow images in one palette, that of the last."""
    from PIL import Image

    every = record["settings"]["eval_every"]
    images = []
    with plt.rc_context():
        use_style()
        for steps in range(every, record["settings"]["steps"] + 1, every):
            fig, drawn = plateau(record, steps), io.BytesIO()
            fig.savefig(drawn, format="png", dpi=DOTS_AN_INCH, facecolor="white")
            plt.close(fig)
            images.append(Image.open(drawn).convert("RGB"))
    palette = images[-1].quantize(64, dither=Image.Dither.NONE)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def write(folder: Path) -> None:
    """Write plateau.gif and plateau.png, from the record of `relmem run nth_farthest --preset cpu`."""
    images = frames(recorded.load("nth_farthest", "cpu"))
    durations = [110] * (len(images) - 1) + [4000]  # milliseconds; the end stays
    images[0].save(
        folder / "plateau.gif", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )
    images[-1].save(folder / "plateau.png", optimize=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

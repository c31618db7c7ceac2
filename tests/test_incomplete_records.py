"""Cells that draw a record also draw one that lacks runs, as `relmem run --missing` leaves it when its time is up."""

import copy
from pathlib import Path
from statistics import mean

import matplotlib as mpl
import nbformat
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from relmem_lite import recorded
from relmem_lite.experiments import EXPERIMENTS
from relmem_lite.training import RunRecord

CHAPTERS = Path(__file__).parent.parent / "chapters"

# The cells that draw each record, by words of their code; the first cell of imports goes before them.
DRAWN = {
    ("08_one_recurrence", "selective_copying"): ["def runs_of", "rank = sorted(CORES", "of_seeds ="],
    ("08_one_recurrence", "language_model"): ["IN_PAPER = {", "best held-out loss"],
    ("09_state_tracking", "state_tracking"): [
        "def points_of",
        "holding(group)]",
        "halfway =",
        "def last_steps",
        "def steps_followed",
        "verdict =",
    ],
    ("11_thinking_aloud", "istree"): ["def recorded_scores", "At both sizes"],
    ("12_closing_the_gap", "istree"): ['recorded.try_load("istree"', "missing(figure(3)[1], why_istree)"],
}
load = recorded.load


def cut(record, share):
    """Return a record after a share of its runs, in the order in which they are trained."""
    preset = record["preset"]
    experiment = EXPERIMENTS[record["experiment"]].from_preset(preset)
    runs = [RunRecord(**copy.deepcopy(run)) for run in record["runs"][: max(1, round(share * len(record["runs"])))]]
    return experiment.record(runs)


def cells(chapter, words):
    code = [c.source for c in nbformat.read(CHAPTERS / f"{chapter}.ipynb", as_version=4).cells if c.cell_type == "code"]
    imports = next(source for source in code if "use_style()" in source)
    return [imports, *(next(source for source in code if each in source) for each in words)]


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7])
@pytest.mark.parametrize(("chapter", "name"), DRAWN, ids=lambda each: each)
def test_a_record_that_lacks_runs_is_drawn_or_said_to_lack_them(chapter, name, share, monkeypatch):
    def load_cut(experiment, preset):
        record = load(experiment, preset)
        return cut(record, share) if experiment == name else record

    monkeypatch.setattr(recorded, "load", load_cut)
    names = {"mean": mean}  # an earlier cell of the chapter imports it
    try:
        for source in cells(chapter, DRAWN[chapter, name]):
            exec(source, names)
        plt.gcf().canvas.draw()
    finally:
        plt.close("all")

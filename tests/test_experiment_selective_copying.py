from dataclasses import replace

import pytest

from relmem_lite.cores import CORES
from relmem_lite.experiments import SelectiveCopyingExperiment, run_experiment
from relmem_lite.models import num_parameters

SMOKE = SelectiveCopyingExperiment.from_preset("smoke")
CPU = SelectiveCopyingExperiment.from_preset("cpu")


def test_every_core_meets_every_depth_and_is_scored(tmp_path):
    experiment = replace(SMOKE, workers=1)
    record = run_experiment(experiment, tmp_path, report=lambda line: None)
    points = {title: (best["core"], best["depth"]) for title, best in record["best"].items()}
    assert points == {
        "min_gru, 1 layers": ("min_gru", 1),
        "min_gru, 2 layers": ("min_gru", 2),
        "gru, 1 layers": ("gru", 1),
        "gru, 2 layers": ("gru", 2),
    }
    assert all(len(best["scores"]) == 1 for best in record["best"].values())
    assert record["task"]["num_items"] == 2
    assert record["task"]["chance"] == 1 / 8
    for run in record["runs"]:
        assert set(run["scores"]) == {"accuracy", "exact_match"}
        point = run["run"]["labels"]
        assert run["run"]["model"]["core"]["cores"] == ", ".join([CORES[point["core"]].__name__] * point["depth"])


def test_a_depth_is_so_many_blocks_of_the_core_with_a_convolution_before_each():
    model = CPU.model("mamba", 3)
    assert [type(block.core).__name__ for block in model.core.blocks] == ["Mamba"] * 3
    assert all(block.convolution.window == 4 for block in model.core.blocks)


def test_all_have_about_equally_many_parameters():
    """Widths are multiples of 8, which at this size makes steps of up to half the parameters: a quarter either way."""
    for point in CPU.contestants().values():
        assert num_parameters(CPU.model(**point)) == pytest.approx(CPU.parameters, rel=0.25), point


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"cores": ("min_gur",)}, "Did you mean 'min_gru'"),
        ({"cores": ()}, "cores is empty"),
        ({"depths": ()}, "depths is empty"),
        ({"depths": (1, 1)}, "depths holds a value twice"),
        ({"depths": (0,)}, "depths must be at least 1"),
        ({"parameters": 0}, "parameters must be at least 1"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        replace(SMOKE, **setting)


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"num_items": 7}, "time must be at least num_items, got 6 steps for 7"), ({"parameters": 10}, "smallest model")],
)
def test_what_does_not_fit_shows_before_a_run_begins(setting, says):
    with pytest.raises(ValueError, match=says):
        replace(SMOKE, **setting).rehearse()

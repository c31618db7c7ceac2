from dataclasses import replace

import pytest

from relmem_lite.experiments import find_experiment, run_experiment

SMOKE = replace(find_experiment("comparison").from_preset("smoke"), steps=2, eval_every=2, workers=1)


def test_every_hidden_size_meets_every_number_of_items(tmp_path):
    experiment = replace(SMOKE, items=(2, 3), hidden_sizes=(4, 5), learning_rates=(1e-3, 1e-2))
    record = run_experiment(experiment, tmp_path, report=lambda line: None)
    points = [(best["num_items"], best["hidden_size"], len(best["scores"])) for best in record["best"].values()]
    assert sorted(points) == [(2, 4, 1), (2, 5, 1), (3, 4, 1), (3, 5, 1)]
    assert len(record["runs"]) == 8
    for run in (run["run"] for run in record["runs"]):
        assert run["task"]["num_items"] == run["labels"]["num_items"]
        assert run["model"]["core"]["output_size"] == run["labels"]["hidden_size"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"items": ()}, "items is empty"), ({"hidden_sizes": (0,)}, "hidden_sizes"), ({"cores": ("rmc",)}, "rmc")],
)
def test_a_grid_that_makes_no_sense_is_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        replace(SMOKE, **setting)


def test_a_core_without_a_hidden_size_is_refused():
    with pytest.raises(ValueError, match="Known: lstm, gru"):
        replace(SMOKE, cores=("relational_memory",))

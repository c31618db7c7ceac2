from dataclasses import replace

import pytest

from relmem_lite.experiments import CopyingLengthExperiment, RecallFrontierExperiment, run_experiment
from relmem_lite.models import num_parameters

BOTH = [CopyingLengthExperiment, RecallFrontierExperiment]


def kinds(model):
    return [type(block.core).__name__ for block in model.core.blocks]


def test_models_recall_as_many_pairs_as_they_learned_and_fewer(tmp_path):
    experiment = replace(RecallFrontierExperiment.from_preset("smoke"), workers=1)
    record = run_experiment(experiment, tmp_path, report=lambda line: None)
    assert {title: (best["core"], best["pairs"]) for title, best in record["best"].items()} == {
        "lstm, 2 pairs, 4000 parameters": ("lstm", 2),
        "lstm, 4 pairs, 4000 parameters": ("lstm", 4),
        "min_gru+attention, 2 pairs, 4000 parameters": ("min_gru+attention", 2),
        "min_gru+attention, 4 pairs, 4000 parameters": ("min_gru+attention", 4),
    }
    assert record["task"]["chance"] == 1 / 4
    eight = RecallFrontierExperiment.from_preset("cpu").tests(64)
    assert {name: task.num_pairs for name, task in eight.items()} == {f"accuracy_at_{p}": p for p in (4, 8, 16, 32, 64)}
    for run in record["runs"]:
        assert f"accuracy_at_{run['run']['labels']['pairs']}" in run["scores"]


def test_what_is_kept_is_counted_where_the_pairs_end(tmp_path):
    experiment = RecallFrontierExperiment.from_preset("cpu")
    fixed, growing = experiment.model("lstm", 8, 24_000), experiment.model("attention", 8, 24_000)
    assert fixed.core.state_size(16) == fixed.core.state_size(128)
    # Two blocks, keys and values of 16 steps, and three steps of each block's convolution.
    width = growing.core.input_size
    assert growing.core.state_size(16) == 2 * (2 * 16 * width + 3 * width)
    record = replace(RecallFrontierExperiment.from_preset("smoke"), cores=("lstm",), pairs=(4,)).record([])
    (best,) = record["best"].values()
    assert best["floats"] == experiment_floats(best)


def experiment_floats(best):
    smoke = RecallFrontierExperiment.from_preset("smoke")
    return smoke.model(best["core"], best["pairs"], best["parameters"]).core.state_size(2 * best["pairs"])


def test_strings_are_copied_at_the_lengths_learned_and_beyond(tmp_path):
    experiment = replace(CopyingLengthExperiment.from_preset("smoke"), workers=1)
    record = run_experiment(experiment, tmp_path, report=lambda line: None)
    assert list(record["best"]) == ["lstm", "min_gru+attention"]
    assert record["task"]["min_length"] == 1
    for run in record["runs"]:
        assert set(run["scores"]) == {"accuracy", "exact_match", "accuracy_at_4", "accuracy_at_8"}


@pytest.mark.parametrize("kind", BOTH)
def test_a_name_is_stacked_and_names_joined_by_plus_are_the_stack(kind):
    experiment = kind.from_preset("cpu")
    models = {point["core"]: experiment.model(**point) for point in experiment.contestants().values()}
    assert kinds(models["min_gru"]) == ["MinGRU", "MinGRU"]
    assert kinds(models["min_gru+attention"]) == ["MinGRU", "CausalAttention"]
    assert all(block.convolution.window == 4 for block in models["lstm"].core.blocks)


@pytest.mark.parametrize("kind", BOTH)
def test_lstms_start_as_open_as_the_relational_memory(kind):
    experiment = kind.from_preset("cpu")
    point = next(point for point in experiment.contestants().values() if point["core"] == "lstm")
    lstm = experiment.model(**point).core.blocks[0].core
    size = lstm.output_size
    forget = lstm.lstm.bias_ih_l0[size : 2 * size].mean()
    # Drawn from a range around 0 of width 2 / sqrt(size), plus 1.
    assert forget > 0.8


@pytest.mark.parametrize("kind", BOTH)
def test_all_have_about_equally_many_parameters(kind):
    """Widths are multiples of 8, which at the smaller size makes steps of up to a half: a quarter either way."""
    experiment = kind.from_preset("cpu")
    for point in experiment.contestants().values():
        asked = point.get("parameters", experiment.parameters)
        assert num_parameters(experiment.model(**point)) == pytest.approx(asked, rel=0.25), point


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"cores": ("lstm+atention",)}, "Did you mean 'attention'"),
        ({"cores": ()}, "cores is empty"),
        ({"depth": 0}, "depth must be at least 1"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(kind, setting, says):
    with pytest.raises(ValueError, match=says):
        replace(kind.from_preset("smoke"), **setting)


def test_more_pairs_than_keys_show_before_a_run_begins():
    with pytest.raises(ValueError, match="got 9 pairs for 8 keys"):
        replace(RecallFrontierExperiment.from_preset("smoke"), pairs=(9,)).rehearse()

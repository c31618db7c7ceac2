from dataclasses import replace

import pytest

from relmem_lite.experiments import IsTreeExperiment, Run, run_experiment
from relmem_lite.models import num_parameters

SMOKE = IsTreeExperiment.from_preset("smoke")
CPU = IsTreeExperiment.from_preset("cpu")
GPU = IsTreeExperiment.from_preset("gpu")
PAPER = IsTreeExperiment.from_preset("paper")


def test_every_model_meets_every_format_and_is_scored_by_what_it_writes(tmp_path):
    record = run_experiment(replace(SMOKE, workers=1), tmp_path, report=lambda line: None)
    points = [(best["num_nodes"], best["format"], best["model"]) for best in record["best"].values()]
    assert points == [
        (4, format, model)
        for format in ("direct", "chain_of_thought", "retrieval")
        for model in ("min_gru", "min_gru+attention")
    ]
    assert all(len(best["scores"]) == 1 for best in record["best"].values())
    assert record["task"]["num_nodes"] == 4
    assert record["task"]["chance"] == 0.5
    for run in record["runs"]:
        assert set(run["scores"]) == {"accuracy", "teacher_forced", "trace", "tokens"}
        assert (run["scores"]["trace"] is None) == (run["run"]["labels"]["format"] == "direct")
        assert run["run"]["task"]["format"] == run["run"]["labels"]["format"]


def test_formats_have_their_own_steps_and_batches_and_are_evaluated_equally_often(tmp_path):
    experiment = replace(
        SMOKE, models=("min_gru",), steps=8, eval_every=4, format_steps=(2, 8, 4), format_batch_sizes=(5, 4, 3)
    )
    seen = {}
    for title, point in experiment.contestants().items():
        settings = experiment.train(Run(title, 1e-3, 0), progress=False).run["settings"]
        seen[point["format"]] = [settings[name] for name in ("steps", "batch_size", "eval_every")]
    assert seen == {"direct": [2, 5, 1], "chain_of_thought": [8, 4, 4], "retrieval": [4, 3, 2]}


def test_without_their_own_all_formats_have_the_same_steps_and_batches():
    experiment = replace(SMOKE, formats=("direct",), format_steps=(), format_batch_sizes=())
    title = next(iter(experiment.contestants()))
    settings = experiment.train(Run(title, 1e-3, 0), progress=False).run["settings"]
    assert [settings[name] for name in ("steps", "batch_size", "eval_every")] == [4, 8, 2]


def test_a_model_is_blocks_of_its_cores_with_a_convolution_before_each():
    model = CPU.model(8, "retrieval", "min_gru+min_gru+attention")
    assert [type(block.core).__name__ for block in model.core.blocks] == ["MinGRU", "MinGRU", "CausalAttention"]
    assert all(block.convolution.window == 4 for block in model.core.blocks)


@pytest.mark.parametrize("experiment", [CPU, GPU, PAPER], ids=["cpu", "gpu", "paper"])
def test_all_have_about_equally_many_parameters(experiment):
    experiment = replace(experiment, formats=("direct",), format_steps=(), format_batch_sizes=())
    for point in experiment.contestants().values():
        assert num_parameters(experiment.model(**point)) == pytest.approx(experiment.parameters, rel=0.1), point


def test_the_paper_preset_has_the_sizes_of_the_paper():
    layers = [len(names.split("+")) for names in PAPER.models]
    assert layers == [16, 8, 13]
    assert PAPER.num_nodes == (32, 64)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"models": ("min_gru+atention",)}, "Did you mean 'attention'"),
        ({"models": ()}, "models is empty"),
        ({"formats": ("cot",)}, "no format of IsTree 'cot'"),
        ({"formats": ("direct", "direct")}, "formats holds a value twice"),
        ({"formats": ("direct",)}, "format_steps are one for each of 1 formats, or none, got 3"),
        ({"format_batch_sizes": (4, 4)}, "format_batch_sizes are one for each of 3 formats, or none, got 2"),
        ({"format_steps": (0, 1, 1)}, "format_steps must be at least 1"),
        ({"num_nodes": (8, 3)}, "num_nodes must be at least 4, got 3"),
        ({"num_nodes": ()}, "num_nodes is empty"),
        ({"parameters": 0}, "parameters must be at least 1"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        replace(SMOKE, **setting)


def test_a_model_that_does_not_fit_shows_before_a_run_begins():
    with pytest.raises(ValueError, match="smallest model"):
        replace(SMOKE, parameters=10).rehearse()

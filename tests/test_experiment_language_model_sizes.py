from dataclasses import replace

import pytest

from relmem_lite.experiments import LanguageModelSizesExperiment, load_language_model
from relmem_lite.models import num_parameters

SMOKE = LanguageModelSizesExperiment.from_preset("smoke")
CPU = LanguageModelSizesExperiment.from_preset("cpu")


def test_every_stack_is_tried_at_every_size_with_equally_many_parameters():
    points = CPU.contestants().values()
    assert {(point["core"], point["size"]) for point in points} == {
        (core, size) for core in CPU.cores for size in CPU.sizes
    }
    for point in points:
        assert num_parameters(CPU.model(**point)) == pytest.approx(point["size"], rel=0.04), point


def test_a_run_is_read_back_as_the_model_that_was_trained(tmp_path):
    run = SMOKE.runs()[0]
    SMOKE.train(run, tmp_path, progress=False)
    model, _ = load_language_model(tmp_path / run.name)
    assert num_parameters(model) == num_parameters(SMOKE.model(**SMOKE.contestants()[run.contestant]))


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="sizes must be at least 1"):
        replace(SMOKE, sizes=(0,))

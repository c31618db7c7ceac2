from dataclasses import replace

import pytest
import torch

from relmem_lite.experiments import GateBiasExperiment
from relmem_lite.experiments.gate_bias import biased_min_gru


def test_the_bias_is_what_is_kept_before_any_input():
    core = biased_min_gru(4, keep_bias=3.0)
    keep = core.coefficients(torch.zeros(1, 1, 4)).a
    torch.testing.assert_close(keep, torch.full((1, 1, 4), 3.0).sigmoid())


def test_contestants_differ_in_their_bias_alone():
    experiment = GateBiasExperiment.from_preset("cpu")
    models = [experiment.model(**point) for point in experiment.contestants().values()]
    assert [model.core.blocks[0].core.gate.bias[0].item() for model in models] == [
        -bias for bias in experiment.keep_biases
    ]
    assert len({sum(p.numel() for p in model.parameters()) for model in models}) == 1
    assert all(model.core.blocks[0].convolution is None for model in models)


def test_a_bias_given_twice_is_refused():
    with pytest.raises(ValueError, match="keep_biases holds a value twice"):
        replace(GateBiasExperiment.from_preset("smoke"), keep_biases=(1.0, 1.0))


def test_biases_that_agree_in_six_digits_are_two_contestants():
    experiment = replace(GateBiasExperiment.from_preset("smoke"), keep_biases=(4.0, 4.0000001))
    assert list(experiment.contestants()) == ["keep bias 4", "keep bias 4.0000001"]

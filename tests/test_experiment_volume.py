from dataclasses import replace

import pytest
import torch

from relmem_lite import GRU, LSTM, MinGRU, RelationalMemory
from relmem_lite.experiments import (
    NthFarthestExperiment,
    NthFarthestVolumeExperiment,
    SortingExperiment,
    SortingVolumeExperiment,
    run_experiment,
)
from relmem_lite.experiments.volume import redraw_input_weights
from relmem_lite.models import num_parameters

NTH_FARTHEST = NthFarthestVolumeExperiment.from_preset("cpu")
SORTING = SortingVolumeExperiment.from_preset("cpu")
CUT_AT_TWO = 0.8796  # std of a normal distribution of std 1 that is cut off at 2


def input_weights(model):
    return model.core.lstm.weight_ih_l0 if isinstance(model.core, LSTM) else model.core.embed.weight


def changed(model, original):
    pairs = zip(model.named_parameters(), original.parameters(), strict=True)
    return [name for (name, own), other in pairs if not torch.equal(own, other)]


def test_the_weights_that_read_the_input_are_drawn_anew_and_no_others():
    for core in (LSTM(10, 60), GRU(10, 60), RelationalMemory(10, num_slots=2, num_heads=2, head_size=30)):
        before = {name: weight.clone() for name, weight in core.named_parameters()}
        torch.manual_seed(0)
        redraw_input_weights(core, std=0.1)
        (name,) = [name for name, weight in core.named_parameters() if not torch.equal(weight, before[name])]
        weight = core.get_parameter(name)
        assert weight.shape[1] == 10
        # 2,400 weights or fewer: their std is known to 3 %.
        assert weight.std().item() == pytest.approx(CUT_AT_TWO / 10, rel=0.1)
        assert weight.abs().max() <= 0.2


def test_a_core_whose_input_weights_are_not_known_is_refused():
    with pytest.raises(ValueError, match="by which weights MinGRU reads its input"):
        redraw_input_weights(MinGRU(3, 4), std=0.5)


def test_loud_and_quiet_models_are_those_of_the_experiment_with_other_input_weights():
    single = NthFarthestExperiment.from_preset("cpu")
    for core, way in (("lstm", "loud"), ("gru", "loud"), ("relational_memory", "quiet")):
        torch.manual_seed(0)
        own = NTH_FARTHEST.model(core, way)
        torch.manual_seed(0)
        assert len(changed(own, single.model(core))) == 1
    memory, lstm = single.model("relational_memory"), single.model("lstm")
    loud, quiet = NTH_FARTHEST.model("lstm", "loud"), NTH_FARTHEST.model("relational_memory", "quiet")
    assert input_weights(loud).std().item() == pytest.approx(input_weights(memory).std().item(), rel=0.1)
    # The LSTM's are even, and not cut: their std is that of the quiet memory's before it is cut.
    assert input_weights(quiet).std().item() == pytest.approx(CUT_AT_TWO * input_weights(lstm).std().item(), rel=0.1)


def test_blocks_are_as_large_and_have_no_convolution():
    memory = num_parameters(NthFarthestExperiment.from_preset("cpu").model("relational_memory"))
    for core in NTH_FARTHEST.blocks:
        model = NTH_FARTHEST.model(core, "block")
        assert num_parameters(model) == pytest.approx(memory, rel=0.1)
        assert [block.convolution for block in model.core.blocks] == [None]


def test_they_are_trained_as_what_they_are_held_against():
    for volume, single in ((NTH_FARTHEST, NthFarthestExperiment), (SORTING, SortingExperiment)):
        original = single.from_preset("cpu")
        for setting in ("steps", "batch_size", "eval_samples", "stop_at", "clip", "seeds", "num_items"):
            assert getattr(volume, setting) == getattr(original, setting)
        assert set(volume.learning_rates) <= set(original.learning_rates)


@pytest.mark.parametrize("kind", [NthFarthestVolumeExperiment, SortingVolumeExperiment])
def test_every_contestant_is_trained(kind, tmp_path):
    smoke = replace(kind.from_preset("smoke"), workers=1)
    record = run_experiment(smoke, tmp_path, report=lambda line: None)
    assert list(record["best"]) == list(smoke.contestants())


@pytest.mark.parametrize("setting", ["quiet", "blocks"])
def test_an_unknown_core_is_named(setting):
    with pytest.raises(ValueError, match="Did you mean 'lstm'"):
        replace(NTH_FARTHEST, **{setting: ("lsmt",)})
    assert replace(NTH_FARTHEST, **{setting: ()}).contestants()

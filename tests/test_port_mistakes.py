import pytest
import torch

from relmem_lite import RelationalMemory
from relmem_lite.experiments.port_mistakes import MISTAKES, PortedMemory, PortMistakesExperiment

SIZES = dict(num_slots=3, num_heads=2, head_size=4)


def untidy_core():
    torch.manual_seed(0)
    core = RelationalMemory(5, **SIZES).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return core


def test_port_without_a_mistake_is_the_core():
    core = untidy_core()
    port = PortedMemory.like(core)
    inputs = torch.randn(2, 4, 5, dtype=torch.float64)
    for mine, theirs in zip(port(inputs), core(inputs), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.manual_seed(3)
    same = PortedMemory(5, **SIZES)
    torch.manual_seed(3)
    for name, weight in RelationalMemory(5, **SIZES).state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_shows_in_outputs_or_gradients(mistake):
    core = untidy_core()
    port = PortedMemory.like(core, mistake)
    inputs = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    outputs, memory = port(inputs)
    assert outputs.shape == (2, 4, core.output_size)
    assert memory.shape == (2, 3, core.row_size)
    (gradient,) = torch.autograd.grad(outputs[:, -1].sum(), inputs)
    if mistake == "detached":
        torch.testing.assert_close(outputs, core(inputs)[0])
        assert not gradient[:, 0].any()
    else:
        assert (outputs - core(inputs)[0]).abs().max() > 1e-3
        assert gradient[:, 0].any()


def test_unknown_mistakes_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'last_relu'"):
        PortedMemory(5, **SIZES, mistake="last_rely")
    with pytest.raises(ValueError, match="Did you mean 'detached'"):
        PortMistakesExperiment(mistakes=("detach",))
    with pytest.raises(ValueError, match="at least one"):
        PortMistakesExperiment(mistakes=())


def test_smoke_preset_runs_every_mistake(tmp_path):
    experiment = PortMistakesExperiment.from_preset("smoke")
    runs = experiment.runs()
    assert {run.contestant for run in runs} == {"none", *MISTAKES}
    records = [experiment.train(run, tmp_path, progress=False) for run in runs]
    record = experiment.record(records)
    assert set(record["best"]) == {"none", *MISTAKES}
    assert all(len(run["curve"]) == 2 for run in record["runs"])

from dataclasses import replace

import pytest
import torch

from relmem_lite import MinGRU
from relmem_lite.experiments import GateNetworksExperiment
from relmem_lite.experiments.gate_networks import VARIANTS, NetworkGateMinGRU
from relmem_lite.models import num_parameters

SMOKE = GateNetworksExperiment.from_preset("smoke")
CPU = replace(GateNetworksExperiment.from_preset("cpu"), variants=tuple(VARIANTS))


def test_a_network_gate_is_min_grus_recurrence_with_another_z():
    torch.manual_seed(0)
    core, inputs = NetworkGateMinGRU(3, 5), torch.randn(2, 7, 3)
    first, _, second = core.gate
    z = torch.sigmoid(second(torch.relu(first(inputs))))
    candidate, hidden = core.candidate(inputs), torch.zeros(2, 5)
    for t in range(7):
        hidden = (1 - z[:, t]) * hidden + z[:, t] * candidate[:, t]
    torch.testing.assert_close(core(inputs)[1], hidden)


def test_a_network_without_a_bend_is_a_linear_gate():
    torch.manual_seed(0)
    core, plain, inputs = NetworkGateMinGRU(3, 5), MinGRU(3, 5), torch.randn(2, 7, 3)
    core.gate[1] = torch.nn.Identity()
    with torch.no_grad():
        plain.gate.weight.copy_(core.gate[2].weight @ core.gate[0].weight)
        plain.gate.bias.copy_(core.gate[2].weight @ core.gate[0].bias + core.gate[2].bias)
    plain.candidate = core.candidate
    torch.testing.assert_close(core(inputs)[0], plain(inputs)[0])


def test_all_have_equally_many_parameters_and_one_network_at_most():
    sizes = {title: num_parameters(CPU.model(**point)) for title, point in CPU.contestants().items()}
    assert all(size == pytest.approx(CPU.parameters, rel=0.05) for size in sizes.values()), sizes
    for point in CPU.contestants().values():
        (block,) = CPU.model(**point).core.blocks
        assert isinstance(block.core, NetworkGateMinGRU) == (point["gate"] == "network")
        assert (block.mlp is not None) == (point["gate"] == "linear, network after")
        assert (block.convolution is not None) == (point["on"] == "selective_copying")


def test_variants_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'network'"):
        replace(SMOKE, variants=("netwrk",))
    with pytest.raises(ValueError, match="Did you mean 's5'"):
        replace(SMOKE, tasks=("s55",)).rehearse()

from dataclasses import replace

import pytest
import torch

from relmem_lite.experiments import TiedLayersExperiment
from relmem_lite.experiments.tied_layers import TiedStack
from relmem_lite.models import Stack, num_parameters

SMOKE = TiedLayersExperiment.from_preset("smoke")
CPU = TiedLayersExperiment.from_preset("cpu")


@pytest.fixture
def tied():
    torch.manual_seed(0)
    return TiedStack("min_gru", 8, 3, convolution=2).double()


def test_a_tied_stack_is_a_stack_of_blocks_with_the_same_weights(tied):
    untied = Stack(["min_gru"] * 3, 8, convolution=2).double()
    for block in untied.blocks:
        block.load_state_dict(tied.block.state_dict())
    inputs = torch.randn(2, 6, 8, dtype=torch.float64)
    outputs, state = tied(inputs)
    expected, expected_state = untied(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(state, expected_state)
    assert tied.state_size(6) == untied.state_size(6)
    assert num_parameters(tied) == num_parameters(untied.blocks[0]) + num_parameters(untied.norm)


def test_whole_chunks_and_steps_give_the_same_numbers(tied):
    inputs = torch.randn(2, 7, 8, dtype=torch.float64)
    whole, last = tied(inputs)
    first, state = tied(inputs[:, :3])
    second, state = tied(inputs[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(state, last)
    state, outputs = None, []
    for step_input in inputs.unbind(1):
        output, state = tied.step(step_input, state)
        outputs.append(output)
    torch.testing.assert_close(torch.stack(outputs, dim=1), whole)


def test_all_have_equally_many_parameters():
    sizes = {title: num_parameters(CPU.model(**point)) for title, point in CPU.contestants().items()}
    assert all(size == pytest.approx(CPU.parameters, rel=0.06) for size in sizes.values()), sizes
    assert CPU.model("s3", core="min_gru", blocks=1, times=3).core.times == 3
    assert len(CPU.model("s3", core="min_gru", blocks=3, times=1).core.blocks) == 3


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="tasks is empty"):
        replace(SMOKE, tasks=())
    with pytest.raises(ValueError, match="depth must be at least 1"):
        replace(SMOKE, depth=0)

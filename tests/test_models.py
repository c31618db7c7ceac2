import pytest
import torch

from relmem_lite import GRU, LSTM
from relmem_lite.models import SequenceModel, match_parameters, num_parameters
from relmem_lite.tasks import Comparison


def test_a_mask_gives_the_marked_rows_of_the_whole_answer():
    torch.manual_seed(0)
    model = SequenceModel(LSTM(3, 4), 5, (6, 7)).double()
    inputs = torch.randn(2, 4, 3, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, False], [False, False, False, True]])
    whole, state = model(inputs)
    marked, same_state = model(inputs, mask=mask)
    assert whole.shape == (2, 4, 5)
    torch.testing.assert_close(marked, whole[mask], rtol=1e-12, atol=1e-12)
    assert torch.equal(state.cell, same_state.cell)


def test_a_model_carries_its_cores_state():
    torch.manual_seed(0)
    model = SequenceModel(GRU(3, 4), 5)
    inputs = torch.randn(2, 6, 3)
    whole, _ = model(inputs)
    first, state = model(inputs[:, :2])
    second, _ = model(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_the_head_is_the_network_it_says():
    model = SequenceModel(LSTM(3, 4), 5, ())
    assert num_parameters(model.head) == 4 * 5 + 5
    assert num_parameters(SequenceModel(LSTM(3, 4), 5, (6, 7)).head) == (4 * 6 + 6) + (6 * 7 + 7) + (7 * 5 + 5)


@pytest.mark.parametrize("core", [LSTM, GRU])
@pytest.mark.parametrize("wanted", [1, 2, 3, 10, 77])
def test_match_parameters_finds_the_width_it_is_asked_to_match(core, wanted):
    task = Comparison(3)

    def build(width):
        return SequenceModel(core(task.input_size, width), 2, (8,))

    assert match_parameters(build, build(wanted)).core.output_size == wanted


def test_match_parameters_takes_the_nearer_of_two_widths():
    target = torch.nn.Linear(10, 10, bias=False)  # 100
    assert match_parameters(lambda width: torch.nn.Linear(30, width, bias=False), target).out_features == 3
    assert match_parameters(lambda width: torch.nn.Linear(22, width, bias=False), target).out_features == 5


def test_a_target_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"smallest model has 300 parameters, the one to match 100"):
        match_parameters(lambda width: torch.nn.Linear(300, width, bias=False), torch.nn.Linear(10, 10, bias=False))


@pytest.mark.parametrize(("sizes", "message"), [((5, (0,)), "head_sizes must be at least 1"), ((0, ()), "output_size")])
def test_sizes_that_make_no_model_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        SequenceModel(LSTM(3, 4), *sizes)

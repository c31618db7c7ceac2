"""LSTM and GRU against their equations in NumPy and against torch's own layers."""

import numpy as np
import pytest
import reference
import torch

from relmem_lite import GRU, LSTM, LSTMState

TOLERANCE = 1e-12  # float64


def random_tensor(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(tensor, array):
    assert tensor.shape == array.shape
    return np.abs(tensor.detach().numpy() - array).max()


def torch_lstm():
    torch.manual_seed(0)
    return torch.nn.LSTM(5, 7, batch_first=True).double()


def torch_gru():
    torch.manual_seed(0)
    return torch.nn.GRU(5, 7, batch_first=True).double()


def test_numpy_lstm_equals_torch():
    layer = torch_lstm()
    inputs, hidden, cell = (
        random_tensor(3, 6, 5, seed=1),
        random_tensor(3, 7, seed=2),
        random_tensor(3, 7, seed=3),
    )
    weights = {f"lstm.{name}": array for name, array in reference.arrays(layer).items()}
    expected = reference.lstm(weights, inputs.numpy(), hidden.numpy(), cell.numpy())
    outputs, (last_hidden, last_cell) = layer(inputs, (hidden[None], cell[None]))
    assert distance(outputs, expected.outputs) < TOLERANCE
    assert distance(last_hidden[0], expected.hidden) < TOLERANCE
    assert distance(last_cell[0], expected.cell) < TOLERANCE


def test_numpy_gru_equals_torch():
    layer = torch_gru()
    inputs, hidden = random_tensor(3, 6, 5, seed=1), random_tensor(3, 7, seed=2)
    weights = {f"gru.{name}": array for name, array in reference.arrays(layer).items()}
    expected = reference.gru(weights, inputs.numpy(), hidden.numpy())
    outputs, last_hidden = layer(inputs, hidden[None])
    assert distance(outputs, expected.outputs) < TOLERANCE
    assert distance(last_hidden[0], expected.hidden) < TOLERANCE


@pytest.mark.parametrize("start", ["initial state", "given state"])
@pytest.mark.parametrize("way", ["forward", "steps"])
def test_lstm_equals_its_equations_and_torch(way, start):
    layer, core = torch_lstm(), LSTM(5, 7).double()
    core.lstm.load_state_dict(layer.state_dict())
    inputs, hidden, cell = (
        random_tensor(3, 6, 5, seed=1),
        random_tensor(3, 7, seed=2),
        random_tensor(3, 7, seed=3),
    )
    if start == "initial state":
        hidden, cell, state = torch.zeros_like(hidden), torch.zeros_like(cell), None
    else:
        state = LSTMState(hidden, cell)

    outputs, state = run(core, inputs, state, way)

    theirs, (last_hidden, last_cell) = layer(inputs, (hidden[None], cell[None]))
    expected = reference.lstm(reference.arrays(core), inputs.numpy(), hidden.numpy(), cell.numpy())
    assert isinstance(state, LSTMState)
    for tensor, torchs, array in (
        (outputs, theirs, expected.outputs),
        (state.hidden, last_hidden[0], expected.hidden),
        (state.cell, last_cell[0], expected.cell),
    ):
        assert distance(tensor, array) < TOLERANCE
        assert torch.allclose(tensor, torchs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("start", ["initial state", "given state"])
@pytest.mark.parametrize("way", ["forward", "steps"])
def test_gru_equals_its_equations_and_torch(way, start):
    layer, core = torch_gru(), GRU(5, 7).double()
    core.gru.load_state_dict(layer.state_dict())
    inputs, hidden = random_tensor(3, 6, 5, seed=1), random_tensor(3, 7, seed=2)
    state = hidden
    if start == "initial state":
        hidden, state = torch.zeros_like(hidden), None

    outputs, state = run(core, inputs, state, way)

    theirs, last_hidden = layer(inputs, hidden[None])
    expected = reference.gru(reference.arrays(core), inputs.numpy(), hidden.numpy())
    for tensor, torchs, array in (
        (outputs, theirs, expected.outputs),
        (state, last_hidden[0], expected.hidden),
    ):
        assert distance(tensor, array) < TOLERANCE
        assert torch.allclose(tensor, torchs, rtol=0, atol=TOLERANCE)


def run(core, inputs, state, way):
    if way == "forward":
        return core(inputs, state)
    outputs = []
    for t in range(inputs.shape[1]):
        output, state = core.step(inputs[:, t], state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def test_parameters_are_torchs_and_nothing_else():
    for core, layer in ((LSTM(5, 7), torch_lstm()), (GRU(5, 7), torch_gru())):
        kind = "lstm" if isinstance(core, LSTM) else "gru"
        assert set(core.state_dict()) == {f"{kind}.{name}" for name in layer.state_dict()}
        assert core.input_size == 5
        assert core.output_size == 7


def test_initial_states_are_zero():
    hidden, cell = LSTM(5, 7).initial_state(3)
    assert hidden.shape == cell.shape == (3, 7)
    assert hidden.abs().max() == cell.abs().max() == 0
    state = GRU(5, 7).initial_state(3)
    assert state.shape == (3, 7)
    assert state.abs().max() == 0


def test_state_is_what_was_last_put_out():
    inputs = random_tensor(2, 4, 5, seed=1).float()
    outputs, state = LSTM(5, 7)(inputs)
    assert torch.equal(outputs[:, -1], state.hidden)
    outputs, state = GRU(5, 7)(inputs)
    assert torch.equal(outputs[:, -1], state)


@pytest.mark.parametrize("forget_bias", [1.0, -0.5])
def test_forget_bias_moves_the_forget_gate_and_nothing_else(forget_bias):
    """At the start, and once: the two bias vectors of torch's layout together hold it."""
    biases = []
    for bias in (0.0, forget_bias):
        torch.manual_seed(0)
        core = LSTM(5, 7, forget_bias=bias)
        weights = reference.arrays(core)
        biases.append(weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"])
    expected = np.zeros(28)
    expected[7:14] = forget_bias
    assert np.allclose(biases[1] - biases[0], expected, atol=1e-6)

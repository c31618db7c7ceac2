"""The linear family, sLSTM and attention against plain NumPy transcriptions, and the equalities between members."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import reference
import reference_linear
import torch
from every_core import map_state, parts_of

from relmem_lite import (
    QRNN,
    RWKV,
    S4D,
    SLSTM,
    SRU,
    CausalAttention,
    LinearAttention,
    Mamba,
    MinGRU,
    MinLSTM,
    SRUPlusPlus,
    record,
)
from relmem_lite.cores.blend import blend

INPUT_SIZE = 3
TOLERANCE = 1e-10  # float64: rounding stays near 1e-13 over 64 steps, any other equation is far above
FAR = 1e-3  # what a mistake must move at least
LENGTHS = (1, 2, 3, 17, 64)


def normal(*shape, seed):
    """Normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(core, batch_size, seed=2):
    """A state of random numbers."""
    like = core.initial_state(batch_size)
    return map_state(lambda part: normal(*part.shape, seed=seed + part.ndim), like)


def drawn_positive(core, batch_size, seed=2):
    """What the log-space forms keep is positive."""
    return drawn(core, batch_size, seed).exp()


def drawn_cache(core, batch_size, seed=2, steps=3):
    """A state whose growing parts hold a few steps."""
    state = drawn(core, batch_size, seed)
    grown = {
        name: normal(batch_size, steps, shape[1], seed=seed + number)
        for number, (name, shape) in enumerate(core.state_shapes.items())
        if shape[0] is None
    }
    return state._replace(**grown)


def drawn_matrix(core, batch_size, seed=2):
    """The last column of a normalised matrix is a sum of positive keys."""
    matrix = drawn(core, batch_size, seed)
    return torch.cat([matrix[..., :-1], matrix[..., -1:].exp()], dim=-1)


def drawn_mean(core, batch_size, seed=2):
    """RWKV's denominator is positive."""
    state = drawn(core, batch_size, seed)
    numerator, denominator = state.hidden.unbind(1)
    exponent = normal(*state.exponent.shape, seed=seed + 9)
    return state._replace(hidden=torch.stack([numerator, denominator.exp()], dim=1), exponent=exponent)


def drawn_cell(core, batch_size, seed=2):
    """sLSTM's normaliser is positive."""
    hidden, cell, normaliser, stabiliser = (
        normal(*part.shape, seed=seed + number) for number, part in enumerate(core.initial_state(batch_size))
    )
    return core.state_type(hidden, cell, normaliser.exp(), stabiliser)


def matrix_and_normaliser(state):
    return state[..., :-1], state[..., -1]


def sums_and_last_input(state):
    """RWKV's two sums as the paper has them: the core keeps them divided by exp(exponent)."""
    numerator, denominator = (state.hidden * state.exponent.exp().unsqueeze(1)).unbind(1)
    return numerator, denominator, state.last_input


def without_stabiliser(state):
    """sLSTM's cell and normaliser as the paper first has them: the core keeps them divided by exp(stabiliser)."""
    scale = state.stabiliser.exp()
    return state.hidden, state.cell * scale, state.normaliser * scale


class Case(NamedTuple):
    """A core, its transcription, and how the core's state is drawn and read."""

    make: Callable
    transcription: Callable  # (weights, inputs, parts of the state or None) -> Run
    draw: Callable = drawn
    parts: Callable = parts_of  # the core's state -> the transcription's parts, differentiable


def sharing(make, transcription, draw=drawn, parts=parts_of, **options):
    """A case whose options the core and the transcription share."""
    return Case(lambda: make(**options), partial(transcription, **options), draw, parts)


CASES = {
    "min_gru": sharing(partial(MinGRU, INPUT_SIZE, 4), reference_linear.min_gru),
    "min_gru, log-space": sharing(
        partial(MinGRU, INPUT_SIZE, 4), reference_linear.min_gru, drawn_positive, log_space=True
    ),
    "min_lstm": sharing(partial(MinLSTM, INPUT_SIZE, 4), reference_linear.min_lstm),
    "min_lstm, log-space": sharing(
        partial(MinLSTM, INPUT_SIZE, 4), reference_linear.min_lstm, drawn_positive, log_space=True
    ),
    "qrnn": sharing(partial(QRNN, INPUT_SIZE, 4), reference_linear.qrnn),
    "qrnn, window 1": sharing(partial(QRNN, INPUT_SIZE, 4), reference_linear.qrnn, window=1),
    "qrnn, window 4, fo": sharing(partial(QRNN, INPUT_SIZE, 4), reference_linear.qrnn, window=4, pooling="fo"),
    "qrnn, no activation": sharing(partial(QRNN, INPUT_SIZE, 4), reference_linear.qrnn, window=3, activation=None),
    "sru": sharing(partial(SRU, INPUT_SIZE, 4), reference_linear.sru),
    "sru, no projection": sharing(partial(SRU, INPUT_SIZE, INPUT_SIZE), reference_linear.sru),
    "sru_plus_plus": sharing(partial(SRUPlusPlus, INPUT_SIZE, 8), reference_linear.sru_plus_plus, drawn_cache),
    "sru_plus_plus, heads": sharing(
        partial(SRUPlusPlus, INPUT_SIZE, 4, attention_size=6), reference_linear.sru_plus_plus, drawn_cache, num_heads=2
    ),
    "s4d": sharing(partial(S4D, INPUT_SIZE, 4), reference_linear.s4d),
    "s4d, no projection": sharing(partial(S4D, INPUT_SIZE, INPUT_SIZE, state_per_channel=1), reference_linear.s4d),
    "mamba": sharing(partial(Mamba, INPUT_SIZE, 4, state_per_channel=3), reference_linear.mamba),
    "mamba, rank": sharing(partial(Mamba, INPUT_SIZE, 4, state_per_channel=1, step_rank=3), reference_linear.mamba),
    "rwkv": sharing(partial(RWKV, INPUT_SIZE, 4), reference_linear.rwkv, drawn_mean, sums_and_last_input),
    "linear_attention": sharing(
        partial(LinearAttention, INPUT_SIZE, 4), reference_linear.linear_attention, num_heads=2
    ),
    "linear_attention, one key": sharing(
        partial(LinearAttention, INPUT_SIZE, 4, key_size=1), reference_linear.linear_attention, num_heads=1
    ),
    "linear_attention, fixed": sharing(
        partial(LinearAttention, INPUT_SIZE, 6, key_size=3),
        reference_linear.linear_attention,
        num_heads=3,
        decay="fixed",
    ),
    "linear_attention, gated": sharing(
        partial(LinearAttention, INPUT_SIZE, 4, key_size=3),
        reference_linear.linear_attention,
        num_heads=2,
        decay="gated",
    ),
    "linear_attention, normalised": sharing(
        partial(LinearAttention, INPUT_SIZE, 4, key_size=3),
        reference_linear.linear_attention,
        drawn_matrix,
        matrix_and_normaliser,
        num_heads=2,
        normalise=True,
    ),
    "linear_attention, normalised and gated": sharing(
        partial(LinearAttention, INPUT_SIZE, 4),
        reference_linear.linear_attention,
        drawn_matrix,
        matrix_and_normaliser,
        num_heads=2,
        decay="gated",
        normalise=True,
    ),
    "slstm": sharing(partial(SLSTM, INPUT_SIZE, 4), reference_linear.slstm, drawn_cell, without_stabiliser),
    "slstm, heads, sigmoid": sharing(
        partial(SLSTM, INPUT_SIZE, 6),
        reference_linear.slstm,
        drawn_cell,
        without_stabiliser,
        num_heads=3,
        forget="sigmoid",
    ),
    "attention": sharing(
        partial(CausalAttention, INPUT_SIZE, 8), reference_linear.causal_attention, drawn_cache, num_heads=2
    ),
    "attention, no positions": sharing(
        partial(CausalAttention, INPUT_SIZE, 6),
        reference_linear.causal_attention,
        drawn_cache,
        num_heads=2,
        positions="none",
    ),
    "attention, learned positions": sharing(
        partial(CausalAttention, INPUT_SIZE, 6),
        reference_linear.causal_attention,
        drawn_cache,
        num_heads=2,
        positions="learned",
        max_time=100,
    ),
}


def untidy(core, seed=0):
    """The core in float64, none of its parameters at a special value, so that each one shows in the outputs."""
    core = core.double()
    with torch.no_grad():
        for number, parameter in enumerate(core.parameters()):
            parameter.add_(0.3 * normal(*parameter.shape, seed=1000 * seed + number))
    return core


def make(name, seed=0):
    torch.manual_seed(seed)
    return untidy(CASES[name].make(), seed)


def random_inputs(batch_size, time, seed=100, input_size=INPUT_SIZE):
    return normal(batch_size, time, input_size, seed=seed)


def transcribed(name, weights, inputs, state):
    """What the transcription makes of numpy weights, numpy inputs and the core's own state (or None)."""
    case = CASES[name]
    given = None if state is None else tuple(part.detach().numpy() for part in case.parts(state))
    return case.transcription(weights, inputs, given)


def assert_near(tensor, array, what):
    assert tensor.shape == array.shape, what
    scale = max(1, np.abs(array).max())
    assert np.abs(tensor.detach().numpy() - array).max() < TOLERANCE * scale, what


# Each core is its transcription


@pytest.mark.parametrize("start", ["initial state", "carried state"])
@pytest.mark.parametrize("time", LENGTHS)
@pytest.mark.parametrize("name", CASES)
def test_equals_its_transcription(name, time, start):
    """Outputs and every part of the state after the last step."""
    core = make(name)
    inputs = random_inputs(2, time)
    state = None if start == "initial state" else CASES[name].draw(core, 2)

    outputs, last = core(inputs, state)

    expected = transcribed(name, reference.arrays(core), inputs.numpy(), state)
    assert_near(outputs, expected.outputs, "outputs")
    for number, (part, wanted) in enumerate(zip(CASES[name].parts(last), expected.state, strict=True)):
        assert_near(part, wanted, f"part {number} of the state")


@pytest.mark.parametrize("name", CASES)
def test_chunks_and_steps_equal_the_transcription(name):
    core = make(name)
    inputs = random_inputs(2, 9)
    expected = transcribed(name, reference.arrays(core), inputs.numpy(), None)

    first, state = core(inputs[:, :1])
    second, state = core(inputs[:, 1:6], state)
    third, state = core.step(inputs[:, 6], state)
    fourth, state = core(inputs[:, 7:], state)

    assert_near(torch.cat([first, second, third[:, None], fourth], dim=1), expected.outputs, "outputs")
    for part, wanted in zip(CASES[name].parts(state), expected.state, strict=True):
        assert_near(part, wanted, "state")


def weighted_sum(outputs, parts):
    """A loss in which every output and every part of the last state has a weight of its own."""
    draw = np.random.default_rng(5)
    total = 0.0
    for value in (outputs, *parts):
        weights = draw.normal(size=tuple(value.shape))
        total = total + (value * (torch.from_numpy(weights) if isinstance(value, torch.Tensor) else weights)).sum()
    return total


def slope(function, width=1e-4):
    """The derivative of `function` at 0, exact up to the fourth power of `width`."""
    return (8 * (function(width) - function(-width)) - (function(2 * width) - function(-2 * width))) / (12 * width)


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_differences_of_the_transcription(name):
    """Parameters, inputs and the carried state, through two calls in sequence, along two random directions each.

    A gradient with any wrong entry has a wrong product with a random direction. Differences of the fourth order over
    1e-4 are exact to 1e-16 of the fifth derivative, and a sum of about 40 terms rounds to 1e-14, which the width
    makes 1e-10: a hundredth of the tolerance.
    """
    case, core = CASES[name], make(name)
    inputs = random_inputs(2, 5).requires_grad_()
    state = map_state(lambda part: part.requires_grad_(), case.draw(core, 2))
    first, middle = core(inputs[:, :2], state)
    second, last = core(inputs[:, 2:], middle)
    weighted_sum(torch.cat([first, second], dim=1), case.parts(last)).backward()

    gradients = {parameter_name: parameter.grad for parameter_name, parameter in core.named_parameters()}
    gradients["inputs"] = inputs.grad
    for number, part in enumerate(parts_of(state)):
        gradients[f"part {number} of the state"] = part.grad

    def loss(moved, change):
        weights = reference.arrays(core)
        arrays = inputs.detach().numpy()
        parts = [part.detach() for part in parts_of(state)]
        if moved in weights:
            weights[moved] = weights[moved] + change
        elif moved == "inputs":
            arrays = arrays + change
        else:
            number = int(moved.split()[1])
            parts[number] = parts[number] + torch.from_numpy(change)
        start = parts[0] if isinstance(state, torch.Tensor) else type(state)(*parts)
        run = transcribed(name, weights, arrays, start)
        return weighted_sum(run.outputs, run.state)

    draw = np.random.default_rng(0)
    for moved, gradient in gradients.items():
        assert gradient is not None, f"{moved} gets no gradient"
        for _ in range(2):
            direction = draw.normal(size=tuple(gradient.shape))
            direction /= np.linalg.norm(direction)
            expected = slope(lambda width, moved=moved, direction=direction: loss(moved, width * direction))
            given = (gradient.numpy() * direction).sum()
            assert given == pytest.approx(expected, rel=1e-8, abs=1e-8), moved


# Members that are one another


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time", [1, 3, 100])
def test_qrnn_of_window_one_is_min_gru_to_the_last_bit(time, dtype):
    """Without activation, and with a forget gate whose weights are the update gate's, negated."""
    torch.manual_seed(0)
    min_gru = MinGRU(5, 16).to(dtype)
    qrnn = QRNN(5, 16, window=1, activation=None).to(dtype)
    with torch.no_grad():
        qrnn.forget_gate.weight.copy_(-min_gru.gate.weight)
        qrnn.forget_gate.bias.copy_(-min_gru.gate.bias)
        qrnn.candidate.load_state_dict(min_gru.candidate.state_dict())
    inputs, state = random_inputs(4, time, input_size=5).to(dtype), normal(4, 16, seed=2).to(dtype)
    results = {}
    for core in (min_gru, qrnn):
        x, start = inputs.clone().requires_grad_(), state.clone().requires_grad_()
        outputs, last = core(x, start)
        (outputs.square().sum() + last.sum()).backward()
        results[core] = [outputs, last, x.grad, start.grad, core.candidate.weight.grad, core.candidate.bias.grad]
    for one, other in zip(results[min_gru], results[qrnn], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(min_gru.gate.weight.grad, -qrnn.forget_gate.weight.grad)
    assert torch.equal(min_gru.gate.bias.grad, -qrnn.forget_gate.bias.grad)


def test_the_cell_of_sru_is_min_gru():
    """Same gate and candidate, then SRU's own read-out: the state is minGRU's."""
    sru, min_gru = make("sru"), make("min_gru")
    with torch.no_grad():
        min_gru.gate.weight.copy_(-sru.forget_gate.weight)
        min_gru.gate.bias.copy_(-sru.forget_gate.bias)
        min_gru.candidate.weight.copy_(sru.candidate.weight)
        min_gru.candidate.bias.zero_()
    inputs, state = random_inputs(2, 20), normal(2, 4, seed=2)
    assert torch.allclose(sru(inputs, state)[1], min_gru(inputs, state)[1], rtol=0, atol=1e-14)


def test_linear_attention_with_one_constant_key_is_min_gru_with_a_constant_gate():
    """k_t = z and q_t = 1 write z v_t and read it back; the decay is 1 - z."""
    attention = LinearAttention(2, 4, num_heads=1, key_size=1, decay="gated").double()
    min_gru = MinGRU(2, 4).double()
    z = 0.2
    logit = np.log(z / (1 - z))
    inputs = torch.cat([random_inputs(2, 30, input_size=1), torch.ones(2, 30, 1, dtype=torch.float64)], dim=2)
    with torch.no_grad():
        for layer in (attention.forget_gate, min_gru.gate):
            layer.weight.zero_()
        attention.forget_gate.bias.fill_(-logit)
        min_gru.gate.bias.fill_(logit)
        attention.key.weight.copy_(torch.tensor([[0, z]], dtype=torch.float64))
        attention.query.weight.copy_(torch.tensor([[0, 1]]))
        min_gru.candidate.bias.zero_()
        min_gru.candidate.weight.copy_(attention.value.weight)
    state = normal(2, 4, seed=2)
    outputs, last = attention(inputs, state[:, None, None])
    expected, expected_last = min_gru(inputs, state)
    assert torch.allclose(outputs, expected, rtol=0, atol=1e-13)
    assert torch.allclose(last.flatten(1), expected_last, rtol=0, atol=1e-13)


def test_mamba_with_one_state_keeps_what_min_gru_keeps_and_writes_more():
    """exp(-softplus(k)) = 1 - sigmoid(k), Gu & Dao's theorem 1, for what is kept.

    What is written is the step itself, softplus(k), where the theorem's zero-order hold writes 1 - a = sigmoid(k).
    """
    mamba = Mamba(INPUT_SIZE, 4, state_per_channel=1, step_rank=4).double()
    with torch.no_grad():
        mamba.log_decay.zero_()  # A = -1
        mamba.step_in.weight.copy_(torch.eye(4))
    inputs = random_inputs(2, 10)
    channels = torch.nn.functional.silu(mamba.embed(inputs))
    gate = torch.sigmoid(mamba.step_out(channels))
    a, b = mamba.coefficients(inputs)[:2]
    assert torch.allclose(a.squeeze(-1), 1 - gate, rtol=0, atol=1e-14)
    held = gate * channels * mamba.write(channels)
    ratio = b.squeeze(-1) / held
    assert torch.allclose(ratio, torch.nn.functional.softplus(mamba.step_out(channels)) / gate, rtol=1e-10, atol=0)
    assert (ratio > 1).all()


# What is left of a member when its gates are held


def test_min_gru_with_its_gate_open_is_a_linear_map_of_each_step():
    """z = 1: nothing is kept, not even a bit of the state."""
    core = make("min_gru")
    with torch.no_grad():
        core.gate.weight.zero_()
        core.gate.bias.fill_(1000.0)
    inputs = random_inputs(2, 9)
    outputs, state = core(inputs, normal(2, 4, seed=2))
    assert torch.equal(outputs, core.candidate(inputs))
    assert torch.equal(state, outputs[:, -1])


def test_min_gru_with_its_gate_shut_keeps_its_state_for_ever():
    core = make("min_gru")
    with torch.no_grad():
        core.gate.weight.zero_()
        core.gate.bias.fill_(-1000.0)
    start = normal(2, 4, seed=2)
    outputs, state = core(random_inputs(2, 9), start)
    assert torch.equal(outputs, start.unsqueeze(1).expand_as(outputs))
    assert torch.equal(state, start)


def test_min_lstm_with_equal_gates_is_a_plain_average():
    """f = i: each step keeps half and takes half, however open the two gates are."""
    core = make("min_lstm")
    core.input_gate.load_state_dict(core.forget_gate.state_dict())
    inputs, start = random_inputs(2, 12), normal(2, 4, seed=2)
    outputs, _ = core(inputs, start)
    candidates = core.candidate(inputs)
    for t in range(12):
        shares = 0.5 ** torch.arange(t + 1, 0, -1, dtype=torch.float64)
        expected = 0.5 ** (t + 1) * start + (shares[:, None] * candidates[:, : t + 1]).sum(1)
        assert torch.allclose(outputs[:, t], expected, rtol=0, atol=1e-13)


def test_sru_with_its_highway_open_is_the_identity():
    core = make("sru, no projection")
    with torch.no_grad():
        core.reset_gate.weight.zero_()
        core.reset_gate.bias.fill_(-1000.0)
    inputs = random_inputs(2, 9)
    assert torch.equal(core(inputs)[0], inputs)


def test_sru_with_its_highway_shut_gives_its_cell():
    core = make("sru")
    with torch.no_grad():
        core.reset_gate.weight.zero_()
        core.reset_gate.bias.fill_(1000.0)
    inputs = random_inputs(2, 9)
    outputs, cell = core(inputs)
    assert torch.allclose(outputs[:, -1], cell, rtol=0, atol=1e-14)


def test_a_fresh_sru_plus_plus_does_not_attend():
    """alpha starts at zero: the cache changes nothing until alpha has moved."""
    torch.manual_seed(0)
    core = SRUPlusPlus(INPUT_SIZE, 8).double()
    inputs, state = random_inputs(2, 5), drawn_cache(core, 2)
    other = state._replace(keys=state.keys + 1, values=state.values - 1)
    assert torch.equal(core(inputs, state)[0], core(inputs, other)[0])
    with torch.no_grad():
        core.attention_scale.fill_(1.0)
    assert (core(inputs, state)[0] - core(inputs, other)[0]).abs().max() > FAR


def test_impulse_response_of_s4d_is_its_kernel():
    """2 Re(C exp(dt A)^t (exp(dt A) - 1) / A), and every output is the convolution of the inputs with it."""
    core = make("s4d, no projection")
    time = 40
    weights = reference.arrays(core)
    pole = -np.exp(weights["log_decay"]) + 1j * weights["frequency"]
    step = np.exp(weights["log_step"])[:, None]
    read = weights["read"][..., 0] + 1j * weights["read"][..., 1]
    lags = np.arange(time)[:, None, None]
    kernel = 2 * (read * (np.exp(step * pole) - 1) / pole * np.exp(lags * step * pole)).real.sum(axis=2)  # (T, D)
    kernel[0] += weights["skip"]

    impulse = torch.zeros(1, time, INPUT_SIZE, dtype=torch.float64)
    impulse[:, 0] = 1
    assert_near(core(impulse)[0][0], kernel, "impulse response")

    inputs = random_inputs(2, time)
    convolved = np.zeros((2, time, INPUT_SIZE))
    for t in range(time):
        for lag in range(t + 1):
            convolved[:, t] += kernel[lag] * inputs[:, t - lag].numpy()
    assert_near(core(inputs)[0], convolved, "convolution")


def test_s4d_starts_as_s4d_lin():
    core = S4D(INPUT_SIZE, 4, state_per_channel=5)
    assert torch.allclose(core.log_decay.exp(), torch.tensor(0.5))
    assert torch.allclose(core.frequency, np.pi * torch.arange(5.0).expand(4, 5))
    steps = S4D(INPUT_SIZE, 2000).log_step.exp()
    assert 0.001 <= steps.min() < 0.0011
    assert 0.09 < steps.max() <= 0.1


def test_mamba_starts_with_whole_numbers_and_small_steps():
    core = Mamba(INPUT_SIZE, 2000, state_per_channel=6)
    assert torch.allclose(core.log_decay.exp(), torch.arange(1.0, 7.0).expand(2000, 6))
    steps = torch.nn.functional.softplus(core.step_out.bias)
    assert 0.001 * (1 - 1e-3) <= steps.min() < 0.0011
    assert 0.09 < steps.max() <= 0.1 * (1 + 1e-3)


def test_mamba_with_its_selection_held_constant_is_a_convolution():
    """A constant step, and one B and C for all inputs: a time-invariant system, the same kernel at every step.

    The last feature of the input is always 1 and drives channel 0 alone, which alone sets B, C and the gate.
    """
    torch.manual_seed(0)
    core = untidy(Mamba(INPUT_SIZE, 4, state_per_channel=3))
    with torch.no_grad():
        core.embed.weight[0, :-1] = 0
        core.embed.weight[1:, -1] = 0
        core.step_in.weight.zero_()
        core.write.weight[:, 1:] = 0
        core.read.weight[:, 1:] = 0
        core.gate.weight[:, :-1] = 0
    time = 20
    inputs = random_inputs(2, time)
    inputs[:, :, -1] = 1
    weights = reference.arrays(core)

    channels = reference_linear.silu(inputs.numpy() @ weights["embed.weight"].T)  # (B, T, D)
    constant = channels[0, 0, 0]
    write, read = (weights[f"{name}.weight"][:, 0] * constant for name in ("write", "read"))
    step = np.log1p(np.exp(weights["step_out.bias"]))[:, None]
    lags = np.arange(time)[:, None, None]
    kernel = (read * write * step * np.exp(-lags * step * np.exp(weights["log_decay"]))).sum(axis=2)  # (T, D)
    kernel[0] += weights["skip"]
    convolved = np.zeros((2, time, 4))
    for t in range(time):
        for lag in range(t + 1):
            convolved[:, t] += kernel[lag] * channels[:, t - lag]
    gate = weights["gate.weight"][:, -1]
    assert_near(core(inputs)[0], convolved * gate * reference.sigmoid(gate), "outputs")


# Sums over all steps, written out


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("decay", ["none", "fixed", "gated"])
@pytest.mark.parametrize("key_size", [1, 3])
def test_linear_attention_is_its_quadratic_causal_form(key_size, decay, normalise):
    """(Q K^T * D) V, with D the product of the decays between the two steps and zero above the diagonal."""
    torch.manual_seed(0)
    core = untidy(LinearAttention(INPUT_SIZE, 6, num_heads=2, key_size=key_size, decay=decay, normalise=normalise))
    inputs = random_inputs(2, 12)
    queries, keys, values = (
        layer(inputs).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (core.query, core.key, core.value)
    )
    if normalise:
        queries, keys = (torch.nn.functional.elu(part) + 1 for part in (queries, keys))
    alpha = torch.ones(2, 2, 12, dtype=torch.float64)
    if decay == "fixed":
        alpha = alpha * torch.tensor([1 - 1 / 32, 1 - 1 / 64])[:, None]
    if decay == "gated":
        alpha = core.forget_gate(inputs).sigmoid().transpose(1, 2)
    kept = torch.zeros(2, 2, 12, 12, dtype=torch.float64)
    for t in range(12):
        for s in range(t + 1):
            kept[:, :, t, s] = alpha[:, :, s + 1 : t + 1].prod(-1)
    shares = queries @ keys.transpose(-1, -2) * kept
    if normalise:
        shares = shares / shares.sum(-1, keepdim=True)
    expected = (shares @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(core(inputs)[0], expected, rtol=0, atol=1e-12)


def rwkv_parts(core, inputs):
    """Receptance, keys and values, each (B, T, D), for inputs that follow a zero."""
    last = torch.cat([torch.zeros_like(inputs[:, :1]), inputs[:, :-1]], dim=1)
    shares = (core.mix_receptance, core.mix_key, core.mix_value)
    layers = (core.receptance, core.key, core.value)
    return [layer(share * inputs + (1 - share) * last) for share, layer in zip(shares, layers, strict=True)]


def test_rwkv_is_the_weighted_mean_of_the_paper():
    """Equation 16: a value s steps before the last weighs exp(k - s w), the step's own exp(k + u)."""
    core = make("rwkv")
    inputs = random_inputs(2, 12)
    receptance, keys, values = rwkv_parts(core, inputs)
    outputs, _ = core(inputs)
    for t in range(12):
        lags = torch.arange(t - 1, -1, -1, dtype=torch.float64)[:, None]
        logits = torch.cat([keys[:, :t] - lags * core.decay.exp(), keys[:, t : t + 1] + core.bonus], dim=1)
        mean = (logits.softmax(1) * values[:, : t + 1]).sum(1)
        expected = core.output(receptance[:, t].sigmoid() * mean)
        assert torch.allclose(outputs[:, t], expected, rtol=0, atol=1e-12)


def test_rwkv_without_decay_and_bonus_is_a_softmax_over_the_keys():
    core = make("rwkv")
    with torch.no_grad():
        core.decay.fill_(-100.0)
        core.bonus.zero_()
    inputs = random_inputs(2, 12)
    receptance, keys, values = rwkv_parts(core, inputs)
    scores = keys.unsqueeze(1).expand(-1, 12, -1, -1)  # (B, T, T, D)
    future = torch.ones(12, 12, dtype=torch.bool).triu(1)
    shares = scores.masked_fill(future[:, :, None], -torch.inf).softmax(2)
    expected = core.output(receptance.sigmoid() * torch.einsum("btsd,bsd->btd", shares, values))
    assert torch.allclose(core(inputs)[0], expected, rtol=0, atol=1e-12)


def test_attention_without_positions_sees_a_set_and_with_rotary_positions_a_sequence():
    order = torch.tensor([3, 0, 2, 1, 4])
    for name, same in (("attention, no positions", True), ("attention", False)):
        core, inputs = make(name), random_inputs(2, 5)
        change = (core(inputs)[0][:, -1] - core(inputs[:, order])[0][:, -1]).abs().max()
        assert change < 1e-13 if same else change > FAR


def test_rotary_scores_depend_on_the_distance_alone():
    """The same input at every step: a score is the same wherever both steps lie, and differs with their distance."""
    core = make("attention")
    inputs = random_inputs(1, 1).expand(1, 8, INPUT_SIZE)
    with record(core) as recording:
        _, state = core(inputs[:, :3])
        core(inputs[:, 3:], state)
    scores = torch.einsum("thk,shk->hts", recording["queries"][0], recording["keys"][0])
    assert torch.allclose(scores[:, 1:, 1:], scores[:, :-1, :-1], rtol=0, atol=1e-13)
    assert (scores[:, 0, 1:] - scores[:, 0, :-1]).abs().min() > FAR


# Stabilisers and logarithms change nothing


@pytest.mark.parametrize("name", ["slstm", "slstm, heads, sigmoid"])
def test_slstm_does_not_depend_on_its_stabiliser(name):
    """Cell and normaliser divided by e^3, the stabiliser raised by 3: the same state under other names."""
    core, inputs = make(name), random_inputs(2, 9)
    state = CASES[name].draw(core, 2)
    shifted = state._replace(
        cell=state.cell * np.exp(-3), normaliser=state.normaliser * np.exp(-3), stabiliser=state.stabiliser + 3
    )
    outputs, last = core(inputs, state)
    others, other = core(inputs, shifted)
    assert torch.allclose(outputs, others, rtol=0, atol=1e-13)
    for part, wanted in zip(without_stabiliser(other), without_stabiliser(last), strict=True):
        assert torch.allclose(part, wanted, rtol=1e-12, atol=0)


def test_rwkv_does_not_depend_on_its_exponent():
    core, inputs = make("rwkv"), random_inputs(2, 9)
    state = CASES["rwkv"].draw(core, 2)
    shifted = state._replace(hidden=state.hidden * np.exp(-3), exponent=state.exponent + 3)
    outputs, last = core(inputs, state)
    others, other = core(inputs, shifted)
    assert torch.allclose(outputs, others, rtol=0, atol=1e-13)
    for part, wanted in zip(sums_and_last_input(other), sums_and_last_input(last), strict=True):
        assert torch.allclose(part, wanted, rtol=1e-12, atol=0)


def test_slstm_heads_do_not_see_one_another():
    core, inputs = make("slstm, heads, sigmoid"), random_inputs(2, 9)
    state = CASES["slstm, heads, sigmoid"].draw(core, 2)
    hidden = state.hidden.clone()
    hidden[:, :2] += 1  # the first of three heads
    moved = (core(inputs, state._replace(hidden=hidden))[0] - core(inputs, state)[0]).abs().amax((0, 1))
    assert (moved[:2] > FAR).all()
    assert (moved[2:] == 0).all()


@pytest.mark.parametrize(
    ("time", "cut", "dtype", "tolerance"),
    [
        (8, 1, torch.float32, 1e-6),
        (8, 5, torch.float32, 1e-6),
        # The running sum of logarithms reaches -50 here, and what float32 rounds there is what the state is off by.
        (64, 1, torch.float32, 2e-5),
        (64, 40, torch.float32, 2e-5),
        (64, 40, torch.float64, 1e-13),
    ],
)
@pytest.mark.parametrize("member", [MinGRU, MinLSTM])
def test_a_carried_state_enters_the_log_space_forms_as_it_is(member, time, cut, dtype, tolerance):
    """In chunks as in one piece. A public port takes the carried state for a candidate, g(h): it is off by 0.33."""
    torch.manual_seed(0)
    core = member(INPUT_SIZE, 16, log_space=True).to(dtype)
    inputs = random_inputs(4, time).to(dtype)
    whole, last = core(inputs)
    first, state = core(inputs[:, :cut])
    second, chunked_last = core(inputs[:, cut:], state)
    assert (torch.cat([first, second], dim=1) - whole).abs().max() < tolerance
    assert (chunked_last - last).abs().max() < tolerance

    mistaken = torch.where(state >= 0, state + 0.5, state.sigmoid())
    assert (core(inputs[:, cut:], mistaken)[0] - whole[:, cut:]).abs().max() > 0.1


@pytest.mark.parametrize("member", [MinGRU, MinLSTM])
def test_log_space_is_the_plain_form_of_a_positive_candidate(member):
    """The plain core, given g(candidate) in place of the candidate, from the same state: the same numbers."""
    torch.manual_seed(0)
    logarithmic = member(INPUT_SIZE, 16, log_space=True)
    plain = member(INPUT_SIZE, 16)
    plain.load_state_dict(logarithmic.state_dict())

    def through_g(module, arguments, candidate):
        return torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())

    plain.candidate.register_forward_hook(through_g)
    inputs = random_inputs(4, 64).float()
    start = logarithmic.initial_state(4)
    assert torch.equal(start, torch.full((4, 16), 0.5))
    expected, _ = plain(inputs, start)
    outputs, state = logarithmic(inputs)
    assert (outputs - expected).abs().max() < 2e-5  # what float32 rounds of logarithms near -50
    assert (state > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [30.0, 1e3])
@pytest.mark.parametrize("name", CASES)
def test_extreme_logits_stay_finite(name, size, dtype):
    """Inputs of this size drive every gate and exponent to its end: outputs, state and gradients stay numbers."""
    torch.manual_seed(0)
    core = CASES[name].make().to(dtype)
    inputs = (size * random_inputs(2, 20)).to(dtype).requires_grad_()
    first, state = core(inputs[:, :11])
    second, state = core(inputs[:, 11:], state)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    assert all(torch.isfinite(part).all() for part in parts_of(state))
    second.sum().backward()
    assert torch.isfinite(inputs.grad).all()
    for parameter_name, parameter in core.named_parameters():
        assert torch.isfinite(parameter.grad).all(), parameter_name


# Order, affinity and size of the state


@pytest.mark.parametrize("name", CASES)
def test_order_of_the_tokens_shows_in_the_state(name):
    """Except in linear attention without decay, whose state is a sum over a set: there only the outputs differ."""
    core, inputs = make(name), random_inputs(2, 6)
    outputs, state = core(inputs)
    reordered, other = core(inputs[:, [3, 0, 2, 1, 4, 5]])
    change = max((a - b).abs().max() for a, b in zip(parts_of(state), parts_of(other), strict=True))
    if isinstance(core, LinearAttention) and core.decay == "none":
        assert change < 1e-13
        assert torch.allclose(outputs[:, -1], reordered[:, -1], rtol=0, atol=1e-12)
        assert (outputs - reordered).abs().max() > FAR
    else:
        assert change > 1e-4


@pytest.mark.parametrize("name", ["min_gru", "min_lstm", "sru", "mamba", "linear_attention, gated"])
def test_permuted_tokens_permute_what_the_first_layer_keeps_and_writes(name):
    """Gates that see one input alone do not know its place: only the recurrence does."""
    core, inputs = make(name), random_inputs(2, 6)
    order = torch.tensor([3, 0, 2, 1, 5, 4])
    a, b = core.coefficients(inputs)[:2]
    others = core.coefficients(inputs[:, order])[:2]
    assert torch.allclose(others[0], a[:, order], rtol=0, atol=1e-14)
    assert torch.allclose(others[1], b[:, order], rtol=0, atol=1e-14)


AFFINE = [name for name in CASES if name.startswith(("min_", "qrnn", "sru", "s4d", "mamba", "linear_attention"))]


@pytest.mark.parametrize("name", [name for name in AFFINE if "normalised" not in name])
def test_outputs_are_affine_in_the_hidden_state(name):
    """Halfway between two states lie the outputs halfway between theirs: what a linear recurrence is named for."""
    core, inputs = make(name), random_inputs(2, 9)
    hidden, *context = parts_of(CASES[name].draw(core, 2))
    other = hidden.flip(0) + hidden.square()

    def run(start):
        return core(inputs, core.state_type(start, *context) if context else start)[0]

    assert torch.allclose(run((hidden + other) / 2), (run(hidden) + run(other)) / 2, rtol=0, atol=1e-12)


def test_slstm_is_not_affine_in_its_hidden_state():
    """Its gates look at it: a true recurrence."""
    core, inputs = make("slstm"), random_inputs(2, 9)
    state = CASES["slstm"].draw(core, 2)
    other = state.hidden.flip(0) + 1

    def run(hidden):
        return core(inputs, state._replace(hidden=hidden))[0]

    middle = (run(state.hidden) + run(other)) / 2
    assert (run((state.hidden + other) / 2) - middle).abs().max() > FAR


GROWS = {
    "sru_plus_plus": 2 * 2,
    "sru_plus_plus, heads": 2 * 6,
    "attention": 2 * 8,
    "attention, no positions": 2 * 6,
    "attention, learned positions": 2 * 6,
}
KEPT = {  # floats of the state at its start, in the house alphabet
    "min_gru": 4,  # D
    "qrnn": 4 + 1 * 3,  # D + (window - 1) I
    "qrnn, window 1": 4,
    "qrnn, window 4, fo": 4 + 3 * 3,
    "sru": 4,
    "sru_plus_plus": 8,
    "s4d": 4 * 8 * 2,  # D N, complex
    "mamba": 4 * 3,  # D N
    "rwkv": 2 * 4 + 3 + 4,  # two sums, the last input, the exponent
    "linear_attention": 2 * 2 * 2,  # H K V
    "linear_attention, one key": 1 * 1 * 4,
    "linear_attention, fixed": 3 * 3 * 2,
    "linear_attention, normalised": 2 * 3 * 3,  # H K (V + 1)
    "slstm": 4 * 4,
    "attention": 0,
}


@pytest.mark.parametrize("name", CASES)
def test_state_grows_with_time_in_attention_alone(name):
    core = make(name)
    for time in (1, 2, 50):
        _, state = core(random_inputs(3, time))
        floats = sum(part[0].numel() for part in parts_of(state))
        assert core.state_size(time) == floats
        assert floats - core.state_size(0) == GROWS.get(name, 0) * time
    if name in KEPT:
        assert core.state_size(0) == KEPT[name]


@pytest.mark.parametrize("make", [RWKV, SLSTM])
def test_an_empty_weight_fits_into_float16(make):
    core = make(4, 6).half()
    assert all(part.isfinite().all() for part in core.initial_state(2))


@pytest.mark.parametrize("make", [MinGRU, MinLSTM])
def test_a_carried_state_of_zero_gets_its_gradient_in_log_space(make):
    torch.manual_seed(0)
    core = make(4, 6, log_space=True).double()
    state = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(1, 5, 4, dtype=torch.float64)
    core(inputs, state)[1].sum().backward()
    with record(core) as recording:
        core(inputs)
    assert torch.allclose(state.grad, recording["keep"].prod(dim=1))


def test_blended_gates_take_many_gradients_at_once():
    keep_logits, candidate = torch.randn(2, 1, 2, 3, dtype=torch.float64)

    def jacobian(vectorize):
        return torch.autograd.functional.jacobian(
            lambda *inputs: sum(blend(*inputs)), (keep_logits, candidate), vectorize=vectorize
        )

    torch.testing.assert_close(jacobian(vectorize=True), jacobian(vectorize=False))


def test_log_space_candidate_of_zero_has_a_gradient():
    core = MinGRU(2, 3, log_space=True)
    torch.nn.init.zeros_(core.candidate.weight)
    torch.nn.init.zeros_(core.candidate.bias)
    core(torch.randn(1, 4, 2))[0].sum().backward()
    assert (core.candidate.bias.grad > 0).all()


def test_a_fixed_decay_forgets_in_sixteen_bits_too():
    core = LinearAttention(8, 8, num_heads=8, decay="fixed").bfloat16()
    with record(core) as recording:
        outputs, _ = core(torch.randn(1, 3, 8, dtype=torch.bfloat16))
    assert outputs.dtype == torch.bfloat16
    assert recording["keep"].max() < 1


@pytest.mark.parametrize("make", [MinGRU, Mamba, RWKV, LinearAttention])
def test_gradients_of_each_sample_by_vmap(make):
    torch.manual_seed(0)
    core = make(4, 8).double()
    inputs = torch.randn(3, 5, 4, dtype=torch.float64)
    weights = dict(core.named_parameters())

    def loss(weights, one):
        return torch.func.functional_call(core, weights, (one[None],))[0].square().sum()

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, inputs)
    together = torch.func.grad(lambda weights: sum(loss(weights, one) for one in inputs))(weights)
    for name, gradient in together.items():
        assert torch.allclose(each[name].sum(0), gradient), name

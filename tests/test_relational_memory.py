"""RelationalMemory against a NumPy transcription of the paper's core, and against the mistakes of others."""

import math

import numpy as np
import pytest
import reference
import torch

from relmem_lite import RelationalMemory

# Rows beyond the identity start equal, of which the core warns: the numbers are the transcription's all the same.
pytestmark = pytest.mark.filterwarnings("ignore:num_slots=.*is more than a row has features")

TOLERANCE = 1e-10  # float64, a few steps: rounding stays near 1e-15, any other equation is far above
FAR = 1e-4  # a departure must move the outputs at least this much: a million times the tolerance
STYLES = ("unit", "memory", None)

SIZES = {
    "default": dict(num_slots=4, num_heads=2, head_size=3),
    "one slot": dict(num_slots=1, num_heads=2, head_size=3),
    "eight slots": dict(num_slots=8, num_heads=2, head_size=3),
    "one slot, three blocks": dict(num_slots=1, num_heads=4, head_size=2, num_blocks=3),
    "eight slots, three blocks": dict(num_slots=8, num_heads=3, head_size=2, num_blocks=3),
    "one head": dict(num_slots=3, num_heads=1, head_size=5),
    "small keys": dict(num_slots=3, num_heads=3, head_size=4, key_size=2),
    "large keys": dict(num_slots=3, num_heads=2, head_size=2, key_size=7),
    "key of one": dict(num_slots=3, num_heads=2, head_size=4, key_size=1, num_blocks=2),
    "one MLP layer": dict(num_slots=3, num_heads=2, head_size=3, mlp_layers=1),
    "three MLP layers": dict(num_slots=3, num_heads=2, head_size=3, mlp_layers=3),
    "four MLP layers": dict(num_slots=3, num_heads=2, head_size=3, mlp_layers=4),
    "other gate biases": dict(num_slots=3, num_heads=2, head_size=3, forget_bias=-0.5, input_bias=0.75),
    "gate biases that are no float32": dict(num_slots=3, num_heads=2, head_size=3, forget_bias=0.7, input_bias=-0.1),
    "gate biases that are whole numbers": dict(num_slots=3, num_heads=2, head_size=3, forget_bias=2, input_bias=-1),
    "width of one": dict(num_slots=2, num_heads=1, head_size=1),
    "more slots than width": dict(num_slots=7, num_heads=2, head_size=2),
}
INPUT_SIZE = 5
# Everything that a departure touches is there: several slots, heads, blocks and MLP layers, keys unlike values.
RICH = dict(num_slots=4, num_heads=3, head_size=4, key_size=5, num_blocks=2, mlp_layers=3)


def untidy_core(seed=0, input_size=INPUT_SIZE, **sizes):
    """A float64 core none of whose parameters is at a special value, so that each one shows in the outputs."""
    torch.manual_seed(seed)
    core = RelationalMemory(input_size, **sizes).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return core


def random_inputs(batch_size, time, seed=1, input_size=INPUT_SIZE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, time, input_size, generator=generator, dtype=torch.float64)


def random_memory(batch_size, core, seed=2):
    generator = torch.Generator().manual_seed(seed)
    shape = core.initial_state(batch_size).shape
    return 1.5 * torch.randn(shape, generator=generator, dtype=torch.float64)


def distance(tensor, array):
    assert tensor.shape == array.shape
    return np.abs(tensor.detach().numpy() - array).max()


@pytest.mark.parametrize("start", ["initial memory", "given memory"])
@pytest.mark.parametrize("gate", STYLES)
@pytest.mark.parametrize("name", SIZES)
def test_equals_the_numpy_transcription(name, gate, start):
    sizes = dict(SIZES[name], gate=gate)
    core = untidy_core(**sizes)
    inputs = random_inputs(2, 4)
    memory = random_memory(2, core) if start == "given memory" else None

    outputs, state = core(inputs, memory)

    expected = reference.relational_memory(
        reference.arrays(core), inputs.numpy(), None if memory is None else memory.numpy(), **sizes
    )
    assert distance(outputs, expected.outputs) < TOLERANCE
    assert distance(state, expected.memory) < TOLERANCE


def test_equals_the_numpy_transcription_over_many_steps_at_initial_weights():
    torch.manual_seed(0)
    sizes = dict(num_slots=8, num_heads=4, head_size=8)
    core = RelationalMemory(INPUT_SIZE, **sizes).double()
    inputs = random_inputs(1, 40)
    outputs, state = core(inputs)
    expected = reference.relational_memory(reference.arrays(core), inputs.numpy(), **sizes)
    assert distance(outputs, expected.outputs) < TOLERANCE
    assert distance(state, expected.memory) < TOLERANCE


@pytest.mark.parametrize("gate", STYLES)
def test_carried_memory_and_steps_equal_the_numpy_transcription(gate):
    sizes = dict(RICH, gate=gate)
    core = untidy_core(**sizes)
    inputs = random_inputs(2, 5)
    expected = reference.relational_memory(reference.arrays(core), inputs.numpy(), **sizes)

    first, state = core(inputs[:, :2])
    second, state = core(inputs[:, 2:4], state)
    last, state = core.step(inputs[:, 4], state)

    assert distance(torch.cat([first, second, last[:, None]], dim=1), expected.outputs) < TOLERANCE
    assert distance(state, expected.memory) < TOLERANCE


@pytest.mark.parametrize("departure", reference.DEPARTURES)
def test_no_departure_found_in_other_implementations(departure):
    core = untidy_core(**RICH)
    inputs, memory = random_inputs(2, 3), random_memory(2, core)
    weights = reference.arrays(core)
    outputs, _ = core(inputs, memory)

    faithful = reference.relational_memory(weights, inputs.numpy(), memory.numpy(), **RICH)
    departed = reference.relational_memory(weights, inputs.numpy(), memory.numpy(), **RICH, departure=departure)

    assert distance(outputs, faithful.outputs) < TOLERANCE
    assert distance(outputs, departed.outputs) > FAR


def test_ungated_memory_is_not_squashed():
    """Without gates the new memory is the attended rows themselves, a LayerNorm's result: not within (-1, 1)."""
    core = untidy_core(**RICH, gate=None)
    outputs, _ = core(random_inputs(2, 3))
    assert outputs.abs().max() > 1


def test_querying_only_the_memory_is_the_same_at_one_block_and_another_model_at_two():
    for num_blocks, same in ((1, True), (2, False)):
        sizes = dict(RICH, num_blocks=num_blocks)
        core = untidy_core(**sizes)
        inputs = random_inputs(2, 3)
        outputs, _ = core(inputs)
        memory_only = reference.relational_memory(
            reference.arrays(core), inputs.numpy(), **sizes, departure="only_memory_queried"
        )
        away = distance(outputs, memory_only.outputs)
        assert away < TOLERANCE if same else away > FAR


def test_defaults_are_the_reference_implementations():
    """Keys as large as values, one block, two MLP layers, a gate for every unit, biases 1 (forget) and 0 (input)."""
    core = untidy_core(num_slots=2, num_heads=3, head_size=4)
    assert len(core.blocks) == 1
    assert len(core.mlp) == 2
    assert core.blocks[0].qkv.weight.shape == (3 * 3 * 4, 12)
    assert core.memory_gates.weight.shape == (2 * 12, 12)
    spelled_out = untidy_core(
        num_slots=2,
        num_heads=3,
        head_size=4,
        key_size=4,
        num_blocks=1,
        mlp_layers=2,
        gate="unit",
        forget_bias=1.0,
        input_bias=0.0,
    )
    inputs = random_inputs(2, 3)
    assert torch.equal(core(inputs)[0], spelled_out(inputs)[0])


def test_output_is_the_memory_flattened_and_batch_first():
    core = untidy_core(**RICH)
    outputs, memory = core(random_inputs(2, 3))
    assert outputs.shape == (2, 3, 4 * 12)
    assert torch.equal(outputs[:, -1], memory.flatten(1))


# Parameters


@pytest.mark.parametrize("gate", STYLES)
@pytest.mark.parametrize(
    ("num_heads", "head_size", "key_size", "num_blocks", "mlp_layers"),
    [(1, 1, 1, 1, 1), (2, 3, 3, 1, 2), (4, 8, 5, 1, 3), (3, 4, 7, 3, 4)],
)
def test_parameter_count(num_heads, head_size, key_size, num_blocks, mlp_layers, gate):
    width, qkv_size = num_heads * head_size, num_heads * (2 * key_size + head_size)
    gate_size = {"unit": width, "memory": 1, None: 0}[gate]
    expected = (
        (INPUT_SIZE * width + width)
        + num_blocks * ((width * qkv_size + qkv_size) + 2 * qkv_size + 2 * 2 * width)
        + mlp_layers * (width * width + width)
        + 2 * (width * 2 * gate_size + 2 * gate_size)
    )
    for num_slots in (1, 2, 16, 100):
        core = RelationalMemory(
            INPUT_SIZE,
            num_slots=num_slots,
            num_heads=num_heads,
            head_size=head_size,
            key_size=key_size,
            num_blocks=num_blocks,
            mlp_layers=mlp_layers,
            gate=gate,
        )
        assert sum(parameter.numel() for parameter in core.parameters()) == expected
        assert all(parameter.requires_grad for parameter in core.parameters())


def test_weights_do_not_depend_on_the_slot_count():
    """Weights trained with 2 slots run with 6: no parameter or buffer has the slot count in its shape."""
    two = untidy_core(**dict(RICH, num_slots=2))
    six = untidy_core(seed=1, **dict(RICH, num_slots=6))
    six.load_state_dict(two.state_dict())
    inputs = random_inputs(2, 3)
    expected = reference.relational_memory(reference.arrays(two), inputs.numpy(), **dict(RICH, num_slots=6))
    assert distance(six(inputs)[0], expected.outputs) < TOLERANCE


def test_parameter_names():
    core = RelationalMemory(INPUT_SIZE, **dict(RICH, num_blocks=2, mlp_layers=2))
    modules = ["embed", "mlp.0", "mlp.1", "input_gates", "memory_gates"]
    modules += [f"blocks.{i}.{name}" for i in (0, 1) for name in ("qkv", "qkv_norm", "attention_norm", "mlp_norm")]
    assert set(core.state_dict()) == {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    ungated = RelationalMemory(INPUT_SIZE, **RICH, gate=None)
    assert not any("gates" in name for name in ungated.state_dict())


def test_gate_biases_are_constants_not_parameters():
    """They are added to the gates' own biases, which start at zero."""
    core = RelationalMemory(INPUT_SIZE, **RICH, forget_bias=3.0, input_bias=-2.0)
    for gates in (core.input_gates, core.memory_gates):
        assert gates.bias.abs().max() == 0
    assert all(parameter.ndim > 0 for parameter in core.parameters())


@pytest.mark.parametrize("gate", STYLES)
def test_weights_start_truncated_normal_with_deviation_one_over_root_fan_in(gate):
    torch.manual_seed(0)
    core = RelationalMemory(
        90, num_slots=3, num_heads=4, head_size=24, key_size=16, num_blocks=2, mlp_layers=2, gate=gate
    )
    # A normal cut at two deviations keeps this share of its deviation.
    cut = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
    seen = 0
    for module in core.modules():
        if isinstance(module, torch.nn.Linear):
            seen += 1
            deviation = module.in_features**-0.5
            weight, count = module.weight.detach(), module.weight.numel()
            assert weight.abs().max() <= 2 * deviation * (1 + 1e-6)
            # five standard errors of the mean and of the deviation
            assert abs(weight.mean()) < 5 * cut * deviation / math.sqrt(count)
            assert weight.std() / deviation == pytest.approx(cut, rel=5 / math.sqrt(2 * count))
            # a bell, not a uniform or a clamped normal: this share of it lies between 1 and 2 deviations
            beyond = (weight.abs() > deviation).double().mean()
            assert beyond == pytest.approx(0.2718 / 0.9545, abs=5 * math.sqrt(0.25 / count))
            assert module.bias.abs().max() == 0
        if isinstance(module, torch.nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))
            assert module.eps == 1e-5
    assert seen == (1 + 2 + 2 + (0 if gate is None else 2))


def test_one_seed_gives_one_core():
    cores = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        cores.append(RelationalMemory(INPUT_SIZE, **RICH))
    same = [torch.equal(a, b) for a, b in zip(cores[0].parameters(), cores[1].parameters(), strict=True)]
    other = [torch.equal(a, b) for a, b in zip(cores[0].parameters(), cores[2].parameters(), strict=True)]
    assert all(same)
    assert not all(other)


# Memory


@pytest.mark.parametrize("num_slots", [1, 3, 6, 9])
def test_initial_memory_is_the_identity_padded_or_truncated(num_slots):
    core = RelationalMemory(INPUT_SIZE, num_slots=num_slots, num_heads=2, head_size=3)
    memory = core.initial_state(2)
    assert memory.shape == (2, num_slots, 6)
    assert memory.dtype == torch.float32
    assert not memory.requires_grad
    assert np.array_equal(memory.numpy(), reference.initial_memory(2, num_slots, 6))
    for row in range(num_slots):
        for column in range(6):
            assert memory[1, row, column] == (1 if row == column else 0)


def test_more_slots_than_features_is_warned_of():
    """The rows beyond the identity start equal, and equal rows never part."""
    with pytest.warns(UserWarning, match=r"num_slots=9.*= 6"):
        core = RelationalMemory(INPUT_SIZE, num_slots=9, num_heads=2, head_size=3)
    _, state = core(random_inputs(1, 4).float())
    assert torch.allclose(state[:, 6], state[:, 8], rtol=0, atol=1e-5)
    assert (state[:, 5] - state[:, 6]).abs().max() > 0.01


@pytest.mark.parametrize("gate", STYLES)
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_slots_are_permutation_equivariant(num_blocks, gate):
    """No row knows its number: permuted rows go in, the same rows come out in the same permutation."""
    core = untidy_core(**dict(RICH, num_blocks=num_blocks, gate=gate))
    inputs, memory = random_inputs(2, 3), random_memory(2, core)
    order = torch.tensor([2, 0, 3, 1])

    outputs, state = core(inputs, memory)
    permuted_outputs, permuted_state = core(inputs, memory[:, order])

    assert torch.allclose(permuted_state, state[:, order], rtol=0, atol=TOLERANCE)
    slots = outputs.unflatten(-1, (4, -1))[:, :, order]
    assert torch.allclose(permuted_outputs, slots.flatten(2), rtol=0, atol=TOLERANCE)


def test_slots_with_equal_rows_stay_equal():
    """Why the initial rows are unique: equal rows read the same, so they would stay one slot for ever."""
    core = untidy_core(**RICH)
    row = random_memory(1, core)[:, :1]
    _, state = core(random_inputs(1, 5), row.expand(1, 4, -1))
    assert torch.allclose(state, state[:, :1].expand_as(state), rtol=0, atol=TOLERANCE)
    _, state = core(random_inputs(1, 5))
    assert (state[:, 0] - state[:, 1]).abs().max() > FAR


def test_sequences_of_a_batch_do_not_see_one_another():
    core = untidy_core(**RICH)
    inputs = random_inputs(3, 4)
    together, _ = core(inputs)
    for b in range(3):
        alone, _ = core(inputs[b : b + 1])
        assert torch.allclose(alone[0], together[b], rtol=0, atol=TOLERANCE)


def test_later_inputs_do_not_reach_earlier_outputs():
    core = untidy_core(**RICH)
    inputs = random_inputs(2, 6)
    outputs, _ = core(inputs)
    changed = inputs.clone()
    changed[:, 4:] += 1
    others, _ = core(changed)
    assert torch.equal(others[:, :4], outputs[:, :4])
    assert (others[:, 4:] - outputs[:, 4:]).abs().max() > FAR


# Gradients


def loss_weights(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def two_calls_in_torch(core, inputs, memory, cut):
    """A loss over the outputs of two forward calls in sequence and the last memory."""
    first, state = core(inputs[:, :cut], memory)
    second, state = core(inputs[:, cut:], state)
    outputs = torch.cat([first, second], dim=1)
    return (outputs * torch.from_numpy(loss_weights(outputs.shape, 5))).sum() + (
        state * torch.from_numpy(loss_weights(state.shape, 6))
    ).sum()


def two_calls_in_numpy(weights, inputs, memory, cut, sizes, carried=None):
    """The same in NumPy. With `carried`, the second call starts from that constant, as if memory were detached."""
    first = reference.relational_memory(weights, inputs[:, :cut], memory, **sizes)
    start = first.memory if carried is None else carried
    second = reference.relational_memory(weights, inputs[:, cut:], start, **sizes)
    outputs = np.concatenate([first.outputs, second.outputs], axis=1)
    return (outputs * loss_weights(outputs.shape, 5)).sum() + (
        second.memory * loss_weights(second.memory.shape, 6)
    ).sum()


def slope(function, array, place, width=1e-5):
    """The central difference of `function()` when `array[place]` moves."""
    kept = array[place]
    array[place] = kept + width
    above = function()
    array[place] = kept - width
    below = function()
    array[place] = kept
    return (above - below) / (2 * width)


@pytest.mark.parametrize("gate", STYLES)
def test_gradients_equal_differences_of_the_numpy_transcription(gate):
    """Parameters, inputs and initial memory, through two calls in sequence, at a few random coordinates each."""
    sizes = dict(RICH, gate=gate)
    core = untidy_core(**sizes)
    inputs, memory = random_inputs(2, 4).requires_grad_(), random_memory(2, core).requires_grad_()
    two_calls_in_torch(core, inputs, memory, cut=2).backward()

    weights = reference.arrays(core)
    arrays = dict(weights, inputs=inputs.detach().numpy().copy(), memory=memory.detach().numpy().copy())
    gradients = {name: parameter.grad for name, parameter in core.named_parameters()}
    gradients.update(inputs=inputs.grad, memory=memory.grad)

    def loss():
        return two_calls_in_numpy(arrays, arrays["inputs"], arrays["memory"], 2, sizes)

    draw = np.random.default_rng(0)
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, f"{name} gets no gradient"
        for _ in range(3):
            place = tuple(draw.integers(size) for size in gradient.shape)
            expected = slope(loss, arrays[name], place)
            # a difference over 2e-5 of a sum of about 400 terms is exact to about 1e-8
            assert gradient[place].item() == pytest.approx(expected, rel=1e-6, abs=1e-6), (name, place)


@pytest.mark.parametrize("gate", STYLES)
def test_memory_is_not_detached_between_calls(gate):
    """The gradients of the second call reach the parameters through the first call too."""
    sizes = dict(RICH, gate=gate)
    core = untidy_core(**sizes)
    inputs, memory = random_inputs(2, 4), random_memory(2, core)
    two_calls_in_torch(core, inputs, memory, cut=2).backward()

    weights = reference.arrays(core)
    carried = reference.relational_memory(weights, inputs[:, :2].numpy(), memory.numpy(), **sizes).memory
    for name, parameter in core.named_parameters():
        gradient = parameter.grad.numpy()
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)

        def detached_loss():
            return two_calls_in_numpy(weights, inputs.numpy(), memory.numpy(), 2, sizes, carried=carried)

        detached = slope(detached_loss, weights[name], place)
        assert abs(gradient[place] - detached) > FAR, name


@pytest.mark.parametrize("gate", ["unit", "memory"])
@pytest.mark.parametrize("call", ["one forward", "two forwards", "steps"])
def test_gates_learn_from_what_earlier_steps_wrote(call, gate):
    """The gradient of the last output reaches the gates of the first step, whichever way the steps are run.

    A state that is copied or detached after each step leaves the first step's input without any.
    """
    core = untidy_core(**dict(RICH, gate=gate))
    first, rest = random_inputs(2, 1).requires_grad_(), random_inputs(2, 3, seed=3)
    if call == "one forward":
        outputs, _ = core(torch.cat([first, rest], dim=1))
        last = outputs[:, -1]
    elif call == "two forwards":
        _, state = core(first)
        outputs, _ = core(rest, state)
        last = outputs[:, -1]
    else:
        _, state = core.step(first[:, 0])
        for t in range(3):
            last, state = core.step(rest[:, t], state)
    last.square().sum().backward()

    assert first.grad.abs().max() > 1e-6
    for gates in (core.input_gates, core.memory_gates):
        for parameter in gates.parameters():
            rows = parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[:, None]
            assert (rows.abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("call", ["forward", "step"])
def test_the_state_alone_gives_the_gates_a_gradient(call):
    """Not only the outputs: the memory that is handed on keeps its history."""
    core = untidy_core(**RICH)
    inputs = random_inputs(2, 1)
    state = core(inputs)[1] if call == "forward" else core.step(inputs[:, 0])[1]
    state.square().sum().backward()
    for name, parameter in core.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name

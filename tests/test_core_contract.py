"""What every core promises: one sequence model, whichever way it is run."""

import copy
import itertools

import pytest
import torch
from every_core import CORES, INPUT_SIZE, make_core, make_inputs, make_state, map_state, parts_of

from relmem_lite import Core

# The three ways add the same numbers in other orders. How far apart that takes them depends on how much a core
# amplifies: over 33 steps LSTM and GRU end within 5 roundings of the largest entry, gated memories within 120, and the
# ungated memory, whose gradient passes 99 LayerNorms, within 700. In float64 this bound is 4e-13 of the largest entry.
ROUNDINGS = 2000

every_core = pytest.mark.parametrize("name", CORES)


def run_whole(core, inputs, state):
    return core(inputs, state)


def run_in_chunks(core, inputs, state):
    """Chunks of uneven lengths, one of them a single step."""
    outputs, time = [], inputs.shape[1]
    cuts = sorted({0, 1, time // 2, time - 1, time} & set(range(time + 1)))
    for start, stop in itertools.pairwise(cuts):
        chunk, state = core(inputs[:, start:stop], state)
        outputs.append(chunk)
    return torch.cat(outputs, dim=1), state


def run_step_by_step(core, inputs, state):
    outputs = []
    for t in range(inputs.shape[1]):
        output, state = core.step(inputs[:, t], state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def results(run, core, inputs, state):
    """Outputs, final state and all gradients of a loss that weighs each of their entries differently."""
    inputs = inputs.clone().requires_grad_()
    if state is not None:
        state = map_state(lambda part: part.clone().requires_grad_(), state)
    core.zero_grad()
    outputs, last = run(core, inputs, state)
    loss, found = 0, {"outputs": outputs, **{f"state {i}": part for i, part in enumerate(parts_of(last))}}
    for seed, tensor in enumerate(found.values()):
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        loss = loss + (tensor * weights.to(tensor)).sum()
    loss.backward()
    found = {key: tensor.detach() for key, tensor in found.items()}
    found |= {f"gradient of {key}": parameter.grad.clone() for key, parameter in core.named_parameters()}
    found["gradient of inputs"] = inputs.grad
    if state is not None:
        found |= {f"gradient of initial state {i}": part.grad for i, part in enumerate(parts_of(state))}
    return found


# Each length with each of the others, and each pair of those, in both of what they can be.
@pytest.mark.parametrize(
    ("time", "batch_size", "start", "dtype"),
    [
        (1, 1, "initial state", torch.float32),
        (1, 3, "given state", torch.float64),
        (2, 1, "initial state", torch.float64),
        (2, 3, "given state", torch.float32),
        (7, 1, "given state", torch.float32),
        (7, 3, "initial state", torch.float64),
        (33, 1, "given state", torch.float64),
        (33, 3, "initial state", torch.float32),
    ],
    ids=str,
)
@every_core
def test_whole_chunked_and_stepwise_runs_agree(name, time, batch_size, start, dtype):
    core = make_core(name, dtype)
    inputs = make_inputs(batch_size, time, dtype=dtype)
    state = make_state(core, batch_size) if start == "given state" else None
    whole = results(run_whole, core, inputs, state)
    for run in (run_in_chunks, run_step_by_step):
        other = results(run, core, inputs, state)
        assert other.keys() == whole.keys()
        for key, expected in whole.items():
            assert other[key].shape == expected.shape, key
            allowed = ROUNDINGS * torch.finfo(dtype).eps * max(1.0, expected.abs().max().item())
            assert (other[key] - expected).abs().max().item() <= allowed, (run.__name__, key)


@every_core
def test_every_parameter_matters(name):
    """Each parameter tensor gets a gradient, so that none is decoration."""
    core = make_core(name, torch.float64)
    found = results(run_whole, core, make_inputs(2, 3, dtype=torch.float64), make_state(core, 2))
    for key, gradient in found.items():
        if key.startswith("gradient"):
            assert gradient.abs().max() > 0, key


@every_core
def test_shapes_are_what_the_core_says(name):
    core = make_core(name)
    assert isinstance(core, Core)
    assert core.input_size == INPUT_SIZE
    outputs, state = core(make_inputs(3, 5))
    assert outputs.shape == (3, 5, core.output_size)
    output, next_state = core.step(make_inputs(3), state)
    assert output.shape == (3, core.output_size)
    initial = core.initial_state(3)
    for other, time in ((initial, 0), (state, 5), (next_state, 6)):
        assert type(other) is type(initial)
        shapes = [tuple(time if size is None else size for size in shape) for shape in core.state_shapes.values()]
        assert [part.shape for part in parts_of(other)] == [(3, *shape) for shape in shapes]
        assert all(part.dtype == torch.float32 for part in parts_of(other))


@every_core
def test_state_size_counts_the_floats_that_are_kept(name):
    core = make_core(name)
    assert core.state_size(0) == sum(part.numel() for part in parts_of(core.initial_state(1)))
    for time in (1, 2, 9):
        _, state = core(make_inputs(1, time))
        assert core.state_size(time) == sum(part.numel() for part in parts_of(state))
    assert type(core.state_size(3)) is int


@every_core
def test_no_state_means_the_initial_state(name):
    core = make_core(name)
    inputs = make_inputs(2, 3)
    outputs, state = core(inputs)
    others, other_state = core(inputs, core.initial_state(2))
    assert torch.equal(outputs, others)
    assert all(map(torch.equal, parts_of(state), parts_of(other_state)))
    assert torch.equal(core.step(inputs[:, 0])[0], core.step(inputs[:, 0], core.initial_state(2))[0])


@every_core
def test_initial_state_is_the_same_for_every_sequence_and_fresh_at_every_call(name):
    core = make_core(name)
    for one, many in zip(parts_of(core.initial_state(1)), parts_of(core.initial_state(3)), strict=True):
        assert many.shape == (3, *one.shape[1:])
        assert torch.equal(many, one.expand_as(many))
        many[0].fill_(7)
        assert torch.equal(many[1], one[0])
    for one, again in zip(parts_of(core.initial_state(1)), parts_of(core.initial_state(1)), strict=True):
        one.fill_(7)
        assert not (one.numel() and torch.equal(one, again))


@every_core
def test_nothing_is_remembered_between_calls(name):
    core = make_core(name)
    inputs = make_inputs(2, 4)
    first, _ = core(inputs)
    core(make_inputs(5, 3, seed=9))
    core.step(make_inputs(5, seed=9))
    again, _ = core(inputs)
    assert torch.equal(first, again)


@every_core
def test_inputs_and_states_are_left_as_they_were(name):
    core = make_core(name)
    inputs, state = make_inputs(2, 4), make_state(core, 2)
    kept_inputs, kept_state = inputs.clone(), map_state(torch.clone, state)
    core(inputs, state)
    core.step(inputs[:, 0], state)
    assert torch.equal(inputs, kept_inputs)
    assert all(map(torch.equal, parts_of(state), parts_of(kept_state)))


@every_core
@pytest.mark.parametrize("gradients", [True, False], ids=["with gradients", "without"])
def test_a_state_can_be_gone_on_from_again_after_later_ones_and_in_part(name, gradients):
    core = make_core(name, torch.float64)
    inputs = make_inputs(3, 12, dtype=torch.float64)
    with torch.set_grad_enabled(gradients):
        expected, _ = core(inputs)
        _, start = core(inputs[:, :4])
        states = [core.step(inputs[:, 4], start)[1]]
        kept = [map_state(torch.clone, states[0])]
        for t in range(5, 12):
            states.append(core.step(inputs[:, t], states[-1])[1])
            kept.append(map_state(torch.clone, states[-1]))
        core.step(-inputs[:, 9], states[4])
        core(-inputs[:, 9:], states[4])
        for state, was in zip(states, kept, strict=True):
            assert all(map(torch.equal, parts_of(state), parts_of(was)))
        for t, state in enumerate(states[:-1], start=5):
            outputs, _ = core(inputs[:, t:], state)
            assert torch.allclose(outputs, expected[:, t:], rtol=0, atol=1e-10)
            for rows in (slice(1, 2), slice(0, 2), torch.tensor([2, 0])):
                part = map_state(lambda tensor, rows=rows: tensor[rows], state)
                output, _ = core.step(inputs[rows, t], part)
                assert torch.allclose(output, expected[rows, t], rtol=0, atol=1e-10)


@every_core
def test_sequences_of_a_batch_are_independent(name):
    core = make_core(name, torch.float64)
    inputs, state = make_inputs(3, 4, dtype=torch.float64), make_state(core, 3)
    together, _ = core(inputs, state)
    for b in range(3):
        alone, _ = core(inputs[b : b + 1], map_state(lambda part, b=b: part[b : b + 1], state))
        assert torch.allclose(alone[0], together[b], rtol=0, atol=1e-12)


@every_core
def test_later_inputs_do_not_reach_earlier_outputs(name):
    core = make_core(name)
    inputs = make_inputs(2, 6)
    outputs, _ = core(inputs)
    inputs[:, 3:] += 1
    others, _ = core(inputs)
    assert torch.equal(others[:, :3], outputs[:, :3])
    assert not torch.equal(others[:, 3], outputs[:, 3])


@every_core
def test_runs_without_gradients(name):
    core = make_core(name)
    inputs = make_inputs(2, 3)
    with_gradients, _ = core(inputs)
    with torch.no_grad():
        outputs, state = core(inputs)
        assert not core.step(inputs[:, 0], state)[0].requires_grad
    assert with_gradients.requires_grad
    assert not outputs.requires_grad
    # torch's LSTM rounds otherwise where it keeps nothing for a backward pass.
    assert torch.allclose(outputs, with_gradients, rtol=0, atol=1e-6)
    with torch.inference_mode():
        assert torch.equal(core(inputs)[0], outputs)


@every_core
def test_frozen_core_still_passes_gradients_to_its_input(name):
    core = make_core(name).requires_grad_(False)
    inputs = make_inputs(2, 3).requires_grad_()
    core(inputs)[0].pow(3).sum().backward()  # a stack ends in a LayerNorm, whose sum no input changes
    assert inputs.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in core.parameters())


@every_core
def test_converted_core_gives_that_dtype(name):
    core = make_core(name).double()
    outputs, state = core(make_inputs(2, 3, dtype=torch.float64))
    assert outputs.dtype == torch.float64
    assert all(part.dtype == torch.float64 for part in [*parts_of(state), *parts_of(core.initial_state(1))])
    float32_outputs, _ = make_core(name)(make_inputs(2, 3))
    assert torch.allclose(outputs.float(), float32_outputs, rtol=0, atol=1e-5)


@every_core
def test_deepcopy_is_an_equal_and_independent_core(name):
    core, inputs = make_core(name), make_inputs(2, 3)
    twin = copy.deepcopy(core)
    expected, _ = core(inputs)
    assert torch.equal(twin(inputs)[0], expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(core(inputs)[0], expected)


@every_core
def test_state_dict_round_trip(name, tmp_path):
    core, other = make_core(name), make_core(name, seed=7)
    inputs = make_inputs(2, 3)
    assert not torch.equal(other(inputs)[0], core(inputs)[0])
    torch.save(core.state_dict(), tmp_path / "core.pt")
    other.load_state_dict(torch.load(tmp_path / "core.pt", weights_only=True))
    assert torch.equal(other(inputs)[0], core(inputs)[0])
    assert set(core.state_dict()) == {key for key, _ in core.named_parameters()}


@torch.no_grad()
@every_core
def test_a_saved_state_is_loaded_without_running_code_and_gone_on_from(name, tmp_path):
    core, inputs = make_core(name), make_inputs(3, 8)
    _, state = core(inputs[:, :5])
    torch.save(core.compact(state), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert type(loaded) is type(state)
    assert torch.equal(core(inputs[:, 5:], loaded)[0], core(inputs[:, 5:], state)[0])


@every_core
def test_memory_layout_of_the_input_does_not_matter(name):
    core = make_core(name)
    inputs, state = make_inputs(4, 6), make_state(core, 4)
    expected, _ = core(inputs, state)
    time_first = inputs.transpose(0, 1).contiguous().transpose(0, 1)
    strided = torch.stack([inputs, inputs + 1], dim=-1)[..., 0]
    scattered = map_state(lambda part: torch.stack([part, part + 1], dim=-1)[..., 0], state)
    assert not time_first.is_contiguous()
    assert not strided.is_contiguous()
    for layout in (time_first, strided):
        outputs, _ = core(layout, scattered)
        assert torch.allclose(outputs, expected, rtol=0, atol=1e-6)
        steps, _ = run_step_by_step(core, layout, scattered)
        assert torch.allclose(steps, expected, rtol=0, atol=1e-5)
    one_for_all = map_state(lambda part: part[:1].expand_as(part), state)
    outputs, _ = core(inputs[:1].expand_as(inputs), one_for_all)
    assert torch.allclose(outputs, expected[:1].expand_as(outputs), rtol=0, atol=1e-6)


@every_core
def test_runs_in_mixed_precision_with_a_carried_state(name):
    """Under autocast a state may come back in bfloat16: the next call must take it."""
    core, inputs = make_core(name), make_inputs(2, 6)
    expected, _ = core(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, state = core(inputs[:, :3])
        second, state = core(inputs[:, 3:5], state)
        last, state = core.step(inputs[:, 5], state)
        outputs = torch.cat([first, second, last[:, None]], dim=1)
    outputs.float().square().sum().backward()
    # bfloat16 keeps 8 bits; LayerNorm's outputs are around 1
    assert torch.allclose(outputs.float(), expected, rtol=0, atol=0.15)
    assert all(parameter.grad.isfinite().all() for parameter in core.parameters())

"""What record() shows of a run, and that looking changes nothing."""

import numpy as np
import pytest
import reference
import torch
from every_core import CORES, INPUT_SIZE, RECORDED, make_core, make_inputs, make_state, parts_of

from relmem_lite import GRU, LSTM, RelationalMemory, record

TOLERANCE = 1e-10
SIZES = dict(num_slots=3, num_heads=2, head_size=4, key_size=5, num_blocks=2, mlp_layers=2)

every_core = pytest.mark.parametrize("name", CORES)
every_recorded_core = pytest.mark.parametrize("name", RECORDED)


def relational_memory(gate="unit"):
    torch.manual_seed(0)
    core = RelationalMemory(INPUT_SIZE, **SIZES, gate=gate).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return core


def run(core, inputs, way):
    """The same sequence in one call, in two, or step by step."""
    if way == "forward":
        return core(inputs)
    if way == "chunks":
        first, state = core(inputs[:, :2])
        second, state = core(inputs[:, 2:], state)
        return torch.cat([first, second], dim=1), state
    outputs, state = [], None
    for t in range(inputs.shape[1]):
        output, state = core.step(inputs[:, t], state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


every_way = pytest.mark.parametrize("way", ["forward", "chunks", "steps"])


def equal(tensor, array):
    return tensor.shape == array.shape and np.abs(tensor.numpy() - array).max() < TOLERANCE


@every_way
@pytest.mark.parametrize("gate", ["unit", "memory", None])
def test_relational_memory_recording_equals_the_numpy_transcription(gate, way):
    core = relational_memory(gate)
    inputs = make_inputs(2, 5, dtype=torch.float64)
    expected = reference.relational_memory(reference.arrays(core), inputs.numpy(), **SIZES, gate=gate)

    with record(core) as recording:
        _, state = run(core, inputs, way)

    assert recording["attention"].shape == (2, 5, 2, 2, 3, 4)
    assert equal(recording["attention"], expected.attention)
    assert equal(recording["memory"], expected.memories)
    assert torch.equal(recording["memory"][:, -1], state)
    if gate is None:
        assert set(recording.keys()) == {"attention", "memory"}
    else:
        assert set(recording.keys()) == {"attention", "memory", "input_gate", "forget_gate"}
        assert recording["input_gate"].shape == (2, 5, 3, 8 if gate == "unit" else 1)
        assert equal(recording["input_gate"], expected.input_gate)
        assert equal(recording["forget_gate"], expected.forget_gate)


def test_attention_weights_are_shares():
    core = relational_memory()
    with record(core) as recording:
        core(make_inputs(2, 5, dtype=torch.float64))
    assert recording["attention"].min() > 0
    sums = recording["attention"].sum(-1)
    assert torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


def test_last_column_of_the_attention_is_the_input_row():
    """A key that every query asks for, and that only the input's embedding has, draws attention to the last column."""
    core = RelationalMemory(INPUT_SIZE, num_slots=3, num_heads=1, head_size=6).double()
    with torch.no_grad():
        core.embed.weight.zero_()
        core.embed.bias.copy_(torch.tensor([0.0, 0, 0, 0, 0, 1]))  # the initial memory holds features 0 to 2
        core.blocks[0].qkv.weight.zero_()
        core.blocks[0].qkv.weight[6, 5] = 1  # feature 5 writes the first key feature
        core.blocks[0].qkv_norm.weight.fill_(1)
        core.blocks[0].qkv_norm.bias[0] = 50  # every query asks for it
    with record(core) as recording:
        core(make_inputs(1, 1, dtype=torch.float64))
    assert recording["attention"][0, 0, 0, 0, :, 3].min() > 0.99


@every_way
def test_lstm_recording_equals_its_equations(way):
    torch.manual_seed(0)
    core = LSTM(INPUT_SIZE, 6).double()
    inputs = make_inputs(2, 5, dtype=torch.float64)
    expected = reference.lstm(reference.arrays(core), inputs.numpy())
    with record(core) as recording:
        run(core, inputs, way)
    assert {"input_gate", "forget_gate", "candidate", "output_gate", "cell"} <= set(recording.keys())
    for key in ("input_gate", "forget_gate", "candidate", "output_gate"):
        assert equal(recording[key], getattr(expected, key)), key
    assert equal(recording["cell"], expected.cells)


@every_way
def test_gru_recording_equals_its_equations(way):
    torch.manual_seed(0)
    core = GRU(INPUT_SIZE, 6).double()
    inputs = make_inputs(2, 5, dtype=torch.float64)
    expected = reference.gru(reference.arrays(core), inputs.numpy())
    with record(core) as recording:
        run(core, inputs, way)
    assert {"reset_gate", "update_gate", "candidate"} <= set(recording.keys())
    for key in ("reset_gate", "update_gate", "candidate"):
        assert equal(recording[key], getattr(expected, key)), key


@every_way
@every_recorded_core
def test_recording_starts_from_the_given_state(name, way):
    """What is recorded after a carried state is the tail of what is recorded from the beginning."""
    core = make_core(name, torch.float64)
    inputs = make_inputs(2, 6, dtype=torch.float64)
    with record(core) as everything:
        core(inputs)
    _, state = core(inputs[:, :2])
    with record(core) as tail:
        if way == "forward":
            core(inputs[:, 2:], state)
        elif way == "chunks":
            _, state = core(inputs[:, 2:3], state)
            core(inputs[:, 3:], state)
        else:
            for t in range(2, 6):
                _, state = core.step(inputs[:, t], state)
    assert set(tail.keys()) == set(everything.keys())
    for key in tail:
        assert torch.allclose(tail[key], everything[key][:, 2:], rtol=0, atol=TOLERANCE), key


@every_core
def test_recording_changes_no_number(name):
    core = make_core(name)
    inputs, state = make_inputs(3, 7), make_state(core, 3)

    def everything():
        core.zero_grad()
        outputs, last = core(inputs, state)
        output, stepped = core.step(inputs[:, 0], last)
        (outputs.sum() + output.square().sum()).backward()
        gradients = [parameter.grad.clone() for parameter in core.parameters()]
        return [outputs, *parts_of(last), output, *parts_of(stepped), *gradients]

    plain = everything()
    with record(core):
        recorded = everything()
    after = everything()
    assert all(map(torch.equal, plain, recorded))
    assert all(map(torch.equal, plain, after))


@every_recorded_core
def test_recorded_values_carry_no_gradients(name):
    core = make_core(name)
    with record(core) as recording:
        core(make_inputs(2, 3))
        core.step(make_inputs(2))
    assert all(not recording[key].requires_grad for key in recording)


@every_recorded_core
def test_calls_are_joined_over_time(name):
    core = make_core(name, torch.float64)
    inputs = make_inputs(2, 7, dtype=torch.float64)
    with record(core) as whole:
        core(inputs)
    with record(core) as joined:
        _, state = core(inputs[:, :4])
        _, state = core.step(inputs[:, 4], state)
        core(inputs[:, 5:], state)
    assert set(joined.keys()) == set(whole.keys())
    for key in whole:
        assert whole[key].shape[:2] == (2, 7), key
        assert torch.allclose(joined[key], whole[key], rtol=0, atol=TOLERANCE), key


@every_recorded_core
def test_recording_ends_with_its_block(name):
    core = make_core(name)
    with record(core) as recording:
        core(make_inputs(2, 3))
    core(make_inputs(2, 3))
    core.step(make_inputs(2))
    assert all(recording[key].shape[1] == 3 for key in recording)


@every_recorded_core
def test_recording_ends_when_the_block_raises(name):
    core = make_core(name)
    recording = None

    def interrupted():
        nonlocal recording
        with record(core) as recording:
            core(make_inputs(2, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    core(make_inputs(2, 3))
    assert all(recording[key].shape[1] == 3 for key in recording)


@every_recorded_core
def test_two_recordings_of_one_core_each_hold_what_ran_inside_them(name):
    core = make_core(name)
    with record(core) as outer:
        core(make_inputs(2, 3))
        with record(core) as inner:
            core(make_inputs(2, 4))
        core(make_inputs(2, 5))
    core(make_inputs(2, 6))
    assert len(outer) > 0
    assert set(outer) == set(inner)
    assert all(outer[key].shape[1] == 3 + 4 + 5 for key in outer)
    assert all(inner[key].shape[1] == 4 for key in inner)


@every_recorded_core
def test_inner_recording_opened_before_anything_ran_ends_alone(name):
    """Two empty recordings look alike: closing the inner one must not close the outer one instead."""
    core = make_core(name)
    with record(core) as outer:
        with record(core) as inner:
            pass
        core(make_inputs(2, 3))
    assert len(inner) == 0
    assert len(outer) > 0
    assert all(outer[key].shape[1] == 3 for key in outer)


@every_recorded_core
def test_other_cores_are_not_recorded(name):
    core, other = make_core(name), make_core(name, seed=1)
    with record(core) as recording, record(other) as others:
        core(make_inputs(2, 3))
        other(make_inputs(2, 5))
    assert all(recording[key].shape[1] == 3 for key in recording)
    assert all(others[key].shape[1] == 5 for key in others)
    with record(core) as recording:
        other(make_inputs(2, 5))
    assert len(list(recording.keys())) == 0


@every_recorded_core
def test_later_writes_into_a_state_do_not_reach_the_recording(name):
    """Sequences are often restarted by writing into the state: what was recorded stays what happened."""
    core = make_core(name)
    with torch.no_grad(), record(core) as recording:
        outputs, state = core(make_inputs(2, 3))
        before = {key: recording[key] for key in recording}
        outputs.zero_()
        for part in parts_of(state):
            part.zero_()
        _, state = core.step(make_inputs(2))
        after_step = {key: recording[key] for key in recording}
        for part in parts_of(state):
            part.zero_()
    for key, value in before.items():
        assert torch.equal(recording[key][:, :3], value), key
        assert torch.equal(recording[key], after_step[key]), key


def test_unknown_name_is_answered_with_the_known_ones():
    core = make_core("lstm")
    with record(core) as recording:
        core(make_inputs(2, 3))
    with pytest.raises(KeyError, match=r"(?s)attention.*forget_gate"):
        recording["attention"]


@pytest.mark.parametrize("thing", [torch.nn.Linear(2, 2), "lstm", None])
def test_only_cores_can_be_recorded(thing):
    with pytest.raises(TypeError, match=type(thing).__name__), record(thing):
        pass

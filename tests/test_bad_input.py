"""Cores refuse what does not fit, and say what was given, what was expected and what to try."""

import math
import re

import numpy as np
import pytest
import torch
from every_core import CORES, INPUT_SIZE, make_core, make_inputs, make_state, map_state, parts_of

from relmem_lite import (
    GRU,
    LSTM,
    QRNN,
    RWKV,
    S4D,
    SLSTM,
    SRU,
    CausalAttention,
    Core,
    LinearAttention,
    LSTMState,
    Mamba,
    MinGRU,
    MinLSTM,
    RelationalMemory,
    SRUPlusPlus,
)
from relmem_lite.experiments.state_tracking import Reflections, SignedMinGRU
from relmem_lite.models import CausalConvolution

# A step of one's own is one's own to check.
every_core = pytest.mark.parametrize("name", [name for name in CORES if name != "a step of one's own"])
every_call = pytest.mark.parametrize("call", ["forward", "step"])


def naming(*parts):
    """A pattern for a message that holds all of these, in any order."""
    return "(?s)" + "".join(f"(?=.*{re.escape(str(part))})" for part in parts)


def run(core, call, inputs, state=None):
    return core(inputs, state) if call == "forward" else core.step(inputs, state)


def inputs_for(call, batch_size=2, **kind):
    return make_inputs(*((batch_size, 3) if call == "forward" else (batch_size,)), **kind)


# Inputs


@every_core
@pytest.mark.parametrize(
    ("call", "shape", "hint"),
    [
        ("forward", (2, 4), "step"),
        ("forward", (4,), "(B, T, 4)"),
        ("forward", (), "(B, T, 4)"),
        ("forward", (2, 3, 5, 4), "(B, T, 4)"),
        ("step", (2, 3, 4), "core(inputs)"),
        ("step", (4,), "(B, 4)"),
        ("step", (), "(B, 4)"),
    ],
)
def test_wrong_number_of_dimensions(name, call, shape, hint):
    expected = "(B, T, 4)" if call == "forward" else "(B, 4)"
    with pytest.raises(ValueError, match=naming(expected, shape, hint)):
        run(make_core(name), call, torch.zeros(shape))


@every_core
@every_call
@pytest.mark.parametrize("size", [1, 3, 5])
def test_wrong_feature_size(name, call, size):
    shape = (2, 3, size) if call == "forward" else (2, size)
    with pytest.raises(ValueError, match=naming(shape, INPUT_SIZE, "input_size")):
        run(make_core(name), call, torch.zeros(shape))


@every_core
@every_call
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.float16, torch.complex64])
def test_wrong_input_dtype(name, call, dtype):
    with pytest.raises(TypeError, match=naming(dtype, torch.float32, ".to(")):
        run(make_core(name), call, inputs_for(call).to(dtype))


@every_core
@every_call
def test_float32_input_to_a_float64_core(name, call):
    with pytest.raises(TypeError, match=naming(torch.float32, torch.float64, ".to(")):
        run(make_core(name).double(), call, inputs_for(call))


@every_core
@every_call
def test_integer_input_is_refused_in_mixed_precision_too(name, call):
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(TypeError, match=naming(torch.int64, torch.float32)),
    ):
        run(make_core(name), call, inputs_for(call).long())


@every_core
@every_call
@pytest.mark.parametrize("give", [np.asarray, torch.Tensor.tolist, lambda inputs: None], ids=["numpy", "list", "None"])
def test_input_that_is_no_tensor(name, call, give):
    inputs = give(inputs_for(call))
    with pytest.raises(TypeError, match=naming("tensor", type(inputs).__name__)):
        run(make_core(name), call, inputs)


@every_core
@pytest.mark.parametrize(
    ("call", "shape", "empty"),
    [
        ("forward", (2, 0, 4), "T = 0"),
        ("forward", (0, 3, 4), "B = 0"),
        ("forward", (0, 0, 4), "= 0"),
        ("step", (0, 4), "B = 0"),
    ],
)
def test_empty_input(name, call, shape, empty):
    with pytest.raises(ValueError, match=naming(shape, empty, "at least one")):
        run(make_core(name), call, torch.zeros(shape))


@every_core
@pytest.mark.parametrize("call", ["forward", "step"])
def test_nan_input(name, call):
    inputs = inputs_for(call)
    place = (1, 2, 3) if call == "forward" else (1, 3)
    inputs[place] = float("nan")
    with pytest.raises(ValueError, match=naming("NaN", place)):
        run(make_core(name), call, inputs)


def test_infinities_of_both_signs_are_not_taken_for_nan():
    inputs = inputs_for("forward")
    inputs[0, 0, :2] = torch.tensor([math.inf, -math.inf])
    run(make_core("lstm"), "forward", inputs)


@every_core
@every_call
def test_input_on_another_device(name, call):
    with pytest.raises((TypeError, ValueError), match=naming("meta", "cpu", ".to(")):
        run(make_core(name), call, inputs_for(call).to("meta"))


@every_core
@every_call
def test_core_on_another_device(name, call):
    with pytest.raises((TypeError, ValueError), match=naming("meta", "cpu", ".to(")):
        run(make_core(name).to("meta"), call, inputs_for(call))


@every_core
@every_call
def test_refused_input_leaves_the_core_usable(name, call):
    core, inputs = make_core(name), inputs_for(call)
    expected, _ = run(core, call, inputs)
    with pytest.raises(TypeError):
        run(core, call, inputs.long())
    assert torch.equal(run(core, call, inputs)[0], expected)


# States


@every_core
@every_call
@pytest.mark.parametrize("batch_size", [1, 3])
def test_state_of_another_batch_size(name, call, batch_size):
    core = make_core(name)
    state = make_state(core, batch_size)
    given = tuple(parts_of(state)[0].shape)
    with pytest.raises(ValueError, match=naming("state", given, (2, *given[1:]))):
        run(core, call, inputs_for(call), state)


@every_core
@every_call
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_state_of_another_dtype(name, call, dtype):
    core = make_core(name)
    state = map_state(lambda part: part.to(dtype), make_state(core, 2))
    with pytest.raises(TypeError, match=naming("state", dtype, torch.float32, ".to(")):
        run(core, call, inputs_for(call), state)


@every_core
@every_call
def test_state_on_another_device(name, call):
    core = make_core(name)
    state = map_state(lambda part: part.to("meta"), make_state(core, 2))
    with pytest.raises((TypeError, ValueError), match=naming("state", "meta", "cpu")):
        run(core, call, inputs_for(call), state)


HIDDEN = torch.zeros(2, 6)
OTHER_STATES = {
    "LSTM's to a GRU": ("gru", LSTMState(HIDDEN, HIDDEN), ["GRU", "hidden", "LSTMState"]),
    "LSTM's to a relational memory": (
        "relational memory",
        LSTMState(HIDDEN, HIDDEN),
        ["memory", "LSTMState"],
    ),
    "torch LSTM's tuple to a GRU": ("gru", (HIDDEN, HIDDEN), ["GRU", "hidden", "tuple"]),
    "GRU's to an LSTM": ("lstm", HIDDEN, ["LSTM", "cell", (2, 6)]),
    "GRU's to an LSTM, batch of two": ("lstm", torch.zeros(2, 6), ["LSTM", "LSTMState", (2, 6)]),
    "GRU's to a relational memory": ("relational memory", HIDDEN, [(2, 6), (2, 3, 6)]),
    "memory to an LSTM": ("lstm", torch.zeros(2, 3, 6), ["LSTM", (2, 3, 6)]),
    "memory to a GRU": ("gru", torch.zeros(2, 3, 6), [(2, 3, 6), (2, 6)]),
    "memory of other slots": ("relational memory", torch.zeros(2, 4, 6), [(2, 4, 6), (2, 3, 6)]),
    "memory of other heads": ("relational memory", torch.zeros(2, 3, 8), [(2, 3, 8), (2, 3, 6)]),
    "memory flattened": ("relational memory", torch.zeros(2, 18), [(2, 18), (2, 3, 6)]),
    "torch LSTM's layout": ("lstm", LSTMState(HIDDEN[None], HIDDEN[None]), [(1, 2, 6), (2, 6)]),
    "torch GRU's layout": ("gru", HIDDEN[None], [(1, 2, 6), (2, 6)]),
    "LSTM of another width": ("lstm", LSTMState(torch.zeros(2, 7), torch.zeros(2, 7)), [(2, 7), (2, 6)]),
    "cell of another width": ("lstm", LSTMState(HIDDEN, torch.zeros(2, 7)), ["cell", (2, 7), (2, 6)]),
    "hidden without cell": ("lstm", (HIDDEN,), ["cell", "tuple"]),
    "three vectors": ("lstm", (HIDDEN, HIDDEN, HIDDEN), ["LSTMState", "3"]),
    "cell of None": ("lstm", LSTMState(HIDDEN, None), ["LSTMState", "cell"]),
    "a list": ("gru", [[0.0] * 6] * 2, ["list", "hidden"]),
    "a number": ("relational memory", 0, ["int", "memory"]),
}


@every_call
@pytest.mark.parametrize("case", OTHER_STATES)
def test_state_of_another_core(case, call):
    name, state, parts = OTHER_STATES[case]
    with pytest.raises((TypeError, ValueError), match=naming("state", *parts)):
        run(make_core(name), call, inputs_for(call), state)


@every_core
@pytest.mark.parametrize(
    ("batch_size", "error"),
    [(0, ValueError), (-1, ValueError), (2.0, TypeError), (None, TypeError), (True, TypeError)],
)
def test_bad_batch_size_of_an_initial_state(name, batch_size, error):
    with pytest.raises(error, match=naming("batch_size", batch_size)):
        make_core(name).initial_state(batch_size)


# Sizes

RELATIONAL = dict(input_size=4, num_slots=3, num_heads=2, head_size=3, key_size=3, num_blocks=1, mlp_layers=2)
PLAIN = dict(input_size=4, hidden_size=6)
CONSTRUCTORS = {
    LSTM: PLAIN,
    GRU: PLAIN,
    RelationalMemory: RELATIONAL,
    MinGRU: PLAIN,
    MinLSTM: PLAIN,
    QRNN: PLAIN | dict(window=2),
    SRU: PLAIN,
    SRUPlusPlus: PLAIN | dict(attention_size=4, num_heads=2),
    S4D: PLAIN | dict(state_per_channel=3),
    Mamba: PLAIN | dict(state_per_channel=3, step_rank=2),
    RWKV: PLAIN,
    LinearAttention: PLAIN | dict(num_heads=2, key_size=3),
    SLSTM: PLAIN | dict(num_heads=2),
    CausalAttention: dict(input_size=4, hidden_size=8, num_heads=2),
    SignedMinGRU: PLAIN,
    Reflections: PLAIN | dict(num_reflections=2, block_size=3),
    CausalConvolution: dict(size=4, window=3),
}
EVERY_SIZE = [(core, size) for core, sizes in CONSTRUCTORS.items() for size in sizes]
# Sizes that follow from the others when they are None.
OPTIONAL = {"key_size", "attention_size", "step_rank"}


@pytest.mark.parametrize(("core", "size"), EVERY_SIZE, ids=lambda part: getattr(part, "__name__", part))
@pytest.mark.parametrize("value", [0, -1, -64])
def test_size_that_is_not_positive(core, size, value):
    with pytest.raises(ValueError, match=naming(size, value, "at least 1")):
        core(**CONSTRUCTORS[core] | {size: value})


@pytest.mark.parametrize(("core", "size"), EVERY_SIZE, ids=lambda part: getattr(part, "__name__", part))
@pytest.mark.parametrize("value", [2.5, 2.0, "2", True, [2]], ids=repr)
def test_size_that_is_no_whole_number(core, size, value):
    with pytest.raises(TypeError, match=naming(size, repr(value), type(value).__name__, "whole number")):
        core(**CONSTRUCTORS[core] | {size: value})


@pytest.mark.parametrize(
    ("core", "size"),
    [pair for pair in EVERY_SIZE if pair[1] not in OPTIONAL],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_size_of_none(core, size):
    with pytest.raises(TypeError, match=naming(size, "None")):
        core(**CONSTRUCTORS[core] | {size: None})


@pytest.mark.parametrize(
    ("core", "size"),
    [pair for pair in EVERY_SIZE if pair[1] in OPTIONAL],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_size_that_follows_from_the_others(core, size):
    made = core(**CONSTRUCTORS[core] | {size: None})
    assert made(make_inputs(2, 3))[0].shape == (2, 3, made.output_size)


@pytest.mark.parametrize("size", ["num_slots", "num_heads", "head_size"])
def test_size_that_is_missing(size):
    with pytest.raises(TypeError, match=size):
        RelationalMemory(**{key: value for key, value in RELATIONAL.items() if key != size})


@pytest.mark.parametrize(
    ("gate", "near"),
    [("units", "'unit'"), ("Unit", "'unit'"), ("memroy", "'memory'"), ("none", "None"), ("None", "None")],
)
def test_unknown_gate_is_answered_with_the_nearest(gate, near):
    with pytest.raises(ValueError, match=naming("gate", repr(gate), f"Did you mean {near}")):
        RelationalMemory(**RELATIONAL, gate=gate)


@pytest.mark.parametrize("gate", ["", "output", True, False, 1])
def test_gate_that_resembles_none_is_answered_with_all(gate):
    with pytest.raises((TypeError, ValueError), match=naming(repr(gate), "unit", "memory", "None")):
        RelationalMemory(**RELATIONAL, gate=gate)


def test_weights_of_other_sizes_are_refused():
    """torch says which parameter does not fit: heads of another size, other heads, another key size."""
    weights = RelationalMemory(**RELATIONAL).state_dict()
    for size, value in (("head_size", 4), ("num_heads", 3), ("key_size", 2)):
        with pytest.raises(RuntimeError, match=r"qkv\.weight"):
            RelationalMemory(**RELATIONAL | {size: value}).load_state_dict(weights)


def test_a_core_without_parameters_says_what_it_lacks():
    class Sum(Core):
        def __init__(self):
            super().__init__(4, 4, {"sum": (4,)})

        def step(self, input, state=None):
            state = self._checked(input, state, "BI") + input
            return state, state

    for use in (lambda core: core.initial_state(2), lambda core: core(torch.zeros(2, 3, 4))):
        with pytest.raises(TypeError, match="Sum has no parameters"):
            use(Sum())

"""The right answers to chapter 3's exercises, and the wrong ones that students give, each with its sentence."""

import math

import pytest
import torch

from relmem_lite import RelationalMemory
from relmem_lite.exercises import check
from relmem_lite.models import num_parameters

sigmoid, tanh = torch.sigmoid, torch.tanh


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


GATE = 1 / (1 + math.exp(-2))


@pytest.mark.parametrize("answer", [5.4610, 5.46, 5.5, torch.tensor(5.461)])
def test_half_life_is_right(answer):
    check("03.1-half-life", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (GATE, "the share kept in one step"),
        (math.log(2) / math.log(GATE), "turn its sign"),
        (-1 / math.log(GATE), "1/e"),
        (1 / (1 - GATE), "average stay"),
        (0.5 / (1 - GATE), "not of the first value"),
        (math.log(2) / 2, "goes through the sigmoid"),
        (math.log(2) / math.log(1 + math.exp(-3)), "added the constant 1"),
        (5, "a digit or two"),
        (70, "too large"),
        ("5", "a number was expected"),
    ],
)
def test_half_life_names_the_mistake(answer, words):
    says("03.1-half-life", answer, words)


@pytest.mark.parametrize("answer", ["abe", "e, b, a", {"a", "b", "e"}, "ABE"])
def test_what_a_gate_sees_is_right(answer):
    check("03.2-what-a-gate-sees", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("abde", "look for X"),
        ("abce", "by itself"),
        ("be", "W e + b"),
        ("ae", "own old row"),
        ("ab", "at every step, not only"),
        ("f", "a to e"),
        ("a, b and e", "nothing else"),
        (3, "as a string"),
    ],
)
def test_what_a_gate_sees_names_the_mistake(answer, words):
    says("03.2-what-a-gate-sees", answer, words)


def gates(M, from_input, memory_gates):
    return (from_input.unsqueeze(1) + memory_gates(tanh(M))).chunk(2, dim=-1)


def right_step(M, X, from_input, memory_gates):
    i, f = gates(M, from_input, memory_gates)
    return sigmoid(i) * tanh(X) + sigmoid(f + 1) * M


def test_gate_step_is_right_and_the_library_s():
    check("03.3-gate-step", right_step, strict=True)
    torch.manual_seed(0)
    sizes = dict(num_slots=3, num_heads=2, head_size=2)
    core, bare = RelationalMemory(5, **sizes), RelationalMemory(5, gate=None, **sizes)
    weights = core.state_dict()
    bare.load_state_dict({name: weights[name] for name in bare.state_dict()})
    memory, input = torch.randn(2, 3, 4), torch.randn(2, 5)
    ours = right_step(memory, bare.step(input, memory)[1], core.input_gates(core.embed(input)), core.memory_gates)
    torch.testing.assert_close(ours, core.step(input, memory)[1])


def swapped(M, X, from_input, memory_gates):
    f, i = gates(M, from_input, memory_gates)
    return sigmoid(i) * tanh(X) + sigmoid(f + 1) * M


def bias_on_the_input_gate(M, X, from_input, memory_gates):
    i, f = gates(M, from_input, memory_gates)
    return sigmoid(i + 1) * tanh(X) + sigmoid(f) * M


def no_bias(M, X, from_input, memory_gates):
    i, f = gates(M, from_input, memory_gates)
    return sigmoid(i) * tanh(X) + sigmoid(f) * M


def tanh_carried(M, X, from_input, memory_gates):
    i, f = gates(M, from_input, memory_gates)
    return sigmoid(i) * tanh(X) + sigmoid(f + 1) * tanh(M)


def gates_from_raw_memory(M, X, from_input, memory_gates):
    i, f = (from_input.unsqueeze(1) + memory_gates(M)).chunk(2, dim=-1)
    return sigmoid(i) * tanh(X) + sigmoid(f + 1) * M


def no_tanh_on_the_candidate(M, X, from_input, memory_gates):
    i, f = gates(M, from_input, memory_gates)
    return sigmoid(i) * X + sigmoid(f + 1) * M


def no_sigmoid(M, X, from_input, memory_gates):
    i, f = gates(M, from_input, memory_gates)
    return i * tanh(X) + (f + 1) * M


def like_a_gru(M, X, from_input, memory_gates):
    _, f = gates(M, from_input, memory_gates)
    f = sigmoid(f + 1)
    return (1 - f) * tanh(X) + f * M


def gates_from_attended_rows(M, X, from_input, memory_gates):
    i, f = gates(X, from_input, memory_gates)
    return sigmoid(i) * tanh(X) + sigmoid(f + 1) * M


def slots_forgotten(M, X, from_input, memory_gates):
    i, f = (from_input + memory_gates(tanh(M))).chunk(2, dim=-1)
    return sigmoid(i) * tanh(X) + sigmoid(f + 1) * M


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (swapped, "halves are swapped"),
        (bias_on_the_input_gate, "on the wrong gate"),
        (no_bias, "forget bias is missing"),
        (tanh_carried, "You keep tanh(M)"),
        (gates_from_raw_memory, "raw M"),
        (no_tanh_on_the_candidate, "tanh around X"),
        (no_sigmoid, "sigmoids are missing"),
        (like_a_gru, "as a GRU does"),
        (gates_from_attended_rows, "computed from X"),
        (slots_forgotten, "`slots_forgotten` raised RuntimeError"),
        (lambda M, X, from_input, memory_gates: M, "differ"),
        (0.5, "is a function"),
    ],
)
def test_gate_step_names_the_mistake(answer, words):
    says("03.3-gate-step", answer, words)


def count(gate, row_size):
    size = {"unit": row_size, "memory": 1, None: 0}[gate]
    return 4 * size * (row_size + 1)


def test_count_gates_is_right_and_the_library_s():
    check("03.4-count-gates", count, strict=True)
    for gate in ("unit", "memory", None):
        sizes = dict(num_slots=3, num_heads=2, head_size=4)
        core, bare = RelationalMemory(5, gate=gate, **sizes), RelationalMemory(5, gate=None, **sizes)
        assert count(gate, 8) == num_parameters(core) - num_parameters(bare)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda gate, D: count(gate, D) * 3 // 2, "no output gate"),
        (lambda gate, D: count(gate, D) // 2, "That is half"),
        (lambda gate, D: count(gate, D) * D // (D + 1), "biases are left out"),
        (lambda gate, D: 0 if gate is None else count("unit", D), "one number for a whole row"),
        (lambda gate, D: count(gate or "unit", D), "return 0"),
        (lambda gate, D: count(gate, D) + 2, "not learned"),
        (lambda gate, D: None if gate is None else count(gate, D), "returned None"),
        (80, "is a function"),
    ],
)
def test_count_gates_names_the_mistake(answer, words):
    says("03.4-count-gates", answer, words)


def fits(model, starves):
    return {name for name, p in model.named_parameters() if p.requires_grad and starves(p.grad)}


def test_starved_is_right():
    check("03.5-starved", lambda model: fits(model, lambda g: g is None or not g.any()), strict=True)
    check("03.5-starved", lambda model: sorted(fits(model, lambda g: g is None or g.norm() == 0)), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda model: fits(model, lambda g: g is None), "gradients that are zeros"),
        (lambda model: fits(model, lambda g: g is not None and not g.any()), "gradients that are None"),
        (lambda model: fits(model, lambda g: g is None or g.sum() == 0), "cancel in the sum"),
        (lambda model: fits(model, lambda g: g is None or g.norm() < 1e-6), "small but there"),
        (lambda model: {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}, "frozen"),
        (lambda model: {p for p in model.parameters() if p.grad is None}, "not names"),
        (lambda model: {"cut", "silent"}, "names of modules"),
        (
            lambda model: {n for n, p in model.named_parameters() if p.grad.norm() == 0},
            "your function raised AttributeError",
        ),
        (lambda model: 5, "a set of names"),
        (lambda model: "cut.weight, cut.bias", "a set of names"),
        (lambda model: {name for name, _ in model(torch.ones(2)).named_parameters()}, "missing the required"),
        ({"cut.weight"}, "is a function"),
    ],
)
def test_starved_names_the_mistake(answer, words):
    says("03.5-starved", answer, words)


@pytest.mark.parametrize("answer", [4.9684, 4.97, 4.96, torch.tensor(4.968)])
def test_bias_for_a_delay_is_right(answer):
    check("03.6-bias-for-a-delay", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.5**0.01, "That is the gate"),
        (-4.97, "sign is turned"),
        (math.log(100), "0.37"),
        (math.log(99), "0.37"),
        (3.97, "takes its place"),
        (0.0, "after 100 steps nothing"),
        (5, "Near"),
        (50, "too large"),
    ],
)
def test_bias_for_a_delay_names_the_mistake(answer, words):
    says("03.6-bias-for-a-delay", answer, words)

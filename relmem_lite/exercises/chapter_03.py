"""Checks for the exercises of chapter 3, gating."""

import math

import torch
from torch import nn

from relmem_lite.exercises import compare, describe, exercise, matches


@exercise("03.1-half-life")
def half_life(answer):
    """Steps until sigmoid(2) ** t is 1/2: ln 2 / -ln sigmoid(2) = 5.46."""
    gate = 1 / (1 + math.exp(-2))
    steps = math.log(2) / -math.log(gate)
    if matches(answer, steps, rtol=5e-3) or matches(answer, 5.5):
        return None
    known = [
        (gate, "That is the gate, sigmoid(2), the share kept in one step: how often until half is left?"),
        (-steps, "The logarithm of a number below 1 is negative: turn its sign."),
        (1 / steps, "That is the inverse: ln 2 over -ln of the gate, not the other way round."),
        (-1 / math.log(gate), "After so many steps a share 1/e is left, not a half: multiply by ln 2."),
        (1 / (1 - gate), "1 / (1 - f) is a number's average stay; the half-life is shorter, by about ln 2."),
        (0.5 / (1 - gate), "Each step takes its share of what is left, not of the first value: the shares multiply."),
        (math.log(2) / 2, "The gate is sigmoid(2), not e to the power -2: the bias goes through the sigmoid first."),
        (0.5 / gate, "The shares of the steps multiply: look for t with f to the power t equal to 1/2."),
        (math.log(2) / -math.log(math.tanh(2)), "A gate is a sigmoid of its bias, not a tanh."),
        (
            math.log(2) / -math.log(1 / (1 + math.exp(-3))),
            "You added the constant 1 of the library's default: here the gate is sigmoid(2) in all.",
        ),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=5e-3):
            return sentence
    if matches(answer, 5) or matches(answer, 6):
        return "Near: half is left between two steps, so give a digit or two after the point."
    return compare(answer, steps)


@exercise("03.2-what-a-gate-sees")
def what_a_gate_sees(answer):
    """What can change slot 1's forget gate: a, b and e."""
    if isinstance(answer, str):
        answer = [letter for letter in answer.lower() if letter.isalpha()]
    if not isinstance(answer, set | frozenset | list | tuple) or not all(isinstance(each, str) for each in answer):
        return f'Give the letters as a string, such as "cd"; this is {describe(answer)}.'
    chosen = {each.strip().lower() for each in answer}
    if not chosen <= set("abcde"):
        return 'The list has the letters a to e: name those that can change the gate, and nothing else, such as "cd".'
    if "d" in chosen:
        return "d: look for X in the equation of the gates; it is what the gates decide about, and they do not see it."
    if "c" in chosen:
        return (
            "c: the map from M is applied to each row by itself; row 2 reaches row 1 by attention, in X, and only then."
        )
    if "a" not in chosen:
        return "a: W e + b is part of every slot's gates, and e is made of the input at this very step."
    if "b" not in chosen:
        return "b: U tanh(M) is computed from each slot's own old row."
    if "e" not in chosen:
        return "e: the constant is added inside the sigmoid at every step, not only at the start of training."
    return None


@exercise("03.3-gate-step")
def gate_step(answer):
    """M' = sigmoid(a_i) tanh(X) + sigmoid(a_f + 1) M."""
    if not callable(answer):
        return f"The answer is a function of M, X, from_input and memory_gates; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    memory, attended = (2 * torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    from_input = torch.randn(2, 8, generator=generator)
    weight, bias = torch.randn(8, 4, generator=generator) / 2, torch.randn(8, generator=generator)

    def memory_gates(rows):
        return rows @ weight.T + bias

    given = answer(memory, attended, from_input, memory_gates)
    sigmoid, tanh = torch.sigmoid, torch.tanh

    def split(logits, interleaved=False):
        return (logits[..., ::2], logits[..., 1::2]) if interleaved else logits.chunk(2, dim=-1)

    a = from_input.unsqueeze(1) + memory_gates(tanh(memory))
    a_i, a_f = split(a)
    raw_i, raw_f = split(from_input.unsqueeze(1) + memory_gates(memory))
    new_i, new_f = split(from_input.unsqueeze(1) + memory_gates(tanh(attended)))
    own_i, own_f = split(memory_gates(tanh(memory)))
    in_i, in_f = split(from_input.unsqueeze(1).expand_as(a))
    odd_i, odd_f = split(a, interleaved=True)

    usual = tanh(attended)

    def step(i, f, written=usual, kept=memory):
        return i * written + f * kept

    i, f = sigmoid(a_i), sigmoid(a_f + 1)
    known = [
        (
            step(sigmoid(a_f), sigmoid(a_i + 1)),
            "The halves are swapped: the input gate comes first, the forget gate second.",
        ),
        (step(sigmoid(a_i + 1), sigmoid(a_f)), "The bias of 1 is on the wrong gate: it opens the forget gate."),
        (
            step(sigmoid(a_f + 1), sigmoid(a_i)),
            "The halves are swapped: the input gate comes first, the forget gate second.",
        ),
        (step(sigmoid(a_i), sigmoid(a_f)), "The forget bias is missing: 1 is added inside the forget gate's sigmoid."),
        (step(sigmoid(a_i + 1), f), "The bias of 1 is on both gates: only the forget gate has it."),
        (step(i, sigmoid(a_f) + 1), "The bias of 1 goes inside the sigmoid: a gate stays below 1."),
        (step(i, sigmoid(a_f - 1)), "The forget bias has the wrong sign: it is added, so that the gate starts open."),
        (
            step(i, f, kept=tanh(memory)),
            "You keep tanh(M): the memory itself is carried on, the tanh is for the gates alone.",
        ),
        (step(i, f, written=attended), "The tanh around X is missing: what is written lies between -1 and 1."),
        (step(sigmoid(raw_i), sigmoid(raw_f + 1)), "The gates see the raw M: they are computed from tanh(M)."),
        (
            step(sigmoid(new_i), sigmoid(new_f + 1)),
            "The gates are computed from X: they see the old memory, not what attention made of it.",
        ),
        (step(sigmoid(own_i), sigmoid(own_f + 1)), "The input's part of the gates is left out: add from_input."),
        (
            step(sigmoid(in_i), sigmoid(in_f + 1)),
            "The memory's part of the gates is left out: add memory_gates(tanh(M)).",
        ),
        (step(a_i, a_f + 1), "The sigmoids are missing: a gate lies between 0 and 1."),
        (
            step(sigmoid(odd_i), sigmoid(odd_f + 1)),
            "You took every second number: the first half is the input gate, the second half the forget gate.",
        ),
        (
            step(1 - f, f),
            "You write with 1 - f, as a GRU does: here the input gate is computed by itself, and both may be open.",
        ),
        (step(f, i), "The gates are exchanged: the input gate multiplies tanh(X), the forget gate multiplies M."),
        (tanh(step(i, f)), "There is no tanh around the result: nothing bounds the memory."),
        (step(i, 1 - f), "1 - f is kept: in spite of its name, a forget gate of 1 keeps everything."),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    return compare(given, step(i, f), "what your function returns")


@exercise("03.4-count-gates")
def count_gates(answer):
    """Parameters of the gates: 4 D (D + 1) for unit, 4 (D + 1) for memory, 0 for None."""
    if not callable(answer):
        return f"The answer is a function of the gate and of D; this is {describe(answer)}."
    for row_size in (4, 7, 32):
        for gate in ("unit", "memory", None):
            message = _count_mistake(answer(gate, row_size), gate, row_size)
            if message is not None:
                return message
    return None


def _count_mistake(given, gate, row_size):
    size = {"unit": row_size, "memory": 1, None: 0}[gate]
    right = 2 * (row_size * 2 * size + 2 * size)
    if matches(given, right, rtol=0, atol=0.5):
        return None
    known = [
        (3 * right // 2, "You counted three gates: there is no output gate, only an input and a forget gate."),
        (right // 2, "That is half: either one of the two gates is missing, or one of the two maps (from e, from M)."),
        (right - 4 * size, "The biases are left out: each of the two maps has one for each of its outputs."),
        (right - 2 * size, "One map's bias is left out: both maps have one."),
        (right + 2 * size, "The constants for input and forget bias are not learned: leave them out."),
        (right + 2, "The constants for input and forget bias are not learned: leave them out."),
        (
            right // 4,
            "There are two gates, and each is fed by two maps, one from e and one from M: four times as many.",
        ),
    ]
    if gate == "memory":
        unit = 2 * (row_size * 2 * row_size + 2 * row_size)
        known.insert(0, (unit, 'With gate="memory" a gate is one number for a whole row: the maps have two outputs.'))
    if gate is None:
        return "With gate None there are no gates, so nothing to learn: return 0."
    for wrong, sentence in known:
        if matches(given, wrong, rtol=0, atol=0.5):
            return sentence
    return compare(given, right, f"the count for gate {gate!r} and D = {row_size}")


@exercise("03.5-starved")
def starved(answer):
    """Names of the parameters that require a gradient, and whose gradient is None or zero throughout."""
    if not callable(answer):
        return f"The answer is a function of a model; this is {describe(answer)}."
    model = _unevenly_fed()
    given = answer(model)
    if isinstance(given, str):
        return f"It should return a set of names; it returns {describe(given)}."
    try:
        names = set(given)
    except TypeError:
        return f"It should return a set of names; it returns {describe(given)}."
    if not all(isinstance(name, str) for name in names):
        return "It returns parameters, not names: `named_parameters()` gives both."
    parameters = dict(model.named_parameters())
    if names and not names & set(parameters) and names <= {name.split(".")[0] for name in parameters}:
        return "It returns names of modules: one module can have a weight that learns and a bias that does not."
    missing, extra = _EXPECTED - names, names - _EXPECTED
    if "frozen.weight" in extra or "frozen.bias" in extra:
        return "It names frozen parameters: with `requires_grad` False they were never meant to learn."
    if "balanced.weight" in extra:
        return "It names a gradient whose entries cancel in the sum: ask whether any entry differs from zero."
    if "faint.weight" in extra or "faint.bias" in extra:
        return "It names a gradient that is small but there: only None and exact zeros mean that nothing arrives."
    if missing == {"cut.weight", "cut.bias"}:
        return "It misses gradients that are None: nothing at all arrived there."
    if {"silent.weight", "silent.bias"} <= missing:
        return "It misses gradients that are zeros: they are there, and yet nothing is learned from them."
    if "lopsided.weight" in missing:
        return "It misses a weight whose bias does get a gradient: look at every parameter by itself."
    if extra:
        return f"It names {sorted(extra)[0]!r}, whose gradient is not zero."
    if missing:
        return f"It misses {sorted(missing)[0]!r}."
    return None


_EXPECTED = {"cut.weight", "cut.bias", "silent.weight", "silent.bias", "lopsided.weight"}


def _unevenly_fed():
    parts = ("fed", "cut", "silent", "lopsided", "balanced", "faint", "frozen")
    model = nn.ModuleDict({part: nn.Linear(2, 2) for part in parts})
    for part, module in model.items():
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        if part == "cut":
            module.weight.grad = module.bias.grad = None
        if part == "silent":
            module.weight.grad, module.bias.grad = torch.zeros(2, 2), torch.zeros(2)
        if part == "lopsided":
            module.weight.grad = torch.zeros(2, 2)
        if part == "balanced":
            module.weight.grad = torch.tensor([[1.0, -1.0], [-2.0, 2.0]])
        if part == "faint":
            module.weight.grad, module.bias.grad = torch.full((2, 2), 1e-12), torch.full((2,), 1e-12)
        if part == "frozen":
            module.requires_grad_(False)
            module.weight.grad = module.bias.grad = None
    return model


@exercise("03.6-bias-for-a-delay")
def bias_for_a_delay(answer):
    """The b with sigmoid(b) ** 100 = 1/2: -ln(2 ** (1 / 100) - 1) = 4.97."""
    gate = 0.5**0.01
    bias = math.log(gate / (1 - gate))
    if matches(answer, bias, rtol=0, atol=0.011):
        return None
    known = [
        (gate, "That is the gate: the bias is what its sigmoid is taken of, ln(f / (1 - f))."),
        (-bias, "The sign is turned: a positive bias opens the gate."),
        (math.log(100), "With that the gate is 0.99, and 0.99 to the power 100 is 0.37: a half needs a bit more."),
        (bias - 1, "You took off the reference's constant 1: forget_bias takes its place, it is not added to it."),
        (0.0, "A bias of 0 keeps a half of each step: after 100 steps nothing is left."),
        (
            math.log(200),
            "Half of 1 / (2 * 100) is not lost at each step: look for f with f to the power 100 equal to 1/2.",
        ),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=0, atol=0.015):
            return sentence
    if matches(answer, bias, rtol=0, atol=0.1):
        return "Near: give two digits after the point."
    return compare(answer, bias, "your bias")

"""Exercises of chapter 1, The LSTM bottleneck."""

import math

import torch

from relmem_lite.exercises import compare, describe, exercise, matches


def _no_function(answer, of):
    return None if callable(answer) else f"The answer is a function of {of}; this is {describe(answer)}."


@exercise("01.1-parameters")
def _parameters(answer):
    if message := _no_function(answer, "input_size and hidden_size"):
        return message
    for inputs, units in ((16, 32), (5, 3), (40, 64)):
        size = f"with input_size {inputs} and hidden_size {units}"
        given = answer(inputs, units)
        mistakes = {
            4 * units * (inputs + units + 1): f"{size} one bias is missing: torch keeps two for each gate, one beside "
            "`W` and one beside `U`.",
            4 * units * (inputs + units): f"{size} the biases are missing.",
            3 * units * (inputs + units + 2): f"{size} that is enough for three gates: the candidate has weights too.",
            4 * units * (inputs + 2): f"{size} the weights `U` are missing, through which the hidden state comes back.",
            units * (inputs + units + 2): f"{size} that is one gate's share: there are four such sets.",
            4 * inputs * (inputs + units + 2): f"{size} input_size and hidden_size are exchanged.",
            4 * units * (inputs + units) + 2 * units: f"{size} the biases are those of one gate.",
            4 * units * (inputs + units + 2) * 2: f"{size} that is twice too many: the cell has no weights of its own.",
        }
        for mistake, message in mistakes.items():
            if matches(given, mistake):
                return message
        if wrong := compare(given, 4 * units * (inputs + units + 2), f"the number of parameters {size}"):
            return wrong
    return None


@exercise("01.2-step")
def _lstm_step(answer):
    if message := _no_function(answer, "x, h, c, W, U and b"):
        return message
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    x, h, c, W, U, b = draw(2, 3), draw(2, 4), draw(2, 4), draw(16, 3), draw(16, 4), draw(16)
    expected = _step(x, h, c, W, U, b)
    given = answer(x, h, c, W, U, b)
    mistakes = [
        (_step(x, h, c, W, U, b, order="ifog"), "the last two quarters are swapped: torch's order is input gate, "
         "forget gate, candidate, output gate."),
        (_step(x, h, c, W, U, b, order="figo"), "input gate and forget gate are swapped: the first quarter is the "
         "input gate."),
        (_step(x, h, c, W, U, b, squash=torch.sigmoid), "the candidate went through a sigmoid: it may be negative, so "
         "its function is tanh."),
        (_step(x, h, c, W, U, b, shown=lambda old, new: new), "the tanh around the cell is missing: h = o * tanh(c)."),
        (_step(x, h, c, W, U, b, shown=lambda old, new: torch.tanh(old)), "the hidden state shows the old cell: use "
         "the new one, h = o * tanh(c_t)."),
        (_step(x, h, c, W, U, b, squash=lambda a: a), "the candidate's tanh is missing: g = tanh(a_g)."),
        (_step(x, h, c, W, U, b, forget_bias=1), "the forget gate has 1 too much: a forget bias is a part of b."),
        (_step(x, h, torch.zeros_like(c), W, U, b), "the old cell is lost: c_t = f * c_{t-1} + i * g."),
        (_step(x, torch.zeros_like(h), c, W, U, b), "the old hidden state is not used: add h @ U.T before the gates."),
        (_step(x, h, c, W, U, torch.zeros_like(b)), "the bias is missing."),
        (expected[::-1], "both states are right, in the wrong order: return the hidden state first, then the cell."),
    ]  # fmt: skip
    for mistake, message in mistakes:
        if matches(given, mistake):
            return message
    if matches(given, expected[0]):
        return "that is the new hidden state alone: return the new cell after it."
    return compare(given, expected, "the new state")


def _step(x, h, c, W, U, b, order="ifgo", squash=torch.tanh, shown=lambda old, new: torch.tanh(new), forget_bias=0):
    parts = dict(zip(order, (x @ W.T + h @ U.T + b).chunk(4, dim=-1), strict=True))
    parts["f"] = parts["f"] + forget_bias
    i, f, o = (parts[gate].sigmoid() for gate in "ifo")
    new = f * c + i * squash(parts["g"])
    return o * shown(c, new), new


@exercise("01.3-half")
def _half(answer):
    if message := _no_function(answer, "steps"):
        return message
    for steps in (10, 3, 50):
        given = answer(steps)
        gate = 0.5 ** (1 / steps)
        mistakes = {
            0.5: "keeps half at every step: after t steps f has been multiplied t times.",
            1 - 0.5 / steps: "takes an equal amount away at each step: the gate takes an equal share, f to the power "
            "of t.",
            math.exp(-1 / steps): "leaves 1/e, 37 %, not a half.",
            1 - 1 / steps: "leaves about 1/e, 37 %, not a half.",
            math.log(0.5) / steps: "is the logarithm of the gate: take its exponential.",
            0.5**steps: "is what a gate of 1/2 leaves after t steps: the question is the other way round.",
            0.5 / steps: "divides where a root is needed: f to the power of t is 1/2.",
            math.log(gate / (1 - gate)): "is the bias; the gate is its sigmoid.",
            -math.log(gate / (1 - gate)): "is minus the bias; the gate is the bias's sigmoid.",
        }
        for mistake, message in mistakes.items():
            if matches(given, mistake):
                return f"for {steps} steps your value {message}"
        if wrong := compare(given, gate, f"the gate for {steps} steps"):
            return wrong
    return None


@exercise("01.4-waist")
def _waist(answer):
    units, bits = 16, 10
    mistakes = {
        units * 32 // bits: "that is the hidden state or the cell alone: the state is both.",
        2 * units: "that is one number for each float: a float32 has 32 bits, room for three numbers of 10.",
        2 * units // bits: "that counts a float as one bit: a float32 has 32.",
        2 * units * 4 // bits: "that counts bytes: a float32 has 4 bytes, which are 32 bits.",
        units * 32: "those are the bits of the hidden state or of the cell alone: add both, then divide.",
        2 * units * 32: "that is the number of bits: divide by what one item needs.",
        units: "that is the number of units: count the bits of hidden state and cell, then divide.",
        2 * units * 32 / bits: "a number that fits in part does not fit: round down.",
        math.ceil(2 * units * 32 / bits): "a number that fits in part does not fit: round down, not up.",
        2 * units * 64 // bits: "that counts 64 bits a float: float32 has 32.",
        2 * units * (32 // bits): "the count is at most, so an item may lie across two floats: divide all the bits "
        "at once.",
    }
    for mistake, message in mistakes.items():
        if matches(answer, mistake, rtol=1e-6):
            return message
    return compare(answer, 2 * units * 32 // bits, "the number of items")


@exercise("01.5-last")
def _last(answer):
    if message := _no_function(answer, "n and k"):
        return message
    for n, k in ((5, 3), (8, 1), (4, 4), (9, 2)):
        given = answer(n, k)
        other = (k - 1) / (n - 1)
        size = f"for n = {n}, k = {k}"
        mistakes = {
            0.5 + k / (2 * n): "that is the chapter's formula: here one of the two items asked about is always the "
            "last one, which is kept.",
            0.75 + k / (4 * n): "the other item is one of the first n - 1, of which k - 1 are kept.",
            0.75 + (k - 1) / (4 * n): "there are n - 1 other items to ask about, not n.",
            0.75 + k / (4 * (n - 1)): "the last item is one of the k: only k - 1 of the others are kept.",
            0.5 + other / 2: "with one number known the best guess is right 3/4 of the time, not 1/2.",
            other: "a question about a lost item is not always answered wrongly: one number is known, so 3/4.",
        }
        right = 0.75 + other / 4
        for mistake, message in mistakes.items():
            if matches(given, mistake) and not matches(mistake, right):
                return f"{size} {message}"
        if wrong := compare(given, right, f"the accuracy {size}"):
            return wrong
    return None

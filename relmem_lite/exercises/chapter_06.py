"""Checks for the exercises of chapter 6, minGRU and minLSTM."""

import math

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from relmem_lite.exercises import call, compare, describe, exercise, matches


@exercise("06.1-count")
def count(answer):
    """Parameters of a minLSTM, biases included: 3 (I D + D)."""
    if not callable(answer):
        return f"The answer is a function of input_size and hidden_size; this is {describe(answer)}."
    for inputs, units in ((5, 11), (64, 64), (10, 3)):
        given = answer(inputs, units)
        right = 3 * (inputs * units + units)
        known = [
            (3 * inputs * units, "The biases are left out: each of the maps has one for each of its outputs."),
            (2 * (inputs * units + units), "That is minGRU: minLSTM has a forget gate, an input gate and a candidate."),
            (
                4 * (inputs * units + units),
                "You counted four maps: the output gate is gone, only forget gate, input gate and candidate are left.",
            ),
            (
                3 * (units * (inputs + units) + units),
                "You gave the maps the state as well: in minLSTM they see the input alone.",
            ),
            (3 * units * (inputs + units), "You gave the maps the state as well: in minLSTM they see the input alone."),
            (
                4 * (units * (inputs + units) + units),
                "That is the LSTM: in minLSTM the maps see the input alone, and there are three of them.",
            ),
            (
                3 * (inputs * units + 2 * units),
                "You counted two biases a map, as torch's LSTM has: a map from the input alone needs one.",
            ),
            (3 * (inputs * units + inputs), "A map's bias has one number for each output, not for each input."),
            (3 * inputs * units + units, "You counted one bias for all three maps: each has D numbers of its own."),
            (3 * inputs * units + 3, "A bias is D numbers, one for each output of its map, not a single one."),
            (inputs * units + units, "That is one map: forget gate, input gate and candidate each have one."),
            (
                2 * inputs * units,
                "Those are minGRU's weights: minLSTM has a third map, and each map a bias.",
            ),
            (
                4 * inputs * units,
                "You counted four maps, and no biases: forget gate, input gate and candidate, each with a bias.",
            ),
            (3 * (inputs + units), "A map from I to D has I times D weights, not I plus D."),
            (
                3 * (units * units + units),
                "You gave the maps the state in place of the input: in minLSTM they see the input alone.",
            ),
        ]
        message = _first_match(given, right, known, f"the count for I = {inputs} and D = {units}", rtol=0, atol=0.5)
        if message is not None:
            return message
    return None


@exercise("06.2-min-gru")
def min_gru(answer):
    """All states of h_t = (1 - z_t) h_{t-1} + z_t h~_t, (B, T, D)."""
    if not callable(answer):
        return f"The answer is a function of inputs, h, gate and candidate; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    inputs, start = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 4, generator=generator)
    weights = torch.randn(2, 4, 3, generator=generator)
    biases = torch.randn(2, 4, generator=generator)

    def gate(x):
        return x @ weights[0].T + biases[0]

    def candidate(x):
        return x @ weights[1].T + biases[1]

    given = answer(inputs, start, gate, candidate)
    logits, proposed = gate(inputs), candidate(inputs)
    z = torch.sigmoid(logits)

    def run(keep, write, h=start):
        states = []
        for a, b in zip(keep.unbind(1), write.unbind(1), strict=True):
            h = a * h + b
            states.append(h)
        return torch.stack(states, dim=1)

    right = run(1 - z, z * proposed)
    known = [
        (
            run(z, (1 - z) * proposed),
            "The gate's sense is turned: in minGRU z = 1 writes the candidate, 1 - z is what is kept.",
        ),
        (run(1 - z, z * proposed.tanh()), "There is no tanh around minGRU's candidate: it is the linear map's output."),
        (run(1 - logits, logits * proposed), "The sigmoid is missing: a gate lies between 0 and 1."),
        (
            run(1 - z, z * proposed, torch.zeros_like(start)),
            "The sequence starts from zeros: it should start from the state h that is given.",
        ),
        (right[:, -1], "That is the last state alone: return the states of all steps, (B, T, D)."),
        (
            right[:, -1:].expand_as(right),
            "Every step shows the last state: h is changed in place, and so are the states that you kept before.",
        ),
        (
            right.transpose(0, 1),
            "Time comes first in what you return: stack the states along dimension 1, for (B, T, D).",
        ),
        (
            run(1 - z, proposed),
            "The candidate is written whole: it is multiplied by z, so that kept and written are shares of one.",
        ),
        (
            run(torch.ones_like(z), z * proposed),
            "Nothing is ever given up: the old state is multiplied by 1 - z.",
        ),
        (
            (1 - z) * start.unsqueeze(1) + z * proposed,
            "Every step starts from the first state: carry h on from step to step.",
        ),
        (
            torch.cat([start.unsqueeze(1), right], dim=1),
            "The states are right, with the one before the first step in front: T states were asked for.",
        ),
        (
            torch.cat([start.unsqueeze(1), right[:, :-1]], dim=1),
            "These are the states before each step: append h after it was updated, not before.",
        ),
        (run(z, z * proposed), "Kept and written are shares of one: what is multiplied by z here keeps 1 - z there."),
        (
            run(1 - z, z * torch.where(proposed >= 0, proposed + 0.5, torch.sigmoid(proposed))),
            "That is the candidate of the form in logarithms: in the plain form it is the linear map's output.",
        ),
        (run(1 - z, z * torch.sigmoid(proposed)), "Only the gate gets a sigmoid: the candidate stays linear."),
        (z * proposed, "Nothing is kept: (1 - z) times the last state is missing."),
        (run(1 - z, z * proposed.flip(1)).flip(1), "The candidates come in reverse: step t writes candidate t."),
    ]
    if isinstance(given, tuple) and given and matches(given[0], right):
        return "The states are right: return them alone, without what stands beside them."
    return _first_match(given, right, known, "what your function returns")


@exercise("06.3-mend")
def mend(answer):
    """The posted module, mended: lerp(previous, proposed, mix)."""
    if isinstance(answer, nn.Module):
        return "Give the class itself, not a module that was made of it."
    if not isinstance(answer, type):
        return f"The answer is a class; this is {describe(answer)}."
    torch.manual_seed(0)
    module = call(answer, 2, 3)
    if not isinstance(module, nn.Module):
        return "The class should be an nn.Module: class MendedMinGRU(nn.Module)."
    layers = [getattr(module, name, None) for name in ("token_to_proposal", "token_to_mix_factors")]
    if not all(isinstance(layer, nn.Module) for layer in layers):
        return "Leave the names of the two layers as they are: token_to_proposal and token_to_mix_factors."
    generator = torch.Generator().manual_seed(1)
    previous, token = torch.randn(4, 3, generator=generator), torch.randn(4, 2, generator=generator)
    with torch.no_grad():
        given = call(module, previous, token)
        try:
            proposed, logits = (layer(token) for layer in layers)
        except RuntimeError:  # it takes something else than a token
            proposed = logits = None
    if getattr(proposed, "shape", None) != (4, 3) or getattr(logits, "shape", None) != (4, 3):
        return "Both layers should map token_size numbers to hidden_state_size numbers: they see the token alone."
    z = torch.sigmoid(logits)
    right = (1 - z) * previous + z * proposed
    known = [
        (
            z * previous + (1 - z) * proposed,
            "It runs, and mix_factors still says how much is kept: lerp(a, b, m) is a at m = 0 and b at m = 1.",
        ),
        ((1 - logits) * previous + logits * proposed, "The sigmoid is missing: a gate lies between 0 and 1."),
        (
            (1 - z) * previous + z * proposed.tanh(),
            "There is no tanh around the proposal: minGRU's candidate is linear.",
        ),
        (proposed, "Nothing of the previous state is kept: mix the two."),
    ]
    return _first_match(given, right, known, "the new state")


@exercise("06.4-weights")
def weights(answer):
    """Weight of each candidate in the last state: w_t = z_t times the product over s > t of 1 - z_s, (T, D)."""
    if not callable(answer):
        return f"The answer is a function of z, (T, D); this is {describe(answer)}."
    z = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    given = answer(z)
    keep = 1 - z
    ones = torch.ones_like(z[:1])
    from_here = keep.flip(0).cumprod(0).flip(0)
    later = torch.cat([from_here[1:], ones])
    before = torch.cat([ones, keep.cumprod(0)[:-1]])
    open_later = torch.cat([z.flip(0).cumprod(0).flip(0)[1:], ones])
    right = z * later
    known = [
        (z * from_here, "A page's own 1 - z takes nothing from it: the product begins at the step after it."),
        (z * before, "You took the product over the earlier steps: what comes later is what erases."),
        (z * keep.cumprod(0), "You took the product over the earlier steps: what comes later is what erases."),
        (later, "The page's own gate is missing: only a share z_t of it is written at all."),
        (keep * open_later, "z and 1 - z are exchanged: z is what a page is written with, 1 - z what a step leaves."),
        (z * open_later, "A later step leaves 1 - z of what was there, not z."),
        (
            right.flip(0),
            "The steps come out in reverse: turn the result round, so that row t belongs to page t.",
        ),
        (right / right.sum(0), "Do not scale the weights to a sum of 1: the first state has a share as well."),
        (z, "The later steps are missing: each leaves 1 - z of what was there."),
        (right.mean(1), "Every unit has weights of its own: return (T, D), without the mean over units."),
        (
            z * keep.prod(0),
            "You took the product over all steps: it is the steps after a page that erase it.",
        ),
        (
            z * keep.prod(0) / keep,
            "You took the product over all other steps: it is the steps after a page that erase it.",
        ),
        (
            z * torch.cat([keep.flip(1).cumprod(1).flip(1)[:, 1:], torch.ones_like(z[:, :1])], dim=1),
            "The product runs over the units, dimension 1: it is the later steps, dimension 0, that erase.",
        ),
        (right.log(), "Those are the logarithms of the weights: take exp of them at the end."),
        (
            z * torch.cat([keep[1:], ones]),
            "Only the next step's 1 - z is in there: every later step takes its share.",
        ),
        (
            z * (1 - torch.cat([z.flip(0).cumsum(0).flip(0)[1:], torch.zeros_like(z[:1])])),
            "The shares do not add up: each later step takes z of what is left by then, so the 1 - z multiply.",
        ),
        (right.T, "Rows are steps, columns units: return (T, D), not its transpose."),
        (right.sum(0), "You summed over the pages: one weight for each page and unit was asked for, (T, D)."),
    ]
    return _first_match(given, right, known, "what your function returns")


@exercise("06.5-taps")
def taps(answer):
    """The least n with 0.9 ** n <= 0.001: 66."""
    exact = math.log(1e-3) / math.log(0.9)
    if matches(answer, 66, rtol=0, atol=1e-3):
        return None
    known = [
        (exact, "Taps are whole numbers: which is the least that suffices?"),
        (65, "65 leaves 0.00106, a little more than one thousandth: one tap more."),
        (67, "One too many: 66 taps, for the steps 0 to 65, leave 0.9 ** 66, and that is small enough."),
        (-exact, "Both logarithms are negative: their quotient is positive."),
        (688, "That is for a gate that keeps 0.99: here it keeps 0.9."),
        (687, "That is for a gate that keeps 0.99: here it keeps 0.9."),
        (3, "That is for a gate that keeps 0.1: here it keeps 0.9 and writes 0.1."),
        (44, "So many until a single tap is below one thousandth: the taps that you leave out add up, to 0.9 ** n."),
        (1000, "That is one over the error: look for n with 0.9 ** n at most one thousandth."),
        (10, "1 / z is the average's reach; at n = 10 a third is still missing: look for 0.9 ** n at most 0.001."),
        (29, "That is with base e for one and base 10 for the other logarithm: take the same for both."),
        (30, "That is with base e for one and base 10 for the other logarithm: take the same for both."),
    ]
    return _first_match(answer, 66, known, "your number of taps", rtol=0, atol=0.02)


@exercise("06.6-share")
def share(answer):
    """The share f / (f + i) = sigmoid(log f - log i), finite for logits of -200."""
    if not callable(answer):
        return f"The answer is a function of the two logits; this is {describe(answer)}."
    forget = torch.tensor([0.0, 1.0, -2.0, 3.0, 0.5])
    write = torch.tensor([0.0, -1.0, 1.5, 2.0, -3.0])
    given = answer(forget, write)
    f, i = torch.sigmoid(forget), torch.sigmoid(write)
    right = f / (f + i)
    known = [
        (i / (f + i), "That is the input gate's share: f stands above the line."),
        (
            torch.sigmoid(forget - write),
            "That is the softmax of the logits: the logarithms of the gates are logsigmoid of the logits.",
        ),
        (forget / (forget + write), "The sigmoids are missing: f and i are sigmoids of the logits."),
        (torch.sigmoid(f - i), "The sigmoid is of the difference of the gates' logarithms, not of the gates."),
        (logsigmoid(forget) - logsigmoid(write), "That is ln f - ln i: its sigmoid is the share."),
        (f, "That is the forget gate itself: it has to be divided by the sum of both gates."),
    ]
    message = _first_match(given, right, known, "the share")
    if message is not None:
        return message
    forget = torch.tensor([-200.0, -200.0, -199.0, 200.0, -200.0])
    write = torch.tensor([-200.0, -199.0, -200.0, 200.0, 0.0])
    given = answer(forget, write)
    right = torch.sigmoid(logsigmoid(forget) - logsigmoid(write))
    if not matches(given, right) and bool(torch.as_tensor(given).isnan().any()):
        return "Right for moderate logits, but NaN at -200, where both gates are 0: divide in logarithms instead."
    if not matches(given, right):
        return "Right for moderate logits, but not at -200: a small number in the denominator hides what the share is."
    return None


def _first_match(given, right, known, what, **tolerance):
    """The sentence of the known mistake that gives this value, or how it differs; None if it is right."""
    if matches(given, right, **tolerance):
        return None
    for wrong, sentence in known:
        if matches(given, wrong, **tolerance):
            return sentence
    return compare(given, right, what, **tolerance)

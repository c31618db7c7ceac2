"""The right answers to chapter 5's exercises, and the wrong ones that students give, each with its sentence."""

import math

import pytest
import torch

from relmem_lite.exercises import check
from relmem_lite.language_model import AdaptiveSoftmax, WordVectors


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


NAMES = ["05.1-perplexity", "05.2-bits", "05.3-cost", "05.4-draw", "05.5-in-pieces"]


@pytest.mark.parametrize("name", NAMES)
def test_the_untouched_stub_is_not_answered_yet(name):
    assert check(name, lambda *inputs: ...).status == "unanswered"


@pytest.mark.parametrize("name", NAMES)
def test_a_number_is_no_function(name):
    says(name, 3.0, "is a function")


def weighted(means, counts):
    return sum(m * n for m, n in zip(means, counts, strict=True))


def test_perplexity_is_right_in_numbers_and_tensors():
    check("05.1-perplexity", lambda means, counts: math.exp(weighted(means, counts) / sum(counts)), strict=True)

    def with_tensors(means, counts):
        means, counts = torch.tensor(means), torch.tensor(counts)
        return ((means * counts).sum() / counts.sum()).exp()

    check("05.1-perplexity", with_tensors, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda means, counts: math.exp(sum(means) / len(means)), "Weigh by tokens"),
        (lambda means, counts: math.exp(max(counts) * sum(means) / sum(counts)), "the port's slip"),
        (
            lambda means, counts: weighted([math.exp(m) for m in means], counts) / sum(counts),
            "mean of perplexities",
        ),
        (lambda means, counts: weighted(means, counts) / sum(counts), "mean loss, in nats"),
        (lambda means, counts: 2 ** (weighted(means, counts) / sum(counts)), "not 2"),
        (lambda means, counts: math.exp(weighted(means, counts) / len(means)), "not of windows"),
        (lambda means, counts: math.exp(-weighted(means, counts) / sum(counts)), "sign"),
        (lambda means, counts: [1.0], "is not right"),
        (lambda means, counts: means / 2, "raised TypeError"),
    ],
)
def test_perplexity_names_the_mistake(answer, words):
    says("05.1-perplexity", answer, words)


def test_bits_are_right():
    check("05.2-bits", lambda p, words, characters: words * math.log2(p) / characters, strict=True)
    check("05.2-bits", lambda p, words, characters: math.log(p) / math.log(2) / (characters / words), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p, w, c: w * math.log(p) / c, "in nats"),
        (lambda p, w, c: w * math.log(p) * math.log(2) / c, "by dividing by ln 2"),
        (lambda p, w, c: math.log2(p), "bits per word"),
        (lambda p, w, c: c * math.log2(p) / w, "Turned round"),
        (lambda p, w, c: math.log2(p * w / c), "logarithm comes first"),
        (lambda p, w, c: p ** (w / c), "perplexity per character"),
        (lambda p, w, c: w * p / c, "take its log2 first"),
        (lambda p, w, c: w * math.log2(p), "the whole text"),
        (lambda p, w, c: 1.0, "is not right"),
    ],
)
def test_bits_names_the_mistake(answer, words):
    says("05.2-bits", answer, words)


def head(k, D):
    return D * (k + 1)


def tail(k, C, D):
    return D / 4 * (D + C - k)


def test_cost_is_right_and_counts_what_the_library_computes():
    def cost(k, p, C, D):
        return head(k, D) + p * tail(k, C, D)

    check("05.3-cost", cost, strict=True)
    words = WordVectors(1000, 64, cutoffs=(50,))
    clusters = AdaptiveSoftmax(words).clusters.weight.numel()
    in_head = words.tables[0].numel() + clusters
    in_tail = words.tables[1].numel() + words.maps[0].numel()
    assert cost(50, 0.3, 1000, 64) == in_head + 0.3 * in_tail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda k, p, C, D: D * k + p * tail(k, C, D), "one entry more"),
        (lambda k, p, C, D: head(k, D) + tail(k, C, D), "Only the share p"),
        (lambda k, p, C, D: head(k, D) + (1 - p) * tail(k, C, D), "not 1 - p"),
        (lambda k, p, C, D: (1 - p) * head(k, D) + p * tail(k, C, D), "pays for the head"),
        (lambda k, p, C, D: head(k, D) + p * D / 4 * (C - k), "map from D numbers down"),
        (lambda k, p, C, D: head(k, D) + p * D * (C - k), "there is a map down"),
        (lambda k, p, C, D: head(k, D) + p * D * (D + C - k), "not D."),
        (lambda k, p, C, D: head(k, D) + p * D / 4 * (D + C), "C - k"),
        (lambda k, p, C, D: D * C, "full softmax"),
        (lambda k, p, C, D: 0.5 * head(k, D), "too small"),
    ],
)
def test_cost_names_the_mistake(answer, words):
    says("05.3-cost", answer, words)


def kept(scores, k, low=-math.inf):
    best = scores.topk(k)
    values = torch.full_like(scores, low)
    values[best.indices] = best.values
    return values


def draw(scores, temperature, k):
    return torch.softmax(kept(scores, k) / temperature, dim=0)


def test_draw_is_right_whichever_comes_first():
    check("05.4-draw", draw, strict=True)

    def renormalised(scores, temperature, k):
        p = torch.softmax(scores / temperature, dim=0)
        p[p < p.topk(k).values.min()] = 0
        return p / p.sum()

    check("05.4-draw", renormalised, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s, t, k: torch.softmax(kept(s, k) * t, dim=0), "Divide by the temperature"),
        (lambda s, t, k: torch.softmax(kept(s, k), dim=0), "temperature is not used"),
        (lambda s, t, k: torch.softmax(s / t, dim=0), "k is not used"),
        (lambda s, t, k: torch.softmax(s, dim=0), "Neither"),
        (
            lambda s, t, k: torch.softmax(s / t, dim=0) * (kept(s, k) > -math.inf),
            "sum to 1 again",
        ),
        (lambda s, t, k: torch.softmax(kept(s, k), dim=0) / t, "before the softmax"),
        (lambda s, t, k: torch.softmax(s, dim=0) / t, "before the softmax"),
        (lambda s, t, k: torch.softmax(kept(s, k, 0.0) / t, dim=0), "minus infinity"),
        (lambda s, t, k: torch.softmax(s.topk(k).values / t, dim=0), "best alone"),
        (lambda s, t, k: torch.log(draw(s, t, k)), "logarithms"),
        (lambda s, t, k: draw(s, t, k).sort(descending=True).values, "They are sorted"),
        (lambda s, t, k: torch.softmax(s.masked_fill(kept(s, k) > -math.inf, -math.inf) / t, 0), "all but the k"),
    ],
)
def test_draw_names_the_mistake(answer, words):
    says("05.4-draw", answer, words)


def in_pieces(core, inputs, length):
    outputs, state = [], None
    for piece in inputs.split(length, dim=1):
        output, state = core(piece, state)
        state = core.carry_over(state)
        outputs.append(output)
    return torch.cat(outputs, dim=1)


def test_in_pieces_is_right_by_carry_over_and_by_detach():
    check("05.5-in-pieces", in_pieces, strict=True)

    def by_hand(core, inputs, length):
        outputs, state = [], core.initial_state(len(inputs))
        for start in range(0, inputs.shape[1], length):
            whole = isinstance(state, torch.Tensor)
            state = state.detach() if whole else type(state)(*(part.detach() for part in state))
            output, state = core(inputs[:, start : start + length], state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    check("05.5-in-pieces", by_hand, strict=True)


def fresh(core, inputs, length):
    return torch.cat([core(piece)[0] for piece in inputs.split(length, dim=1)], dim=1)


def with_gradient(core, inputs, length):
    return core(inputs)[0]


def no_gradient(core, inputs, length):
    with torch.no_grad():
        return in_pieces(core, inputs, length)


def cut_inputs(core, inputs, length):
    return in_pieces(core, inputs.detach(), length)


def whole_pieces(core, inputs, length):
    return in_pieces(core, inputs[:, : inputs.shape[1] // length * length], length)


def last_piece(core, inputs, length):
    return in_pieces(core, inputs, length)[:, -(inputs.shape[1] % length) :]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fresh, "fresh state"),
        (with_gradient, "over the seam"),
        (no_gradient, "No gradient is left"),
        (lambda *given: in_pieces(*given).detach().numpy(), "No gradient is left"),
        (cut_inputs, "own inputs"),
        (whole_pieces, "shorter piece is missing"),
        (last_piece, "Only the last piece"),
        (lambda core, inputs, length: core(inputs), "without the state"),
        (lambda core, inputs, length: [core(piece)[0] for piece in inputs.split(length, 1)], "torch.cat"),
        (lambda core, inputs, length: in_pieces(core, inputs, length).flip(1), "values differ"),
    ],
)
def test_in_pieces_names_the_mistake(answer, words):
    says("05.5-in-pieces", answer, words)

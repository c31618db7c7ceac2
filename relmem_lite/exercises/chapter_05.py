"""Checks for the exercises of chapter 5, a language model with memory slots."""

import math

import torch
from torch import Tensor, nn

from relmem_lite import LSTM, RelationalMemory
from relmem_lite.exercises import compare, describe, exercise, matches


def _known_or(known, given, right, what, rtol=1e-4):
    """Return None when `given` is right, else the sentence of the mistake that gives it, or how it differs."""
    if matches(given, right, rtol=rtol):
        return None
    for wrong, sentence in known:
        if matches(given, wrong, rtol=rtol):
            return sentence
    return compare(given, right, what, rtol=rtol)


def _no_function(answer):
    return None if callable(answer) else f"The answer is a function; this is {describe(answer)}."


@exercise("05.1-perplexity")
def perplexity(answer):
    """The exp of the losses' mean over tokens: each window's mean weighs as many tokens as it has."""
    if message := _no_function(answer):
        return message
    for means, counts in (([1.5, 2.5, 4.0], [100, 100, 20]), ([0.7], [13]), ([3.0, 1.0], [7, 35])):
        total = sum(m * n for m, n in zip(means, counts, strict=True))
        full = max(counts)
        known = [
            (
                math.exp(sum(means) / len(means)),
                "Each window counts once: the short one has too much weight. Weigh by tokens.",
            ),
            (
                math.exp(full * sum(means) / sum(counts)),
                "The short window is counted as a full one, which was the port's slip: use its own count.",
            ),
            (
                sum(n * math.exp(m) for m, n in zip(means, counts, strict=True)) / sum(counts),
                "That is a mean of perplexities: take the mean of the losses first, then exp.",
            ),
            (total / sum(counts), "That is the mean loss, in nats: its exp is the perplexity."),
            (
                2 ** (total / sum(counts)),
                "The losses are in nats: take e to the power, not 2.",
            ),
            (math.exp(total / len(means)), "Divide by the number of tokens, not of windows."),
            (math.exp(-total / sum(counts)), "The sign is turned: a loss is -ln P already, so exp(+mean)."),
        ]
        message = _known_or(known, answer(means, counts), math.exp(total / sum(counts)), "the perplexity")
        if message:
            return message
    return None


@exercise("05.2-bits")
def bits_per_character(answer):
    """The text's bits, words * log2(perplexity), over its characters."""
    if message := _no_function(answer):
        return message
    for word_perplexity, words, characters in ((100.0, 1000, 5600), (4.5, 20_000, 90_000)):
        bits = math.log2(word_perplexity)
        right = words * bits / characters
        known = [
            (right * math.log(2), "That is in nats: bits come from log2, or divide by ln 2."),
            (right * math.log(2) ** 2, "Nats become bits by dividing by ln 2, not by multiplying."),
            (bits, "That is bits per word: a word is several characters."),
            (characters * bits / words, "Turned round: a word's bits are shared among its characters."),
            (
                math.log2(word_perplexity * words / characters),
                "The logarithm comes first: divide the bits by the characters, not the perplexity.",
            ),
            (
                word_perplexity ** (words / characters),
                "That is the perplexity per character: its log2 is what is asked for.",
            ),
            (words * word_perplexity / characters, "A perplexity is no number of bits: take its log2 first."),
            (words * bits, "Those are the bits of the whole text: divide by its characters."),
        ]
        message = _known_or(known, answer(word_perplexity, words, characters), right, "the number of bits")
        if message:
            return message
    return None


@exercise("05.3-cost")
def cost(answer):
    """D (k + 1) for the head, and for the share p of the tokens D/4 (D + C - k)."""
    if message := _no_function(answer):
        return message
    for k, p, C, D in ((2000, 0.3, 20_000, 128), (50, 0.6, 1000, 64)):
        head, own = D * (k + 1), D / 4
        tail = own * (D + C - k)
        known = [
            (
                D * k + p * tail,
                "The head has one entry more than words: the one that says that it is one of the others.",
            ),
            (head + tail, "Only the share p of the tokens needs the tail: an average cost counts it with p."),
            (head + (1 - p) * tail, "p is the share in the tail, and only those tokens pay for it: p, not 1 - p."),
            (p * head + (1 - p) * tail, "Every token pays for the head, those in the tail too."),
            ((1 - p) * head + p * tail, "Every token pays for the head, those in the tail too."),
            (head + p * own * (C - k), "The map from D numbers down to D / 4 is missing: it costs D times D / 4."),
            (head + p * D * (C - k), "The tail's vectors have D / 4 numbers, not D; and there is a map down to them."),
            (head + p * D * (D + C - k), "The tail's vectors have D / 4 numbers, not D."),
            (head + p * own * (D + C), "The tail holds the words that the head does not: C - k of them."),
            (D * C, "That is the full softmax."),
        ]
        message = _known_or(known, answer(k, p, C, D), head + p * tail, "the cost")
        if message:
            return message
    return None


@exercise("05.4-draw")
def draw(answer):
    """softmax(scores / temperature) among the k highest scores, 0 for all others."""
    if message := _no_function(answer):
        return message
    generator = torch.Generator().manual_seed(0)
    for size, temperature, k in ((8, 0.5, 3), (20, 2.0, 5), (6, 1.0, 6), (5, 1.5, 1)):
        scores = 2 * torch.randn(size, generator=generator)
        message = _draw_mistake(answer(scores, temperature, k), scores, temperature, k)
        if message:
            return message
    return None


def _draw_mistake(given, scores: Tensor, temperature: float, k: int):
    best = torch.zeros(len(scores), dtype=torch.bool)
    best[scores.topk(k).indices] = True

    def among_best(values: Tensor) -> Tensor:
        return torch.softmax(values.masked_fill(~best, -math.inf), dim=0)

    warm, plain = torch.softmax(scores / temperature, dim=0), torch.softmax(scores, dim=0)
    right = among_best(scores / temperature)
    if isinstance(given, Tensor) and len(scores) != k and given.shape == (k,):
        return f"It returns the {k} best alone: return all {len(scores)} probabilities, 0 for those left out."
    known = [
        (among_best(scores * temperature), "Divide by the temperature: multiplying turns warm into cold."),
        (among_best(scores), "The temperature is not used."),
        (warm, "All tokens may still be drawn: k is not used."),
        (plain, "Neither the temperature nor k is used."),
        (warm * best, "What is left must sum to 1 again: divide by its sum, or take the softmax last."),
        (
            plain * best / (plain * best).sum() / temperature,
            "Divide the scores by the temperature before the softmax, not the probabilities after it.",
        ),
        (
            plain / temperature,
            "Divide the scores by the temperature before the softmax, not the probabilities after it.",
        ),
        (
            torch.softmax((scores * best) / temperature, dim=0),
            "A score of 0 is no probability of 0: what is left out needs a score of minus infinity.",
        ),
        (
            torch.softmax(scores.masked_fill(best, -math.inf) / temperature, dim=0) if k < len(scores) else right + 1,
            "It keeps all but the k best.",
        ),
        (right.sort(descending=True).values, "They are sorted: each probability stays at the place of its token."),
        (torch.log(right), "Those are logarithms: return the probabilities."),
    ]
    return _known_or(known, given, right, "the distribution")


@exercise("05.5-in-pieces")
def in_pieces(answer):
    """All outputs equal the core's over the whole sequence; gradients end at each seam."""
    if message := _no_function(answer):
        return message
    torch.manual_seed(0)
    cores: list[nn.Module] = [LSTM(3, 5), RelationalMemory(3, num_slots=2, num_heads=2, head_size=3)]
    for core in cores:
        inputs = torch.randn(2, 8, 3, requires_grad=True)
        message = _pieces_mistake(answer(core, inputs, 3), core, inputs, 3)
        if message:
            return message
    return None


def _pieces_mistake(given, core: nn.Module, inputs: Tensor, length: int):
    if isinstance(given, tuple):
        return "It returns a tuple: return the outputs alone, without the state."
    if isinstance(given, list):
        return "It returns a list of pieces: put them together with torch.cat along time."
    whole, _ = core(inputs)
    pieces = inputs.split(length, dim=1)
    fresh = torch.cat([core(piece)[0] for piece in pieces], dim=1)
    if isinstance(given, Tensor) and given.ndim == 3:
        steps, all_steps = given.shape[1], inputs.shape[1]
        if steps == all_steps // length * length:
            return "The last, shorter piece is missing."
        if steps == pieces[-1].shape[1]:
            return "Only the last piece's outputs are returned: keep those of all pieces."
    if matches(given, fresh):
        return "Each piece starts from a fresh state: pass the state on, `core(piece, state)`."
    message = compare(given, whole, "what it returns")
    if message:
        return message
    if not getattr(given, "requires_grad", False):
        return "No gradient is left at all: cut the state at the seams, not the outputs."
    last = inputs.shape[1] - pieces[-1].shape[1]
    (gradient,) = torch.autograd.grad(given[:, -1].sum(), inputs, allow_unused=True)
    if gradient is None or not gradient[:, last:].abs().sum() > 0:
        return "No gradient reaches the last piece's own inputs: cut the state at the seams, and nothing else."
    if gradient[:, :last].abs().sum() > 0:
        return (
            "The outputs are right, but a gradient goes back over the seam: detach the state, `core.carry_over(state)`."
        )
    return None

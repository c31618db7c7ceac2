"""Checks for the exercises of chapter 4, relational reasoning measured."""

import math

import torch

from relmem_lite.exercises import compare, describe, exercise, matches


@exercise("04.1-plateau")
def plateau(answer):
    """Accuracy 2/K and cross-entropy (K - 1)/K ln(K - 1), in nats."""
    if not callable(answer):
        return f"The answer is a function of K; this is {describe(answer)}."
    for items in (3, 4, 8):
        given = answer(items)
        if not isinstance(given, tuple | list) or len(given) != 2:
            return f"It should return two numbers, accuracy and loss; it returns {describe(given)}."
        right = (2 / items, (items - 1) / items * math.log(items - 1))
        if matches(tuple(given), right[::-1]):
            return "Both are right, in the wrong order: return the accuracy first, then the loss."
        message = _accuracy_mistake(given[0], items) or _loss_mistake(given[1], items)
        if message is not None:
            return message
    return None


def _accuracy_mistake(given, items):
    right = 2 / items
    known = [
        (1 / items, "1/K is chance: the questions at n = K are answered right, not by chance."),
        (
            1 / items + (items - 1) / items / items,
            "For n < K the guess is among the K - 1 other labels: m itself is ruled out.",
        ),
        (1 / items + 1 / (items - 1), "The luck of 1/(K - 1) is had only in the (K - 1)/K questions with n < K."),
        (1 / (items - 1), "That is the accuracy where n < K; the questions at n = K count, too."),
        (100 * right, "That is in per cent: return a share between 0 and 1."),
    ]
    return _known_or(known, given, right, f"the accuracy for K = {items}")


def _loss_mistake(given, items):
    right = (items - 1) / items * math.log(items - 1)
    known = [
        (
            math.log(items - 1),
            "That is the loss where n < K; the questions at n = K cost nothing, and count in the mean.",
        ),
        (math.log(items), "ln K is the loss of somebody who rules nothing out, not even at n = K."),
        (
            -math.log(2 / items),
            "A mean of logarithms is not the logarithm of a mean: take -ln of each kind, then mix.",
        ),
        (
            (items - 1) / items * math.log(items),
            "For n < K the probability is spread over K - 1 labels: m itself is ruled out.",
        ),
        (right / math.log(2), "That is in bits: nats come from the natural logarithm."),
        (-right, "The sign is turned: a loss is -ln of the probability, which is positive."),
        (1 - 2 / items, "That is the share of wrong answers: the loss is the mean of -ln p of the right label."),
    ]
    return _known_or(known, given, right, f"the loss for K = {items}")


def _known_or(known, given, right, what):
    if matches(given, right):
        return None
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    return compare(given, right, what)


@exercise("04.2-without-free")
def without_free(answer):
    """(a - 1/K) / ((K - 1)/K)."""
    if not callable(answer):
        return f"The answer is a function of the accuracy and of K; this is {describe(answer)}."
    for accuracy, items in ((0.91, 8), (0.25, 8), (0.968, 3)):
        given, right = answer(accuracy, items), (accuracy - 1 / items) / (1 - 1 / items)
        known = [
            (accuracy - 1 / items, "That is a share of all questions: divide by how many of them have n < K."),
            (
                accuracy / (1 - 1 / items),
                "Take the right answers at n = K out before you divide: they are counted in the accuracy.",
            ),
            (
                (accuracy - 2 / items) / (1 - 2 / items),
                "That takes off the lucky guesses as well: here only the questions at n = K are left out.",
            ),
            (
                accuracy * (1 - 1 / items),
                "Leaving easy questions out is no product: the accuracy is a mean of two kinds; solve it for one.",
            ),
            (
                (accuracy - 1 / items) * (1 - 1 / items),
                "Divide by the share of questions with n < K; you multiply by it.",
            ),
            ((accuracy - 1 / items) * items, "The share of questions with n < K is (K - 1)/K, not 1/K."),
            (100 * right, "That is in per cent: return a share between 0 and 1."),
        ]
        message = _known_or(known, given, right, f"the accuracy where n < K, for {accuracy:g} at K = {items}")
        if message is not None:
            return message
    return None


@exercise("04.3-order-of-four")
def order_of_four(answer):
    """1/4 + 3/4 (1/2 + 1/2 * 7/12) = 27/32."""
    right = 27 / 32
    if matches(answer, right, rtol=0, atol=2.5e-3):
        return None
    known = [
        (8 / 9, "That is what the order is worth for three numbers; here there are four."),
        (19 / 24, "That leaves the free questions out: a quarter of all is right without any order."),
        (
            7 / 12,
            "That is the accuracy where n < K and m is second or third: m is at an end half of the time, "
            "and the free ones count.",
        ),
        (
            1 / 4 + 3 / 4 * (1 / 2 + 1 / 2 * 1 / 2),
            "A coin for every inner question is too little: the far one of two neighbours on a side is the farthest "
            "three times in four.",
        ),
        (
            1 / 4 + 3 / 4 * (1 / 2 + 1 / 2 * 1 / 3),
            "With m inside, the order still rules labels out: it is no guess among all three.",
        ),
        (
            1 / 4 + 3 / 4 * (1 / 2 + 1 / 2 * (2 / 3 + 1 / 2 + 1 / 2) / 3),
            "One gap is longer than the sum of two others once in four, not once in three: the sum has two gaps to "
            "be long with.",
        ),
        (
            1 / 4 + 3 / 4 * (2 / 3 + 1 / 3 * 7 / 12),
            "Of four numbers two are at the ends: m is there in half of the questions, not in two thirds.",
        ),
        (
            0.8955,
            "That uses m's number as well, as somebody who knows where m lies: here only the order is known.",
        ),
        (1 / 2, "1/2 is the shortcut, 2/K: who knows the order does better."),
        (100 * right, "That is in per cent: give a share between 0 and 1."),
    ]
    # By counting, an answer may be a little off; these two wrong ones lie close to each other.
    for tolerance in (1e-4, 2.5e-3):
        for wrong, sentence in known:
            if matches(answer, wrong, rtol=tolerance, atol=tolerance):
                return sentence
    return compare(answer, right)


@exercise("04.4-honest-probe")
def honest_probe(answer):
    """R^2 on the second half of the samples, of least squares with an intercept fitted to the first."""
    if not callable(answer):
        return f"The answer is a function of features and values; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(800, 20, generator=generator)
    noise = torch.randn(800, generator=generator)
    # The halves differ, so that a probe which mixes them up gives another number; the mean is far from zero.
    signal = features[:, 0] - 0.5 * features[:, 1] + 0.8 * noise * (1 + (torch.arange(800) >= 400))
    signal = signal + 3
    given = answer(features, signal)
    if isinstance(given, tuple | list):
        return f"It should return one number, the R²; it returns {describe(given)}."
    right = _r2(features, signal)
    if matches(given, right, rtol=0.02, atol=0.02):
        return _noise_mistake(answer)
    half = len(signal) // 2
    known = [
        (
            _r2(features, signal, fit=slice(0, 800), score=slice(0, 800)),
            "It is fitted and scored on the same samples: score it on the half that it was not fitted to.",
        ),
        (
            _r2(features, signal, score=slice(0, half)),
            "It is fitted to the first half and scored on it, too: score it on the second.",
        ),
        (
            _r2(features, signal, fit=slice(0, 800)),
            "It is fitted to all samples, so it has seen those that it is scored on: fit it to the first half.",
        ),
        (
            _r2(features, signal, score=slice(0, 800)),
            "Half of the samples that it is scored on are those it was fitted to: score it on the second half alone.",
        ),
        (
            _r2(features, signal, ones=False),
            "The constant feature is missing: without it the readout can't meet a mean that is not zero.",
        ),
        (
            1 - right,
            "That is the share that is left unexplained: R² is one minus it.",
        ),
        (
            _mean_square(features, signal),
            "That is the mean squared error: divide by the variance of the values, and take it from 1.",
        ),
        (
            1 - _mean_square(features, signal),
            "The squared error is not divided by the variance of the values.",
        ),
        (
            1 - _mean_square(features, signal) / signal.square().mean().item(),
            "You divide by the mean square of the values; R² divides by their variance, about their mean.",
        ),
        (
            _r2(features, signal, fit=slice(half, 800), score=slice(0, half)),
            "It is fitted to the second half and scored on the first: as honest, but the exercise asks for the "
            "other way round.",
        ),
    ]
    for wrong, sentence in known:
        if matches(given, wrong, rtol=0.01, atol=5e-3):
            return sentence
    return compare(given, right, "its R²")


def _noise_mistake(answer):
    """A second look, at noise: more features than samples to fit them would hide in the first."""
    generator = torch.Generator().manual_seed(5)
    features, noise = torch.randn(400, 100, generator=generator), torch.randn(400, generator=generator)
    given = answer(features, noise)
    if matches(given, _r2(features, noise), rtol=0.05, atol=0.05):
        return None
    if float(given) == 0:
        return "In noise the R² is below 0: do not cut it off, it says that the mean would have done better."
    return compare(given, _r2(features, noise), "its R² in pure noise")


def _readout(features, values, fit, ones):
    if ones:
        features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    return features @ torch.linalg.lstsq(features[fit], values[fit, None]).solution[:, 0]


def _r2(features, values, fit=None, score=None, ones=True):
    half = len(values) // 2
    fit = slice(0, half) if fit is None else fit
    score = slice(half, len(values)) if score is None else score
    error = _readout(features, values, fit, ones)[score] - values[score]
    return 1 - (error.square().mean() / values[score].var(correction=0)).item()


def _mean_square(features, values):
    half = len(values) // 2
    return (_readout(features, values, slice(0, half), True) - values)[half:].square().mean().item()


@exercise("04.5-match")
def match(answer):
    """Units of the LSTM whose model comes closest to the RMC's 88,579 parameters: 114."""
    units = 114
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    if matches(answer, units, rtol=0, atol=1e-6):
        return None
    target = 88_579
    known = [
        (_closest(lambda D: _core(D), target), "That counts the core alone: the head needs parameters, too."),
        (
            _closest(lambda D: _core(D, maps=3) + _head(D), target),
            "An LSTM has four maps, for three gates and a candidate; you counted three.",
        ),
        (
            _closest(lambda D: _core(D) + _head(D, hidden=1), target),
            "The head has two hidden layers of 128; you counted one.",
        ),
        (
            _closest(lambda D: _core(D, inputs=0) + _head(D), target),
            "The maps from the input are left out: it has 10 numbers.",
        ),
        (256, "256 numbers is what the RMC keeps; the question is how many the LSTM may, at equal parameters."),
        (_closest(lambda D: _core(D) + _head(128), target), "The head's first layer grows with D as well: D * 128."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=0, atol=1e-6):
            return sentence
    if matches(answer, units, rtol=0, atol=2):
        return "Near: which whole number of units comes closest, from above or below?"
    return compare(answer, units)


def _core(units, inputs=10, maps=4):
    return maps * (inputs * units + units * units + 2 * units)


def _head(units, hidden=2, answers=3):
    return units * 128 + 128 + (hidden - 1) * (128 * 128 + 128) + 128 * answers + answers


def _closest(size, target):
    return min(range(1, 400), key=lambda units: abs(size(units) - target))

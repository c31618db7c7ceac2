"""Checks for the exercises of chapter 13, the claims and the rules that settle them."""

import torch

from relmem_lite.exercises import compare, describe, exercise, matches


@exercise("13.1-four-seeds")
def four_seeds(answer):
    """One draw in 8 choose 4, which is 1/70."""
    if matches(answer, 1 / 70) or (isinstance(answer, float) and round(answer, 3) == 0.014):
        return None
    if matches(answer, 70):
        return "That is how many draws there are; one of them has all of ours on top, so how often does it come out?"
    if matches(answer, 1 / 35):
        return "That counts both ways round, ours above and theirs above: only the first is asked for."
    if matches(answer, 1 / 20):
        return "That is three against three: draw which 4 of 8 places are ours."
    if matches(answer, 1 / 16):
        return "That is four tosses of a coin: but each of ours must be above all four of theirs, not above one."
    if matches(answer, 1 / 256):
        return "That is eight tosses of a coin: the seeds are ranked, so count the ways to place ours among eight."
    if matches(answer, 1 / 1680):
        return (
            "That counts the order among our own four as well, which is not asked for: draws of places have no order."
        )
    if matches(answer, 1 / 40_320) or matches(answer, 24 / 40_320):
        return "That is one order of eight or a few of them: both our four and theirs may stand in any order."
    return compare(answer, 1 / 70, "the share of draws")


@exercise("13.2-rule")
def rule(answer):
    """Held if all are better than all, partly if the mean is, failed otherwise."""
    if not callable(answer):
        return f"The answer is a function of two lists of scores that returns a word; this is {describe(answer)}."
    cases = [
        (([0.9, 0.8], [0.7, 0.6]), False, "held", "every score of ours is above every one of theirs"),
        (([0.9, 0.65], [0.7, 0.6]), False, "partly", "0.65 is below 0.7, while the mean is above theirs"),
        (([0.9, 0.3], [0.7, 0.6]), False, "failed", "one lucky score is above theirs, but the mean is not"),
        (([0.6, 0.5], [0.7, 0.6]), False, "failed", "ours are worse"),
        (([0.7, 0.8], [0.7, 0.6]), False, "partly", "0.7 is not above 0.7: a tie is not better"),
        (([0.7, 0.6], [0.7, 0.6]), False, "failed", "the means are equal, and equal is not better"),
        (([90.0, 91.0], [95.0, 99.0]), True, "held", "lower is better here, and every one of ours is lower"),
        (([95.0, 99.0], [90.0, 91.0]), True, "failed", "lower is better here, and ours are higher"),
        (
            ([90.0, 96.0], [95.0, 99.0]),
            True,
            "partly",
            "lower is better here: the mean is lower, and 96 is not below 95",
        ),
    ]
    for (ours, theirs), lower, expected, why in cases:
        given = answer(ours, theirs, lower)
        if given != expected:
            words = repr(given) if isinstance(given, str) else describe(given)
            lower_is_better = ", lower is better," if lower else ""
            return f"For {ours} against {theirs}{lower_is_better} you returned {words}, not '{expected}': {why}."
    return None


@exercise("13.3-times-more")
def times_more(answer):
    """2000 / 575 - 1."""
    right = 2000 / 575 - 1
    if matches(answer, right, rtol=0.03):
        return None
    if matches(answer, 2000 / 575, rtol=0.03):
        return "That is how many times as many steps it takes: more are those beyond the first 575."
    if matches(answer, 2000 - 575):
        return "That is how many steps more: divide by the 575 steps that it is compared with."
    if matches(answer, 575 / 2000, rtol=0.03):
        return "That is minGRU's share of the Transformer's steps: compare the other way round."
    if matches(answer, 1 - 575 / 2000, rtol=0.03):
        return "That is how many steps fewer minGRU takes, as a share of the Transformer's: divide by 575 instead."
    if matches(answer, 100 * right, rtol=0.03):
        return "That is per cent: say how many times."
    return compare(answer, right, "the number of times")


@exercise("13.4-hopfield")
def hopfield(answer):
    """softmax(beta state patterns^T) patterns."""
    if not callable(answer):
        return f"The answer is a function of state, patterns and beta; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    state, patterns, beta = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator), 0.7
    products = state @ patterns.T
    weights = torch.softmax(beta * products, dim=-1)
    given, expected = answer(state, patterns, beta), weights @ patterns
    mistakes = [
        (weights, "These are the weights, (M, N): return the mean of the patterns that they weigh."),
        (products @ patterns, "The products are not turned into weights yet: take their softmax over the patterns."),
        (beta * products @ patterns, "The products are not turned into weights yet: take their softmax."),
        (torch.softmax(products, dim=-1) @ patterns, "`beta` is not used: the products are to be multiplied by it."),
        (
            torch.softmax(products / beta, dim=-1) @ patterns,
            "You divide by `beta`: multiply by it, so that a large one makes the nearest pattern win.",
        ),
        (
            torch.softmax(products / 2, dim=-1) @ patterns,
            "You scale by 1 / sqrt(D), whatever `beta` is: that is attention for one `beta` only.",
        ),
        (
            torch.softmax(beta * products, dim=0) @ patterns,
            "Your weights sum to 1 over the states: for each state they sum to 1 over the patterns (`dim=-1`).",
        ),
        (
            torch.softmax(beta * products, dim=-1) * beta @ patterns,
            "You multiply by `beta` after the softmax as well: it belongs inside alone.",
        ),
        (state + expected, "You add the update to the state: the weighted mean takes the state's place."),
    ]
    for wrong, message in mistakes:
        if matches(given, wrong):
            return message
    return compare(given, expected, "the updated state")

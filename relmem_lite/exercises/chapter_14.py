"""Checks for chapter 14: what a served model keeps, and what fits."""

import numbers
from collections.abc import Collection, Mapping
from itertools import accumulate, pairwise

import numpy as np
import torch

from relmem_lite.exercises import NotWrittenYet, compare, describe, exercise, matches


@exercise("14.1-cache")
def cache(answer):
    """2 x 32 layers x 4,096 features x 2 bytes x 4,096 tokens: 2^31 bytes."""
    right = 2 * 32 * 4096 * 2 * 4096
    known = [
        (right // 2, "Half of it: either the values are missing beside the keys, or a number counts as one byte."),
        (right // 4, "A quarter: count keys and values, two bytes a number, a cache for each head: none is shared."),
        (right // 32, "That is one layer's cache: each of the 32 layers has its own."),
        (right // 4096, "That is one token's share: the cache holds 4,096 tokens."),
        (right * 32, "The 32 heads share the 4,096 features among them: do not count the heads once more."),
        (right * 2, "Twice too much: 16 bits are two bytes."),
        (right * 8, "Eight times too much: 16 bits are two bytes, not 16."),
        (2.147483648, "That is in GB: the answer is asked for in bytes."),
        (2, "That is in GiB: the answer is asked for in bytes."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=1e-3):
            return sentence
    # 2.15e9, rounded by hand, is right as well.
    return compare(answer, right, rtol=2e-3)


@exercise("14.2-break-even")
def break_even(answer):
    """5,120 channels x 128 numbers, over 2 x 2,560 numbers a token: 128 tokens."""
    known = [
        (256, "A token leaves a key and a value, each of 2,560 numbers."),
        (64, "The attention layer has 2,560 features; the 5,120 channels are the other layer's."),
        (5120 * 128, "That is how many numbers the recurrent layer keeps: after how many tokens does the cache, too?"),
        (32, "Both layers store their numbers alike: 16 bits or 32, the bytes cancel out."),
        (1 / 128, "The other way round: the fixed state, divided by what each token adds."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong):
            return sentence
    return compare(answer, 128)


@exercise("14.3-batch-that-fits")
def batch_that_fits(answer):
    """floor((memory - weights) / (2 x layers x heads kept x head size x 2 x time)), at least 0."""
    if not callable(answer):
        return f"The answer is a function; this is {describe(answer)}."
    given = {"memory": 80e9, "weights": 16e9, "layers": 32, "kept_heads": 8, "head_size": 128, "time": 3000}
    most = answer(**given)
    if isinstance(most, bool) or not isinstance(most, numbers.Real):
        return f"Return one whole number, how many sequences fit; you returned {describe(most)}."
    room, each = 64e9, 2 * 32 * 8 * 128 * 2 * 3000
    known = [
        (80e9 / each, "The weights lie in the same memory: what is left for caches is memory - weights."),
        (2 * room / each, "Twice too many: either the values are missing, or a number of 16 bits counts as one byte."),
        (4 * room / each, "Four times too many: keys and values are two, and each number has two bytes."),
        (32 * room / each, "That is one layer's cache: the model has 32 layers."),
        (128 * room / each, "Each head keeps vectors of head_size numbers, not one number."),
        (room / (each * 1.073741824), "1 GB is 10^9 bytes here, and memory is given in bytes already."),
    ]
    for wrong, sentence in known:
        if int(wrong) <= most <= int(wrong) + 1:
            return sentence
    if most == int(room / each) + 1:
        return "One too many: the last sequence fits only in part, so round down."
    if most != int(most):
        return "A part of a sequence can't be served: round down to a whole number."
    if most != int(room / each):
        return compare(most, int(room / each), f"the batch for {given}")
    none = answer(**(given | {"memory": 12e9}))
    if none != 0:
        return f"Where the weights alone are too much, no sequence fits: 0, and not {none}."
    one = answer(memory=2e9 + 2 * 4 * 2 * 64 * 2 * 1000, weights=2e9, layers=4, kept_heads=2, head_size=64, time=1000)
    if one != 1:
        return f"One sequence that fits to the last byte does fit: 1, and not {one}."
    return None


@exercise("14.4-largest-rise")
def largest_rise(answer):
    """Keep the lowest price and the largest rise so far."""
    if not callable(answer):
        return f"The answer is a function of a state and a price; this is {describe(answer)}."
    steps = torch.randint(-9, 10, (300,), generator=torch.Generator().manual_seed(14)).tolist()
    prices = [100, 97, 99, *(110 + sum(steps[:number]) for number in range(300))]
    state, given, sizes = None, [], []
    for price in prices:
        result = answer(state, price)
        if not isinstance(result, tuple) or len(result) != 2:
            return f"Return two things, the new state and the largest rise so far; you returned {describe(result)}."
        if result[1] is ...:
            raise NotWrittenYet("The largest rise so far is still `...`: replace it by your answer.")
        state = result[0]
        given.append(result[1])
        sizes.append(_size(state))
    if sizes[-1] > sizes[20] + 4:
        return f"The state grows with the stream: after {len(prices)} prices it holds {sizes[-1]} of them. Keep less."
    lows, highs = list(accumulate(prices, min)), list(accumulate(prices, max))
    rises = list(accumulate((price - low for price, low in zip(prices, lows, strict=True)), max))
    falls = list(accumulate((high - price for price, high in zip(prices, highs, strict=True)), max))
    known = [
        ([0, *(late - early for early, late in pairwise(prices))], "That is the rise of the last step alone."),
        (
            [price - low for price, low in zip(prices, lows, strict=True)],
            "That is how far the price stands above the lowest; an earlier rise may have been larger.",
        ),
        (falls, "That is the largest fall: a rise goes from an earlier low to a later high."),
        (
            [high - low for high, low in zip(highs, lows, strict=True)],
            "Highest minus lowest is no rise where the high came first: order matters.",
        ),
        ([0, *rises[:-1]], "It comes one price too late: the price just read counts, too."),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    place = next(
        (n for n, (mine, right) in enumerate(zip(given, rises, strict=True)) if not matches(mine, right)), None
    )
    if place is None:
        return None
    return compare(given[place], rises[place], f"the largest rise after {place + 1} prices")


def _size(state) -> int:
    """How many numbers a state holds, whatever it is made of."""
    if isinstance(state, str | bytes):
        return len(state)
    if isinstance(state, Mapping):
        return sum(map(_size, state.values()))
    if isinstance(state, torch.Tensor):
        return state.numel()
    if isinstance(state, np.ndarray | np.generic):
        return state.size
    if isinstance(state, Collection):
        return sum(map(_size, state))
    return sum(map(_size, vars(state).values())) if hasattr(state, "__dict__") else 1

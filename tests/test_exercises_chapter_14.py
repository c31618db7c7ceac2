"""The right answers to chapter 14's exercises, and the wrong ones that students give, each with its sentence."""

import math
from collections import deque
from types import SimpleNamespace

import pytest
import torch

from relmem_lite.exercises import check


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize("name", ["14.1-cache", "14.2-break-even", "14.3-batch-that-fits", "14.4-largest-rise"])
def test_the_stub_is_unanswered(name):
    assert check(name, ...).status == "unanswered"
    assert check("14.3-batch-that-fits", lambda **sizes: ...).status == "unanswered"
    assert check("14.4-largest-rise", lambda state, price: ...).status == "unanswered"
    half_written = check("14.4-largest-rise", lambda state, price: (price, ...))
    assert half_written.status == "unanswered"
    assert "still `...`" in half_written.message


def test_cache_is_right():
    check("14.1-cache", 2**31, strict=True)
    check("14.1-cache", 2.15e9, strict=True)
    keys = torch.empty(32, 4096, 32, 128, dtype=torch.bfloat16, device="meta")
    assert 2 * keys.nbytes == 2**31


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (2**30, "Half of it"),
        (2**29, "none is shared"),
        (2**26, "one layer"),
        (2**19, "one token"),
        (2**36, "the heads once more"),
        (2**32, "Twice too much"),
        (2**34, "not 16"),
        (2.147, "in GB"),
        (2.0, "in GiB"),
        (12345, "too small"),
    ],
)
def test_cache_names_the_mistake(answer, words):
    says("14.1-cache", answer, words)


def test_break_even_is_right():
    check("14.2-break-even", 128, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (256, "a key and a value"),
        (64, "the other layer's"),
        (655_360, "how many numbers the recurrent layer"),
        (32, "bytes cancel"),
        (1 / 128, "other way round"),
        (1000, "too large"),
    ],
)
def test_break_even_names_the_mistake(answer, words):
    says("14.2-break-even", answer, words)


def fitting(factor=1.0, *, use_weights=True, rounding=math.floor, lowest=0):
    def most(memory, weights, layers, kept_heads, head_size, time):
        each = 2 * layers * kept_heads * head_size * 2 * time
        return max(lowest, rounding(factor * (memory - use_weights * weights) / each))

    return most


def test_batch_that_fits_is_right():
    check("14.3-batch-that-fits", fitting(), strict=True)
    check("14.3-batch-that-fits", lambda **sizes: float(fitting()(**sizes)), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fitting(use_weights=False), "weights lie in the same memory"),
        (fitting(2), "Twice too many"),
        (fitting(4), "Four times"),
        (fitting(32), "one layer's"),
        (fitting(128), "head_size numbers"),
        (fitting(1 / 1.073741824), "10^9 bytes"),
        (fitting(rounding=math.ceil), "round down"),
        (fitting(rounding=float), "round down to a whole number"),
        (fitting(lowest=-math.inf), "no sequence fits"),
        (
            lambda **sizes: max(0, math.ceil((sizes["memory"] - sizes["weights"]) / fitting_each(**sizes)) - 1),
            "fits to",
        ),
        (lambda **sizes: [16], "one whole number"),
        (16, "is a function"),
        (fitting(0.1), "the batch for"),
    ],
)
def test_batch_that_fits_names_the_mistake(answer, words):
    says("14.3-batch-that-fits", answer, words)


def fitting_each(memory, weights, layers, kept_heads, head_size, time):
    return 2 * layers * kept_heads * head_size * 2 * time


def right_rise(state, price):
    lowest, best = (price, 0) if state is None else state
    lowest = min(lowest, price)
    best = max(best, price - lowest)
    return (lowest, best), best


def test_largest_rise_is_right():
    check("14.4-largest-rise", right_rise, strict=True)
    check("14.4-largest-rise", lambda state, price: dict_rise(state or {}, price), strict=True)
    check("14.4-largest-rise", object_rise, strict=True)
    prices = [5, 3, 9, 1, 6]
    state = None
    for price in prices:
        state, best = right_rise(state, price)
    assert best == max(late - early for i, early in enumerate(prices) for late in prices[i:])


def object_rise(state, price):
    (lowest, best), _ = right_rise(state and (state.lowest, state.best), price)
    return SimpleNamespace(lowest=lowest, best=best), best


def dict_rise(state, price):
    lowest = min(state.get("lowest", price), price)
    best = max(state.get("best", 0), price - lowest)
    return {"lowest": lowest, "best": best}, best


def keeping_all(state, price):
    prices = [*(state or []), price]
    return prices, max(late - min(prices[: i + 1]) for i, late in enumerate(prices))


def keeping_all_in_a_deque(state, price):
    prices = deque([*(state or []), price])
    return prices, keeping_all(list(prices)[:-1], price)[1]


def keeping_all_in_a_text(state, price):
    prices = [int(word) for word in (state or "").split()]
    return f"{state or ''} {price}", keeping_all(prices, price)[1]


def keeping_all_in_an_object(state, price):
    state = SimpleNamespace(prices=[*(state.prices if state else []), price])
    return state, keeping_all(state.prices[:-1], price)[1]


def last_step(state, price):
    return price, 0 if state is None else price - state


def now_above_lowest(state, price):
    lowest = price if state is None else min(state, price)
    return lowest, price - lowest


def spread(state, price):
    low, high = (price, price) if state is None else (min(state[0], price), max(state[1], price))
    return (low, high), high - low


def fall(state, price):
    _, best = result = right_rise(state, -price)
    return result[0], best


def too_late(state, price):
    new, _ = right_rise(state, price)
    return new, 0 if state is None else state[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (keeping_all, "grows with the stream"),
        (keeping_all_in_a_deque, "grows with the stream"),
        (keeping_all_in_a_text, "grows with the stream"),
        (keeping_all_in_an_object, "grows with the stream"),
        (last_step, "last step alone"),
        (now_above_lowest, "above the lowest"),
        (spread, "order matters"),
        (fall, "largest fall"),
        (too_late, "one price too late"),
        (lambda state, price: price, "Return two things"),
        (lambda state, price: (price, 7), "7"),
        (3, "is a function"),
    ],
)
def test_largest_rise_names_the_mistake(answer, words):
    says("14.4-largest-rise", answer, words)

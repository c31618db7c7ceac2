"""The right answers to chapter 10's exercises, and the wrong ones that students give, each with its sentence."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from relmem_lite.exercises import check
from relmem_lite.tasks import accuracy_within, bits_needed

NAMES = ["10.1-phone-book", "10.2-bits-to-pairs", "10.3-one-bit", "10.4-linear-memory"]


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_unanswered(name):
    assert check(name, ...).status == "unanswered"
    if name != NAMES[0]:
        assert check(name, lambda *given: ...).status == "unanswered"


@pytest.mark.parametrize("answer", [7000 * math.log2(10), 23254, math.log2(10**7) * 1000])
def test_phone_book_is_right(answer):
    check("10.1-phone-book", answer, strict=True)
    assert math.isclose(bits_needed(1000, 10**7), 7000 * math.log2(10))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (7 * math.log2(10), "a thousand, and any"),
        (1000 * math.log2(10), "each number has seven"),
        (math.log2(10**10), "one entry"),
        (7000 * math.log(10), "take log2"),
        (7000, "ten choices"),
        (28000, "one of ten"),
        (1000 * math.log2(7), "not 7"),
        (1000 * math.log2(10**10), "knows the names"),
        (7000 * math.log2(10) / 8, "in bytes"),
        (1000 * 7 * math.log2(10) / 32, "in floats"),
        (20000, "too small"),
    ],
)
def test_phone_book_names_the_mistake(answer, words):
    says("10.1-phone-book", answer, words)


def test_bits_to_pairs_is_right():
    def pairs(numbers, bits, C):
        n = 0
        while bits_needed(n + 1, C) <= numbers * bits:
            n += 1
        return n

    check("10.2-bits-to-pairs", pairs, strict=True)
    check("10.2-bits-to-pairs", lambda n, b, C: int(n * b / math.log2(C)), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n, b, C: math.ceil(n * b / math.log2(C)), "round down"),
        (lambda n, b, C: n * b / math.log2(C), "pairs are whole"),
        (lambda n, b, C: math.floor(n * 32 / math.log2(C)), "with 32 bits"),
        (lambda n, b, C: math.floor(n / math.log2(C)), "with one bit"),
        (lambda n, b, C: n * b // C, "number of choices"),
        (lambda n, b, C: math.floor(n * b / math.log(C)), "base 2"),
        (lambda n, b, C: math.floor(n * b / (2 * math.log2(C))), "keys are not counted"),
        (lambda n, b, C: 7, "1365 pairs fit"),
        (1365, "is a function"),
    ],
)
def test_bits_to_pairs_names_the_mistake(answer, words):
    says("10.2-bits-to-pairs", answer, words)


def best_of_all(n):
    lists = torch.tensor(list(product((0, 1), repeat=n)))
    right = (lists[:, None] == lists).float().mean(-1)
    return torch.maximum(right[:, :, None], right[:, None]).mean(0).max().item()


def test_one_bit_is_right():
    check("10.3-one-bit", best_of_all, strict=True)
    assert [best_of_all(n) for n in (1, 2, 3, 4, 5)] == pytest.approx([1, 0.75, 0.75, 0.6875, 0.6875])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: 0.5 + 0.5 / n, "keep one coin"),
        (lambda n: accuracy_within(1, n, 2), "the bound"),
        (lambda n: n * best_of_all(n), "divide by n"),
        (lambda n: 0.5, "without the bit"),
        (lambda n: 1 / n, "half of the time"),
        (lambda n: 1.0, "can't name all histories"),
        (lambda n: 0.9, "not the best"),
        (lambda n: [0.5], "a list of 1"),
        (lambda n: 0.1 + 0.2, "gives 0.3, which"),
        (0.75, "is a function"),
    ],
)
def test_one_bit_names_the_mistake(answer, words):
    says("10.3-one-bit", answer, words)


def by_sum(keys, values, questions):
    state = torch.zeros(keys.shape[1], values.shape[1])
    for key, value in zip(keys, values, strict=True):
        state += torch.outer(key, value)
    return questions @ state


def test_linear_memory_is_right():
    check("10.4-linear-memory", by_sum, strict=True)
    check("10.4-linear-memory", lambda k, v, q: q @ (k.T @ v), strict=True)
    check("10.4-linear-memory", lambda k, v, q: np.asarray(q) @ (np.asarray(k).T @ np.asarray(v)), strict=True)
    keys, values = torch.eye(4), torch.randn(4, 3)
    torch.testing.assert_close(by_sum(keys, values, keys[[2, 0]]), values[[2, 0]])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda k, v, q: v[(q @ k.T).argmax(-1)], "nearest key"),
        (lambda k, v, q: (q @ k.T).softmax(-1) @ v, "That is attention"),
        (lambda k, v, q: q @ (k.T @ v) / len(k), "taken their mean"),
        (lambda k, v, q: q @ torch.outer(k[-1], v[-1]), "Only the last pair"),
        (lambda k, v, q: (k @ (k.T @ v))[: len(q)], "read with the questions"),
        (lambda k, v, q: q @ torch.linalg.pinv(k) @ v, "plain sum"),
        (
            lambda k, v, q: q @ sum(torch.outer(value, key) for key, value in zip(k, v, strict=True)),
            "S lies on its side",
        ),
        (lambda k, v, q: q @ (k @ v), "raised RuntimeError"),
        (lambda k, v, q: k.T @ v, "return a tensor (4, 3)"),
        (lambda k, v, q: 2 * q @ (k.T @ v), "values differ"),
        (torch.ones(3), "is a function"),
    ],
)
def test_linear_memory_names_the_mistake(answer, words):
    says("10.4-linear-memory", answer, words)

"""The right answers to chapter 9's exercises, and the wrong ones that students give, each with its sentence."""

import cmath
import math

import numpy as np
import pytest
import torch

from relmem_lite.exercises import check
from relmem_lite.scans import scan


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "name",
    ["09.1-one-flip-more", "09.2-latch", "09.3-standstill", "09.4-ring", "09.5-reflection", "09.6-and-from-shuffles"],
)
def test_the_stub_is_unanswered(name):
    assert check(name, ...).status == "unanswered"
    assert check("09.2-latch", lambda tokens: ...).status == "unanswered"
    assert check("09.5-reflection", lambda i, j, n: ...).status == "unanswered"


def test_one_flip_more_is_right():
    check("09.1-one-flip-more", 84, strict=True)
    tokens = torch.randint(2, (100,), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[16] = 1 - other[16]
    assert int((tokens.cumsum(0) % 2 != other.cumsum(0) % 2).sum()) == 84


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1, "every later one"),
        (83, "step 17 itself"),
        (100, "before anything has changed"),
        (16, "stay as they are"),
        (42, "not every second"),
        (85, "One too many"),
        (99, "The 16 answers"),
        (101, "There are 100 answers"),
        (90, "too large"),
    ],
)
def test_one_flip_more_names_the_mistake(answer, words):
    says("09.1-one-flip-more", answer, words)


def latch_of(a, b):
    return lambda tokens: (torch.tensor(a)[tokens], torch.tensor(b)[tokens])


def test_latch_is_right_and_tracks_the_state():
    right = latch_of([1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 1.0])
    check("09.2-latch", right, strict=True)
    tokens = torch.randint(4, (300,), generator=torch.Generator().manual_seed(1))
    a, b = right(tokens)
    state, states = 0, []
    for token in tokens.tolist():
        state = {0: state, 1: 1, 2: 0, 3: 1 - state}[token]
        states.append(float(state))
    assert scan(a[None, :, None], b[None, :, None]).flatten().tolist() == states


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (latch_of([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]), "which number sends 1 to 0"),
        (latch_of([1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 0.0]), "sends on to -1"),
        (latch_of([1.0, 1.0, 0.0, -1.0], [0.0, 1.0, 0.0, 1.0]), "still in there"),
        (latch_of([1.0, 0.0, 0.1, -1.0], [0.0, 1.0, 0.0, 1.0]), "a rest of the old state"),
        (latch_of([0.9, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 1.0]), "on becomes 0.9"),
        (lambda tokens: (-1.0, 1.0), "one number for each token"),
        (lambda tokens: tokens, "Return two tensors"),
        (lambda tokens: ("keep", "write"), "yours are 'keep' and 'write'"),
        (lambda tokens: (tokens.cumsum(0) % 2.0, tokens * 0.0), "on the token alone"),
        (-1, "is a function"),
    ],
)
def test_latch_names_the_mistake(answer, words):
    says("09.2-latch", answer, words)


def test_standstill_is_right():
    check("09.3-standstill", 17, strict=True)
    h, t = 0.0, 0
    while True:
        before, h, t = h, 0.8 * h + 0.3, t + 1
        if h - before < 0.01:
            break
    assert t == 17


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (16.24, "equals 0.01"),
        (15.24, "exponent is t - 1"),
        (16, "still above"),
        (18, "One too many"),
        (15, "round up"),
        (22.45, "t is a whole number"),
        (1, "the step is b"),
        (23, "within 0.01"),
        (1.5, "fixed point"),
        (3, "too small"),
    ],
)
def test_standstill_names_the_mistake(answer, words):
    says("09.3-standstill", answer, words)


def turn(n, whole=2 * math.pi):
    return cmath.exp(1j * whole / n)


@pytest.mark.parametrize("kind", [tuple, list, torch.tensor, np.array])
def test_ring_is_right(kind):
    check("09.4-ring", kind([1, turn(7), turn(-7)]), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((1, turn(-7), turn(7)), "exchanged"),
        ((1, turn(5), turn(-5)), "ring of five"),
        ((1, turn(7, math.pi), turn(-7, math.pi)), "half a turn"),
        ((1, turn(7, 1), turn(-7, 1)), "in radians"),
        ((1, turn(7, 360), turn(-7, 360)), "in radians"),
        ((0, turn(7), turn(-7)), "stands still"),
        ((1, 2 * math.pi / 7, -2 * math.pi / 7), "That is the angle"),
        ((1, 2j * math.pi / 7, -2j * math.pi / 7), "That is the angle"),
        ((1, 1 / 7, -1 / 7), "fades or grows"),
        ((1, -1, 1), "only real numbers"),
        ((1, turn(9), turn(-9)), "back to the start"),
        ((1, turn(7) ** 2, turn(-7) ** 2), "one seventh"),
        ((1, turn(7), turn(7)), "undo"),
        ((1, turn(7)), "three numbers"),
        (torch.tensor(1.0), "three numbers"),
        ((1, "right", "left"), "one complex number"),
    ],
)
def test_ring_names_the_mistake(answer, words):
    says("09.4-ring", answer, words)


def direction(sign=-1.0, scale=2**-0.5):
    def vector(i, j, n):
        k = torch.zeros(n)
        k[i], k[j] = scale, sign * scale
        return k

    return vector


def test_reflection_is_right():
    check("09.5-reflection", direction(), strict=True)
    check("09.5-reflection", lambda i, j, n: direction()(i, j, n).numpy(), strict=True)
    check("09.5-reflection", lambda i, j, n: direction()(i, j, n).tolist(), strict=True)
    k = direction()(0, 2, 3)
    torch.testing.assert_close((torch.eye(3) - 2 * torch.outer(k, k)) @ torch.arange(3.0), torch.tensor([2.0, 1, 0]))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (direction(scale=1.0), "square root of 2"),
        (direction(scale=0.5), "not by 2"),
        (direction(scale=2**0.5), "do not multiply"),
        (lambda i, j, n: direction(scale=n**-0.5)(i, j, n), "k has length 1, yours has 0.816"),
        (direction(sign=1.0), "to -e_j"),
        (direction(sign=1.0, scale=1.0), "to -e_j"),
        (lambda i, j, n: torch.eye(n)[i], "sign of one number"),
        (lambda i, j, n: torch.eye(n), "Return a vector"),
        (lambda i, j, n: torch.ones(n) / n**0.5, "values differ"),
        (torch.ones(3), "is a function"),
    ],
)
def test_reflection_names_the_mistake(answer, words):
    says("09.5-reflection", answer, words)


@pytest.mark.parametrize(
    "answer",
    [
        ((1, 2, 3, 4, 0), (2, 4, 1, 0, 3)),
        [[1, 2, 3, 4, 0], [2, 0, 4, 1, 3]],
        torch.tensor([[1, 2, 3, 4, 0], [2, 0, 4, 1, 3]]),
        [np.array([1, 2, 3, 4, 0]), np.array([2, 0, 4, 1, 3])],
    ],
)
def test_and_from_shuffles_is_right(answer):
    check("09.6-and-from-shuffles", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (((1, 2, 3, 4, 0), (2, 3, 4, 0, 1)), "commute"),
        (((1, 2, 0, 3, 4), (1, 2, 3, 4, 0)), "p is no 5-cycle"),
        (((1, 2, 3, 4, 0), (1, 0, 2, 3, 4)), "q is no 5-cycle"),
        (((2, 3, 4, 5, 1), (1, 2, 3, 4, 0)), "counts from 1"),
        (((1, 1, 3, 4, 0), (1, 2, 3, 4, 0)), "no shuffle"),
        (((1, 2, 3, 4, 0), "q"), "tuple of five"),
        (((1, 2, 3, 4, 0),), "two permutations"),
        (((1, 2, 3, 4, 0), (1, 2, 4, 0, 3)), "is no 5-cycle: go on"),
    ],
)
def test_and_from_shuffles_names_the_mistake(answer, words):
    says("09.6-and-from-shuffles", answer, words)

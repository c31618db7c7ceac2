"""Checks for the exercises of chapter 9, state tracking."""

import cmath
import math
from collections.abc import Sequence

import numpy as np
import torch

from relmem_lite.exercises import compare, describe, exercise, matches


@exercise("09.1-one-flip-more")
def one_flip_more(answer):
    """A changed token 17 of 100 turns the answers 17 to 100: 84 of them."""
    known = [
        (1, "Not that answer alone: every later one counts this flip, too."),
        (83, "The answer at step 17 itself changes as well: it is given after the flip."),
        (100, "The answers before step 17 are given before anything has changed."),
        (85, "One too many: the steps 17 to 100 are 100 - 17 + 1."),
        (99, "The 16 answers before step 17 stay, too: they are given before anything has changed."),
        (101, "There are 100 answers, and those before step 17 are given before anything has changed."),
        (16, "Those are the answers that stay as they are."),
        (17, "Count from the other end: the answers from step 17 on change, to the last."),
        (42, "It is not every second one: one flip more turns each later answer, whatever follows."),
        (50, "It is not half of them by chance: one flip more turns each later answer, whatever follows."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong):
            return sentence
    return compare(answer, 84)


@exercise("09.2-latch")
def latch(answer):
    """Tokens nothing, on, off, flip: a = 1, 0, 0, -1 and b = 0, 1, 0, 1."""
    if not callable(answer):
        return f"The answer is a function of the tokens that returns a and b; this is {describe(answer)}."
    tokens = torch.randint(4, (300,), generator=torch.Generator().manual_seed(0))
    given = answer(tokens)
    if not isinstance(given, Sequence) or len(given) != 2:
        return f"Return two tensors, a and b; you returned {describe(given)}."
    try:
        a, b = (torch.as_tensor(part) for part in given)
    except (TypeError, ValueError, RuntimeError):
        return f"Return two tensors, a and b; yours are {describe(given[0])} and {describe(given[1])}."
    for name, part in (("a", a), ("b", b)):
        if part.shape != tokens.shape:
            return f"{name} has shape {tuple(part.shape)}; it needs one number for each token, {tuple(tokens.shape)}."
        if not torch.isfinite(part.double()).all():
            return f"{name} is not finite."
    keep, write = [1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 1.0]
    words = ("nothing happens", "switch on", "switch off", "flip")
    for token, word in enumerate(words):
        here = tokens == token
        if (a[here] != a[here][0]).any() or (b[here] != b[here][0]).any():
            return f'a and b must depend on the token alone: for "{word}" yours differ from step to step.'
        kept, written = a[here][0].item(), b[here][0].item()
        if matches(kept, keep[token]) and matches(written, write[token]):
            continue
        return _latch_mistake(word, kept, written)
    return None


def _latch_mistake(word: str, kept: float, written: float) -> str:
    starts = f'"{word}" gives a = {kept:g} and b = {written:g}'
    off, on = written, kept + written
    if word == "flip" and 0 <= kept <= 1:
        return f"{starts}: a coefficient that is not negative can't exchange off and on; which number sends 1 to 0?"
    if word == "flip" and matches(kept, -1) and matches(written, 0):
        return f"{starts}: that sends on to -1; what must be added so that 0 becomes 1 and 1 becomes 0?"
    if word.startswith("switch") and matches(kept, 1):
        return f"{starts}: the old state is still in there; what it was before does not matter, so a = 0."
    if word.startswith("switch") and 0 < abs(kept) < 1:
        return f"{starts}: a rest of the old state stays; what it was before does not matter, so a = 0."
    return f"{starts}: off becomes {off:g} and on becomes {on:g}, which is not right."


@exercise("09.3-standstill")
def standstill(answer):
    """h_t = 0.8 h_{t-1} + 0.3: the step 0.3 * 0.8 ** (t - 1) is below 0.01 from t = 17 on."""
    exact = 1 + math.log(0.3 / 0.01) / -math.log(0.8)
    known = [
        (exact, "That is where the step equals 0.01; the first whole t at which it is smaller is asked for."),
        (exact - 1, "The first step, t = 1, has size b itself, so the exponent is t - 1; and t is a whole number."),
        (15, "At t = 15 the step is 0.3 times 0.8 to the power 14, still above 0.01: round up, and mind the t - 1."),
        (math.log(150) / -math.log(0.8), "That is when h is within 0.01 of its fixed point, and t is a whole number."),
        (1, "At t = 1 the step is b = 0.3: how long until it is less than 0.01?"),
        (16, "At t = 16 the step is 0.3 times 0.8 to the power 15, still above 0.01: the exponent is t - 1."),
        (18, "One too many: the exponent is t - 1, since the first step has size b."),
        (
            math.ceil(math.log(150) / -math.log(0.8)),
            "That is when h is within 0.01 of its fixed point; the step from one t to the next is asked for.",
        ),
        (1.5, "That is the fixed point, b / (1 - a): how long until h moves by less than 0.01?"),
        (0, "It starts at 0 and its first step is b = 0.3."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=2e-3):
            return sentence
    return compare(answer, 17)


@exercise("09.4-ring")
def ring(answer):
    """Stand still, right and left on a ring of seven: 1, exp(2 pi i / 7) and its conjugate."""
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple) or len(answer) != 3:
        return f"Give three numbers, for stay, right and left; this is {describe(answer)}."
    try:
        stay, right, left = (complex(each) for each in answer)
    except (TypeError, ValueError):
        return "Each of the three is one complex number, such as 0.5 + 0.5j or cmath.exp(1j)."
    turn = cmath.exp(2j * math.pi / 7)

    def near(one: complex, other: complex) -> bool:
        return abs(one - other) < 1e-4

    if not near(stay, 1):
        return f"Who stands still is to find h unchanged, so a = 1 for stay; yours is {stay:.3g}."
    if near(right, turn.conjugate()) and near(left, turn):
        return "Right and left are exchanged: a step to the right turns forwards, by a positive angle."
    if near(right, cmath.exp(2j * math.pi / 5)):
        return "That is the ring of five: seven steps make a full turn here."
    if near(right, cmath.exp(1j * math.pi / 7)):
        return "Seven of these steps make half a turn: a whole one is 2 pi."
    if near(right, 2 * math.pi / 7) or near(right, 2j * math.pi / 7):
        return "That is the angle: the coefficient is the number of size 1 at that angle, exp(i angle)."
    if near(right, cmath.exp(1j / 7)) or near(right, cmath.exp(1j * 360 / 7)):
        return "The angle is in radians: a whole turn is 2 pi."
    if not near(abs(right), 1):
        return f"A step to the right has size {abs(right):.3g}: unless it is 1, h fades or grows with every step."
    if right.imag == 0:
        return "1 and -1 are the only real numbers of size 1, and no power 1 to 6 of a step may be 1 while the 7th is."
    if not near(right**7, 1):
        return "Seven steps to the right must lead back to the start: the 7th power is not 1 yet."
    if not near(right, turn):
        return "Seven steps do lead back, but one step goes past several places: one seventh of a turn."
    if not near(left, turn.conjugate()):
        return "A step to the left must undo a step to the right: their product is 1."
    return None


@exercise("09.5-reflection")
def reflection(answer):
    """I - 2 k k^T exchanges i and j with k = (e_i - e_j) / sqrt(2)."""
    if not callable(answer):
        return f"The answer is a function of i, j and n that returns a vector; this is {describe(answer)}."
    for i, j, n in ((0, 1, 3), (4, 2, 5), (1, 3, 4)):
        given = answer(i, j, n)
        e = torch.eye(n, dtype=torch.float64)
        difference = e[i] - e[j]
        if getattr(given, "shape", (len(given),) if isinstance(given, list | tuple) else ()) != (n,):
            return f"Return a vector of n = {n} numbers; you returned {describe(given)}."
        if matches(given, difference / math.sqrt(2)) or matches(given, -difference / math.sqrt(2)):
            continue
        if matches(given, difference) or matches(given, -difference):
            return "The direction is right, its length is not: k has length 1, so divide by the square root of 2."
        if matches(given, difference * math.sqrt(2)) or matches(given, -difference * math.sqrt(2)):
            return "The direction is right, its length is not: divide by the square root of 2, do not multiply."
        if matches(given, difference / 2) or matches(given, -difference / 2):
            return "The direction is right, its length is not: divide by the square root of 2, not by 2."
        sums = e[i] + e[j]
        if any(matches(given, sums * factor) for factor in (1, -1, 0.5, 0.5**0.5, -(0.5**0.5))):
            return (
                "e_i + e_j sends e_i to -e_j: what is turned round is along k, and the exchange turns e_i - e_j round."
            )
        length = torch.as_tensor(given, dtype=torch.float64).norm()
        if any(matches(given, sign * length * difference / math.sqrt(2)) for sign in (1, -1)):
            return f"The direction is right, its length is not: k has length 1, yours has {length:.3g}."
        if matches(given, e[i]) or matches(given, e[j]):
            return "That turns the sign of one number; the vector must have two entries that are not 0."
        return compare(given, difference / math.sqrt(2), f"k for i = {i}, j = {j}, n = {n}")
    return None


@exercise("09.6-and-from-shuffles")
def and_from_shuffles(answer):
    """Two 5-cycles of S5 whose commutator is a 5-cycle again."""
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        return f"Give two permutations, p and q; this is {describe(answer)}."
    moves = []
    for name, move in zip("pq", answer, strict=True):
        if isinstance(move, torch.Tensor | np.ndarray):
            move = move.tolist()
        if not isinstance(move, list | tuple) or not all(isinstance(place, int) for place in move):
            return f"{name} must be a tuple of five whole numbers, such as (1, 2, 3, 4, 0)."
        if sorted(move) == [1, 2, 3, 4, 5]:
            return f"{name} counts from 1: the places are 0 to 4 here."
        if sorted(move) != [0, 1, 2, 3, 4]:
            return f"{name} = {tuple(move)} is no shuffle of five things: each of 0 to 4 must appear once."
        moves.append(tuple(move))
    p, q = moves
    for name, move in zip("pq", moves, strict=True):
        length = _order_of_start(move)
        if length != 5:
            return f"{name} is no 5-cycle: starting from 0 it is back after {length} of the five places."
    undo_p, undo_q = (tuple(move.index(place) for place in range(5)) for move in moves)
    both = tuple(undo_q[undo_p[q[p[place]]]] for place in range(5))
    if both == (0, 1, 2, 3, 4):
        return "p and q commute: p, q, undo p, undo q leads back to the start, so nothing shows that both were there."
    if _order_of_start(both) != 5:
        return f"p, q, undo p, undo q gives {both}, which does show that both were there, but is no 5-cycle: go on."
    return None


def _order_of_start(move: tuple[int, ...]) -> int:
    """After how many moves the thing at place 0 is back."""
    place, steps = move[0], 1
    while place != 0:
        place, steps = move[place], steps + 1
    return steps

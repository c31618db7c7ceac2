"""Checks for the exercises of chapter 7, the parallel scan."""

import math

import numpy as np
import torch

from relmem_lite.exercises import compare, describe, exercise, matches
from relmem_lite.figures.scan_stepper import schedules
from relmem_lite.scans import scan


@exercise("07.1-join")
def join(answer):
    """0.25 (0.5 h + 2) + 1 = 0.125 h + 1.5."""
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        return f"Give the two numbers of the step as (a, b); this is {describe(answer)}."
    known = [
        (
            (0.125, 2.5),
            "That is the other order: the first step is done first, and its b is multiplied by the second a.",
        ),
        ((0.125, 3.0), "The two b are added as they stand: the first one still has to go through the second step."),
        ((0.125, 2.0), "The two b do not multiply: the second step multiplies the first b by its a, and adds its own."),
        ((0.75, 1.5), "b is right; the two a multiply, they do not add."),
        ((0.75, 3.0), "You added both: put the first step into the second, 0.25 (0.5 h + 2) + 1, and multiply out."),
        ((0.125, 0.5), "The second step's own b is missing: 0.25 times 2, and then plus 1."),
        ((1.5, 0.125), "Both numbers are right, in the other order: a comes first."),
    ]
    for wrong, sentence in known:
        if matches(answer[0], wrong[0]) and matches(answer[1], wrong[1]):
            return sentence
    return compare(answer[0], 0.125, "your a") or compare(answer[1], 1.5, "your b")


@exercise("07.2-scannable")
def scannable(answer):
    """What can be scanned: a, c and d."""
    if isinstance(answer, str):
        answer = [letter for letter in answer.lower() if letter.isalpha()]
    if not isinstance(answer, set | frozenset | list | tuple) or not all(isinstance(each, str) for each in answer):
        return f'Give the letters as a string, such as "be"; this is {describe(answer)}.'
    chosen = {each.strip().lower() for each in answer}
    if not chosen <= set("abcde"):
        return "The list has the letters a to e: name those that can be scanned."
    if "b" in chosen:
        return "b: two tanh steps are not one tanh step, whatever its numbers; the figure of the bent line shows it."
    if "e" in chosen:
        return "e: put one step into the next, and a square of a square appears: the recipe grows with every step."
    if "a" not in chosen:
        return "a: max(max(h, x), y) is max(h, max(x, y)), which takes one number to write down, as one step does."
    if "c" not in chosen:
        return "c: a matrix times a matrix is a matrix of the same size; nothing in the argument needs numbers."
    if "d" not in chosen:
        return "d: take the last two states together as one vector: what makes the next vector of this one is a matrix."
    return None


@exercise("07.3-rounds")
def rounds(answer):
    """For each level, its joins over the friends, rounded up; then the sum."""
    if not callable(answer):
        return f"The answer is a function of a timetable and a number of friends; this is {describe(answer)}."
    timetables = [levels for steps in (8, 37) for levels in schedules(steps).values()]
    cases = [(levels, friends) for levels in timetables for friends in (1, 2, 3, 8, 100)]
    given = [answer(levels, friends) for levels, friends in cases]
    try:
        given = [float(number) for number in given]
    except (TypeError, ValueError, RuntimeError):
        return f"Return one number, of rounds, for the whole timetable; you returned {describe(given[0])}."

    def of(rule):
        return [float(rule([len(level) for level in levels], friends)) for levels, friends in cases]

    def together(joins, friends):
        return math.ceil(sum(joins) / friends)

    known = [
        (of(lambda joins, p: sum(n // p for n in joins)), "A round begun counts as a round: round up, not down."),
        (of(lambda joins, p: sum(n / p for n in joins)), "There are no parts of a round: round up at each level."),
        (of(together), "You spread all joins evenly: nobody begins the next level early, so round up each level."),
        (of(lambda joins, p: sum(joins) // p), "You spread all joins evenly, and rounded down: round up, by level."),
        (of(lambda joins, p: sum(joins) / p), "You spread all joins evenly: a level ends before the next begins."),
        (of(lambda joins, p: sum(n // p + 1 for n in joins)), "Where friends come out even, no round is added."),
        (of(lambda joins, p: len(joins)), "That is the depth, the time with as many friends as you like."),
        (of(lambda joins, p: sum(joins)), "That is the work, the time for one friend alone."),
        (of(lambda joins, p: math.ceil(max(joins) / p)), "That is the time of the longest level: add up all levels."),
    ]  # fmt: skip
    right = of(lambda joins, p: sum(math.ceil(n / p) for n in joins))
    for wrong, sentence in known:
        if given == wrong != right:
            return sentence
    for (levels, friends), yours, rounds in zip(cases, given, right, strict=True):
        of_levels = ", ".join(str(len(level)) for level in levels)
        message = compare(yours, rounds, f"with levels of {of_levels} joins and num_friends = {friends} your number")
        if message is not None:
            return message
    return None


def scan_from_zero(a, b):
    """The colleague's scan."""
    return scan(a, b, method="loop")


@exercise("07.4-initial-state")
def initial_state(answer):
    """The first step writes a_1 h_0 as well, or the running product of gates times h_0 is added afterwards."""
    if not callable(answer):
        return f"The answer is a function of h0, a, b and a scan; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 5, 3, generator=generator, dtype=torch.float64) + 0.1
    b = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    h0 = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    given = answer(h0, a, b, scan_from_zero)
    before = h0.unsqueeze(1)
    zero = scan_from_zero(a, b)
    products = a.cumprod(1)
    ones = torch.ones_like(before)

    def with_first(first):
        return scan(a, torch.cat([first, b[:, 1:]], 1), method="loop")

    known = [
        (zero, "h0 is not used: this is the scan from zero."),
        (zero + before, "You add h0 to every state: each step keeps only a share a of what was before."),
        (zero + a * before, "Each state gets its own gate times h0: by step t, all the gates so far have been at it."),
        (zero + a[:, :1] * before, "a_1 h0 is added to every state: the later gates have to be at it, too."),
        (with_first(b[:, :1] + before), "h0 goes through the first step, too: what it leaves is a_1 h0."),
        (with_first(a[:, :1] * before), "The first step still writes its own b_1: add, do not replace."),
        (with_first(before), "h0 takes the place of the first step, which is lost: b_1 + a_1 h0 keeps both."),
        (
            zero + torch.cat([ones, products[:, :-1]], 1) * before,
            "The products are one step late: the first state already has a_1 in front of h0.",
        ),
        (
            scan(a, b + a * before, method="loop"),
            "h0 enters again at every step: only the first step has h_0 before it.",
        ),
        (
            scan(a, b + before, method="loop"),
            "You add h0 to what every step writes: only the first step has h_0 before it, and leaves a_1 h_0 of it.",
        ),
        (
            zero + a.flip(1).cumprod(1).flip(1) * before,
            "Your products run from the end: h_0 has gone through the gates of steps 1 to t by step t.",
        ),
        (
            scan(torch.cat([ones, a[:, 1:]], 1), torch.cat([before, b[:, 1:]], 1), method="loop"),
            "h0 takes the place of the first step, which is lost: b_1 + a_1 h0 keeps both.",
        ),
        (zero[:, -1], "That is the last state alone, and without h0: return all states, (B, T, D)."),
        (zero + products[:, -1:] * before, "Each state needs the product of the gates up to its own step, not of all."),
        (
            torch.cat([before, with_first(b[:, :1] + a[:, :1] * before)], 1),
            "The states are right, with h0 in front of them: T states were asked for, h_1 to h_T.",
        ),
        (
            torch.cat([before, with_first(b[:, :1] + a[:, :1] * before)], 1)[:, :-1],
            "These are the states before each step: cut off the first, not the last.",
        ),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    return compare(given, scan(a, b, h0, method="loop"), "what your function returns")


@exercise("07.5-between")
def between(answer):
    """Log2 T levels, rounded up, of at most T/2 joins (Ladner & Fischer 1980, Sklansky 1960)."""
    if not callable(answer):
        return f"The answer is a function of T that returns a timetable; this is {describe(answer)}."
    for steps in (8, 2, 16, 1, 3, 7, 100):
        message = _timetable_mistake(answer(steps), steps)
        if message is not None:
            return f"For T = {steps}: {message}"
    return None


def _timetable_mistake(timetable, steps):
    try:
        levels = [[(int(t), int(s)) for t, s in level] for level in timetable]
    except (TypeError, ValueError):
        return f"a timetable is a list of levels, each a list of pairs (t, s); this is {describe(timetable)}."
    first = list(range(steps))
    for number, level in enumerate(levels, 1):
        before, changed = list(first), set()
        for t, s in level:
            if not (0 <= t < steps and 0 <= s < steps):
                return f"level {number} has the pair ({t}, {s}), and the cells are 0 to {steps - 1}."
            if t <= s:
                return f"level {number} has the pair ({t}, {s}): the later cell, the one that changes, comes first."
            if t in changed:
                return f"level {number} changes cell {t} twice: that takes two levels."
            changed.add(t)
            if before[t] <= s:
                return f"level {number} joins cell {s} to cell {t}, which already has that step: it would count twice."
            if before[t] > s + 1:
                return f"level {number} joins cell {s} to cell {t}, and the steps between the two are left out."
            first[t] = before[s]
    unfinished = [t for t in range(steps) if first[t] > 0]
    if unfinished:
        t = unfinished[0]
        return f"cell {t} is not done: at the end it holds the steps from {first[t]} on, not from 0."
    depth, work = math.ceil(math.log2(steps)), sum(map(len, levels))
    if len([level for level in levels if level]) > depth:
        return f"it scans, in {len(levels)} levels; it can be done in {depth}."
    if len(levels) > depth:
        return "a level without a join is left out."
    if work > steps / 2 * math.log2(steps):
        return (
            f"it scans in {depth} levels, with {work} joins: leave out those whose cell is joined again later, and "
            "where the halves are not equal, let the left one be the larger."
        )
    return None


@exercise("07.6-death")
def death(answer):
    """The first t with 0.9 ** -t above the largest float32: 843."""
    steps = math.log(torch.finfo(torch.float32).max) / -math.log(0.9)
    right = math.floor(steps) + 1
    if matches(answer, right, rtol=0, atol=1e-6):
        return None
    exponent = math.log(torch.finfo(torch.float32).tiny) / math.log(0.9)
    smallest = math.log(2.0**-149) / math.log(0.9)
    known = [
        (right + 1, 0.1, "One too many: P_1 is 0.9 already, so P_t is 0.9 to the power t, not t - 1."),
        (right - 1, 0.5, "Nearly: at that step it is still finite; the first infinite one was asked for."),
        (-steps, 1.5, "The logarithm of 0.9 is negative: turn the sign."),
        (smallest, 1.5, "That is where P_t itself becomes 0; 1 / P_t is infinite before, as floats reach less far up."),
        (exponent, 1.5, "You took the smallest normal float32; ask when 1 / P_t passes the largest."),
        (steps * math.log(10), 3, "You mixed two logarithms: take the same one of both numbers."),
        (steps / math.log(10), 1.5, "You mixed two logarithms: take the same one of both numbers."),
        (steps / math.log(2), 1.5, "You mixed two logarithms: take the same one of both numbers."),
        (38 / -math.log10(0.9), 1, "That is for 1e38: the largest float32 is 3.4 times that."),
        (128, 1.5, "That is for gates of 1/2, in powers of 2: here they are 0.9."),
        (
            math.log10(torch.finfo(torch.float32).max) / 0.1,
            1.5,
            "The gates multiply: the logarithm of 0.9 is asked for, not 1 - 0.9.",
        ),
        (
            math.log(torch.finfo(torch.float32).max),
            0.5,
            "That is the logarithm of the largest float32: divide it by that of 1 / 0.9.",
        ),
        (
            math.log10(torch.finfo(torch.float32).max),
            0.6,
            "That is the logarithm of the largest float32: divide it by that of 1 / 0.9.",
        ),
        (math.log(torch.finfo(torch.float64).max) / -math.log(0.9), 1.5, "That is float64: float32 ends at 3.4e38."),
    ]
    for wrong, off, sentence in known:
        if matches(answer, wrong, rtol=0, atol=off):
            return sentence
    return compare(answer, right)

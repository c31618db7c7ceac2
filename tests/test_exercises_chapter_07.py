import math

import torch

from relmem_lite.exercises import check
from relmem_lite.figures.scan_stepper import schedules


def assert_all(name, right, wrong):
    check(name, right, strict=True)
    for answer, words in wrong:
        verdict = check(name, answer)
        assert verdict.status == "not yet"
        assert words in verdict.message, verdict


def test_stubs_are_unanswered():
    def stub(*inputs):
        return ...

    for name in ("07.1-join", "07.2-scannable", "07.6-death"):
        assert check(name, ...).status == "unanswered"
    for name in ("07.3-rounds", "07.4-initial-state", "07.5-between"):
        assert check(name, stub).status == "unanswered"


def test_join():
    wrong = [
        ((0.125, 2.5), "other order: the first step"),
        ((0.125, 3.0), "added as they stand"),
        ((0.125, 2.0), "do not multiply"),
        ((0.75, 1.5), "the two a multiply"),
        ((0.75, 3.0), "You added both"),
        ((0.125, 0.5), "own b is missing"),
        ((1.5, 0.125), "a comes first"),
        (0.125, "two numbers"),
        ((0.1, 1.5), "too small"),
    ]
    assert_all("07.1-join", (0.125, 1.5), wrong)
    check("07.1-join", torch.tensor([0.125, 1.5]), strict=True)


def test_scannable():
    wrong = [
        ("abcd", "b: two tanh"),
        ("acde", "e: put one step"),
        ("cd", "a: max"),
        ({"a", "d"}, "c: a matrix"),
        (["a", "c"], "d: take the last two"),
        ("axy", "letters a to e"),
        (3, "as a string"),
    ]
    assert_all("07.2-scannable", "acd", wrong)
    check("07.2-scannable", "A, C, D", strict=True)


def test_rounds():
    def by(rule):
        return lambda timetable, friends: rule([len(level) for level in timetable], friends)

    wrong = [
        (by(lambda joins, p: sum(n // p for n in joins)), "round up, not down"),
        (by(lambda joins, p: sum(n / p for n in joins)), "no parts of a round"),
        (by(lambda joins, p: math.ceil(sum(joins) / p)), "spread all joins evenly"),
        (by(lambda joins, p: sum(joins) / p), "a level ends before"),
        (by(lambda joins, p: sum(joins) // p), "rounded down"),
        (by(lambda joins, p: sum(n // p + 1 for n in joins)), "no round is added"),
        (by(lambda joins, p: len(joins)), "That is the depth"),
        (by(lambda joins, p: sum(joins)), "That is the work"),
        (by(lambda joins, p: math.ceil(max(joins) / p)), "longest level"),
        (lambda timetable, friends: sum(timetable), "TypeError"),
        (lambda timetable, friends: [len(level) for level in timetable], "one number, of rounds"),
        (lambda timetable, friends: 7, "with levels of 7, 6, 4 joins and num_friends = 1 your number is 7"),
        (3, "is a function"),
    ]
    assert_all("07.3-rounds", by(lambda joins, p: sum(-(-n // p) for n in joins)), wrong)


def test_initial_state():
    def first(rule):
        def scan_from(h0, a, b, scan):
            return scan(a, torch.cat([rule(h0.unsqueeze(1), a[:, :1], b[:, :1]), b[:, 1:]], 1))

        return scan_from

    def added(rule):
        return lambda h0, a, b, scan: scan(a, b) + rule(a) * h0.unsqueeze(1)

    def late(a):
        return torch.cat([torch.ones_like(a[:, :1]), a.cumprod(1)[:, :-1]], 1)

    def longer(h0, a, b, scan):
        return torch.cat([h0.unsqueeze(1), right(h0, a, b, scan)], 1)

    right = first(lambda h, a, b: b + a * h)
    wrong = [
        (lambda h0, a, b, scan: scan(a, b), "not used"),
        (added(torch.ones_like), "add h0 to every state"),
        (added(lambda a: a), "its own gate"),
        (added(lambda a: a[:, :1]), "later gates"),
        (first(lambda h, a, b: b + h), "what it leaves is a_1 h0"),
        (first(lambda h, a, b: a * h), "add, do not replace"),
        (first(lambda h, a, b: h + 0 * b), "takes the place"),
        (added(late), "one step late"),
        (added(lambda a: a.prod(1, keepdim=True)), "not of all"),
        (lambda h0, a, b, scan: scan(a, b + a * h0.unsqueeze(1)), "enters again at every step"),
        (lambda h0, a, b, scan: scan(a, b + h0.unsqueeze(1)), "to what every step writes"),
        (added(lambda a: a.flip(1).cumprod(1).flip(1)), "run from the end"),
        (lambda h0, a, b, scan: scan(a, b)[:, -1], "the last state alone"),
        (longer, "h0 in front of them"),
        (lambda *given: longer(*given)[:, :-1], "states before each step"),
        (lambda h0, a, b, scan: scan(a, b) + h0, "RuntimeError"),
        (lambda h0, a, b, scan: 2 * right(h0, a, b, scan), "what your function returns"),
        (3, "is a function"),
    ]
    assert_all("07.4-initial-state", right, wrong)
    check("07.4-initial-state", added(lambda a: a.cumprod(1)), strict=True)


def between(T):
    timetable, half = [], 1
    while half < T:
        timetable.append([(t, t - t % half - 1) for t in range(T) if t % (2 * half) >= half])
        half *= 2
    return timetable


def test_between():
    def powers_of_two_only(T):
        levels = math.ceil(math.log2(T)) if T > 1 else 0
        return between(2**levels)

    wrong = [
        (lambda T: schedules(T)["Hillis-Steele"], "For T = 8: it scans in 3 levels, with 17 joins"),
        (lambda T: schedules(T)["Blelloch"], "For T = 8: it scans, in 5 levels; it can be done in 3"),
        (lambda T: schedules(T)["loop"], "in 7 levels"),
        (lambda T: [[(s, t) for t, s in level] for level in between(T)], "the later cell"),
        (lambda T: between(T)[:-1], "cell 4 is not done"),
        (lambda T: between(T) + between(T)[-1:], "count twice"),
        (lambda T: [[(t, t - t % 2 - 1) for t in range(2, T)]], "are left out"),
        (lambda T: [[*level, *level] for level in between(T)], "twice: that takes two levels"),
        (powers_of_two_only, "For T = 3: level 1 has the pair (3, 2), and the cells are 0 to 2"),
        (lambda T: [*between(T), []], "without a join"),
        (lambda T: [1, 2], "each a list of pairs"),
        (5, "is a function"),
    ]
    assert_all("07.5-between", between, wrong)


def test_death():
    steps = math.log(torch.finfo(torch.float32).max) / -math.log(0.9)
    wrong = [
        (842, "still finite"),
        (steps, "still finite"),
        (844, "One too many"),
        (831, "That is for 1e38"),
        (128, "gates of 1/2"),
        (88.7, "divide it by that of 1 / 0.9"),
        (38.5, "divide it by that of 1 / 0.9"),
        (385, "not 1 - 0.9"),
        (-842, "turn the sign"),
        (981, "P_t itself"),
        (829, "smallest normal"),
        (round(steps * math.log(10)), "two logarithms"),
        (round(steps / math.log(2)), "two logarithms"),
        (6737, "That is float64"),
        (100, "too small"),
    ]
    assert_all("07.6-death", 843, wrong)
    assert 0.9**-843 > torch.finfo(torch.float32).max > 0.9**-842

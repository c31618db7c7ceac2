import functools
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from relmem_lite import exercises
from relmem_lite.exercises import call, check, compare, describe, exercise, matches


class Softmax:
    def __call__(self, x):
        raise ValueError("not so")


@pytest.fixture(autouse=True)
def _own_exercises():
    """Exercises that only these tests know."""
    exercises.names()
    before = dict(exercises._CHECKERS)

    @exercise("test_forget_gate")
    def forget_gate(answer):
        if matches(answer, 1.0):
            return "That is the bias <b>; the gate is its `sigmoid`."
        return compare(answer, torch.sigmoid(torch.tensor(1.0)))

    @exercise("test_softmax")
    def softmax(answer):
        x = torch.tensor([[1.0, 2.0], [300.0, 0.0]])
        return compare(answer(x), x.softmax(-1), "the softmax")

    @exercise("test_third")
    def third(answer):
        return compare(answer, 1 / 3)

    @exercise("test_module")
    def module(answer):
        return compare(call(answer, torch.zeros(2, 3)), torch.zeros(2, 4), "the output")

    yield
    exercises._CHECKERS.clear()
    exercises._CHECKERS.update(before)


def test_a_right_answer_is_right():
    verdict = check("test_forget_gate", 0.7310586)
    assert verdict
    assert repr(verdict) == "Right (test_forget_gate)."
    assert check("test_softmax", lambda x: torch.softmax(x, -1))
    assert check("test_softmax", functools.partial(torch.softmax, dim=-1))
    assert check("test_module", nn.Sequential(nn.Linear(3, 4, bias=False)), strict=True)


def test_a_number_may_be_a_fraction():
    assert check("test_third", Fraction(1, 3))
    assert check("test_third", lambda: Fraction(1, 3)).message.startswith("your answer is the function")
    assert not check("test_third", Fraction(1, 4))


def test_a_known_mistake_is_named():
    verdict = check("test_forget_gate", 1.0)
    assert not verdict
    assert repr(verdict) == "Not yet (test_forget_gate): That is the bias <b>; the gate is its `sigmoid`."


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_open_exercise_is_not_wrong_but_unanswered(nothing):
    verdict = check("test_forget_gate", nothing)
    assert verdict.status == "unanswered"
    assert "Not answered yet" in repr(verdict)
    with pytest.raises(AssertionError, match="Not answered yet"):
        check("test_forget_gate", nothing, strict=True)


def test_strict_raises_with_the_message():
    with pytest.raises(AssertionError, match="That is the bias"):
        check("test_forget_gate", 1.0, strict=True)


def test_an_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match="'test_softmax'"):
        check("test_sofmax", 1)


def test_two_checkers_cannot_have_one_name():
    with pytest.raises(ValueError, match="Two checkers are called 'test_softmax'"):

        @exercise("test_softmax")
        def another(answer):
            return None


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x @ x.new_ones(5), "your function raised RuntimeError: size mismatch"),
        (lambda: 0, "TypeError"),
        (lambda x: None, "is its `return` missing? It was given a tensor of shape (2, 2)."),
        (lambda x: nn.ModuleDict()(x), "your function raised NotImplementedError: Module"),
        (Softmax(), "`Softmax` raised ValueError: not so"),
        (lambda x: x.exp() / x.exp().sum(-1, keepdim=True), "1 of its 4 values is NaN"),
        (lambda x: x.softmax(0), "3 of its 4 values differ, most at [0, 0]"),
        (lambda x: x.softmax(-1)[0], "shape (2,) where (2, 2) was expected"),
    ],
)
def test_a_function_that_fails_gets_a_sentence_not_a_traceback(function, said):
    verdict = check("test_softmax", function)
    assert verdict.status == "not yet"
    assert said in verdict.message


def test_a_stub_is_not_a_wrong_answer():
    def stub(x):
        raise NotImplementedError

    for unwritten in (lambda x: ..., stub):
        assert check("test_softmax", unwritten).status == "unanswered"


def test_an_exception_is_told_with_the_shapes_of_the_inputs():
    def my_softmax(x):
        raise RuntimeError("first line\nsecond line")

    message = check("test_softmax", my_softmax).message
    assert message == "`my_softmax` raised RuntimeError: first line; it was given a tensor of shape (2, 2)."
    assert "Linear" not in message
    message = check("test_module", nn.Linear(5, 4)).message
    assert message.startswith("`Linear` raised RuntimeError: mat1 and mat2")
    assert "it was given a tensor of shape (2, 3)" in message


def test_a_function_not_written_yet_says_so():
    def my_softmax(x):
        raise NotImplementedError

    assert "is not written yet" in check("test_softmax", my_softmax).message


def test_an_answer_of_the_wrong_kind_is_told_and_does_not_raise():
    assert "the number 3, could not be checked: TypeError" in check("test_softmax", 3).message
    assert check("test_forget_gate", "0.73").message == "your answer is '0.73' where a number was expected."


def test_what_a_checker_cannot_make_sense_of_is_told_as_the_student_s():
    @exercise("test_positive")
    def positive(answer):
        return None if answer(torch.ones(2)) > 0 else "That is not positive."

    message = check("test_positive", lambda x: [0.5]).message
    assert message.startswith("your function returned a list of 1, which could not be checked: TypeError")

    def halves(x):
        return x / 2

    assert check("test_positive", halves).message.startswith("`halves` returned a tensor of shape (2,), which")


def test_a_number_too_long_to_be_written_out_is_too_large():
    verdict = check("10.1-phone-book", (10**7) ** 1000)
    assert verdict.message == "your answer is 1e+7000, which is not right: it is too large."
    assert "-3e+5000, which is not right: it is too small" in check("11.1-words", -3 * 10**5000).message
    assert describe(10**20) == "the number 1e+20"
    assert describe(2**62) == f"the number {2**62}"


def test_a_function_cannot_change_the_checker_s_inputs():
    def in_place(x):
        return x.sub_(x.max(-1, keepdim=True).values).exp_().div_(x.sum(-1, keepdim=True))

    assert check("test_softmax", in_place)


def test_a_notebook_shows_a_box_that_needs_no_colour():
    box = check("test_forget_gate", 1.0)._repr_html_()
    assert "<strong>Not yet</strong>" in box
    assert "&lt;b&gt;" in box
    assert "<code>sigmoid</code>" in box
    assert "currentColor" in box
    assert "<strong>Right</strong>" in check("test_forget_gate", 0.7310586)._repr_html_()
    assert "<strong>Not answered yet</strong>" in check("test_forget_gate", None)._repr_html_()


@pytest.mark.parametrize(
    ("actual", "expected", "said"),
    [
        (torch.ones(3, 4), torch.ones(3, 5), "shape (3, 4) where (3, 5) was expected."),
        (torch.ones(3, 4), torch.ones(4, 3), "are two dimensions swapped?"),
        (torch.ones(12), torch.ones(4, 3), "arranged differently"),
        (torch.ones(1, 3), torch.ones(3), "arranged differently"),
        (torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), "1 of its 2 values differ, most at [1]: 2.5 where 2"),
        (torch.tensor([1.0, torch.inf]), torch.ones(2), "1 of its 2 values is infinite"),
        (float("nan"), 1.0, "not finite: its value is NaN"),
        (2.0, 1.0, "it is 2 times too large"),
        (0.25, 1.0, "it is 4 times too small"),
        (-1.0, 1.0, "its sign is wrong"),
        (1.3, 1.0, "it is too large"),
        (0.0, 1.0, "it is too small"),
        (torch.ones(3), 1.0, "is 3 numbers where a single one was expected"),
        ([torch.ones(2), torch.ones(2)], torch.ones(2, 2), "put its tensors together, with torch.stack"),
        (None, 1.0, "not there yet"),
        ("one", torch.ones(2), "is 'one' where a tensor of shape (2,) was expected"),
        (np.array(["one", "two"]), torch.ones(2), "(<U3) where a tensor of shape (2,) was expected"),
        (np.array([None]), 1.0, "an array of shape (1,) (object) where a number was expected"),
        (["x"], 0.25, "a list of 1 where a number was expected"),
        ([], 0.25, "a list of 0 where a number was expected"),
        ([np.ones(2), np.zeros(2)], torch.ones(2, 2), "2 of its 4 values differ"),
        ([1.0, "x"], torch.ones(2), "a list of 2 where a tensor of shape (2,) was expected"),
        (torch.ones(2), (torch.ones(2), torch.ones(2)), "a tensor of shape (2,) where a tuple of 2 was expected"),
        ((1.0,), (1.0, 2.0), "has 1 members where 2 were expected"),
        ((1.0, 3.3), (1.0, 2.0), "member 2 of your answer is 3.3"),
        ({"a": 1}, {"b": 1}, "has the keys ['a'] where ['b'] were expected"),
        ({"a": 1.3}, {"a": 1}, "your answer['a'] is 1.3"),
        (1, {"a": 1}, "the number 1 where a dict was expected"),
        ("b", "a", "is 'b', which is not what was expected"),
    ],
)
def test_compare_says_how_an_answer_differs(actual, expected, said):
    assert said in compare(actual, expected)
    assert not matches(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.ones(2, dtype=torch.float64), torch.ones(2)),
        (np.ones((2, 3)), torch.ones(2, 3)),
        ([1, 2], torch.tensor([1.0, 2.0])),
        (torch.tensor([0.5], requires_grad=True), 0.5),
        (0.500001, torch.tensor(0.5)),
        (True, True),
        ("a", "a"),
        ([torch.ones(1), 2], (torch.ones(1), 2)),
        ({"a": 1.0}, {"a": 1}),
        (torch.tensor([-torch.inf, 0.0]), torch.tensor([-torch.inf, 0.0])),
    ],
)
def test_compare_is_silent_about_equal_answers(actual, expected):
    assert compare(actual, expected) is None
    assert matches(actual, expected)


def test_a_scalar_s_message_does_not_give_the_answer_away():
    assert "0.7310" not in compare(0.9, 0.7310586)


def test_values_are_described_in_words():
    assert describe(torch.zeros(2, 3)) == "a tensor of shape (2, 3)"
    assert describe(torch.zeros(2, dtype=torch.int64)) == "a tensor of shape (2,) (int64)"
    assert describe(np.zeros(2)) == "an array of shape (2,)"
    assert describe(0.5) == "the number 0.5"
    assert describe([1, 2]) == "a list of 2"
    assert describe(nn.Linear) == "the class Linear"
    assert describe(len) == "the function len"
    assert describe(nn.Linear(1, 1)) == "an object of type Linear"


def test_every_exercise_of_the_book_takes_anything_without_raising():
    for name in exercises.names():
        for nonsense in (None, ..., 0.123, "x", torch.zeros(2), np.array(["x"]), (), 10**5000, lambda *inputs: None):
            assert not check(name, nonsense)

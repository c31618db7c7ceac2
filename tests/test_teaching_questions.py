"""The assignment's questions: right answers got in another way, wrong ones with their sentence, numbers for each."""

import math

import pytest
import torch
from assignment_answers import RIGHT, WRONG, written

from relmem_lite.exercises import AnswerRaised, call
from relmem_lite.teaching import QUESTIONS
from relmem_lite.teaching.inside import decode, encode

every_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
CLASS = [f"student-{number}" for number in range(40)]


def verdict(question, source, numbers):
    names = {"torch": torch, "math": math}
    exec(written(source, numbers), names)
    answer = names[question.name]
    try:
        return question.check((lambda *inputs: call(answer, *inputs)) if callable(answer) else answer, numbers)
    except AnswerRaised as error:
        return str(error)


@every_question
def test_an_answer_got_in_another_way_is_right_for_everybody(question):
    for student in CLASS[:8]:
        assert verdict(question, RIGHT[question.name], question.numbers(7, student)) is None


@every_question
def test_at_least_three_likely_mistakes_are_named(question):
    assert len(WRONG[question.name]) >= 3
    for student in CLASS[:4]:
        numbers = question.numbers(7, student)
        for source, says in WRONG[question.name]:
            assert says.format(**numbers) in verdict(question, source, numbers), source


@every_question
def test_each_listed_mistake_gets_its_sentence(question):
    for student in CLASS[:8]:
        numbers = question.numbers(7, student)
        for answer, sentence in question.mistakes(**numbers):
            assert question.check(answer, numbers) == sentence


@every_question
def test_answers_differ_between_students_and_between_seeds_but_not_between_runs(question):
    students = CLASS[:12] if question.inputs(**question.numbers(7, "ann")) else CLASS
    drawn = [question.numbers(7, student) for student in students]
    assert drawn[0] == type(question)().numbers(7, CLASS[0])
    assert drawn != [question.numbers(8, student) for student in students]
    same = sum(one == other for i, one in enumerate(drawn) for other in drawn[:i])
    pairs = len(students) * (len(students) - 1) / 2
    # A copied function is right by luck for at most a third of the others, a copied value for a twentieth.
    assert same / pairs < (1 / 3 if question.inputs(**drawn[0]) else 1 / 20)


@every_question
def test_any_value_gets_a_sentence(question):
    numbers = question.numbers(7, "ann")
    for nonsense in (
        True,
        0,
        -1.5,
        math.nan,
        math.inf,
        1e299,
        "",
        "x" * 1000,
        [],
        [1, [2, "y"]],
        (None, ...),
        object(),
    ):
        message = question.check(nonsense, numbers)
        assert isinstance(message, str)
        assert "\n" not in message
    for tensor in (torch.zeros(0), torch.zeros(2, 3), torch.ones(5, dtype=torch.bool)):
        assert isinstance(question.check(tensor, numbers), str)
        assert isinstance(question.check(lambda *_, tensor=tensor: tensor, numbers), str)


@every_question
def test_its_text_is_whole(question):
    assert 1 <= question.chapter <= 14
    assert question.name in question.stub
    for student in CLASS[:5]:
        text = question.text(**question.numbers(7, student))
        assert text.count("$") % 2 == 0
        assert "{" not in text.replace(r"\tilde h_", "").replace(r"\sqrt{K}", "").replace("_{t-1}", "").replace(
            "h_{t", "h_t"
        )


def test_what_is_plain_comes_back_as_it_was():
    for value in (None, ..., True, 3, -2.5, "é", [1, [2.0, "x"]], (1, (2,)), [], ""):
        assert decode(encode(value)) == value
    for tensor in (torch.randn(2, 3), torch.arange(4), torch.tensor(True), torch.zeros(0, 2), torch.zeros(1).double()):
        back = decode(encode(tensor))
        assert back.dtype == tensor.dtype
        torch.testing.assert_close(back, tensor)
    assert encode({2, 1}) == {"list": [1, 2]}
    assert encode(torch.zeros(1, requires_grad=True)) == {"tensor": [0.0], "shape": [1], "dtype": "float32"}
    assert math.isnan(encode(math.nan))


def test_what_is_not_plain_is_named_or_refused():
    endless = []
    endless.append(endless)
    assert "other" in str(encode(endless))
    for value in (1j, {"a": 1}, torch.zeros(200_000), torch.zeros(1, dtype=torch.complex64), int, 10**400):
        assert list(encode(value)) == ["other"]
    assert type(decode({"other": "Data Frame!"})).__name__ == "DataFrame"
    for forged in ({}, {"list": 3}, {"tensor": [1, 2], "shape": [1]}, {"function": "f"}, {"tensor": []}, [], {"a": {}}):
        with pytest.raises(ValueError, match="not a plain value"):
            decode(forged)
    for forged in (
        {"tensor": [1, 2], "shape": [7], "dtype": "int64"},
        {"tensor": ["x"], "shape": [1], "dtype": "int64"},
    ):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            decode(forged)

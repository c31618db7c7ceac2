import math

import pytest
import torch

from relmem_lite.exercises import check
from relmem_lite.exercises.chapter_01 import _step


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("01.1-parameters", lambda inputs, units: 4 * (units * inputs + units * units + 2 * units)),
        (
            "01.1-parameters",
            lambda inputs, units: sum(p.numel() for p in torch.nn.LSTM(inputs, units).parameters()),
        ),
        ("01.2-step", _step),
        ("01.3-half", lambda steps: 0.5 ** (1 / steps)),
        ("01.3-half", lambda steps: math.exp(math.log(0.5) / steps)),
        ("01.4-waist", 102),
        ("01.5-last", lambda n, k: (k - 1) / (n - 1) + 0.75 * (n - k) / (n - 1)),
    ],
)
def test_the_right_answer_is_right(name, answer):
    check(name, answer, strict=True)


def test_the_step_expected_is_torchs():
    cell = torch.nn.LSTMCell(3, 4)
    x, h, c = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4)
    bias = cell.bias_ih + cell.bias_hh
    torch.testing.assert_close(_step(x, h, c, cell.weight_ih, cell.weight_hh, bias), cell(x, (h, c)))


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("01.1-parameters", lambda i, d: 4 * (d * i + d * d + d), "one bias is missing"),
        ("01.1-parameters", lambda i, d: 4 * (d * i + d * d), "biases are missing"),
        ("01.1-parameters", lambda i, d: 3 * (d * i + d * d + 2 * d), "the candidate has weights too"),
        ("01.1-parameters", lambda i, d: 4 * (d * i + 2 * d), "`U` are missing"),
        ("01.1-parameters", lambda i, d: d * i + d * d + 2 * d, "one gate's share"),
        ("01.1-parameters", lambda i, d: 4 * (i * d + i * i + 2 * i), "are exchanged"),
        ("01.1-parameters", lambda i, d: 4 * (d * i + d * d) + 2 * d, "biases are those of one gate"),
        ("01.1-parameters", 6400, "is a function of input_size and hidden_size; this is the number 6400"),
        ("01.2-step", lambda *parts: _step(*parts, order="ifog"), "last two quarters are swapped"),
        ("01.2-step", lambda *parts: _step(*parts, order="figo"), "input gate and forget gate are swapped"),
        ("01.2-step", lambda *parts: _step(*parts, squash=torch.sigmoid), "candidate went through a sigmoid"),
        ("01.2-step", lambda *parts: _step(*parts, squash=lambda a: a), "candidate's tanh is missing"),
        ("01.2-step", lambda *parts: _step(*parts, forget_bias=1), "forget gate has 1 too much"),
        ("01.2-step", torch.zeros(2, 4), "is a function of x, h"),
        ("01.2-step", lambda *parts: _step(*parts, shown=lambda old, new: new), "tanh around the cell is missing"),
        ("01.2-step", lambda *parts: _step(*parts, shown=lambda old, new: old.tanh()), "shows the old cell"),
        ("01.2-step", lambda *parts: _step(*parts)[::-1], "in the wrong order"),
        ("01.2-step", lambda *parts: _step(*parts)[0], "the new hidden state alone"),
        ("01.2-step", lambda x, h, c, W, U, b: _step(x, 0 * h, c, W, U, b), "old hidden state is not used"),
        ("01.2-step", lambda x, h, c, W, U, b: _step(x, h, 0 * c, W, U, b), "old cell is lost"),
        ("01.2-step", lambda x, h, c, W, U, b: _step(x, h, c, W, U, 0 * b), "bias is missing"),
        ("01.2-step", lambda x, h, c, W, U, b: x @ W + h, "raised RuntimeError"),
        ("01.3-half", lambda steps: 0.5, "keeps half at every step"),
        ("01.3-half", lambda steps: 1 - 0.5 / steps, "an equal amount"),
        ("01.3-half", lambda steps: math.exp(-1 / steps), "1/e"),
        ("01.3-half", lambda steps: 1 - 1 / steps, "about 1/e"),
        ("01.3-half", lambda steps: math.log(0.5) / steps, "take its exponential"),
        ("01.3-half", 0.933, "is a function of steps"),
        ("01.3-half", lambda steps: -math.log(2 ** (1 / steps) - 1), "is the bias"),
        ("01.3-half", lambda steps: 0.5**steps, "other way round"),
        ("01.4-waist", 51, "the state is both"),
        ("01.4-waist", 32, "one number for each float"),
        ("01.4-waist", 3, "counts a float as one bit"),
        ("01.4-waist", 12, "counts bytes"),
        ("01.4-waist", 102.4, "round down"),
        ("01.4-waist", 512, "add both"),
        ("01.4-waist", 1024, "divide by what one item needs"),
        ("01.4-waist", 96, "across two floats"),
        ("01.5-last", lambda n, k: 0.5 + k / (2 * n), "the chapter's formula"),
        ("01.5-last", lambda n, k: 0.75 + k / (4 * n), "k - 1 are kept"),
        ("01.5-last", lambda n, k: 0.75 + k / (4 * (n - 1)), "one of the k"),
        ("01.5-last", lambda n, k: 0.5 + (k - 1) / (2 * (n - 1)), "3/4 of the time"),
        ("01.5-last", 0.8, "is a function of n and k"),
        ("01.5-last", lambda n, k: (k - 1) / (n - 1), "not always answered wrongly"),
    ],
)
def test_a_likely_mistake_is_named(name, answer, says):
    verdict = check(name, answer)
    assert verdict.status == "not yet"
    assert says in verdict.message

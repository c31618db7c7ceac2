"""The right answers to chapter 4's exercises, and the wrong ones that students give, each with its sentence."""

import math

import pytest
import torch

from relmem_lite import LSTM, RelationalMemory
from relmem_lite.exercises import check
from relmem_lite.models import SequenceModel, match_parameters, num_parameters
from relmem_lite.tasks import NthFarthest


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize("name", ["04.1-plateau", "04.2-without-free", "04.4-honest-probe"])
def test_the_untouched_stub_is_not_answered_yet(name):
    assert check(name, lambda *inputs: ...).status == "unanswered"


@pytest.mark.parametrize("name", ["04.3-order-of-four", "04.5-match"])
def test_the_untouched_number_is_not_answered_yet(name):
    assert check(name, ...).status == "unanswered"


def accuracy(K):
    return 2 / K


def loss(K):
    return (K - 1) / K * math.log(K - 1)


def test_plateau_is_right_and_the_task_s_shortcut():
    check("04.1-plateau", lambda K: (accuracy(K), loss(K)), strict=True)
    check("04.1-plateau", lambda K: [torch.tensor(2 / K), loss(K)], strict=True)
    assert accuracy(8) == NthFarthest(8).shortcut


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda K: (1 / K, loss(K)), "1/K is chance"),
        (lambda K: (1 / K + (K - 1) / K / K, loss(K)), "m itself is ruled out"),
        (lambda K: (1 / K + 1 / (K - 1), loss(K)), "only in the (K - 1)/K"),
        (lambda K: (1 / (K - 1), loss(K)), "where n < K"),
        (lambda K: (200 / K, loss(K)), "per cent"),
        (lambda K: (accuracy(K), math.log(K - 1)), "cost nothing"),
        (lambda K: (accuracy(K), math.log(K)), "rules nothing out"),
        (lambda K: (accuracy(K), -math.log(2 / K)), "mean of logarithms"),
        (lambda K: (accuracy(K), (K - 1) / K * math.log(K)), "K - 1 labels"),
        (lambda K: (accuracy(K), (K - 1) / K * math.log2(K - 1)), "in bits"),
        (lambda K: (accuracy(K), -loss(K)), "sign"),
        (lambda K: (accuracy(K), 1 - accuracy(K)), "share of wrong answers"),
        (lambda K: (loss(K), accuracy(K)), "wrong order"),
        (lambda K: accuracy(K), "two numbers"),
        (0.25, "is a function"),
    ],
)
def test_plateau_names_the_mistake(answer, words):
    says("04.1-plateau", answer, words)


def test_without_free_is_right_and_what_the_task_counts():
    def right(a, K):
        return (a - 1 / K) / ((K - 1) / K)

    check("04.2-without-free", right, strict=True)
    task = NthFarthest(3, 1)
    batch = task.sample(3000, torch.Generator().manual_seed(0))
    free = task.answers_itself(batch)
    logits = torch.rand(3000, 3, generator=torch.Generator().manual_seed(1))
    logits[free] = batch.inputs[free, 0, 7:]  # m, whatever the others get
    scores, share = task.scores(logits, batch), free.double().mean().item()
    assert scores["accuracy_without_self"] == pytest.approx((scores["accuracy"] - share) / (1 - share))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda a, K: a - 1 / K, "divide by how many"),
        (lambda a, K: a / (1 - 1 / K), "out before you divide"),
        (lambda a, K: (a - 2 / K) / (1 - 2 / K), "lucky guesses"),
        (lambda a, K: a * (1 - 1 / K), "no product"),
        (lambda a, K: (a - 1 / K) * (1 - 1 / K), "you multiply"),
        (lambda a, K: (a - 1 / K) * K, "not 1/K"),
        (lambda a, K: 100 * (a - 1 / K) / (1 - 1 / K), "per cent"),
        (lambda a, K: None, "return"),
        (0.897, "is a function"),
    ],
)
def test_without_free_names_the_mistake(answer, words):
    says("04.2-without-free", answer, words)


def test_order_of_four_is_right_and_what_counting_finds():
    for answer in (27 / 32, 0.844, 0.8435, torch.tensor(0.8438)):
        check("04.3-order-of-four", answer, strict=True)
    batch = NthFarthest(4, 1).sample(80_000, torch.Generator().manual_seed(0))
    numbers, labels = batch.inputs[:, :, 0], batch.inputs[:, :, 1:5].argmax(-1)
    n, m = batch.inputs[:, 0, 5:9].argmax(-1), batch.inputs[:, 0, 9:].argmax(-1)
    rank = numbers.argsort(1).argsort(1)
    known, answer = 4 * n + rank[labels == m[:, None]], rank[labels == batch.targets[:, -1:]]
    counts = torch.zeros(16, 4)
    counts.index_put_((known, answer), torch.ones(len(known)), accumulate=True)
    assert counts.max(1).values.sum().item() / len(known) == pytest.approx(27 / 32, abs=0.005)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (8 / 9, "for three numbers"),
        (19 / 24, "leaves the free questions out"),
        (7 / 12, "half of the time"),
        (1 / 4 + 3 / 4 * 3 / 4, "A coin"),
        (0.75, "no guess among all three"),
        (1 / 4 + 3 / 4 * (2 / 3 + 1 / 3 * 7 / 12), "not in two thirds"),
        (1 / 4 + 3 / 4 * (1 / 2 + 1 / 2 * 5 / 9), "once in four, not once in three"),
        (0.8954, "uses m's number"),
        (0.5, "the shortcut"),
        (84.4, "per cent"),
        (0.99, "too large"),
        ("27/32", "a number was expected"),
    ],
)
def test_order_of_four_names_the_mistake(answer, words):
    says("04.3-order-of-four", answer, words)


def probe(features, values, fit, score, ones=True):
    if ones:
        features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    solution = torch.linalg.lstsq(features[fit], values[fit, None]).solution
    error = (features @ solution)[:, 0] - values
    return 1 - error[score].square().mean().item() / values[score].var().item()


def halves(values):
    half = len(values) // 2
    return slice(0, half), slice(half, len(values))


def honest(features, values):
    first, second = halves(values)
    return probe(features, values, first, second)


def test_honest_probe_is_right():
    check("04.4-honest-probe", honest, strict=True)


def by_its_residue(features, values):
    return 1 - honest(features, values)


def squared_error(features, values):
    return by_its_residue(features, values) * values[halves(values)[1]].var().item()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f, v: probe(f, v, slice(None), slice(None)), "on the same samples"),
        (lambda f, v: probe(f, v, halves(v)[0], halves(v)[0]), "score it on the second"),
        (lambda f, v: probe(f, v, slice(None), halves(v)[1]), "fitted to all samples"),
        (lambda f, v: probe(f, v, halves(v)[0], slice(None)), "second half alone"),
        (lambda f, v: probe(f, v, *halves(v), ones=False), "constant feature"),
        (by_its_residue, "one minus it"),
        (squared_error, "mean squared error"),
        (lambda f, v: 1 - squared_error(f, v), "not divided by the variance"),
        (lambda f, v: probe(f, v, *halves(v)[::-1]), "other way round"),
        (lambda f, v: max(0.0, honest(f, v)), "do not cut it off"),
        (lambda f, v: (0.5, 0.5), "one number"),
        (0.5, "is a function"),
    ],
)
def test_honest_probe_names_the_mistake(answer, words):
    says("04.4-honest-probe", answer, words)


def test_match_is_right_and_what_the_library_finds():
    check("04.5-match", 114, strict=True)
    rmc = SequenceModel(RelationalMemory(10, num_slots=4, num_heads=4, head_size=16), 3, (128, 128))
    assert num_parameters(rmc) == 88_579
    lstm = match_parameters(lambda width: SequenceModel(LSTM(10, width), 3, (128, 128)), rmc)
    assert lstm.core.output_size == 114


def closest(size, target=88_579):
    return min(range(1, 400), key=lambda D: abs(size(D) - target))


def head(D):
    return D * 128 + 128 + 128 * 128 + 128 + 128 * 3 + 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (closest(lambda D: 4 * (10 * D + D * D + 2 * D)), "core alone"),
        (closest(lambda D: 3 * (10 * D + D * D + 2 * D) + head(D)), "you counted three"),
        (closest(lambda D: 4 * (10 * D + D * D + 2 * D) + head(D) - 128 * 128 - 128), "two hidden layers"),
        (256, "what the RMC keeps"),
        (113, "Near"),
        (40, "too small"),
        ("114", "a number was expected"),
    ],
)
def test_match_names_the_mistake(answer, words):
    says("04.5-match", answer, words)

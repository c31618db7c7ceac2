import pytest
import torch

from relmem_lite.exercises import check


def says(name, answer, *words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert verdict.message.count("\n") == 0
    for word in words:
        assert word in verdict.message, verdict.message


def test_unanswered():
    for name in ("13.1-four-seeds", "13.2-rule", "13.3-times-more", "13.4-hopfield"):
        assert check(name, ...).status == "unanswered"
    assert check("13.2-rule", lambda ours, theirs, lower=False: ...).status == "unanswered"
    assert check("13.4-hopfield", lambda state, patterns, beta: ...).status == "unanswered"


@pytest.mark.parametrize("answer", [1 / 70, 0.0142857])
def test_four_seeds_right(answer):
    assert check("13.1-four-seeds", answer)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (70, "how many draws"),
        (1 / 35, "both ways"),
        (0.05, "three against three"),
        (1 / 16, "coin"),
        (1 / 256, "coin"),
        (1 / 1680, "order among our own"),
        (1 / 40_320, "any order"),
        (0.3, "too large"),
        ("rarely", "a number was expected"),
    ],
)
def test_four_seeds_wrong(answer, word):
    says("13.1-four-seeds", answer, word)


def right_rule(ours, theirs, lower_is_better=False):
    sign = -1 if lower_is_better else 1
    ours, theirs = [sign * score for score in ours], [sign * score for score in theirs]
    if min(ours) > max(theirs):
        return "held"
    return "partly" if sum(ours) / len(ours) > sum(theirs) / len(theirs) else "failed"


def test_rule_right():
    assert check("13.2-rule", right_rule)


def by_means(ours, theirs, lower_is_better=False):
    better = sum(ours) > sum(theirs)
    return "held" if better != lower_is_better else "failed"


def by_best_seed(ours, theirs, lower_is_better=False):
    verdict = right_rule(ours, theirs, lower_is_better)
    return "partly" if verdict == "failed" and max(ours) > max(theirs) else verdict


def with_ties(ours, theirs, lower_is_better=False):
    if not lower_is_better and min(ours) >= max(theirs):
        return "held"
    return right_rule(ours, theirs, lower_is_better)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (by_means, "'held', not 'partly': 0.65 is below 0.7"),
        (by_best_seed, "one lucky score"),
        (with_ties, "a tie is not better"),
        (lambda ours, theirs, lower_is_better=False: right_rule(ours, theirs), "lower is better here"),
        (lambda ours, theirs, lower_is_better=False: "held", "not 'partly'"),
        (lambda ours, theirs, lower_is_better=False: True, "not 'held'"),
        (lambda ours, theirs: "held", "TypeError"),
        ("held", "a function"),
    ],
)
def test_rule_wrong(answer, word):
    says("13.2-rule", answer, word)


@pytest.mark.parametrize("answer", [2000 / 575 - 1, 2.48, 2.5])
def test_times_more_right(answer):
    assert check("13.3-times-more", answer)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (2000 / 575, "as many"),
        (3.5, "as many"),
        (1425, "how many steps more"),
        (575 / 2000, "other way round"),
        (0.7125, "divide by 575"),
        (248, "per cent"),
        (5, "too large"),
    ],
)
def test_times_more_wrong(answer, word):
    says("13.3-times-more", answer, word)


def right_update(state, patterns, beta):
    return torch.softmax(beta * state @ patterns.T, dim=-1) @ patterns


def test_hopfield_right():
    assert check("13.4-hopfield", right_update)

    def as_attention(state, patterns, beta):
        sized = {"scale": beta}
        return torch.nn.functional.scaled_dot_product_attention(state[None], patterns[None], patterns[None], **sized)[0]

    assert check("13.4-hopfield", as_attention)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda s, p, beta: torch.softmax(beta * s @ p.T, dim=-1), "the weights, (M, N)"),
        (lambda s, p, beta: s @ p.T @ p, "softmax"),
        (lambda s, p, beta: beta * s @ p.T @ p, "softmax"),
        (lambda s, p, beta: torch.softmax(s @ p.T, dim=-1) @ p, "`beta` is not used"),
        (lambda s, p, beta: torch.softmax(s @ p.T / beta, dim=-1) @ p, "divide by `beta`"),
        (lambda s, p, beta: torch.softmax(s @ p.T / p.shape[-1] ** 0.5, dim=-1) @ p, "whatever `beta` is"),
        (lambda s, p, beta: torch.softmax(beta * s @ p.T, dim=0) @ p, "over the states"),
        (lambda s, p, beta: beta * torch.softmax(beta * s @ p.T, dim=-1) @ p, "inside alone"),
        (lambda s, p, beta: s + right_update(s, p, beta), "takes the state's place"),
        (lambda s, p, beta: right_update(s, p, beta).T, "two dimensions swapped"),
        (lambda s, p, beta: s @ p, "RuntimeError"),
        (3.0, "a function"),
    ],
)
def test_hopfield_wrong(answer, word):
    says("13.4-hopfield", answer, word)

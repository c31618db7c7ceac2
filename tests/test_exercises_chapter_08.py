"""The right answers to chapter 8's exercises, and the wrong ones that students give, each with its sentence."""

import pytest
import torch

from relmem_lite import S4D, CausalAttention, LinearAttention
from relmem_lite.exercises import check


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize("answer", ["afgh", "h, g, f, a", {"a", "f", "g", "h"}, "AFGH"])
def test_who_looks_is_right(answer):
    check("08.1-who-looks", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("abfgh", "its a is 1"),
        ("acfgh", "only Mamba's does"),
        ("adfgh", "keys depend"),
        ("aefgh", "constant of each head"),
        ("fgh", "its window"),
        ("agh", "sets the step"),
        ("afh", "one number a head"),
        ("afg", "1 - z"),
        ("bcde", "Turned round"),
        ("xyz", "a to h"),
        (4, "as a string"),
    ],
)
def test_who_looks_names_the_mistake(answer, words):
    says("08.1-who-looks", answer, words)


def step(A, delta, u):
    return torch.exp(delta * A), torch.expm1(delta * A) / A * u


def test_step_is_right_and_follows_the_differential_equation():
    check("08.2-step", step, strict=True)
    A, delta = torch.tensor([-0.5, -3.0]).double(), torch.tensor([[[0.2, 1.0]]]).double()
    h = start = torch.tensor([[[2.0, -1.0]]]).double()
    for _ in range(10_000):  # many small steps of Euler's: off by about (Delta A)^2 / 20,000
        h = h + delta / 10_000 * (A * h + 1)
    a, b = step(A, delta, torch.ones_like(h))
    torch.testing.assert_close(a * start + b, h, rtol=1e-3, atol=1e-4)


def test_step_is_the_library_s():
    core, inputs = S4D(3, 3, state_per_channel=2), torch.randn(1, 4, 3)
    A = torch.complex(-core.log_decay.exp(), core.frequency)
    delta = core.log_step.exp()[:, None].expand(1, 4, 3, 1)
    with torch.no_grad():
        kept, written, *_ = core.coefficients(inputs)
        a, b = step(A, delta, inputs[..., None])
    torch.testing.assert_close(b, written)
    torch.testing.assert_close(a[:, :1].expand_as(kept), kept)


def b_is(rule):
    """The right a, and b made of a, A, delta and u."""
    return lambda A, delta, u: ((delta * A).exp(), rule((delta * A).exp(), A, delta, u))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b_is(lambda a, A, delta, u: (a - 1) / A * u), "where Delta A is a millionth"),
        (b_is(lambda a, A, delta, u: delta * u), "Mamba's"),
        (b_is(lambda a, A, delta, u: (a - 1) * u), "division by A"),
        (b_is(lambda a, A, delta, u: (1 - a) * u), "a gate's share"),
        (b_is(lambda a, A, delta, u: (1 - a) / A * u), "wrong sign"),
        (b_is(lambda a, A, delta, u: (a - 1) * A * u), "not multiplied"),
        (b_is(lambda a, A, delta, u: (a - 1) / (delta * A) * u), "by A alone"),
        (b_is(lambda a, A, delta, u: (a - 1) / A * delta * u), "by it again"),
        (b_is(lambda a, A, delta, u: u), "took no time"),
        (b_is(lambda a, A, delta, u: (a - 1) / A), "times the input"),
        (b_is(lambda a, A, delta, u: 2 * u), "b has the right shape, but"),
        (lambda A, delta, u: (1 + delta * A, delta * u), "Euler's step"),
        (lambda A, delta, u: step(A, torch.ones_like(u), u), "length of the step"),
        (lambda A, delta, u: step(-A, delta, u), "the state grows"),
        (lambda A, delta, u: (delta * A, step(A, delta, u)[1]), "the exponential of"),
        (lambda A, delta, u: step(A, delta, u)[::-1], "other order"),
        (lambda A, delta, u: step(A, delta, u)[0], "two tensors"),
        (0.5, "a function"),
    ],
)
def test_step_names_the_mistake(answer, words):
    says("08.2-step", answer, words)


def table(gamma, T, shift=0):
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return gamma[:, None, None] ** (distance.clamp(min=0) + shift)


def test_decay_table_is_right_and_the_library_s():
    def answer(gamma, T):
        return table(gamma, T).tril()

    check("08.3-decay-table", answer, strict=True)
    core, inputs = LinearAttention(8, 8, num_heads=4, decay="fixed"), torch.randn(1, 6, 8)
    q, k, v = (layer(inputs).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (core.query, core.key, core.value))
    scores = q @ k.transpose(-1, -2) * answer(1 - 2.0 ** (-5 - torch.arange(4)), 6)
    torch.testing.assert_close((scores @ v).transpose(1, 2).flatten(2), core(inputs)[0])


def distances(T):
    return torch.arange(T)[:, None] - torch.arange(T)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda gamma, T: table(gamma, T).tril().mT, "Rows and columns"),
        (lambda gamma, T: gamma[:, None, None] ** distances(T), "the future"),
        (lambda gamma, T: gamma[:, None, None] ** distances(T).abs(), "the future"),
        (table, "not 1 but 0"),
        (lambda gamma, T: table(gamma, T, shift=1).tril(), "nothing has faded"),
        (lambda gamma, T: table(gamma, T).tril(-1), "the diagonal is 1"),
        (lambda gamma, T: (gamma[:, None, None] * torch.ones(T, T)).tril(), "once for each step"),
        (lambda gamma, T: (gamma[:, None, None] * distances(T)).tril(), "do not add up"),
        (lambda gamma, T: gamma[:, None, None] * torch.ones(T, T), "never to the future"),
        (lambda gamma, T: gamma[:, None, None] ** -distances(T), "wrong sign"),
        (lambda gamma, T: table(1 - gamma, T).tril(), "not those of 1 - gamma"),
        (lambda gamma, T: (gamma[:, None, None] ** torch.arange(T)[:, None]).expand(-1, T, T).tril(), "not the step t"),
        (lambda gamma, T: table(torch.exp(-gamma), T).tril(), "without exp"),
        (lambda gamma, T: table(gamma, T).tril()[0], "each head"),
        (lambda gamma, T: table(gamma, T).tril().permute(1, 2, 0), "heads come first"),
        (torch.eye(3), "a function"),
    ],
)
def test_decay_table_names_the_mistake(answer, words):
    says("08.3-decay-table", answer, words)


@pytest.mark.parametrize("answer", [9, 9.0, torch.tensor(9)])
def test_overtake_is_right(answer):
    check("08.4-overtake", answer, strict=True)


def test_overtake_is_the_library_s():
    matrices, cache = LinearAttention(64, 64, num_heads=4), CausalAttention(64, 64)
    assert [cache.state_size(t) > matrices.state_size(t) for t in (8, 9)] == [False, True]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (8, "one step later"),
        (17, "a key and a value"),
        (3, "4 of them"),
        (33, "share the width"),
        (129, "16 x 16"),
        (1, "4 matrices"),
        (1024, "after how many steps"),
        (10, "One too many"),
        (64, "4 matrices of 16 x 16"),
        (8.5, "Steps are whole"),
        (50, "too large"),
        ("nine", "a number was expected"),
    ],
)
def test_overtake_names_the_mistake(answer, words):
    says("08.4-overtake", answer, words)


def clock(tokens, keep, size, at_noise=1.0):
    own = (tokens[..., None] == torch.arange(size)).float()[..., None]
    b = own.expand(*own.shape[:-1], len(keep))
    is_data = (tokens < size)[..., None, None]
    return torch.where(is_data, keep, at_noise * torch.ones_like(keep)).expand_as(b), b


def always_ticking(tokens, keep, size):
    _, b = clock(tokens, keep, size)
    return keep.expand_as(b), b


def own_symbol_fades(tokens, keep, size):
    _, b = clock(tokens, keep, size)
    return torch.where(b > 0, keep, torch.ones_like(keep)), b


def own_symbol_kept(tokens, keep, size):
    a, b = clock(tokens, keep, size)
    return torch.where(b > 0, torch.ones_like(a), a), b


def turned_round(tokens, keep, size):
    _, b = clock(tokens, keep, size)
    return torch.where((tokens < size)[..., None, None], torch.ones_like(keep), keep).expand_as(b), b


def never_ticking(tokens, keep, size):
    _, b = clock(tokens, keep, size)
    return torch.ones_like(b), b


def every_symbol_written(tokens, keep, size):
    a, _ = clock(tokens, keep, size)
    return a, (tokens < size).float()[..., None, None].expand_as(a)


def noise_written(tokens, keep, size):
    a, _ = clock(tokens, keep, size)
    return a, torch.ones_like(a)


def as_a_gru(tokens, keep, size):
    a, b = clock(tokens, keep, size)
    return a, (1 - keep) * b


def only_noise_slept_through(tokens, keep, size):
    a, b = clock(tokens, keep, size)
    return torch.where((tokens == size)[..., None, None], torch.ones_like(keep), keep).expand_as(a), b


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (always_ticking, "at noise, too"),
        (lambda tokens, keep, size: clock(tokens, keep, size, at_noise=0.0), "a = 1, not a = 0"),
        (own_symbol_fades, "for every symbol"),
        (turned_round, "Turned round"),
        (never_ticking, "forgets their order"),
        (every_symbol_written, "own symbol is written"),
        (noise_written, "b is 0 there"),
        (as_a_gru, "not 1 - keep"),
        (lambda *given: (clock(*given)[0], given[1] * clock(*given)[1]), "not keep"),
        (lambda *given: (clock(*given)[0], 0 * clock(*given)[1]), "Nothing is ever written"),
        (own_symbol_kept, "must fade, too"),
        (only_noise_slept_through, "the recall token too"),
        (lambda *given: clock(*given)[::-1], "other order"),
        (lambda *given: clock(*given)[0], "two tensors"),
        (lambda *given: (clock(*given)[0][..., :1], clock(*given)[1]), "is asked for. Expand it."),
        (1, "a function"),
    ],
)
def test_stop_the_clock_names_the_mistake(answer, words):
    says("08.5-stop-the-clock", answer, words)


def test_stop_the_clock_is_right():
    check("08.5-stop-the-clock", clock, strict=True)


@pytest.mark.parametrize(
    ("name", "stub"),
    [
        ("08.1-who-looks", ...),
        ("08.2-step", lambda A, delta, u: ...),
        ("08.3-decay-table", lambda gamma, T: ...),
        ("08.4-overtake", ...),
        ("08.5-stop-the-clock", lambda tokens, keep, vocab_size: ...),
    ],
)
def test_an_untouched_stub_is_unanswered(name, stub):
    assert check(name, stub).status == "unanswered"

import math

import torch

from relmem_lite import RelationalMemory
from relmem_lite.exercises import check
from relmem_lite.exercises.chapter_02 import strangers
from relmem_lite.experiments.port_mistakes import MISTAKES, PortedMemory
from relmem_lite.models import num_parameters


def assert_all(name, right, wrong):
    check(name, right, strict=True)
    for answer, words in wrong:
        verdict = check(name, answer)
        assert not verdict
        assert words in verdict.message, verdict


def test_strategy():
    wrong = [
        (0.4, "guesses among all 5 labels"),
        (0.2, "is chance"),
        (0.24, "weigh its 1/5 by 4/5"),
        (0.16, "add the 1 in 5"),
        (36, "from 0 to 1"),
        (1 / 3, "count the two cases"),
        (0.5, "too large"),
    ]
    assert_all("02.1-strategy", 1 / 5 + 4 / 5 / 5, wrong)


def test_shuffle():
    wrong = [
        ("abce", "b: the output"),
        ("acde", "d: the head"),
        ("ce", "a: the step"),
        ({"a", "e"}, "c: the rows"),
        (["a", "c"], "e: a row carries"),
        ("axy", "letters a to e"),
        ("a, c and e", "nothing else"),
        (3, "as a string"),
    ]
    assert_all("02.2-shuffle", "ace", wrong)
    check("02.2-shuffle", {"a", "c", "e"}, strict=True)
    check("02.2-shuffle", "A, C, E", strict=True)


def count(
    input_size,
    num_slots,
    num_heads,
    head_size,
    bias=1,
    times=1,
    qkv=3,
    mlp_layers=2,
    qkv_norm=3,
    row_norms=2,
    gates=2,
    gate_size=None,
    kinds=2,
    extra=0,
):
    width = num_heads * head_size
    gate_size = width if gate_size is None else gate_size

    def linear(a, b):
        return a * b + bias * b

    total = linear(input_size, width) + linear(width, qkv * width) + 2 * qkv_norm * width + 2 * row_norms * width
    total += mlp_layers * linear(width, width) + gates * linear(width, kinds * gate_size)
    return times * total + extra


def test_count():
    def with_(**options):
        return lambda i, s, h, v: count(i, s, h, v, **options)

    wrong = [
        (lambda i, s, h, v: count(i, s, h, v, times=s), "multiplied by the number of slots"),
        (
            lambda i, s, h, v: count(i, s, h, v, times=s) - (s - 1) * (i * h * v + h * v),
            "multiplied by the number of slots",
        ),
        (lambda i, s, h, v: count(i, s, h, v, extra=s * h * v), "is not learned"),
        (with_(mlp_layers=1), "one MLP layer"),
        (lambda i, s, h, v: count(i, s, h, v) - (i + 1) * h * v, "embeds the input"),
        (with_(bias=0), "left out the biases"),
        (lambda i, s, h, v: count(i, s, h, v) - 3 * h * v, "queries, keys and values: 3 D more"),
        (with_(qkv_norm=0, row_norms=0), "or the LayerNorms"),
        (with_(qkv_norm=1), "3 D features"),
        (with_(row_norms=1), "two LayerNorms"),
        (with_(gates=0), "left out the gates"),
        (with_(gates=1), "half the gates"),
        (with_(gate_size=1), 'gate="memory"'),
        (with_(kinds=3), "no output gate"),
        (lambda i, s, h, v: count(i, s, h, v, extra=(h * v) ** 2 + h * v), "no output projection"),
        (lambda i, s, h, v: 1000, "named_parameters"),
        (12, "is a function"),
    ]
    assert_all("02.3-count", count, wrong)


def test_count_is_the_librarys():
    for sizes in ((10, 4, 4, 16), (7, 3, 2, 5)):
        input_size, num_slots, num_heads, head_size = sizes
        core = RelationalMemory(input_size, num_slots=num_slots, num_heads=num_heads, head_size=head_size)
        assert count(*sizes) == num_parameters(core)


def test_attend():
    def attention(scale=lambda q: math.sqrt(q.shape[-1]), dim=-1, rows=slice(None), sign=1):
        return lambda q, k, v: torch.softmax(sign * (q @ k.T)[:, rows] / scale(q), dim) @ v[rows]

    def overflowing(q, k, v):
        weights = torch.exp(q @ k.T / math.sqrt(q.shape[-1]))
        return weights / weights.sum(-1, keepdim=True) @ v

    wrong = [
        (attention(dim=0), "wrong axis"),
        (attention(scale=lambda q: 1), "not scaled"),
        (attention(scale=lambda q: q.shape[-1]), "divided by K"),
        (attention(scale=lambda q: 1 / math.sqrt(q.shape[-1])), "multiplied by sqrt(K)"),
        (attention(rows=slice(0, -1)), "input row is left out"),
        (attention(sign=-1), "sign"),
        (lambda q, k, v: q @ k.T / math.sqrt(q.shape[-1]) @ v, "softmax is missing"),
        (lambda q, k, v: torch.softmax(q @ k.T / math.sqrt(q.shape[-1]), -1), "These are the weights"),
        (lambda q, k, v: torch.softmax(q @ k.T, -1) / math.sqrt(q.shape[-1]) @ v, "after the softmax"),
        (lambda q, k, v: torch.softmax(q @ k.T / math.sqrt(v.shape[-1]), -1) @ v, "sqrt(V)"),
        (overflowing, "overflows"),
        (lambda q, k, v: torch.zeros(3, 5), "shape (3, 5) where (3, 2)"),
        (lambda q, k, v: q @ k @ v, "RuntimeError"),
        (0.5, "is a function"),
    ]
    assert_all("02.4-attend", attention(), wrong)


def test_strangers():
    wrong = [
        (("detached", "wide_scale"), "other order"),
        (("detached", "shared_layer"), "changes no output"),
        (("last_relu", "detached"), "number of parameters"),
        (("no_mlp", "detached"), "fits no better"),
        (("wide_scale", "output_gate"), "look at its gradients"),
        (("wide scale", "detached"), "not one of the mistakes"),
        ((["wide_scale"], "detached"), "not one of the mistakes"),
        ("detached", "two names"),
    ]
    assert_all("02.5-strangers", ("wide_scale", "detached"), wrong)


def test_each_stranger_is_known_by_its_outputs_or_its_gradients():
    """What the exercise says can be found out: one suspect alone has the first one's numbers."""
    torch.manual_seed(0)
    core = RelationalMemory(4, num_slots=3, num_heads=2, head_size=3)
    inputs = torch.randn(2, 3, 4)
    first, second = strangers(core)
    outputs = first(inputs)[0]
    same = [name for name in MISTAKES if torch.allclose(PortedMemory.like(core, name)(inputs)[0], outputs, atol=1e-5)]
    assert same == ["wide_scale"]
    torch.testing.assert_close(second(inputs)[0], core(inputs)[0])

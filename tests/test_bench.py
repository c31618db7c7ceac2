import pytest
import torch

from relmem_lite import RelationalMemory
from relmem_lite.bench.relational_memory import SIZES, direct_forward
from relmem_lite.bench.timing import ratio, summary, take_turns


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_two_contestants_compute_the_same_numbers_and_gradients(size):
    torch.manual_seed(0)
    core = RelationalMemory(
        6,
        num_slots=size.slots,
        num_heads=size.heads,
        head_size=4,
        key_size=size.key_size and 3,
        mlp_layers=size.mlp_layers,
    ).double()
    inputs = torch.randn(3, 5, 6, dtype=torch.float64)
    results = []
    for forward in (core, lambda inputs: direct_forward(core, inputs)):
        core.zero_grad()
        outputs, state = forward(inputs)
        outputs.square().sum().backward()
        results.append([outputs, state, *(parameter.grad.clone() for parameter in core.parameters())])
    for ours, direct in zip(*results, strict=True):
        torch.testing.assert_close(ours, direct, rtol=1e-10, atol=1e-10)


def test_contestants_take_turns_and_the_first_round_is_not_timed():
    calls = []
    seconds = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_taken_round_by_round():
    assert ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]).median == 3.0
    assert summary([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0, 4.0)

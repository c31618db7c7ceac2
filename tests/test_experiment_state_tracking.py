from dataclasses import replace

import pytest
import torch

from relmem_lite import record
from relmem_lite.experiments import StateTrackingExperiment, run_experiment
from relmem_lite.experiments.state_tracking import Reflections, SignedMinGRU
from relmem_lite.models import num_parameters
from relmem_lite.tasks import StateTracking

SMOKE = StateTrackingExperiment.from_preset("smoke")
CPU = StateTrackingExperiment.from_preset("cpu")


def test_every_core_is_trained_on_every_group_and_scored_at_every_length(tmp_path):
    experiment = replace(SMOKE, workers=1, groups=("parity", "s3"), parallel=("signed_min_gru",), sequential=("lstm",))
    found = run_experiment(experiment, tmp_path, report=lambda line: None)
    points = {title: (best["group"], best["core"], best["depth"]) for title, best in found["best"].items()}
    assert points == {
        f"{group}, {core}, {depth} layers": (group, core, depth)
        for group in ("parity", "s3")
        for core, depth in (("lstm", 1), ("signed_min_gru", 1), ("signed_min_gru", 2))
    }
    assert "group" not in found["task"], "what differs between the tasks is left out"
    assert found["task"]["chance"] is None
    assert found["task"]["time"] == 5
    for run in found["runs"]:
        assert set(run["scores"]) == {"accuracy", "accuracy_at_5", "accuracy_at_10"}
        assert run["run"]["task"]["group"] == run["run"]["labels"]["group"]


def test_a_test_asks_for_one_answer_at_its_last_step():
    tests = CPU.tests("s5", core="lstm", depth=1)
    assert list(tests) == ["accuracy_at_40", "accuracy_at_64", "accuracy_at_128", "accuracy_at_256"]
    for name, task in tests.items():
        batch = task.sample(2, torch.Generator())
        assert task.group == "s5"
        assert f"accuracy_at_{batch.mask.shape[1]}" == name
        assert batch.mask.nonzero().tolist() == [[row, task.time - 1] for row in (0, 1)]


@pytest.mark.parametrize(("core", "kind"), [("signed_min_gru", SignedMinGRU), ("reflections", Reflections)])
def test_the_experiments_own_cores_stand_in_blocks_without_convolution(core, kind):
    blocks = CPU.model("parity", core, 2).core.blocks
    assert [type(block.core) for block in blocks] == [kind] * 2
    assert [block.convolution for block in blocks] == [None] * 2


def test_all_have_about_equally_many_parameters():
    """Widths are multiples of 8, which at this size makes steps of up to a quarter of the parameters."""
    for point in CPU.contestants().values():
        assert num_parameters(CPU.model(**point)) == pytest.approx(CPU.parameters, rel=0.15), point


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"sequential": ("reflection",)}, "Did you mean 'reflections'"),
        ({"parallel": ("signed_mingru",)}, "Did you mean 'signed_min_gru'"),
        ({"parallel": ()}, "parallel is empty"),
        ({"groups": ()}, "groups is empty"),
        ({"test_times": (40, 40)}, "test_times holds a value twice"),
        ({"test_times": (0,)}, "must be at least 1"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        replace(SMOKE, **setting)


def test_an_unknown_group_shows_before_a_run_begins():
    with pytest.raises(ValueError, match="There is no group 's4'"):
        replace(SMOKE, groups=("s4",)).rehearse()


def one_hot(tokens, count):
    return torch.nn.functional.one_hot(tokens, count).float()


def test_a_gate_of_minus_one_solves_parity_at_any_length():
    """A one turns the state round between 0 and 2, a zero leaves it alone: no rounding in a thousand steps."""
    core = SignedMinGRU(2, 1)
    with torch.no_grad():
        core.gate.weight.copy_(torch.tensor([[-1000.0, 1000.0]]))  # a = 1 for a zero, -1 for a one
        core.gate.bias.zero_()
        core.candidate.weight.zero_()
        core.candidate.bias.fill_(1.0)
    tokens, targets, _ = StateTracking("parity", 1000).sample(64, torch.Generator().manual_seed(0))
    hidden, _ = core(one_hot(tokens, 2))
    assert torch.equal(hidden.squeeze(-1), 2.0 * targets)


def test_the_signed_gate_is_what_it_says():
    torch.manual_seed(0)
    core, inputs = SignedMinGRU(3, 4).double(), torch.randn(2, 9, 3, dtype=torch.float64)
    keep = 2 * torch.sigmoid(-core.gate(inputs)) - 1
    assert keep.min() < 0 < keep.max()
    hidden, states = torch.zeros(2, 4, dtype=torch.float64), []
    for a, candidate in zip(keep.unbind(1), core.candidate(inputs).unbind(1), strict=True):
        hidden = a * hidden + (1 - a) * candidate
        states.append(hidden)
    with record(core) as recording:
        outputs, _ = core(inputs)
    torch.testing.assert_close(outputs, torch.stack(states, dim=1))
    torch.testing.assert_close(recording["keep"], keep)


def turning(size, *moves):
    """Reflections of one-hot tokens whose factors exchange pairs of numbers: `moves[token]` lists them, first to last.

    A factor with nothing to do has strength 0.
    """
    factors = max(map(len, moves))
    core = Reflections(len(moves), size, num_reflections=factors, block_size=size)
    directions = torch.ones(factors, size, len(moves))
    strengths = torch.full((factors, len(moves)), -1000.0)
    for token, exchanges in enumerate(moves):
        for factor, (i, j) in enumerate(exchanges):
            directions[factor, :, token] = torch.eye(size)[i] - torch.eye(size)[j]
            strengths[factor, token] = 1000.0
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        core.directions.weight.copy_(directions.flatten(0, 1))
        core.strengths.weight.copy_(strengths)
    return core


def test_a_reflection_exchanges_two_numbers():
    core = turning(4, [(0, 2)], []).double()
    state = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    outputs, last = core(one_hot(torch.tensor([[0, 1, 0]]), 2).double(), state)
    expected = [[[3, 2, 1, 4], [3, 2, 1, 4], [1, 2, 3, 4]]]
    torch.testing.assert_close(outputs, torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(last, outputs[:, -1])


@pytest.mark.parametrize(
    ("group", "size", "moves"),
    [
        ("s3", 3, ([(0, 1)], [(0, 1), (0, 2)])),
        ("s5", 5, ([(0, 1)], [(0, 1), (0, 2), (0, 3), (0, 4)])),
    ],
)
def test_a_product_of_reflections_solves_a_word_problem(group, size, moves):
    """The state holds size numbers, which the moves shuffle; where each one stands is the answer."""
    core = turning(size, *moves)
    tokens, targets, _ = StateTracking(group, 256).sample(32, torch.Generator().manual_seed(0))
    start = torch.arange(size, dtype=torch.float32).expand(32, size)
    hidden, _ = core(one_hot(tokens, 2), start)
    # Number x stands at place p(x): from the places, the permutation's number in the order of the alphabet.
    places = hidden.argsort(dim=-1)
    answers = torch.zeros_like(targets)
    for i in range(size):
        answers = answers * (size - i) + (places[..., i + 1 :] < places[..., i : i + 1]).sum(-1)
    assert torch.equal(answers, targets)
    assert (hidden - hidden.round()).abs().max() < 1e-3


@pytest.mark.parametrize("start", ["initial state", "given state"])
def test_reflections_equal_products_of_explicit_matrices(start):
    torch.manual_seed(0)
    core = Reflections(3, 6, num_reflections=3, block_size=2).double()
    inputs = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 6, dtype=torch.float64) if start == "given state" else torch.zeros(2, 6, dtype=torch.float64)
    state.requires_grad_()

    def by_matrices(b):
        hidden, outputs = state[b].view(3, 2), []
        for x in inputs[b]:
            directions = core.directions(x).view(3, 3, 2)  # (factors, blocks, block)
            strengths = 2 * core.strengths(x).sigmoid().view(3, 3)
            written = core.write(x).view(3, 2)
            rows = []
            for block in range(3):
                product = torch.eye(2, dtype=torch.float64)
                for factor in range(3):
                    k = directions[factor, block]
                    k = k / k.dot(k).sqrt()
                    product = (
                        torch.eye(2, dtype=torch.float64) - strengths[factor, block] * torch.outer(k, k)
                    ) @ product
                rows.append(product @ hidden[block] + written[block])
            hidden = torch.stack(rows)
            outputs.append(hidden.flatten())
        return torch.stack(outputs)

    def gradients(outputs):
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)
        return torch.autograd.grad((outputs * weights).sum(), [inputs, state, *core.parameters()])

    outputs, last = core(inputs, state)
    expected = torch.stack([by_matrices(b) for b in range(2)])
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    assert torch.equal(last, outputs[:, -1])
    for found, wanted in zip(gradients(outputs), gradients(expected), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_blocks_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="hidden_size must be a multiple of block_size=8, got 12"):
        Reflections(3, 12)

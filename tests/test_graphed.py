"""Steps replayed as CUDA graphs, played by an actor on a CPU: the same memory used again and again."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from small_run import small_settings

from relmem_lite.models import Stack, stacked_model
from relmem_lite.tasks import Batch, IsTree, NthFarthest, Recall, Text
from relmem_lite.training import TrainingDivergedError, graphed, loop, train
from relmem_lite.training.graphed import GraphedStep, _padded

STEPS = 12


class Actor:
    """Stands in for `_capture`: nothing runs until it is replayed, and then in the same places."""

    def __init__(self):
        self.captures, self.replays = 0, 0

    def __call__(self, function):
        self.captures += 1
        found = torch.zeros(2)

        def replay():
            self.replays += 1
            found.copy_(function())

        return found, replay


@pytest.fixture
def actor(monkeypatch):
    actor = Actor()
    monkeypatch.setattr(graphed, "_capture", actor)
    monkeypatch.setattr(loop, "_can_capture", lambda *_: True)
    return actor


def losses(task, cores, **changes):
    torch.manual_seed(0)
    settings = small_settings(steps=STEPS, eval_every=2, batch_size=8, learning_rate=1e-2, **changes)
    record = train(stacked_model(cores, task, 3000), task, settings, progress=False)
    return [point["loss"] for point in record.curve]


TASKS = {
    "one shape": (NthFarthest(4, 2), ["gru"], 1),
    "a curriculum of shapes": (Recall(8, 16, 8, curriculum="growing"), ["min_gru", "attention"], 3),
    "padded samples": (IsTree(5, "chain_of_thought"), ["attention"], 1),
}


@pytest.mark.parametrize("name", TASKS)
def test_replayed_steps_learn_what_steps_learn(name, request):
    task, cores, captures = TASKS[name]
    expected = losses(task, cores)
    actor = request.getfixturevalue("actor")
    assert losses(task, cores) == pytest.approx(expected, rel=1e-4)
    assert actor.captures >= captures
    # Each shape's first step is launched piece by piece.
    assert actor.replays >= STEPS - 2 * actor.captures - 2


def test_the_loss_of_all_steps_with_a_mask_is_that_of_the_marked_ones():
    task = IsTree(6, "retrieval")
    torch.manual_seed(0)
    model = stacked_model(["lstm"], task, 3000).double()
    batch = task.sample(5, torch.Generator().manual_seed(0))
    assert 0 < batch.mask.sum() < batch.mask.numel()
    found = []
    for loss in (model.loss, model._loss_of_all):
        model.zero_grad()
        value, _ = loss(batch)
        value.backward()
        found.append([value, *(parameter.grad.clone() for parameter in model.parameters())])
    for by_product, by_selection in zip(*found, strict=True):
        torch.testing.assert_close(by_product, by_selection, rtol=1e-12, atol=1e-14)


def test_padding_makes_few_lengths_and_changes_nothing_that_was_there():
    lengths = set()
    for time in range(1, 1025):
        batch = Batch(*(torch.ones(2, time, *rest) for rest in ((3,), (), ())))
        padded = _padded(batch, None)
        for part, before in zip(padded, batch, strict=True):
            assert torch.equal(part[:, :time], before)
            assert not part[:, time:].any()
        lengths.add(padded.mask.shape[1])
        assert padded.mask.shape[1] < 1.13 * time
        assert padded.inputs.shape[1] == padded.targets.shape[1] == padded.mask.shape[1]
        assert _padded(batch, time).mask.shape[1] == time, "no further than there are positions"
    assert len(lengths) <= 8 + 8 * 7 + 1


def test_what_cannot_be_captured_is_launched_piece_by_piece(monkeypatch):
    def refuse(function):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphed, "_capture", refuse)
    taken = []
    step = GraphedStep(lambda batch: taken.append(batch.mask.shape) or torch.zeros(2))
    batch = Batch(*torch.zeros(3, 2, 4).unbind())
    step(batch)
    with pytest.warns(UserWarning, match="not permitted"):
        step(batch)
    step(batch)
    assert taken == [(2, 4)] * 3


class FakeGenerator:
    """As torch's on a GPU before 2.13: in the middle of a capture, it gives no numbers outside of it."""

    def __init__(self, seed):
        self.state = SimpleNamespace(seed=seed, captured=False)

    def clone_state(self):
        return FakeGenerator(self.state.seed)

    def graphsafe_set_state(self, other):
        self.state = other.state


@pytest.mark.parametrize("fails", [False, True])
def test_a_capture_that_fails_leaves_stream_and_generator_as_they_were(fails, monkeypatch):
    device = SimpleNamespace(stream="default", generator=FakeGenerator(7))

    @contextmanager
    def stream(given):
        before, device.stream = device.stream, given
        try:
            yield
        finally:
            device.stream = before

    @contextmanager
    def graph(graph, capture_error_mode):
        # As torch.cuda.graph: what is not an error of the function may still be one of the capture, when it ends.
        before, device.stream, device.generator.state.captured = device.stream, "side", True
        yield
        if fails:
            raise RuntimeError("operation failed due to a previous error during capture")
        device.stream, device.generator.state.captured = before, False

    fakes = {
        "CUDAGraph": lambda: SimpleNamespace(replay=None),
        "current_device": lambda: 0,
        "default_generators": [device.generator],
        "current_stream": lambda: device.stream,
        "stream": stream,
        "graph": graph,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake, raising=False)
    if fails:
        with pytest.raises(RuntimeError, match="previous error"):
            graphed._capture(lambda: torch.zeros(2))
    else:
        graphed._capture(lambda: torch.zeros(2))
    assert device.stream == "default"
    assert vars(device.generator.state) == {"seed": 7, "captured": False}


def test_a_replayed_step_that_diverges_says_so(actor, monkeypatch):
    monkeypatch.setattr(Stack, "forward", lambda self, inputs, state=None: (inputs * torch.nan, None))
    with pytest.raises(TrainingDivergedError, match="The loss is nan at step 0"):
        losses(NthFarthest(4, 2), ["gru"])


@pytest.mark.parametrize(
    ("task", "precision", "processes", "device", "replayed"),
    [
        (Recall, "32-true", 1, "cuda", True),
        (Recall, "bf16-mixed", 1, "cuda", True),
        (Recall, "16-mixed", 1, "cuda", False),  # its scaler decides on the CPU whether to take a step
        (Recall, "32-true", 2, "cuda", False),
        (Recall, "32-true", 1, "cpu", False),
        (Text, "32-true", 1, "cuda", False),  # the state is carried over
    ],
)
def test_what_is_replayed(task, precision, processes, device, replayed):
    fabric = SimpleNamespace(device=torch.device(device), world_size=processes)
    assert loop._can_capture(fabric, task.__new__(task), small_settings(precision=precision)) == replayed

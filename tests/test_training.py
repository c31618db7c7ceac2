import json
import math
import multiprocessing
import os
import signal

import pytest
import small_run
import torch
from filelock import FileLock
from small_run import call_then, small_model, small_settings, small_train

from relmem_lite import LSTM, models
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import Comparison
from relmem_lite.training import (
    CheckpointError,
    RecordError,
    RunRecord,
    TrainingDivergedError,
    TrainingInterruptedError,
    evaluate,
    loop,
    train,
)
from relmem_lite.training.loop import TEST, TRAINING, VALIDATION, draw

MOMENTS = [
    "before the first checkpoint",
    "in the middle of a step",
    "half-way through writing a checkpoint",
    "before a checkpoint gets its name",
    "after a checkpoint got its name",
    "while old checkpoints are removed",
    "before the record gets its name",
]


def curve_without_time(record):
    return [{key: value for key, value in point.items() if key != "seconds"} for point in record.curve]


def assert_same_run(model, record, other_model, other_record):
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, other_model.state_dict()[name]), name
    assert curve_without_time(record) == curve_without_time(other_record)
    assert record.scores == other_record.scores


@pytest.fixture(scope="module")
def whole_run():
    model = small_model()
    return model, small_train(model=model)


@pytest.fixture(scope="module")
def imported():
    """Start processes from one that has imported PyTorch, and computed nothing with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["relmem_lite.training", "relmem_lite.tasks", "lightning_fabric"])
    return context


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_run_resumes_bit_for_bit(moment, whole_run, tmp_path, imported):
    killed = imported.Process(target=small_run.main, args=(str(tmp_path), moment))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not (tmp_path / "record.json").exists()
    model = small_model(seed=5)  # its weights must come from the checkpoint, or from the seed if there is none
    if moment == "before the first checkpoint":
        model = small_model()
    record = small_train(tmp_path, model)
    assert_same_run(model, record, *whole_run)


def test_two_runs_of_one_seed_are_the_same_and_of_two_seeds_are_not(whole_run):
    model = small_model()
    assert_same_run(model, small_train(model=model), *whole_run)
    assert curve_without_time(small_train(seed=1)) != curve_without_time(whole_run[1])


def test_ctrl_c_saves_after_the_step_at_hand_and_the_run_goes_on(whole_run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        ask = call_then(models.cross_entropy, 6, after=lambda: os.kill(os.getpid(), signal.SIGINT))
        patch.setattr(models, "cross_entropy", ask)
        with pytest.raises(TrainingInterruptedError, match=r"after step 6 of 12 .* same command again"):
            small_train(tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("checkpoints/*"))] == [
        "step-000000004.safetensors",
        "step-000000006.safetensors",
    ]
    model = small_model(seed=5)
    assert_same_run(model, small_train(tmp_path, model), *whole_run)


def test_ctrl_c_without_a_directory_says_that_nothing_was_saved(monkeypatch):
    ask = call_then(models.cross_entropy, 2, after=lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(models, "cross_entropy", ask)
    with pytest.raises(TrainingInterruptedError, match="Nothing was saved"):
        small_train()


@pytest.fixture
def interrupted_run(tmp_path, monkeypatch):
    """A folder that holds the checkpoints of steps 4 and 8, and the run's last step still to come."""
    with monkeypatch.context() as patch:
        ask = call_then(models.cross_entropy, 8, after=lambda: os.kill(os.getpid(), signal.SIGINT))
        patch.setattr(models, "cross_entropy", ask)
        with pytest.raises(TrainingInterruptedError):
            small_train(tmp_path)
    return tmp_path


def warns_of_a_refusal():
    return pytest.warns(UserWarning, match="Trying the one before it")


def torn(data):
    return data[: len(data) // 2]


def flipped(data):
    position = len(data) - 100  # among the weights
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def pickled(data):
    import pickle

    return pickle.dumps({"model": [1, 2, 3]})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (torn, "torn"),
        (flipped, "altered or damaged"),
        (lambda data: b"", "torn"),
        (lambda data: bytes(len(data)), "torn|not a checkpoint"),
        (pickled, "torn"),
    ],
    ids=["torn", "one bit flipped", "empty", "zeros", "a pickle"],
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(damage, reason, interrupted_run, whole_run):
    newest = interrupted_run / "checkpoints" / "step-000000008.safetensors"
    newest.write_bytes(damage(newest.read_bytes()))
    model = small_model(seed=5)
    with pytest.warns(UserWarning, match=rf"step-000000008.*({reason}).*Trying the one before"):
        record = small_train(interrupted_run, model)
    assert_same_run(model, record, *whole_run)


def test_when_no_checkpoint_can_be_used_the_run_stops_instead_of_starting_over(interrupted_run):
    for path in interrupted_run.glob("checkpoints/*"):
        path.write_bytes(torn(path.read_bytes()))
    with warns_of_a_refusal(), pytest.raises(CheckpointError, match="To start afresh, delete"):
        small_train(interrupted_run)


def test_a_safetensors_file_of_another_program_is_refused(interrupted_run):
    from safetensors.torch import save_file

    for path in interrupted_run.glob("checkpoints/*"):
        save_file({"weight": torch.ones(3)}, path)
    with warns_of_a_refusal(), pytest.raises(CheckpointError, match="not a checkpoint of this library"):
        small_train(interrupted_run)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learning_rate": 0.5}, r"settings.learning_rate is 0.001 there, 0.5 here"),
        ({"seed": 3}, r"settings.seed is 0 there, 3 here"),
    ],
)
def test_another_runs_checkpoint_is_refused_by_name_of_what_differs(changes, difference, interrupted_run):
    before = {path: path.read_bytes() for path in interrupted_run.glob("checkpoints/*")}
    with warns_of_a_refusal(), pytest.raises(CheckpointError, match=difference):
        small_train(interrupted_run, **changes)
    assert {path: path.read_bytes() for path in interrupted_run.glob("checkpoints/*")} == before


def test_another_models_checkpoint_is_refused(interrupted_run):
    model = SequenceModel(LSTM(Comparison(2).input_size, 4), 2)
    difference = r"model\.core\.name is RelationalMemory there"
    with warns_of_a_refusal(), pytest.raises(CheckpointError, match=difference):
        small_train(interrupted_run, model)


def test_a_full_disk_loses_nothing_that_was_there(interrupted_run, monkeypatch, whole_run):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("relmem_lite.training.files.os.fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            small_train(interrupted_run)
    assert not list(interrupted_run.glob("**/*.partial"))
    model = small_model(seed=5)
    assert_same_run(model, small_train(interrupted_run, model), *whole_run)


def test_a_finished_run_is_read_and_not_trained_again(tmp_path, monkeypatch):
    record = small_train(tmp_path)
    monkeypatch.setattr(models, "cross_entropy", None)
    assert small_train(tmp_path) == record == RunRecord.load(tmp_path / "record.json")
    with pytest.raises(RecordError, match=r"holds another run's record: settings\.seed is 0 there, 9 here"):
        small_train(tmp_path, seed=9)


def test_a_folder_is_trained_in_by_one_process_at_a_time(interrupted_run, whole_run):
    with FileLock(interrupted_run / ".lock"), pytest.raises(RecordError, match="Another process is training in"):
        small_train(interrupted_run)
    model = small_model(seed=5)
    assert_same_run(model, small_train(interrupted_run, model), *whole_run)


def test_a_new_checkpoint_outlives_refused_ones_of_later_steps(interrupted_run, whole_run):
    for step in (50, 60):
        (interrupted_run / "checkpoints" / f"step-{step:09d}.safetensors").write_bytes(b"not ours")
    model = small_model(seed=5)
    with warns_of_a_refusal():
        record = small_train(interrupted_run, model)
    assert_same_run(model, record, *whole_run)
    assert (interrupted_run / "checkpoints" / "step-000000012.safetensors").exists()


def test_other_tests_than_the_finished_runs_are_not_answered_from_its_record(tmp_path):
    options = {"directory": tmp_path, "progress": False}
    train(small_model(), Comparison(2), small_settings(), tests={"accuracy_again": Comparison(2)}, **options)
    with pytest.raises(RecordError, match=r"tests\.accuracy_again\.name is Comparison there, absent here"):
        train(small_model(), Comparison(2), small_settings(), tests={"other": Comparison(2)}, **options)


class OneOfTwo:
    """As much of Fabric as a training step needs, in a process that is one of two."""

    world_size, device = 2, torch.device("cpu")

    def __init__(self, rank):
        self.global_rank = rank

    def backward(self, loss):
        loss.backward()

    def clip_gradients(self, model, optimizer, max_norm, error_if_nonfinite):
        return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def all_reduce(self, value):
        return value


def test_each_of_two_processes_takes_its_half_of_the_batch():
    model, settings, shares = small_model(), small_settings(batch_size=8), []
    model.register_forward_pre_hook(lambda module, inputs: shares.append(inputs[0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    batch = draw(Comparison(2), 8, "cpu", TRAINING)
    for rank in (0, 1):
        loop._training_step(OneOfTwo(rank), model, optimizer, batch, None, settings, step=3)
    assert [len(share) for share in shares] == [4, 4]
    assert torch.equal(torch.cat(shares), batch.inputs)


def test_dropouts_noise_is_not_the_datas():
    drawn = draw(Comparison(3), 4, "cpu", TRAINING).inputs[:, :3, 0]
    torch.manual_seed(loop._seed(loop.NOISE, 0, 0, 0))
    assert not torch.isin(drawn, torch.rand(100) * 2 - 1).any()


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_nan_stops_the_run_with_step_learning_rate_and_advice(poison, tmp_path, monkeypatch):
    original = models.cross_entropy
    calls = 0

    def poisoned(logits, targets):
        nonlocal calls
        calls += 1
        loss = original(logits, targets)
        if calls < 6:
            return loss
        if poison == "loss":
            return loss * math.nan
        # sqrt has an infinite slope at 0: the loss is fine, its gradient is not.
        return loss + (logits[0, 0] - logits[0, 0].detach()).abs().sqrt()

    monkeypatch.setattr(models, "cross_entropy", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"at step 5, .*learning rate 0\.03.* Try a learning rate of 0\.01"):
        small_train(tmp_path, learning_rate=0.03)
    assert not (tmp_path / "record.json").exists()
    assert [path.name for path in tmp_path.glob("checkpoints/*")] == ["step-000000004.safetensors"]


@pytest.mark.parametrize("device", ["cpu", "where a look costs time"])
def test_a_batch_that_marks_no_step_is_not_taken_for_a_learning_rate_too_large(device, monkeypatch):
    def unmarked(self, batch_size, generator, step, steps):
        drawn = self.sample(batch_size, generator)
        return drawn._replace(mask=drawn.mask & (step < 2))

    monkeypatch.setattr(Comparison, "training_batch", unmarked)
    if device != "cpu":
        monkeypatch.setattr(SequenceModel, "loss", SequenceModel._loss_of_all)
    with pytest.raises(ValueError, match="A batch marks none of its steps"):
        small_train()


def test_early_stop_on_a_score_and_on_patience(monkeypatch):
    scores = iter([0.5, 0.6, 0.7, 0.7, 0.9, 0.95])
    monkeypatch.setattr(loop, "evaluate", lambda *_: {"accuracy": next(scores)})
    record = small_train(steps=100, stop_at=0.65)
    assert (record.stopped, record.curve[-1]["step"]) == ("stop_at", 12)
    scores = iter([0.5, 0.7, 0.6, 0.7, 0.9, 0.95])
    record = small_train(steps=100, patience=2)
    assert (record.stopped, record.curve[-1]["step"]) == ("patience", 16)


def test_the_curve_holds_the_mean_loss_of_every_step(monkeypatch):
    losses = []
    original = models.cross_entropy

    def watched(*arguments):
        loss = original(*arguments)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(models, "cross_entropy", watched)
    record = small_train(steps=6)
    assert [point["step"] for point in record.curve] == [4, 6]
    assert record.curve[0]["loss"] == pytest.approx(sum(losses[:4]) / 4)
    assert record.curve[1]["loss"] == pytest.approx(sum(losses[4:]) / 2)


def test_the_gradient_is_clipped_to_its_norm():
    model = small_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    # Adam divides the gradient by its own size, so a step shows the clip only beside Adam's epsilon of 1e-8.
    small_train(model=model, steps=1, clip=1e-12)
    change = max((weight - before[name]).abs().max() for name, weight in model.state_dict().items())
    assert 0 < change < 1e-3 * 1e-12 / 1e-8 * 1.01


def test_training_validation_and_test_samples_differ_and_stay():
    task = Comparison(3)
    samples = [draw(task, 4, "cpu", purpose).inputs for purpose in (TRAINING, VALIDATION, TEST)]
    samples += [draw(task, 4, "cpu", TRAINING, seed, step).inputs for seed, step in [(0, 1), (1, 0), (1, 1)]]
    for i, first in enumerate(samples):
        for second in samples[i + 1 :]:
            assert not torch.equal(first, second)
    assert torch.equal(samples[0], draw(task, 4, "cpu", TRAINING).inputs)


def test_evaluation_in_chunks_equals_evaluation_at_once_and_leaves_the_model_as_it_was():
    model, task = small_model().train(), Comparison(2)
    batch = draw(task, 50, "cpu", VALIDATION)
    whole = evaluate(model, task, batch)
    assert evaluate(model, task, batch, chunk=7) == whole
    assert model.training


def test_training_learns():
    # Which of two numbers was larger: an LSTM of 16 units needs a few hundred steps.
    torch.manual_seed(0)
    task = Comparison(2)
    model = SequenceModel(LSTM(task.input_size, 16), 2, (16,))
    settings = small_settings(steps=400, batch_size=64, eval_every=100, eval_samples=512, learning_rate=1e-2)
    record = train(model, task, settings, progress=False)
    assert record.scores["accuracy"] > 0.9
    assert record.curve[-1]["loss"] < record.curve[0]["loss"]


def test_the_record_says_what_was_run_and_where(tmp_path):
    record = small_train(tmp_path)
    stored = json.loads((tmp_path / "record.json").read_text())
    assert stored["run"]["settings"]["batch_size"] == 8
    assert stored["run"]["task"] | {"name": "Comparison", "num_items": 2} == stored["run"]["task"]
    core = {"name": "RelationalMemory", "num_slots": 2, "num_heads": 2, "head_size": 3, "num_blocks": 1, "gate": "unit"}
    assert stored["run"]["model"]["core"] | core == stored["run"]["model"]["core"]
    assert stored["run"]["model"]["parameters"] == sum(weight.numel() for weight in small_model().parameters())
    assert stored["environment"]["torch"] == torch.__version__
    known = {"device", "device_name", "threads", "python", "numpy", "relmem_lite", "commit"}
    assert known <= set(stored["environment"])
    assert stored["curve"] == record.curve


def test_a_torn_record_says_what_to_do(tmp_path):
    small_train(tmp_path)
    path = tmp_path / "record.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(RecordError, match=r"not a run's record.*Delete it"):
        small_train(tmp_path)


def test_bf16_is_an_argument():
    record = small_train(precision="bf16-mixed")
    assert math.isfinite(record.curve[-1]["loss"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number, got 2.5"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0, got -1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number above 0, got nan"),
        ({"clip": 0.0}, "clip must be a finite number above 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0 .* got -1"),
        ({"seed": 2**32}, "less than 2"),
        ({"stop_at": math.nan}, "stop_at must be a finite number above 0"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number of at least 0, got -0.1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"batch_size": 9, "devices": 2}, "batch_size must be a multiple of devices, got 9 and 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small_settings(**changes)


def test_a_score_that_cannot_be_reached_is_refused():
    with pytest.raises(ValueError, match=r"stop_at is a score, above 0 and at most 1, got 95\.0"):
        small_train(stop_at=95.0)

"""The training loop: sample, predict, compare, step; now and then look, write down and save."""

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, nn
from torch.nn.functional import cross_entropy

from relmem_lite.models import SequenceModel, num_parameters
from relmem_lite.tasks import Batch, Task
from relmem_lite.training.checkpoint import Progress, difference, load_latest, save_checkpoint
from relmem_lite.training.record import RecordError, RunRecord, describe, environment
from relmem_lite.training.settings import TrainingSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TRAINING, VALIDATION, TEST, NOISE = range(4)


class TrainingDivergedError(ArithmeticError):
    """The loss or its gradient became NaN or infinite."""


class TrainingInterruptedError(KeyboardInterrupt):
    """The run was stopped by the user, after the step at hand; the message says how to go on."""


def train(
    model: SequenceModel,
    task: Task,
    settings: TrainingSettings,
    *,
    directory: Path | str | None = None,
    labels: dict | None = None,
    tests: Mapping[str, Task] | None = None,
    progress: bool = True,
) -> RunRecord:
    """Train `model` on `task` and return the run's record.

    Weights are the model's own: call `torch.manual_seed(settings.seed)` before building it.
    Every batch, and dropout's noise, is a function of the seed and the step, so that a run resumed from a checkpoint
    goes on as if it had never stopped; on a CPU, bit for bit.

    Args:
        model: what is trained, in place.
        task: what it is trained on.
        settings: steps, batch size, learning rate and the rest.
        directory: where checkpoints and the record go. If it holds this run's checkpoints the run goes on from there;
            if it holds its finished record nothing is done but to return it. None keeps nothing.
        labels: plain values to write into the record, such as the name of the core.
        tests: further tasks to score the trained model on, by the name that their main score gets in the record.
        progress: show a bar with loss and main score.

    Raises:
        TrainingDivergedError: the loss or its gradient became NaN or infinite.
        TrainingInterruptedError: Ctrl-C; with a directory the run was saved.
        CheckpointError: the directory holds only checkpoints that cannot be used, or another run's.
        RecordError: the directory holds another run's record, or a process that is training there.
    """
    from lightning_fabric import Fabric

    run = {
        "settings": asdict(settings),
        "task": describe(task),
        "model": {"core": describe(model.core), "parameters": num_parameters(model)},
        "labels": labels or {},
        "tests": {name: describe(other) for name, other in (tests or {}).items()},
    }
    folder = None if directory is None else Path(directory)
    if folder is not None and (folder / "record.json").exists():
        finished = RunRecord.load(folder / "record.json")
        if finished.run == run:
            return finished
        raise RecordError(
            f"{folder} holds another run's record: {difference(finished.run, run)}. "
            "Name another directory, or delete this one."
        )

    fabric = Fabric(accelerator=settings.accelerator, devices=settings.devices, precision=settings.precision)
    fabric.launch()
    with nullcontext() if folder is None or not fabric.is_global_zero else _only_process_in(folder):
        return _train(fabric, model, task, settings, run, folder, tests or {}, progress)


def _train(
    fabric: "Fabric",
    model: SequenceModel,
    task: Task,
    settings: TrainingSettings,
    run: dict,
    folder: Path | None,
    tests: dict[str, Task],
    progress: bool,
) -> RunRecord:
    place = environment(fabric.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    done = Progress()
    if folder is not None:
        done = load_latest(folder / "checkpoints", model, optimizer, run) or done
    validation = draw(task, settings.eval_samples, fabric.device, VALIDATION)
    started = time.perf_counter() - done.seconds

    def save() -> None:
        if folder is not None and fabric.is_global_zero:
            done.seconds = time.perf_counter() - started
            save_checkpoint(folder / "checkpoints", model, optimizer, done, run)
        fabric.barrier()

    with _progress_bar(settings, done, progress and fabric.is_global_zero) as bar, _interruptible() as interrupted:
        while (stopped := _stopped(done, settings, task)) is None:
            loss = _training_step(fabric, wrapped, wrapped_optimizer, task, settings, done.step)
            done.step += 1
            done.loss_sum += loss
            done.loss_count += 1
            bar.update()
            if done.step % settings.eval_every == 0 or done.step == settings.steps:
                scores = evaluate(wrapped, task, validation)
                done.curve.append(
                    {
                        "step": done.step,
                        "loss": done.loss_sum / done.loss_count,
                        "seconds": round(time.perf_counter() - started, 3),
                        **scores,
                    }
                )
                done.loss_sum, done.loss_count = 0.0, 0
                bar.set_postfix_str(
                    f"loss {done.curve[-1]['loss']:.3f}, {task.score_name} {scores[task.score_name]:.3f}"
                )
                save()
            # All processes stop at the same step, or those that go on would wait for the others for ever.
            if fabric.all_reduce(torch.tensor(float(interrupted())), reduce_op="sum") > 0:
                save()
                raise TrainingInterruptedError(_how_to_go_on(done.step, settings.steps, folder))

    scores = evaluate(wrapped, task, draw(task, settings.eval_samples, fabric.device, TEST))
    for name, other in tests.items():
        samples = draw(other, settings.eval_samples, fabric.device, TEST)
        scores[name] = evaluate(wrapped, other, samples)[other.score_name]
    record = RunRecord(
        run=run,
        curve=done.curve,
        scores=scores,
        stopped=stopped,
        environment=place,
    )
    if folder is not None and fabric.is_global_zero:
        record.save(folder / "record.json")
    return record


def _training_step(
    fabric: "Fabric",
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    settings: TrainingSettings,
    step: int,
) -> float:
    torch.manual_seed(_seed(NOISE, settings.seed, step, fabric.global_rank))
    # Every process draws the whole batch and takes its share: any number of processes sees the same samples.
    batch = draw(task, settings.batch_size, fabric.device, TRAINING, settings.seed, step)
    batch = Batch(*(part.chunk(fabric.world_size)[fabric.global_rank] for part in batch))
    logits, _ = model(batch.inputs, mask=batch.mask)
    loss = cross_entropy(logits, batch.targets[batch.mask])
    optimizer.zero_grad()
    fabric.backward(loss)
    limit = math.inf if settings.clip is None else settings.clip
    norm = fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)
    reported = fabric.all_reduce(loss.detach().float()).item()
    # In 16-mixed a gradient that overflows is normal: the scaler skips the step.
    if not math.isfinite(reported) or (settings.precision != "16-mixed" and not norm.isfinite()):
        raise TrainingDivergedError(_divergence(reported, float(norm), step, settings))
    optimizer.step()
    return reported


def evaluate(model: nn.Module, task: Task, batch: Batch, chunk: int = 1024) -> dict[str, float]:
    """Score a model on a batch, `chunk` samples at a time, without gradients or dropout."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        parts = zip(*(part.split(chunk) for part in batch), strict=True)
        logits = torch.cat([model(inputs, mask=mask)[0] for inputs, _, mask in parts])
    model.train(was_training)
    return task.scores(logits, batch)


def draw(task: Task, batch_size: int, device: torch.device | str, purpose: int, seed: int = 0, step: int = 0) -> Batch:
    """Draw the batch that belongs to a purpose (TRAINING, VALIDATION, TEST), a seed and a step; always the same one."""
    generator = Generator(device=device).manual_seed(_seed(purpose, seed, step))
    return task.sample(batch_size, generator)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _stopped(done: Progress, settings: TrainingSettings, task: Task) -> str | None:
    """Why the run is over, if it is; read off the curve, so that a resumed run decides alike."""
    if done.step >= settings.steps:
        return "steps"
    scores = [point[task.score_name] for point in done.curve]
    if settings.stop_at is not None and scores and scores[-1] >= settings.stop_at:
        return "stop_at"
    patience = settings.patience
    if patience is not None and len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience]):
        return "patience"
    return None


def _divergence(loss: float, norm: float, step: int, settings: TrainingSettings) -> str:
    return (
        f"The loss is {loss} at step {step}, the gradient's norm {norm}, with learning rate "
        f"{settings.learning_rate:g} and clip {settings.clip}. "
        f"Try a learning rate of {settings.learning_rate / 3:.1g}, or a smaller clip; with 16-bit precision, 32-true."
    )


def _how_to_go_on(step: int, steps: int, folder: Path | None) -> str:
    if folder is None:
        return f"Stopped after step {step} of {steps}. Nothing was saved: give train a directory to be able to go on."
    return f"Stopped after step {step} of {steps} and saved in {folder}. Run the same command again to go on."


def _progress_bar(settings: TrainingSettings, done: Progress, show: bool):
    from tqdm import tqdm

    return tqdm(total=settings.steps, initial=done.step, disable=not show, unit="step", dynamic_ncols=True)


@contextmanager
def _only_process_in(folder: Path) -> Iterator[None]:
    """Hold the run's folder for this process alone; the lock goes with the process, however it ends."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise RecordError(f"Another process is training in {folder}. Wait for it, or name another directory.") from None


@contextmanager
def _interruptible() -> Iterator:
    """Let a step be finished before Ctrl-C takes effect, since half a step must not be saved; twice stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number, frame):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, previous)

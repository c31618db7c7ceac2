"""The training loop: sample, predict, compare, step; now and then look, write down and save."""

import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset

from relmem_lite.core import Core, State
from relmem_lite.models import SequenceModel, check_marked, num_parameters
from relmem_lite.tasks import Batch, Task
from relmem_lite.training.checkpoint import Progress, difference, load_latest, save_checkpoint
from relmem_lite.training.graphed import GraphedStep
from relmem_lite.training.processes import ctrl_c_waits, make_fabric, take_ctrl_c
from relmem_lite.training.record import RecordError, RunRecord, describe, environment
from relmem_lite.training.settings import TrainingSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TRAINING, VALIDATION, TEST, NOISE = range(4)


class TrainingDivergedError(ArithmeticError):
    """The loss or its gradient became NaN or infinite.

    Attributes:
        record: what is left of the run, where and how it was made; no curve and no scores.
    """

    record: RunRecord


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

    Several processes, started by torchrun or by `settings.devices`, take equal shares of every batch. Their number is
    not the run's: it may be another after a resumption, and without dropout the losses are the same but for rounding.

    On one of NVIDIA's GPUs, from its second step of a shape on, a step is replayed as a CUDA graph: what the model
    computes may depend on its weights, the batch and torch's random numbers, and on nothing that Python changes from
    step to step. A model that looks at values on the CPU is launched piece by piece, with a warning.

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
        ValueError: settings that make no sense for this task, or for the processes that share the work.
        TrainingDivergedError: the loss or its gradient became NaN or infinite; nothing but checkpoints is kept.
        TrainingInterruptedError: Ctrl-C; with a directory the run was saved.
        CheckpointError: the directory holds only checkpoints that cannot be used, or another run's.
        RecordError: the directory holds another run's record, or a process that is training there.
    """
    settings.check_with(task)
    run = describe_run(model, task, settings, labels, tests)
    folder = None if directory is None else Path(directory)
    if folder is not None and (finished := finished_run(folder, run)):
        return finished
    fabric = make_fabric(settings)
    fabric.launch()
    _agree(fabric, run)
    with nullcontext() if folder is None else _no_others_in(folder, fabric):
        # Before the first step: the checkout may be another when the last one is done.
        place = environment(fabric.device) | {"processes": fabric.world_size}
        try:
            return _train(fabric, model, task, settings, run, place, folder, tests or {}, progress)
        except TrainingDivergedError as error:
            error.record = RunRecord(run, [], {}, "diverged", place)
            raise


def describe_run(
    model: SequenceModel,
    task: Task,
    settings: TrainingSettings,
    labels: dict | None = None,
    tests: Mapping[str, Task] | None = None,
) -> dict:
    """Return what identifies a run, as JSON: with this, and on the same machine, its numbers are the same.

    The number of processes is left out, which share the work and do not change it.
    """
    return {
        "settings": {name: value for name, value in asdict(settings).items() if name != "devices"},
        "task": describe(task),
        "model": describe_model(model),
        "labels": labels or {},
        "tests": {name: describe(other) for name, other in (tests or {}).items()},
    }


def describe_model(model: SequenceModel) -> dict:
    """Return what identifies a run's model, as JSON."""
    return {"core": describe(model.core), "parameters": num_parameters(model)}


def finished_run(folder: Path, run: dict) -> RunRecord | None:
    """Return the record that a run has left in its folder, None if it is not finished.

    Raises:
        RecordError: it is another run's, or none at all.
    """
    if not (folder / "record.json").exists():
        return None
    finished = RunRecord.load(folder / "record.json")
    if finished.run == run:
        return finished
    raise RecordError(
        f"{folder} holds another run's record: {difference(finished.run, run)}. "
        "Name another directory, or delete this one."
    )


def _train(
    fabric: "Fabric",
    model: SequenceModel,
    task: Task,
    settings: TrainingSettings,
    run: dict,
    place: dict,
    folder: Path | None,
    tests: dict[str, Task],
    progress: bool,
) -> RunRecord:
    # One kernel for all weights. In 16-mixed it would undo the scaling by itself, and leave nothing to clip.
    fused = fabric.device.type == "cuda" and settings.precision != "16-mixed"
    on_gpu = {"fused": True, "capturable": True} if fused else {}
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, **on_gpu
    )
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("loss")
    done = Progress()
    if folder is not None:
        with warnings.catch_warnings():
            if not fabric.is_global_zero:
                warnings.simplefilter("ignore")
            done = load_latest(folder / "checkpoints", model, optimizer, run) or done
        _agree(fabric, done.step)
    validation = draw(task, settings.eval_samples, fabric.device, VALIDATION)
    batches = _batches(task, settings, fabric.device, done.step)
    state = _share_of_state(fabric, model.core, done.state)
    graphed = None
    if _can_capture(fabric, task, settings):
        take_step = partial(_whole_step, fabric, wrapped, wrapped_optimizer, settings)
        graphed = GraphedStep(take_step, model.core.max_time)
    started = time.perf_counter() - done.seconds

    def save() -> None:
        # Every process has its share of the state, and the first one writes.
        done.state = _whole_state(fabric, model.core, state) if task.goes_on(done.step) else ()
        if folder is not None and fabric.is_global_zero:
            done.seconds = time.perf_counter() - started
            save_checkpoint(folder / "checkpoints", model, optimizer, done, run)
        fabric.barrier()

    with _progress_bar(settings, done, progress and fabric.is_global_zero) as bar, _interruptible() as interrupted:
        while (stopped := _stopped(done, settings, task)) is None:
            batch, start = next(batches), state if task.goes_on(done.step) else None
            if graphed is None:
                loss, state = _training_step(fabric, wrapped, wrapped_optimizer, batch, start, settings, done.step)
            else:
                loss = _graphed_step(graphed, batch, settings, done.step)
            done.step += 1
            done.loss_sum += loss
            done.loss_count += 1
            bar.update()
            if done.step % settings.eval_every == 0 or done.step == settings.steps:
                # The first process's: if the last digit differed, some might stop early and others wait for them.
                scores = fabric.broadcast(evaluate(wrapped, task, validation))
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
            if _in_any(fabric, interrupted()):
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
    batch: Batch,
    state: State | None,
    settings: TrainingSettings,
    step: int,
) -> tuple[float, State]:
    torch.manual_seed(_seed(NOISE, settings.seed, step, fabric.global_rank))
    share, weight = _share(batch, fabric)
    loss, state = model.loss(share, state)
    loss = loss * weight
    optimizer.zero_grad()
    fabric.backward(loss)
    limit = math.inf if settings.clip is None else settings.clip
    norm = fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)
    reported = fabric.all_reduce(loss.detach().float()).item()
    # In 16-mixed a gradient that overflows is normal: the scaler skips the step.
    if not math.isfinite(reported) or (settings.precision != "16-mixed" and not norm.isfinite()):
        raise _diverged(batch, reported, float(norm), step, settings)
    optimizer.step()
    return reported, model.core.carry_over(state)


def _can_capture(fabric: "Fabric", task: Task, settings: TrainingSettings) -> bool:
    """Say whether steps may be replayed: one process on a GPU, no scaling of the loss, and no state carried over."""
    on_one_gpu = fabric.device.type == "cuda" and fabric.world_size == 1
    return on_one_gpu and settings.precision != "16-mixed" and type(task).goes_on is Task.goes_on


def _whole_step(
    fabric: "Fabric", model: nn.Module, optimizer: torch.optim.Optimizer, settings: TrainingSettings, batch: Batch
) -> Tensor:
    """Take a step without a look at its numbers: the loss and the gradient's norm, (2,), on the device."""
    loss, _ = model.loss(batch, None)
    optimizer.zero_grad()
    fabric.backward(loss)
    limit = math.inf if settings.clip is None else settings.clip
    norm = fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)
    optimizer.step()
    return torch.stack([loss.detach().float(), norm.detach().float()])


def _graphed_step(graphed: GraphedStep, batch: Batch, settings: TrainingSettings, step: int) -> float:
    torch.manual_seed(_seed(NOISE, settings.seed, step, 0))
    loss, norm = graphed(batch).tolist()
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise _diverged(batch, loss, norm, step, settings)
    return loss


def _share(batch: Batch, fabric: "Fabric") -> tuple[Batch, float | Tensor]:
    """Return this process's part of a batch, and what its mean loss weighs, so that their mean is the batch's.

    Every process draws the whole batch: any number of processes sees the same samples.
    """
    if fabric.world_size == 1:
        return batch, 1.0
    inputs, targets, mask = (part.chunk(fabric.world_size)[fabric.global_rank] for part in batch)
    weight = fabric.world_size * mask.sum() / batch.mask.sum()
    # Where nothing is marked there is no mean: there all is marked, and weighs nothing.
    nothing = ~mask.any()
    return Batch(inputs, targets.masked_fill(nothing, 0), mask | nothing), weight


def _batches(task: Task, settings: TrainingSettings, device: torch.device, first: int) -> Iterator[Batch]:
    """Draw the batches of a run from its step `first` on; workers draw them on the CPU, ahead of time."""
    steps = range(first, settings.steps)
    if not settings.data_workers:
        return (_training_batch(task, settings, device, step) for step in steps)
    drawn = DataLoader(
        _Drawn(task, settings), batch_size=None, sampler=steps, num_workers=settings.data_workers,
        multiprocessing_context="spawn", worker_init_fn=_leave_ctrl_c_to_the_parent,
    )  # fmt: skip
    with ctrl_c_waits():
        arriving = iter(drawn)
    return (Batch(*(part.to(device) for part in batch)) for batch in arriving)


def _leave_ctrl_c_to_the_parent(worker: int) -> None:
    # The parent finishes its step, for which it needs the batch, and then ends its workers.
    take_ctrl_c(signal.SIG_IGN)


class _Drawn(Dataset):
    """The batches of a run, by step."""

    def __init__(self, task: Task, settings: TrainingSettings):
        self.task, self.settings = task, settings

    def __getitem__(self, step: int) -> Batch:
        return _training_batch(self.task, self.settings, "cpu", step)


def _training_batch(task: Task, settings: TrainingSettings, device: torch.device | str, step: int) -> Batch:
    return draw(task, settings.batch_size, device, TRAINING, settings.seed, step, settings.steps)


def _in_any(fabric: "Fabric", here: bool) -> bool:
    """Say whether something holds in any of the processes."""
    return here if fabric.world_size == 1 else bool(fabric.all_reduce(torch.tensor(float(here)), reduce_op="sum") > 0)


def _agree(fabric: "Fabric", value: object) -> None:
    """Refuse processes that would not train the same run from the same step on, as on machines without a common folder.

    Raises:
        RecordError: in all of them.
    """
    if _in_any(fabric, fabric.broadcast(value) != value):
        raise RecordError(
            "The processes found different records or checkpoints: name a directory that all machines share."
        )


def _whole_state(fabric: "Fabric", core: Core, state: State) -> tuple[Tensor, ...]:
    parts = core._parts(state)
    return parts if fabric.world_size == 1 else tuple(_joined(part, fabric.world_size) for part in parts)


def _joined(share: Tensor, world_size: int) -> Tensor:
    shares = [torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(world_size)]
    torch.distributed.all_gather(shares, share.contiguous())
    return torch.cat(shares)


def _share_of_state(fabric: "Fabric", core: Core, parts: tuple[Tensor, ...]) -> State | None:
    own = [part.chunk(fabric.world_size)[fabric.global_rank].to(fabric.device) for part in parts]
    return core._state(own) if own else None


def evaluate(model: nn.Module, task: Task, batch: Batch, chunk: int = 1024) -> dict[str, float | None]:
    """Score a model on a batch, `chunk` samples at a time, without gradients or dropout."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return task.evaluate(model, batch, chunk)
    finally:
        model.train(was_training)


def draw(
    task: Task,
    batch_size: int,
    device: torch.device | str,
    purpose: int,
    seed: int = 0,
    step: int = 0,
    steps: int = 1,
) -> Batch:
    """Draw the batch that belongs to a purpose (TRAINING, VALIDATION, TEST), a seed and a step; always the same one."""
    generator = Generator(device=device).manual_seed(_seed(purpose, seed, step))
    if purpose == TRAINING:
        return task.training_batch(batch_size, generator, step, steps)
    return (task.validation_batch if purpose == VALIDATION else task.test_batch)(batch_size, generator)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _stopped(done: Progress, settings: TrainingSettings, task: Task) -> str | None:
    """Why the run is over, if it is; read off the curve, so that a resumed run decides alike."""
    if done.step >= settings.steps:
        return "steps"
    sign = -1 if task.lower_is_better else 1
    scores = [sign * point[task.score_name] for point in done.curve]
    if settings.stop_at is not None and scores and scores[-1] >= sign * settings.stop_at:
        return "stop_at"
    patience = settings.patience
    if patience is not None and len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience]):
        return "patience"
    return None


def _diverged(batch: Batch, loss: float, norm: float, step: int, settings: TrainingSettings) -> TrainingDivergedError:
    # Where a look at every batch would cost time, one without an answer to learn shows only now.
    check_marked(batch.mask.cpu())
    return TrainingDivergedError(
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
def _no_others_in(folder: Path, fabric: "Fabric") -> Iterator[None]:
    """Hold the run's folder for these processes alone; the lock goes with the first of them, however it ends."""
    from filelock import FileLock, Timeout

    lock, taken = FileLock(folder / ".lock", timeout=0), False
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            taken = True
    try:
        if _in_any(fabric, taken):
            raise RecordError(f"Another process is training in {folder}. Wait for it, or name another directory.")
        yield
    finally:
        lock.release()


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

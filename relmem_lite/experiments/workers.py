"""Workers: processes that train runs, several at a time, and what is done when one of them dies."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import torch

from relmem_lite.allocator import keep_freed_memory
from relmem_lite.training import RunRecord, TrainingInterruptedError
from relmem_lite.training.processes import ctrl_c_waits, take_ctrl_c

if TYPE_CHECKING:
    from relmem_lite.experiments.experiment import Experiment, Run


class WorkerKilledError(Exception):
    """A worker process ended without a word; the message says what to try."""


class OutOfTimeError(Exception):
    """A deadline came before all jobs were done; those at hand were saved."""


class Job(NamedTuple):
    """One run to train, and the folder that its own folder lies in."""

    experiment: "Experiment"
    run: "Run"
    directory: Path

    def train(self) -> RunRecord:
        """Train it, or go on with it, or read its record. An error carries its traceback as a note."""
        try:
            return self.experiment.train(self.run, self.directory, progress=False)
        except Exception as error:
            # A traceback does not get from one process to another.
            error.add_note("".join(traceback.format_exception(error)))
            raise


class Workers(Protocol):
    """What trains jobs: processes here, or elsewhere.

    Attributes:
        number: how many jobs are trained at a time.
    """

    number: int

    def submit(self, job: Job) -> Future[RunRecord]:
        """Begin a job. Its future raises `WorkerKilledError` if its worker dies, and otherwise what `train` raises."""

    def interrupt(self) -> None:
        """Have the jobs at hand saved and stopped; those that have not begun never do."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception) -> None: ...


def finish(
    jobs: Iterable[Job],
    workers: Workers,
    ended: Callable[[Job, RunRecord | BaseException], None],
    report: Callable[[str], None],
    retries: int = 0,
    deadline: float | None = None,
) -> None:
    """Train jobs, as many at a time as there are workers, and hand each with its record to `ended` as it ends.

    A job whose worker dies is put to the end of the queue, `retries` times; then, as when it raises an error, `ended`
    gets the error instead. What `ended` raises, and Ctrl-C, stops all: the jobs at hand are saved.

    Raises:
        OutOfTimeError: `time.monotonic()` reached the deadline.
    """
    waiting, deaths = deque(jobs), Counter()
    at_hand: dict[Future, Job] = {}
    try:
        while waiting or at_hand:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise OutOfTimeError("The deadline came before all jobs were done.")
            # No more than are being worked on: a pool starts what it has been given, whatever happens.
            while waiting and len(at_hand) < workers.number:
                job = waiting.popleft()
                at_hand[workers.submit(job)] = job
            for future in wait(at_hand, left, return_when=FIRST_COMPLETED).done:
                job, error = at_hand.pop(future), future.exception()
                if isinstance(error, WorkerKilledError) and deaths[job.directory, job.run] < retries:
                    deaths[job.directory, job.run] += 1
                    waiting.append(job)
                else:
                    ended(job, error or future.result())
    except BaseException:
        report("Stopping: the runs at hand are being saved.")
        workers.interrupt()
        raise


class LocalWorkers:
    """Fresh processes on this machine, each on one thread if there are several; they share its GPUs evenly.

    Whoever has several must start them under `if __name__ == "__main__":`.
    """

    def __init__(self, number: int):
        self.number = number
        self._threads = ThreadPoolExecutor(number)
        self._own = threading.local()
        self._processes: dict[int, tuple[multiprocessing.Process, Connection]] = {}
        self._numbers = count()
        self._starting = threading.Lock()
        self._stopping = False

    def submit(self, job: Job) -> Future[RunRecord]:
        return self._threads.submit(self._train, job)

    def interrupt(self) -> None:
        # Under the lock: a process that is being started is either there by now or is not started at all.
        with self._starting:
            self._stopping = True
            for process, _ in self._processes.values():
                _interrupt(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        try:
            self._threads.shutdown()
        except KeyboardInterrupt:  # a second one: whoever sent it does not want to wait
            for process, _ in list(self._processes.values()):
                process.kill()
            raise
        for _, connection in self._processes.values():
            connection.close()
        for process, _ in self._processes.values():
            process.join()

    def _train(self, job: Job) -> RunRecord:
        """Have this thread's own process train a job, and start another one next time if it dies."""
        if not hasattr(self._own, "number"):
            self._own.number = next(self._numbers)
        number = self._own.number
        with self._starting:
            if self._stopping:
                raise TrainingInterruptedError("Stopped before it began.")
            if number not in self._processes:
                self._processes[number] = self._start(number)
            process, connection = self._processes[number]
        try:
            connection.send(job)
            record, error = connection.recv()
        except (EOFError, ConnectionError):
            with self._starting:
                del self._processes[number]
            process.join()
            raise WorkerKilledError(
                "A worker was killed, perhaps for want of memory: try fewer --workers. "
                "Run the same command again to go on."
            ) from None
        if error is not None:
            raise error
        return record

    def _start(self, number: int) -> tuple[multiprocessing.Process, Connection]:
        # spawn: a forked copy of a process that has used torch's threads can hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        gpus = visible_gpus()
        gpu = gpus[number % len(gpus)] if gpus else None
        process = context.Process(target=_work, args=(theirs, gpu, self.number > 1))
        with ctrl_c_waits():
            process.start()
        theirs.close()
        return process, ours


def visible_gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES knows this machine's GPUs."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    number = torch.cuda.device_count()
    return chosen.split(",")[:number] if chosen else [str(gpu) for gpu in range(number)]


def _work(connection: Connection, gpu: str | None, one_of_several: bool) -> None:
    """Train the jobs that come in until there are no more."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if one_of_several:
        torch.set_num_threads(1)
    keep_freed_memory()
    # Ctrl-C is for the parent, which passes it on once. A worker that is not training has nothing to save.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    take_ctrl_c(lambda *_: os._exit(130))
    # Left alone, a worker would go on beside those of the next command.
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    with suppress(EOFError):
        while True:
            job = connection.recv()
            try:
                answer = job.train(), None
            except BaseException as error:
                answer = None, _sent_whole(error)
            connection.send(answer)


def _sent_whole(error: BaseException) -> BaseException:
    """Return the error, or one that says the same if it does not get from one process to another."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            stand_in.add_note(note)
        return stand_in


def _interrupt(worker: multiprocessing.Process) -> None:
    if os.name != "posix":
        worker.terminate()
        return
    with suppress(ProcessLookupError):  # it ended by itself
        os.kill(worker.pid, signal.SIGINT)

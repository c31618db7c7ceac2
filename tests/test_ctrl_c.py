import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import wait

import pytest
from swept import SweptExperiment

from relmem_lite.experiments.workers import Job, LocalWorkers

posix = pytest.mark.skipif(os.name != "posix", reason="Ctrl-C reaches processes otherwise on Windows.")


@posix
def test_a_job_that_was_submitted_and_not_begun_never_begins(tmp_path):
    short = SweptExperiment.from_preset("smoke")
    jobs = [Job(short, run, tmp_path / str(number)) for number in range(2) for run in short.runs()]
    with LocalWorkers(2) as workers:
        promised = [workers.submit(job) for job in jobs]
        workers.interrupt()
    assert all(future.done() for future in promised)
    assert not list(tmp_path.rglob("record.json")), "a run was trained to its end"


@posix
def test_a_worker_that_is_interrupted_while_it_starts_has_nothing_to_say(tmp_path, capfd):
    short = SweptExperiment.from_preset("smoke")
    with LocalWorkers(1) as workers:
        promised = workers.submit(Job(short, short.runs()[0], tmp_path))
        while not multiprocessing.active_children():
            wait([promised], timeout=0.01)
        workers.interrupt()
    assert not list(tmp_path.rglob("record.json"))
    assert capfd.readouterr().err == ""


@contextlib.contextmanager
def command(typed, directory):
    """Run `relmem` in a terminal of its own."""
    running = subprocess.Popen(
        [sys.executable, "-m", "relmem_lite", *typed.split(), "--directory", directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def until(running, happened):
    """Wait for something that a running command does."""
    for _ in range(2000):
        if happened():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=0.1)
            break
    running.kill()
    raise AssertionError(f"It never happened: {running.communicate()}")


def children(running):
    tasks = f"/proc/{running.pid}/task/{running.pid}/children"
    with open(tasks) as file:
        return file.read().split()


DRAWN_AHEAD = "run nth_farthest --cores gru --seeds 0 --steps 1000000 --eval-every 20 --data-workers 1 --workers 1"


@posix
def test_ctrl_c_while_a_process_draws_batches_saves_and_stops_with_one_message(tmp_path):
    with command(DRAWN_AHEAD, tmp_path) as running:
        until(running, lambda: list(tmp_path.glob("*/checkpoints/step-*")))
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    said = [line for line in err.splitlines() if line and "step/s" not in line and "s/step" not in line]
    assert len(said) == 1, err
    assert "and saved in" in said[0]
    assert said[0].endswith("Run the same command again to go on.")


@pytest.mark.skipif(sys.platform != "linux", reason="It counts processes in /proc.")
def test_ctrl_c_while_the_process_that_draws_batches_is_starting_says_no_more(tmp_path):
    with command(DRAWN_AHEAD, tmp_path) as running:
        until(running, lambda: len(children(running)) == 2)  # it, and multiprocessing's own
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert err.count("Run the same command again to go on.") == 1
    assert "Traceback" not in err

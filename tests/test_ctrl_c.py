import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path

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


@posix
@pytest.mark.parametrize("moment", ["it starts", "it draws the first batch"])
def test_ctrl_c_is_not_for_the_process_that_draws_batches(moment, tmp_path):
    script = Path(__file__).with_name("drawn_ahead.py")
    running = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"FOLDER": str(tmp_path), "MOMENT": moment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(600):
            if (tmp_path / "here").exists() or running.poll() is not None:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(timeout=0.2)
        os.killpg(running.pid, signal.SIGINT)
        (tmp_path / "go on").touch()
        out, err = running.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert (running.returncode, err) == (130, "")
    if moment == "it draws the first batch":
        assert out.startswith("Stopped after step 1 of 1000000 and saved in ")
        assert len(list(tmp_path.glob("run/checkpoints/step-*"))) == 1

import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from relmem_lite.experiments.workers import Job, LocalWorkers, OutOfTimeError, finish


class TwoPartedError(Exception):
    """It is written out as its message, and can't be made from that again."""

    def __init__(self, what, where):
        super().__init__(f"{what} in {where}")


@dataclass
class Failing:
    """An experiment that fails in one way or another, in whoever's process trains it."""

    way: str

    def train(self, run, directory, progress):
        if self.way == "two parts":
            raise TwoPartedError("a leak", "the roof")
        error = ValueError("a leak")
        if self.way == "a function":
            error.remedy = lambda: "a bucket"
        raise error


def test_whatever_error_a_job_raises_comes_home_with_its_words_and_its_traceback():
    ways = ["two parts", "a function", "plainly"]
    with LocalWorkers(1) as workers:
        errors = [workers.submit(Job(Failing(way), None, Path())).exception() for way in ways]
    assert [(type(error), str(error)) for error in errors] == [
        (RuntimeError, "TwoPartedError: a leak in the roof"),
        (RuntimeError, "ValueError: a leak"),
        (ValueError, "a leak"),
    ]
    assert all("in train\n" in "".join(error.__notes__) for error in errors)


class Unhurried:
    """Workers that are never done; they note what is asked of them."""

    def __init__(self, number):
        self.number, self.asked = number, []

    def submit(self, job):
        self.asked.append(job)
        return Future()

    def interrupt(self):
        self.asked.append("stop")


def test_a_deadline_stops_the_jobs_at_hand_and_after_it_none_begins():
    jobs, said = [Job(Failing("plainly"), run, Path()) for run in range(3)], []

    def ended(job, outcome):
        raise AssertionError("no job ends")

    workers = Unhurried(2)
    with pytest.raises(OutOfTimeError):
        finish(jobs, workers, ended, said.append, deadline=time.monotonic() + 0.1)
    assert workers.asked == [*jobs[:2], "stop"]
    assert said == ["Stopping: the runs at hand are being saved."]

    late = Unhurried(2)
    with pytest.raises(OutOfTimeError):
        finish(jobs, late, ended, said.append, deadline=time.monotonic())
    assert late.asked == ["stop"]

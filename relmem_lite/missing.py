"""What is not recorded yet, in the order in which the book needs it, and recording it within a budget of time."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path

import torch

from relmem_lite import recorded
from relmem_lite.bench import BENCHMARKS
from relmem_lite.core import nearest, positive_int
from relmem_lite.experiments import EXPERIMENTS, SWEEPS, Experiment, run_sweep
from relmem_lite.experiments.sweep import Sweep
from relmem_lite.experiments.workers import Job, LocalWorkers, OutOfTimeError, finish
from relmem_lite.training import RunRecord
from relmem_lite.training.files import write_json


class NotMissingError(ValueError):
    """What was to be recorded is recorded already, or cannot be here; the message says what can."""


ORDER = (
    "bench_scan",
    "bench_layers",
    "bench_relational_memory",
    "bench_memory_cost",
    "recall_frontier",
    "state_tracking",
    "selective_copying",
    "language_model",
    "nth_farthest",
    "istree",
    "programs",
    "sweep_port_hyperparameters",
)
"""What the argument needs most comes first; what is not named here comes after it."""


def missing(preset: str) -> list[str]:
    """Return what is not recorded at a preset, or lacks runs, as `recorded` names it, the most needed first.

    That is EXPERIMENT, sweep_NAME, and bench_NAME where benchmarks are recorded by device (cpu and gpu).
    """
    benchmarks = []
    if preset in ("cpu", "gpu"):
        benchmarks = [f"bench_{name}" for name, run in BENCHMARKS.items() if "record" in signature(run).parameters]
    sweeps = [f"sweep_{name}" for name, sweep in SWEEPS.items() if preset in sweep.presets]
    experiments = [name for name, experiment in EXPERIMENTS.items() if preset in experiment.presets]
    names = [name for name in [*benchmarks, *experiments, *sweeps] if recorded.missing_runs(f"{name}_{preset}") != 0]
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def command(name: str, preset: str) -> str:
    """Return the command that records one of `missing`."""
    kind, _, rest = name.partition("_")
    if kind == "bench":
        return f"relmem bench {rest} --record FILE on a {preset.upper()}"
    if recorded.missing_runs(f"{name}_{preset}"):
        return f"relmem run --missing {name} --preset {preset}"
    return f"relmem sweep {rest} --preset {preset}" if kind == "sweep" else f"relmem run {name} --preset {preset}"


@dataclass(frozen=True)
class _Runs:
    """The runs behind one record: an experiment's, or a sweep's."""

    name: str
    preset: str
    directory: Path

    @cached_property
    def what(self) -> Experiment | Sweep:
        if self.name in EXPERIMENTS:
            return EXPERIMENTS[self.name].from_preset(self.preset)
        named = SWEEPS[self.name.removeprefix("sweep_")]
        return named.sweep(named.base(self.preset))

    @cached_property
    def jobs(self) -> list[Job]:
        folder = self.directory / f"{self.name}-{self.preset}"
        if isinstance(self.what, Sweep):
            return self.what.jobs(folder)
        return [Job(self.what, run, folder) for run in self.what.runs()]

    @property
    def record_file(self) -> Path:
        return self.directory / f"{self.name}_{self.preset}.json"

    @property
    def is_done(self) -> bool:
        """Whether the record is there, whole, and of these settings; how many ran at a time changes nothing."""
        if not self.record_file.exists():
            return False
        try:
            there = json.loads(self.record_file.read_text())
        except ValueError:  # no JSON, or no text at all
            return False
        experiment = self.what.base if isinstance(self.what, Sweep) else self.what
        settings = json.loads(json.dumps(asdict(experiment) | {"workers": 0}))
        if there.get("settings", {}) | {"workers": 0} != settings:
            return False
        if isinstance(self.what, Sweep):
            rows = there.get("rows", [])
            points = [row["point"] for row in rows]
            every = all(point in points for point in json.loads(json.dumps(self.what.points)))
            return every and all(row["finished"] == row["runs"] for row in rows)
        return "missing_runs" not in there

    def take_up(self) -> None:
        """Put the runs of a record that lacks others where the others will go."""
        if recorded.missing_runs(f"{self.name}_{self.preset}"):
            done = [RunRecord(**run) for run in recorded.load(self.name, self.preset)["runs"]]
            for job in self.jobs:
                file = job.directory / job.run.name / "record.json"
                for record in done:
                    if record.run["labels"] == job.experiment.labels(job.run) and not file.exists():
                        record.save(file)

    def write(self, records: Iterable[RunRecord]) -> None:
        """Write the record, from those of the runs that are done, in the order of `jobs`."""
        if isinstance(self.what, Sweep):
            write_json(self.record_file, run_sweep(self.what, self.directory / f"{self.name}-{self.preset}"))
        else:
            write_json(self.record_file, self.what.record(records))


def record_missing(
    preset: str,
    directory: Path,
    names: Sequence[str] = (),
    budget: float | None = None,
    workers: int = 1,
    report: Callable[[str], None] = print,
) -> list[str]:
    """Record what is missing at a preset, one benchmark after the other, then runs side by side, until time is up.

    Whatever was finished or begun in `directory` by an earlier call is taken up, and the runs of a record that lacks
    others. A run that fails is reported, and the others go on without it. An experiment that is not done when time is
    up is recorded too, as far as it has come, and stays missing.

    Args:
        preset: "gpu" or "cpu".
        directory: where runs go, and records, NAME_PRESET.json.
        names: what to record, in this order; all that is missing if not given.
        budget: seconds after which runs at hand are saved and left for the next call; None for no limit. A benchmark
            that has begun is finished.
        workers: runs trained at a time, on one thread each; they share the GPU.
        report: takes a line of text whenever something ends.

    Returns:
        The names that are recorded now, whole, in `directory`.

    Raises:
        NotMissingError: a name that is recorded already, or that there is not, with the nearest; or a benchmark of
            another device than this machine's.
        TypeError, ValueError: a number of workers that is not a whole number of at least 1.
    """
    positive_int("workers", workers)
    started, left, names = time.monotonic(), missing(preset), tuple(dict.fromkeys(names))
    here = "gpu" if torch.cuda.is_available() else "cpu"
    for name in names:
        if name not in left:
            raise NotMissingError(nearest(name, left, f"missing {preset} record"))
        if name.startswith("bench_") and preset != here:
            raise NotMissingError(
                f"{name} is measured on what a machine has, here a {here.upper()}: leave it out, or say --preset {here}"
            )
    if not names and preset != here:
        left = [name for name in left if not name.startswith("bench_")]
    done = []
    for name in names or left:
        file = directory / f"{name}_{preset}.json"
        if not name.startswith("bench_"):
            continue
        if not file.exists():
            if budget is not None and time.monotonic() - started > budget:
                break
            partial = file.with_suffix(".partial.json")
            directory.mkdir(parents=True, exist_ok=True)
            BENCHMARKS[name.removeprefix("bench_")](record=partial)
            partial.replace(file)
            report(f"{name}: recorded after {time.monotonic() - started:.0f} s")
        done.append(name)
    groups = [_Runs(name, preset, directory) for name in names or left if not name.startswith("bench_")]
    waiting = [group for group in groups if not group.is_done]
    done += [group.name for group in groups if group not in waiting]
    for group in waiting:
        group.take_up()
    if waiting:
        deadline = None if budget is None else started + budget
        done += _train(waiting, deadline, workers, started, report)
    return done


def _train(
    groups: list[_Runs], deadline: float | None, workers: int, started: float, report: Callable[[str], None]
) -> list[str]:
    # By identity: an experiment's settings can be the same at two points of a sweep.
    owner = {id(job): group for group in groups for job in group.jobs}
    records: dict[int, RunRecord] = {}
    done: list[str] = []

    def ended(job: Job, outcome: RunRecord | BaseException) -> None:
        group = owner[id(job)]
        if isinstance(outcome, Exception):
            report(f"{group.name}/{job.run.name} failed: {type(outcome).__name__}: {outcome}")
            return
        if isinstance(outcome, BaseException):
            raise outcome
        records[id(job)] = outcome
        finished = sum(id(other) in records for other in group.jobs)
        score = next(iter(outcome.scores.values()), None)
        says = outcome.stopped if score is None else f"{score:.3f}"
        seconds = time.monotonic() - started
        report(f"{seconds:.0f} s {group.name} [{finished}/{len(group.jobs)}] {job.run.name}: {says}")
        if finished == len(group.jobs):
            group.write(records[id(other)] for other in group.jobs)
            done.append(group.name)
            report(f"{seconds:.0f} s {group.name}: recorded in {group.record_file}")

    jobs = [job for group in groups for job in group.jobs]
    try:
        with LocalWorkers(min(workers, len(jobs))) as pool:
            finish(jobs, pool, ended, report, deadline=deadline)
    except OutOfTimeError:
        report("Time is up. The same command goes on.")
    for group in groups:
        found = [records[id(job)] for job in group.jobs if id(job) in records]
        if found and group.name not in done and not isinstance(group.what, Sweep):
            group.write(found)
            report(f"{group.name}: {len(found)} of {len(group.jobs)} runs in {group.record_file}")
    return done

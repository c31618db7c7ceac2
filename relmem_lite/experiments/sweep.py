"""Sweeps: an experiment at many points of its settings, each trained as runs of their own, in one table."""

import csv
import hashlib
import io
import itertools
import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean
from traceback import format_exception
from typing import NamedTuple

import torch

from relmem_lite.core import nearest, positive_int
from relmem_lite.experiments.experiment import Experiment, Run, best_learning_rate, in_words, number_of_workers, some
from relmem_lite.experiments.workers import Job, LocalWorkers, WorkerKilledError, Workers, finish, visible_gpus
from relmem_lite.models import num_parameters
from relmem_lite.tasks import Task
from relmem_lite.training import RecordError, RunRecord
from relmem_lite.training.files import write_atomically, write_json

RETRIES = 2
ENOUGH_TRIES = 100
NOT_SWEPT = ("preset", "workers", "devices", "accelerator")


class SweepError(Exception):
    """Some runs of a sweep failed; the message names them."""


class Range(NamedTuple):
    """Values between two bounds, drawn evenly in their logarithm; whole numbers if both bounds are."""

    low: float
    high: float

    def draw(self, generator: random.Random) -> float:
        """Draw a value, of three digits, so that it can be typed."""
        value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if isinstance(self.low, int) and isinstance(self.high, int) else float(f"{value:.3g}")


def grid(axes: Mapping[str, Sequence]) -> list[dict]:
    """Return every combination of the axes' values, the last axis changing fastest."""
    for name, values in axes.items():
        if isinstance(values, Range):
            raise ValueError(f"{name} is a range, {values.low:g}..{values.high:g}: say how many points with --samples.")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def sample(axes: Mapping[str, Sequence | Range], samples: int, seed: int = 0) -> list[dict]:
    """Draw different points at random, from values and ranges; more of them begin with the same ones.

    Raises:
        TypeError, ValueError: no number, or more than there are points.
    """
    positive_int("samples", samples)
    size = math.prod(math.inf if isinstance(values, Range) else len(values) for values in map(_all_of, axes.values()))
    if samples > size:
        raise ValueError(f"samples must be at most the number of points, which is {size}, got {samples}.")
    generator, points, tries = random.Random(seed), {}, 0
    while len(points) < samples:
        tries += 1
        # Nobody knows how many values of three digits a range of fractions has.
        if size == math.inf and tries > ENOUGH_TRIES * samples:
            raise ValueError(f"samples is {samples}, but only {len(points)} different points were found in the ranges.")
        point = {
            name: values.draw(generator) if isinstance(values, Range) else generator.choice(values)
            for name, values in axes.items()
        }
        points.setdefault(title(point), point)
    return list(points.values())


def _all_of(values: Sequence | Range) -> Sequence | Range:
    """Return the values of a range of whole numbers; anything else as it is."""
    whole = isinstance(values, Range) and isinstance(values.low, int) and isinstance(values.high, int)
    return range(values.low, values.high + 1) if whole else values


@dataclass(frozen=True)
class Sweep:
    """An experiment, and the settings to try it with: contestants, learning rates and seeds are its own at each point.

    Args:
        name: what the sweep is called.
        base: the experiment, with the settings that all points share.
        points: the settings of each point that differ from it, the same ones at each.

    Raises:
        ValueError: no point, a point twice, or a setting that the experiment lacks; the message gives the nearest.
    """

    name: str
    base: Experiment
    points: tuple[dict, ...]

    def __post_init__(self):
        some("points", tuple(map(title, self.points)))
        for name in self.points[0]:
            known_axis(type(self.base), name)
        if self.base.devices > 1:
            raise ValueError(f"A sweep trains each run on one device: leave devices={self.base.devices} out.")

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """The experiment at each point, by the point's title.

        Raises:
            TypeError, ValueError: a value that makes no sense, with its point.
        """
        made = {}
        for point in self.points:
            try:
                made[title(point)] = replace(self.base, **point)
            except (TypeError, ValueError) as error:
                raise type(error)(f"At {title(point)}: {error}") from error
        return made

    def rehearse(self) -> None:
        """Build every point's tasks and models, without memory for weights, so that what does not fit shows early.

        Raises:
            TypeError, ValueError: a setting that does not fit, with its point.
        """
        for name, experiment in self.experiments.items():
            try:
                experiment.rehearse()
            except (TypeError, ValueError) as error:
                raise type(error)(f"At {name}: {error}") from error

    def jobs(self, directory: Path) -> list[Job]:
        """Return every run of every point, seeds outermost, so that an interrupted sweep has whole comparisons."""
        runs = [
            (seed, rate, Job(experiment, run, directory / folder_name(name)))
            for name, experiment in self.experiments.items()
            for run in experiment.runs()
            for seed, rate in [(experiment.seeds.index(run.seed), experiment.learning_rates.index(run.learning_rate))]
        ]
        return [job for _, _, job in sorted(runs, key=lambda ordered: ordered[:2])]


def known_axis(experiment: type[Experiment], name: str) -> None:
    """Refuse a setting that the experiment lacks, or that changes nothing that could be compared.

    Raises:
        ValueError: the message gives the nearest.
    """
    known = [field.name for field in fields(experiment) if field.name not in NOT_SWEPT]
    if name not in known:
        raise ValueError(nearest(name, known, f"setting of {experiment.name} to sweep over"))


def title(point: dict) -> str:
    """Return a point in words, such as "num_heads=4, key_size=64"."""
    return ", ".join(f"{name}={_shown(value)}" for name, value in point.items())


def folder_name(point_title: str) -> str:
    """Return a folder's name for a point: its title where that can be one, else as much of it as can be, and a hash."""
    name = re.sub(r"[^\w.=,+-]", "_", point_title.replace(", ", ","))
    if name == point_title.replace(", ", ",") and len(name) <= 120:
        return name
    return f"{name[:100]}-{hashlib.sha256(point_title.encode()).hexdigest()[:8]}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_shown, value))
    return in_words(value) if isinstance(value, float) else str(value)


def run_sweep(
    sweep: Sweep,
    directory: Path,
    workers: Callable[[], Workers] | None = None,
    report: Callable[[str], None] = print,
) -> dict:
    """Train every run of a sweep that is not recorded yet, and write `directory`/table.json and table.csv.

    A run that diverged is recorded, too. The tables are written anew, atomically, whenever a run ends. A run whose
    worker dies is tried again, twice; then, and if it raises an error, the others go on without it.

    Args:
        sweep: what to run.
        directory: where the runs and the tables go.
        workers: makes what trains the runs, if there are any to train; processes of this machine if not given.
        report: takes a line of text whenever a run ends.

    Returns:
        The table, as in table.json.

    Raises:
        SweepError: some runs failed, after all others were finished.
        RecordError: the directory holds runs of another sweep, or one that is going on.
    """
    from filelock import FileLock, Timeout

    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / ".lock", timeout=0):
            return _run_sweep(sweep, directory, workers, report)
    except Timeout:
        raise RecordError(
            f"Another sweep is going on in {directory}. Wait for it, or name another directory."
        ) from None


def _run_sweep(
    sweep: Sweep, directory: Path, workers: Callable[[], Workers] | None, report: Callable[[str], None]
) -> dict:
    table = Table(sweep, directory)
    jobs = [job for job in table.jobs if not table.is_recorded(job)]
    if len(jobs) < len(table.jobs):
        report(f"{len(table.jobs) - len(jobs)} of {len(table.jobs)} runs are recorded already.")
    table.write()
    failed: list[str] = []

    def ended(job: Job, outcome: RunRecord | BaseException) -> None:
        name = f"{job.directory.name}/{job.run.name}"
        if isinstance(outcome, Exception):
            failed.append(name)
            if isinstance(outcome, WorkerKilledError):
                report(f"{name} failed: its worker was killed {RETRIES + 1} times.")
            else:
                path = error_file(job)
                write_atomically(path, "".join(format_exception(outcome)).encode())
                report(f"{name} failed: {type(outcome).__name__}: {outcome} (more in {path})")
            return
        if isinstance(outcome, BaseException):
            raise outcome
        table.add(job, outcome)
        table.write()
        report(f"[{len(table.records)}/{len(table.jobs)}] {name}: {table.score(outcome)}")

    if jobs:
        here = partial(LocalWorkers, min(_number_of_workers(sweep.base), len(jobs)))
        with (workers or here)() as pool:
            finish(jobs, pool, ended, report, RETRIES)
    if failed:
        raise SweepError(
            f"{len(failed)} of {len(table.jobs)} runs failed: {', '.join(failed)}. The others are in "
            f"{directory / 'table.csv'}. The same command tries these once more; perhaps with fewer --workers."
        )
    return table.content()


class Table:
    """What a sweep has found so far: a row for each point and contestant."""

    def __init__(self, sweep: Sweep, directory: Path):
        self.sweep, self.directory = sweep, directory
        self.jobs = sweep.jobs(directory)
        self.records: dict[tuple[Path, Run], RunRecord] = {}
        self._models: dict[tuple[Path, str], torch.nn.Module] = {}
        self._points = {directory / folder_name(title(point)): point for point in sweep.points}
        self._groups: dict[tuple[Path, str], list[Job]] = defaultdict(list)
        places = list(self._points)
        for job in sorted(self.jobs, key=lambda job: places.index(job.directory)):
            self._groups[job.directory, job.run.contestant].append(job)

    def is_recorded(self, job: Job) -> bool:
        """Look for a finished run's record, and take it in if there is one.

        Raises:
            RecordError: it is another run's.
        """
        record = job.experiment.finished(job.run, job.directory, self._model(job))
        if record is not None:
            self._keep(job, record)
        return record is not None

    def add(self, job: Job, record: RunRecord) -> None:
        """Take in a run that has ended, and keep its record here even if it was trained on another machine."""
        self._keep(job, record)
        path = job.directory / job.run.name / "record.json"
        if not path.exists():
            record.save(path)

    def _keep(self, job: Job, record: RunRecord) -> None:
        self.records[job.directory, job.run] = record
        error_file(job).unlink(missing_ok=True)

    def score(self, record: RunRecord) -> str:
        """Say how a run ended."""
        return f"{self._score} {record.scores[self._score]:.3f}" if record.scores else record.stopped

    def rows(self) -> list[dict]:
        """Return the rows, with what is known so far: means and so on are over the seeds of the best learning rate."""
        rows = []
        for (folder, contestant), jobs in self._groups.items():
            records = [self.records[folder, job.run] for job in jobs if (folder, job.run) in self.records]
            task = jobs[0].experiment.task(**jobs[0].experiment.contestants()[contestant])
            best = best_learning_rate(records, task.score_name, task.lower_is_better)
            scores = [score for score in best["scores"] if score is not None]
            rows.append(
                {
                    "point": self._points[folder],
                    "contestant": contestant,
                    **best,
                    "mean": mean(scores) if scores else None,
                    "min": min(scores, default=None),
                    "max": max(scores, default=None),
                    "parameters": num_parameters(self._model(jobs[0])),
                    "seconds": round(sum(record.curve[-1]["seconds"] for record in records if record.curve), 3),
                    "finished": len(records),
                    "diverged": sum(record.stopped == "diverged" for record in records),
                    "runs": len(jobs),
                }
            )
        return rows

    def content(self) -> dict:
        """Return the table, with what was swept and where."""
        rows = self.rows()
        places = [record.environment for record in self.records.values() if record.environment]
        return {
            "sweep": self.sweep.name,
            **self._base,
            "score": self._score,
            "lower_is_better": self._task.lower_is_better,
            "rows": rows,
            "environments": list({json.dumps(place, sort_keys=True): place for place in places}.values()),
            "seconds": round(sum(row["seconds"] for row in rows), 1),
        }

    def write(self) -> None:
        """Write table.json and table.csv, each at once."""
        content = self.content()
        write_json(self.directory / "table.json", content)
        text = io.StringIO()
        rows = [row["point"] | {"score": content["score"]} | row for row in content["rows"]]
        columns = [name for name in rows[0] if name != "point"]
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(row[name]) for name in columns})
        write_atomically(self.directory / "table.csv", text.getvalue().encode())

    @cached_property
    def _base(self) -> dict:
        record = self.sweep.base.record([])
        return {key: record[key] for key in ("experiment", "preset", "settings")}

    @cached_property
    def _task(self) -> Task:
        return self.sweep.base.task(**next(iter(self.sweep.base.contestants().values())))

    @property
    def _score(self) -> str:
        return self._task.score_name

    def _model(self, job: Job) -> torch.nn.Module:
        """Return a job's model without memory for its weights; it is the same for all seeds and learning rates."""
        key = job.directory, job.run.contestant
        if key not in self._models:
            with torch.device("meta"):
                self._models[key] = job.experiment.model(**job.experiment.contestants()[job.run.contestant])
        return self._models[key]


def error_file(job: Job) -> Path:
    """Return where a run leaves its traceback, if the last attempt at it raised an error."""
    return job.directory / job.run.name / "error.txt"


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _number_of_workers(experiment: Experiment) -> int:
    """Return as many workers as an experiment has, but one for each GPU."""
    number = number_of_workers(experiment)
    return max(number, len(visible_gpus())) if not experiment.workers and experiment.accelerator != "cpu" else number


def summary(table: dict) -> str:
    """Return a table as text, best rows first."""
    score, sign = table["score"], 1 if table["lower_is_better"] else -1
    lines = [f"test {score} at each one's best learning rate, mean (lowest to highest) over seeds"]
    found = [row for row in table["rows"] if row["mean"] is not None]
    for row in sorted(found, key=lambda row: sign * row["mean"]):
        spread = f"{row['mean']:.3f} ({row['min']:.3f} to {row['max']:.3f})"
        lines.append(f"  {title(row['point'])}; {row['contestant']}: {spread}  lr {row['learning_rate']:g}")
    for row in table["rows"]:
        if row["mean"] is None:
            why = "diverged at every learning rate" if row["diverged"] else "no score"
            lines.append(f"  {title(row['point'])}; {row['contestant']}: {why}")
    return "\n".join(lines)

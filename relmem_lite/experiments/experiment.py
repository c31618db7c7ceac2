"""What every experiment shares: a grid of runs, workers to train them, one record at the end."""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import ClassVar, NamedTuple

import torch

from relmem_lite.core import nearest, positive_int
from relmem_lite.experiments.workers import Job, LocalWorkers, finish
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import Task
from relmem_lite.training import RunRecord, TrainingBudget, TrainingDivergedError, TrainingSettings, train
from relmem_lite.training.files import write_json
from relmem_lite.training.loop import describe_run, finished_run
from relmem_lite.training.processes import is_first_process, launched_by_torchrun, processes
from relmem_lite.training.record import describe
from relmem_lite.training.settings import positive_float

SECONDS = {"steps": 4, "batch_size": 8, "eval_every": 2, "eval_samples": 32, "seeds": (0,)}
"""The budget of most smoke presets: so small that it only shows whether all parts fit together."""

MINUTES = {
    "steps": 300,
    "batch_size": 32,
    "eval_every": 100,
    "eval_samples": 512,
    "learning_rates": (3e-3, 1e-2),
    "accelerator": "cpu",
}
"""The budget of the smallest cpu presets."""


class Run(NamedTuple):
    """One run of an experiment's grid."""

    contestant: str
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        """The run's folder."""
        contestant = self.contestant.replace(", ", "-").replace(" ", "")
        return f"{contestant}-lr{in_words(self.learning_rate)}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Experiment(TrainingBudget):
    """Contestants against one another: each with every learning rate and every seed, on the same budget.

    A subclass is one named experiment: it adds its own settings, and says what they mean: which contestants, and what
    task and model each of them is. A contestant is a point on the experiment's axes, such as a core, or a core and a
    depth; what is asked about it gets the point as keywords.

    Raises:
        TypeError, ValueError: a setting that makes no sense, by name.
    """

    name: ClassVar[str]
    presets: ClassVar[dict[str, dict]]

    preset: str = "smoke"
    """Where the other settings start from, smoke (seconds), cpu (minutes), gpu (minutes on one) or paper (its size)."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """Step sizes of Adam that every contestant is tried with; the best for each is chosen on held-out samples."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds that every contestant and learning rate is run with."""
    workers: int = 0
    """Runs trained at a time, on one thread each if several; 0 for one a processor core, or one in all on a GPU."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("learning_rates", "seeds"):
            some(name, getattr(self, name))
        for learning_rate in self.learning_rates:
            positive_float("learning_rates", learning_rate)
        if self.workers:
            positive_int("workers", self.workers)

    @classmethod
    def from_preset(cls, preset: str) -> "Experiment":
        """Return the experiment as a preset has it.

        Raises:
            ValueError: no such preset; the message gives the nearest.
        """
        if preset not in cls.presets:
            raise ValueError(nearest(preset, list(cls.presets), "preset"))
        return cls(preset=preset, **cls.presets[preset])

    def contestants(self) -> dict[str, dict]:
        """Return the title of each contestant and its point: the plain values that set it apart from the others."""
        raise NotImplementedError(f"{type(self).__name__} names no contestants")

    def task(self, **point) -> Task:
        """Return the task that a contestant is trained on."""
        raise NotImplementedError(f"{type(self).__name__} names no task")

    def model(self, **point) -> SequenceModel:
        """Return a contestant as a fresh model."""
        raise NotImplementedError(f"{type(self).__name__} builds no model")

    def tests(self, **point) -> dict[str, Task]:
        """Return further tasks that a trained model is scored on, by the name of the score; none by default."""
        return {}

    def runs(self) -> list[Run]:
        """Return the grid, seeds outermost, so that an interrupted experiment has whole comparisons."""
        return [
            Run(name, rate, seed) for seed in self.seeds for rate in self.learning_rates for name in self.contestants()
        ]

    def rehearse(self) -> None:
        """Build tasks, settings and models, without memory for weights: what does not fit shows before a run begins.

        Raises:
            TypeError, ValueError: a setting that does not fit, an accelerator that is not here, or more processes than
                can share the work.
        """
        here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not here.get(self.accelerator, True):
            raise ValueError(f"accelerator is {self.accelerator}, but torch finds none here: try auto or cpu.")
        together = "torchrun" if launched_by_torchrun() else f"devices={self.devices}" if self.devices > 1 else None
        if together and self.workers > 1:
            raise ValueError(f"With {together} all train one run at a time: leave workers={self.workers} out.")
        processes(self)
        for run in self.runs():
            self._settings(run)
        for point in self.contestants().values():
            self.check_with(self.task(**point))
            self.tests(**point)
            with torch.device("meta"):
                self.model(**point)

    def train(self, run: Run, directory: Path | None = None, progress: bool = True) -> RunRecord:
        """Train one run of the grid, or go on with it, or read its record if it is done.

        A run that diverges is done: its record has no curve and no scores, and it is not trained again.
        """
        torch.manual_seed(run.seed)
        point, labels, settings = self.contestants()[run.contestant], self.labels(run), self._settings(run)
        folder = None if directory is None else directory / run.name
        options = {"directory": folder, "labels": labels, "tests": self.tests(**point), "progress": progress}
        try:
            return train(self.model(**point), self.task(**point), settings, **options)
        except TrainingDivergedError as error:
            if is_first_process():
                print(f"{run.name}: {error}", file=sys.stderr)
                if folder is not None:
                    error.record.save(folder / "record.json")
            return error.record

    def finished(self, run: Run, directory: Path, model: SequenceModel) -> RunRecord | None:
        """Return the record of a run that is done, None if it is not; `model` is its contestant's, perhaps as meta.

        Raises:
            RecordError: another run lies in its folder.
        """
        point = self.contestants()[run.contestant]
        settings, labels, tests = self._settings(run), self.labels(run), self.tests(**point)
        return finished_run(directory / run.name, describe_run(model, self.task(**point), settings, labels, tests))

    def _settings(self, run: Run) -> TrainingSettings:
        return TrainingSettings(**self.budget(), learning_rate=run.learning_rate, seed=run.seed)

    def labels(self, run: Run) -> dict:
        """Return what tells a run's record apart: its contestant's point, learning rate and seed."""
        return self.contestants()[run.contestant] | {"learning_rate": run.learning_rate, "seed": run.seed}

    def record(self, records: Iterable[RunRecord]) -> dict:
        """Return the experiment's record: its settings, its task's lines, every run, and each contestant's best.

        What differs between the contestants' tasks is left out, or None. "seconds" are those of all runs, one after
        another; workers share them. Where runs are not done yet, "missing_runs" names them.
        """
        records, points = list(records), self.contestants()
        lines = self.tasks_in_words(records)
        shared = {key: value for key, value in lines[0].items() if all(line.get(key) == value for line in lines)}
        best = {}
        for title, point in points.items():
            own = [record for record in records if record.run["labels"].items() >= point.items()]
            best[title] = point | best_learning_rate(own, lines[0]["score"], lines[0]["lower_is_better"])
        done = [record.run["labels"] for record in records]
        left = [run.name for run in self.runs() if self.labels(run) not in done] if records else []
        return {
            "experiment": self.name,
            "preset": self.preset,
            **({"missing_runs": left} if left else {}),
            "settings": asdict(self),
            "task": {"chance": None, "shortcut": None} | shared,
            "best": best,
            "runs": [asdict(record) for record in records],
            "seconds": round(sum(record.curve[-1]["seconds"] for record in records if record.curve), 1),
        }

    def tasks_in_words(self, records: list[RunRecord]) -> list[dict]:
        """Return each contestant's task as plain values: its settings, its score, and what to compare a score with."""
        tasks = [self.task(**point) for point in self.contestants().values()]
        return [
            describe(task)
            | {"score": task.score_name, "lower_is_better": task.lower_is_better}
            | {"chance": task.chance, "shortcut": task.shortcut}
            for task in tasks
        ]


def in_words(number: float) -> str:
    """Return a number as a name may hold it: in six digits, or in as many as tell it from its neighbours."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def one_axis(names: Iterable[str]) -> dict[str, dict]:
    """Return contestants that differ in their core alone, or in what an experiment calls so."""
    return {name: {"core": name} for name in names}


def some(name: str, values: tuple, known: Iterable[str] | None = None, what: str = "") -> None:
    """Refuse a setting of several values that has none, one twice, or one that is not among the `known`.

    Raises:
        ValueError: it is empty, or holds a value twice or no known `what`; the message gives the nearest.
    """
    if not values:
        raise ValueError(f"{name} is empty: give at least one.")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} holds a value twice: {', '.join(map(str, values))}.")
    for value in values:
        if known is not None and value not in known:
            raise ValueError(nearest(value, list(known), what))


def best_learning_rate(records: Iterable[RunRecord], score: str, lower_is_better: bool = False) -> dict:
    """Choose the learning rate whose seeds score best on the held-out samples of the last evaluation.

    Returns:
        The "learning_rate" and the "scores", the test score of each seed at that rate; None and no scores if all runs
        diverged.
    """
    by_rate: dict[float, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_rate[record.run["labels"]["learning_rate"]].append(record)
    # One diverged seed disqualifies a learning rate: nobody would choose it.
    whole = {rate: group for rate, group in by_rate.items() if all(record.curve for record in group)}
    best = min if lower_is_better else max
    rate = best(whole, key=lambda rate: mean(r.curve[-1][score] for r in whole[rate]), default=None)
    return {"learning_rate": rate, "scores": [record.scores[score] for record in whole.get(rate, [])]}


def run_experiment(experiment: Experiment, directory: Path, report: Callable[[str], None] = print) -> dict:
    """Train all runs of an experiment, one worker a processor core, and write `directory`/record.json.

    Finished runs are read, also those that diverged; unfinished ones go on where they stopped. Workers are fresh
    processes: a script that calls this with several must do so under `if __name__ == "__main__":`.

    Args:
        experiment: what to run.
        directory: where the runs and the record go.
        report: takes a line of text whenever a run ends.

    Returns:
        The experiment's record.
    """
    runs = experiment.runs()
    score_name = experiment.task(**next(iter(experiment.contestants().values()))).score_name
    records: dict[Run, RunRecord] = {}

    def finished(run: Run, record: RunRecord) -> None:
        records[run] = record
        score = f"{score_name} {record.scores[score_name]:.3f}" if record.scores else record.stopped
        if is_first_process():
            report(f"[{len(records)}/{len(runs)}] {run.name}: {score}")

    def ended(job: Job, outcome: RunRecord | BaseException) -> None:
        if isinstance(outcome, BaseException):
            raise outcome
        finished(job.run, outcome)

    workers = min(number_of_workers(experiment), len(runs))
    if workers == 1:
        for run in runs:
            finished(run, experiment.train(run, directory))
    else:
        with LocalWorkers(workers) as pool:
            finish([Job(experiment, run, directory) for run in runs], pool, ended, report)
    record = experiment.record(records[run] for run in runs)
    if is_first_process():
        write_json(directory / "record.json", record)
    return record


def number_of_workers(experiment: Experiment) -> int:
    """Return how many runs are trained at a time: as many as the settings say, or as this machine is good for."""
    if experiment.workers:
        return experiment.workers
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if (
        experiment.devices > 1
        or launched_by_torchrun()
        or experiment.accelerator in ("cuda", "mps")
        or (gpu and experiment.accelerator == "auto")
    ):
        return 1
    return processor_cores()


def processor_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

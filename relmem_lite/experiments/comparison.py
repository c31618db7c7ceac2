"""Comparison: how many numbers does one vector keep, and does a longer vector keep more?"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from relmem_lite.core import positive_int
from relmem_lite.cores import find_core
from relmem_lite.experiments.experiment import Experiment, best_learning_rates, some
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import Comparison
from relmem_lite.training import RunRecord


class ComparisonRun(NamedTuple):
    """One run of the grid: a hidden size and a number of items beside what every run has."""

    core: str
    learning_rate: float
    seed: int
    hidden_size: int
    num_items: int

    @property
    def name(self) -> str:
        """The run's folder."""
        return f"{self.core}-{self.hidden_size}units-{self.num_items}items-lr{self.learning_rate:g}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class ComparisonExperiment(Experiment):
    """Comparison: accuracy against the number of stored items, at several hidden sizes and equal steps."""

    name: ClassVar[str] = "comparison"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "items": (2,),
            "hidden_sizes": (4,),
            "steps": 10,
            "batch_size": 32,
            "eval_every": 10,
            "eval_samples": 256,
            "seeds": (0,),
        },
        "cpu": {
            "items": (2, 4, 8, 12),
            "steps": 1500,
            "batch_size": 256,
            "eval_every": 250,
            "eval_samples": 4096,
            "learning_rates": (3e-3, 1e-2),
            "accelerator": "cpu",
        },
        "gpu": {
            "items": (4, 8, 16, 32),
            "hidden_sizes": (16, 64, 256, 1024),
            "steps": 20_000,
            "batch_size": 1024,
            "eval_every": 500,
            "eval_samples": 16_384,
            "learning_rates": (3e-4, 1e-3, 3e-3, 1e-2),
        },
    }

    cores: tuple[str, ...] = ("lstm",)
    """Cores with one vector, lstm or gru."""
    items: tuple[int, ...] = (2, 4, 8)
    """Numbers stored before the question (n); every one is tried with every hidden size."""
    hidden_sizes: tuple[int, ...] = (4, 16, 64)
    """Units of the core (D)."""
    head_sizes: tuple[int, ...] = (64,)
    """Widths of the hidden layers between a core and its answer."""

    def __post_init__(self):
        super().__post_init__()
        some("cores", self.cores, ("lstm", "gru"), "core with a hidden size to vary")
        for name in ("items", "hidden_sizes"):
            some(name, getattr(self, name))
            for value in getattr(self, name):
                positive_int(name, value)

    def contestants(self) -> tuple[str, ...]:
        return self.cores

    def task(self) -> Comparison:
        """Return the task with the fewest items of the grid; each run has its own."""
        return Comparison(min(self.items))

    def model(self, contestant: str) -> SequenceModel:
        """Return a fresh model of the smallest hidden size, for `task()`."""
        task = self.task()
        # The usual start for a task that must remember: an open forget gate.
        options = {"forget_bias": 1.0} if contestant == "lstm" else {}
        return SequenceModel(
            find_core(contestant)(task.input_size, min(self.hidden_sizes), **options), task.output_size, self.head_sizes
        )

    def runs(self) -> list[ComparisonRun]:
        return [
            ComparisonRun(core, rate, seed, hidden_size, num_items)
            for seed in self.seeds
            for rate in self.learning_rates
            for num_items in self.items
            for hidden_size in self.hidden_sizes
            for core in self.cores
        ]

    def train(self, run: ComparisonRun, directory: Path | None = None, progress: bool = True) -> RunRecord:
        """Train one run of the grid, as an experiment of this one point."""
        point = replace(self, items=(run.num_items,), hidden_sizes=(run.hidden_size,))
        return super(ComparisonExperiment, point).train(run, directory, progress)

    def record(self, records: Iterable[RunRecord]) -> dict:
        """Return the experiment's record; "best" holds one entry for each core, hidden size and number of items."""
        records = list(records)
        score = self.task().score_name
        points: dict[tuple, list[RunRecord]] = defaultdict(list)
        for record in records:
            labels = record.run["labels"]
            points[labels["core"], labels["hidden_size"], labels["num_items"]].append(record)
        best = {
            f"{core}, {hidden_size} units, {num_items} items": {
                "core": core,
                "hidden_size": hidden_size,
                "num_items": num_items,
                **best_learning_rates(group, score)[core],
            }
            for (core, hidden_size, num_items), group in sorted(points.items())
        }
        whole = super().record(records)
        # Sizes and shortcut differ from point to point: each run's own task has them.
        task = {key: whole["task"][key] for key in ("name", "score", "chance")} | {"shortcut": None}
        return whole | {"task": task, "best": best}

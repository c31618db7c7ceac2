"""Comparison: how many numbers does one vector keep, and does a longer vector keep more?"""

from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.core import positive_int
from relmem_lite.experiments.experiment import Experiment, some
from relmem_lite.experiments.towers import build_core
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import Comparison


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

    def contestants(self) -> dict[str, dict]:
        return {
            f"{core}, {hidden_size} units, {num_items} items": {
                "core": core,
                "hidden_size": hidden_size,
                "num_items": num_items,
            }
            for num_items in self.items
            for hidden_size in self.hidden_sizes
            for core in self.cores
        }

    def task(self, num_items: int, **point) -> Comparison:
        return Comparison(num_items)

    def model(self, core: str, hidden_size: int, num_items: int) -> SequenceModel:
        task = self.task(num_items)
        return SequenceModel(build_core(core, task.input_size, hidden_size), task.output_size, self.head_sizes)

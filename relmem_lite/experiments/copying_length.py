"""Copying strings longer than those learned from (Jelassi et al. 2024, Repeat After Me, section 3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.core import positive_int
from relmem_lite.experiments.experiment import SECONDS, Experiment, one_axis, some
from relmem_lite.experiments.towers import check_towers, tower_model
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import StringCopying
from relmem_lite.training import RunRecord


@dataclass(frozen=True, kw_only=True)
class CopyingLengthExperiment(Experiment):
    """Copying by length: strings learned up to one length, copied at that length and beyond it."""

    name: ClassVar[str] = "copying_length"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "cores": ("lstm", "min_gru+attention"),
            "length": 4,
            "test_lengths": (4, 8),
            "parameters": 4000,
            **SECONDS,
        },
        "cpu": {
            "steps": 800,
            "batch_size": 32,
            "eval_every": 100,
            "eval_samples": 256,
            "learning_rates": (3e-3, 1e-2),
            "stop_at": 0.9999,
            "accelerator": "cpu",
        },
        "gpu": {
            "length": 64,
            "test_lengths": (16, 32, 64, 128, 256, 512),
            "parameters": 2_000_000,
            "depth": 4,
            "steps": 30_000,
            "batch_size": 256,
            "eval_every": 1000,
            "eval_samples": 1024,
            "learning_rates": (3e-4, 1e-3, 3e-3),
            "stop_at": 0.9999,
        },
    }

    cores: tuple[str, ...] = (
        "lstm",
        "gru",
        "relational_memory",
        "min_gru",
        "mamba",
        "linear_attention",
        "attention",
        "min_gru+attention",
    )
    """Cores to compare; one name is stacked `depth` times, names joined by + are the stack, the first one lowest."""
    length: int = 16
    """Letters of the longest string learned from; the shortest has one."""
    test_lengths: tuple[int, ...] = (4, 8, 16, 24, 32, 64)
    """Letters of the strings copied in the end."""
    num_letters: int = 26
    """Letters of the alphabet (C)."""
    parameters: int = 60_000
    """Parameters of every model, whatever its core; its width follows."""
    depth: int = 2
    """Blocks on top of one another in a stack of one kind."""

    def __post_init__(self):
        super().__post_init__()
        check_towers("cores", self.cores)
        some("test_lengths", self.test_lengths)
        for name in ("length", "parameters", "depth"):
            positive_int(name, getattr(self, name))
        for length in self.test_lengths:
            positive_int("test_lengths", length)

    def contestants(self) -> dict[str, dict]:
        return one_axis(self.cores)

    def task(self, **point) -> StringCopying:
        return StringCopying(self.length, 1, self.num_letters)

    def model(self, core: str) -> SequenceModel:
        return tower_model(core, self.depth, self.task(), self.parameters)

    def tests(self, **point) -> dict[str, StringCopying]:
        return {f"accuracy_at_{length}": StringCopying(length, None, self.num_letters) for length in self.test_lengths}

    def record(self, records: Iterable[RunRecord]) -> dict:
        """Return the experiment's record; each of the best says what its model keeps of the longest: "floats"."""
        record = super().record(records)
        for point in record["best"].values():
            point["floats"] = self.model(point["core"]).core.state_size(self.length)
        return record

"""The recall frontier: how many pairs can be asked back, against how much a core keeps (Arora et al. 2024, Based)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.core import positive_int
from relmem_lite.experiments.experiment import SECONDS, Experiment, some
from relmem_lite.experiments.towers import check_towers, tower_model
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import Recall
from relmem_lite.training import RunRecord


@dataclass(frozen=True, kw_only=True)
class RecallFrontierExperiment(Experiment):
    """Recall frontier: pairs asked back against bits kept, for fixed states, attention and both in one stack."""

    name: ClassVar[str] = "recall_frontier"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "cores": ("lstm", "min_gru+attention"),
            "pairs": (2, 4),
            "parameters": (4000,),
            "num_keys": 8,
            "num_values": 4,
            **SECONDS,
        },
        "cpu": {
            "pairs": (8, 64),
            "parameters": (24_000, 72_000),
            "steps": 800,
            "batch_size": 32,
            "eval_every": 100,
            "eval_samples": 128,
            "learning_rates": (3e-3, 1e-2),
            "stop_at": 0.998,
        },
        "gpu": {
            "pairs": (16, 64),
            "parameters": (250_000,),
            "num_keys": 128,
            "num_values": 128,
            "steps": 1500,
            "batch_size": 256,
            "eval_every": 250,
            "eval_samples": 1024,
            "learning_rates": (1e-3, 3e-3),
            "stop_at": 0.999,
        },
        "paper": {
            "pairs": (4, 8, 16, 32, 64, 128, 256),
            "parameters": (60_000, 250_000, 1_000_000),
            "num_keys": 512,
            "num_values": 512,
            "steps": 20_000,
            "batch_size": 256,
            "eval_every": 500,
            "eval_samples": 2048,
            "learning_rates": (3e-4, 1e-3, 3e-3, 1e-2),
            "stop_at": 0.999,
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
        "linear_attention+attention",
    )
    """Cores to compare; one name is stacked `depth` times, names joined by + are the stack, the first one lowest."""
    pairs: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Pairs to recall; each number has models of its own, tested at it and at every power of two from 4 below it."""
    parameters: tuple[int, ...] = (60_000,)
    """Parameters of a model, whatever its core; its width follows."""
    depth: int = 2
    """Blocks on top of one another in a stack of one kind."""
    num_keys: int = 64
    """Keys to choose from (K)."""
    num_values: int = 64
    """Values to choose from (C)."""
    curriculum: str = "growing"
    """Pairs in a training batch, "none" (all), "mixed" (any power of two from 2) or "growing" (in turn, then mixed)."""

    def __post_init__(self):
        super().__post_init__()
        check_towers("cores", self.cores)
        for name in ("pairs", "parameters"):
            some(name, getattr(self, name))
            for value in getattr(self, name):
                positive_int(name, value)
        positive_int("depth", self.depth)

    def contestants(self) -> dict[str, dict]:
        return {
            f"{core}, {pairs} pairs, {parameters} parameters": {"core": core, "pairs": pairs, "parameters": parameters}
            for core in self.cores
            for parameters in self.parameters
            for pairs in self.pairs
        }

    def task(self, pairs: int, **point) -> Recall:
        return Recall(pairs, self.num_keys, self.num_values, curriculum=self.curriculum)

    def model(self, core: str, pairs: int, parameters: int) -> SequenceModel:
        return tower_model(core, self.depth, self.task(pairs), parameters)

    def tests(self, pairs: int, **point) -> dict[str, Recall]:
        fewer = [2**power for power in range(2, 20) if 2**power < pairs]
        return {f"accuracy_at_{count}": Recall(count, self.num_keys, self.num_values) for count in [*fewer, pairs]}

    def record(self, records: Iterable[RunRecord]) -> dict:
        """Return the experiment's record; each of the best says what its model keeps of all pairs: "floats"."""
        record = super().record(records)
        for point in record["best"].values():
            model = self.model(point["core"], point["pairs"], point["parameters"])
            point["floats"] = model.core.state_size(2 * point["pairs"])
        return record

"""Programs: can a memory with attention execute what it reads better than one vector? (Santoro et al. 2018, 4.2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from relmem_lite.core import positive_int
from relmem_lite.experiments.experiment import SECONDS, some
from relmem_lite.experiments.relational import RelationalExperiment
from relmem_lite.tasks import Programs
from relmem_lite.tasks.programs import KINDS, MEMORISED
from relmem_lite.training import RunRecord


@dataclass(frozen=True, kw_only=True)
class ProgramsExperiment(RelationalExperiment):
    """Programs: relational memory against LSTM and GRU, a model for each kind, at equal parameters and steps."""

    name: ClassVar[str] = "programs"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "num_digits": 3,
            "num_slots": 2,
            "num_heads": 2,
            "head_size": 8,
            **SECONDS,
        },
        "cpu": {
            "steps": 1200,
            "batch_size": 64,
            "eval_every": 120,
            "eval_samples": 1024,
            "stop_at": 0.995,
            "learning_rates": (1e-3, 3e-3),
            "accelerator": "cpu",
        },
        "gpu": {
            "length": 5,
            "nesting": 2,
            "embedding_size": 64,
            "head_size": 128,
            "head_sizes": (256, 256, 256, 256),
            "steps": 200_000,
            "batch_size": 128,
            "eval_every": 2000,
            "eval_samples": 12_800,
            "learning_rates": (1e-3,),
            "data_workers": 2,
        },
    }

    kinds: tuple[str, ...] = KINDS
    """What is learned, each by models of its own, addition, control, program, copy, reverse or double."""
    length: int = 2
    """Digits of the numbers in a program."""
    nesting: int = 1
    """Operations in a program."""
    num_digits: int = 5
    """Digits to copy, reverse or double."""
    curriculum: str = "mixed"
    """Sizes trained on, "none" (full size), "naive" (growing), "mixed" (all) or "combined" (the last two)."""
    embedding_size: int = 32
    """Numbers that stand for a character."""
    head_sizes: tuple[int, ...] = (128,)
    """Widths of the hidden layers between a core and its answer."""

    def __post_init__(self):
        super().__post_init__()
        some("kinds", self.kinds, KINDS, "kind of program")
        positive_int("embedding_size", self.embedding_size)

    def contestants(self) -> dict[str, dict]:
        return {f"{kind}, {core}": {"kind": kind, "core": core} for kind in self.kinds for core in self.cores}

    def task(self, kind: str, core: str | None = None) -> Programs:
        if kind in MEMORISED:
            return Programs(kind, self.num_digits, curriculum=self.curriculum)
        return Programs(kind, self.length, self.nesting, self.curriculum)

    def record(self, records: Iterable[RunRecord]) -> dict:
        """Return the experiment's record, with the lines of each kind's task, "chance" and "shortcut", in "kinds"."""
        tasks = {kind: self.task(kind) for kind in self.kinds}
        kinds = {kind: {"chance": task.chance, "shortcut": task.shortcut} for kind, task in tasks.items()}
        return super().record(records) | {"kinds": kinds}

    def core_inputs(self, task: Programs) -> int:
        return self.embedding_size

    def encoder(self, task: Programs) -> nn.Module:
        return nn.Embedding(task.num_tokens, self.embedding_size)

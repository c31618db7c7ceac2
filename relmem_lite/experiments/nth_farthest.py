"""Nth farthest: does memory with attention compare what a single vector cannot? (Santoro et al. 2018, 4.1)."""

from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.cores import CORES, RelationalMemory, find_core
from relmem_lite.experiments.experiment import Experiment, one_axis, some
from relmem_lite.models import SequenceModel, match_parameters
from relmem_lite.tasks import NthFarthest


@dataclass(frozen=True, kw_only=True)
class NthFarthestExperiment(Experiment):
    """Nth farthest: relational memory against LSTM and GRU, at equal parameters and equal steps."""

    name: ClassVar[str] = "nth_farthest"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "steps": 20,
            "batch_size": 32,
            "eval_every": 10,
            "eval_samples": 256,
            "seeds": (0,),
        },
        "cpu": {
            "steps": 3500,
            "batch_size": 256,
            "eval_every": 100,
            "eval_samples": 4096,
            "learning_rates": (3e-4, 1e-3, 3e-3, 1e-2),
            "accelerator": "cpu",
        },
        "gpu": {
            "num_items": 8,
            "item_size": 16,
            "num_slots": 8,
            "num_heads": 8,
            "head_size": 32,
            "head_sizes": (256, 256, 256, 256),
            "steps": 100_000,
            "batch_size": 1600,
            "eval_every": 1000,
            "eval_samples": 12_800,
            "learning_rates": (1e-4, 3e-4),
        },
    }

    cores: tuple[str, ...] = ("relational_memory", "lstm", "gru")
    """Cores to compare, at equal numbers of parameters."""
    num_items: int = 3
    """Vectors in a sequence, and labels (K)."""
    item_size: int = 1
    """Numbers in a vector (D)."""
    num_slots: int = 4
    """Memory rows of the relational memory (S)."""
    num_heads: int = 4
    """Attention heads of the relational memory (H)."""
    head_size: int = 16
    """Numbers in one head's value (V); a memory row has H * V."""
    head_sizes: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers between a core and its answer."""

    def __post_init__(self):
        super().__post_init__()
        some("cores", self.cores, CORES, "core")

    def contestants(self) -> dict[str, dict]:
        return one_axis(self.cores)

    def task(self, core: str | None = None) -> NthFarthest:
        return NthFarthest(self.num_items, self.item_size)

    def model(self, core: str) -> SequenceModel:
        """Return a fresh model; cores other than the relational memory are as wide as its parameters allow."""
        task = self.task()

        def relational_memory() -> SequenceModel:
            sizes = {"num_slots": self.num_slots, "num_heads": self.num_heads, "head_size": self.head_size}
            return SequenceModel(RelationalMemory(task.input_size, **sizes), task.output_size, self.head_sizes)

        if core == "relational_memory":
            return relational_memory()
        # The relational memory's forget gate starts open by a bias of 1; the LSTM gets the same start.
        options = {"forget_bias": 1.0} if core == "lstm" else {}
        return match_parameters(
            lambda width: SequenceModel(
                find_core(core)(task.input_size, width, **options), task.output_size, self.head_sizes
            ),
            relational_memory(),
        )

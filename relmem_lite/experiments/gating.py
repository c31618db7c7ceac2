"""Gating: what keeps a memory row from being overwritten while distractors pass?"""

from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.cores import RelationalMemory
from relmem_lite.experiments.experiment import Experiment, one_axis, some
from relmem_lite.experiments.towers import build_core
from relmem_lite.models import SequenceModel, match_parameters
from relmem_lite.tasks import Copying

VARIANTS: dict[str, dict | None] = {
    "none": {"gate": None},
    "memory": {"gate": "memory"},
    "unit": {"gate": "unit"},
    "lstm": None,
    "unit_forget_0": {"gate": "unit", "forget_bias": 0.0},
    "unit_forget_3": {"gate": "unit", "forget_bias": 3.0},
}
"""The relational memory's options for each variant; None is the LSTM."""


@dataclass(frozen=True, kw_only=True)
class GatingExperiment(Experiment):
    """Gating: the relational memory without gates, one gate a row, one a number, and the LSTM, at equal parameters."""

    name: ClassVar[str] = "gating"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "num_distractors": 3,
            "test_distractors": (3, 6),
            "steps": 4,
            "batch_size": 16,
            "eval_every": 2,
            "eval_samples": 64,
            "seeds": (0,),
        },
        "cpu": {
            "steps": 800,
            "batch_size": 64,
            "eval_every": 50,
            "eval_samples": 1024,
            "learning_rates": (3e-4, 1e-3, 3e-3),
            "accelerator": "cpu",
        },
        "gpu": {
            "num_items": 4,
            "vocab_size": 16,
            "num_distractors": 100,
            "test_distractors": (0, 50, 100, 200, 400),
            "num_slots": 8,
            "num_heads": 4,
            "head_size": 32,
            "head_sizes": (128,),
            "steps": 20_000,
            "batch_size": 512,
            "eval_every": 500,
            "eval_samples": 4096,
            "learning_rates": (1e-4, 3e-4, 1e-3, 3e-3),
        },
    }

    variants: tuple[str, ...] = tuple(VARIANTS)
    """Variants to compare; none, memory and unit are the gate, unit_forget_0 and _3 have another forget bias than 1."""
    num_items: int = 2
    """Symbols to keep."""
    vocab_size: int = 8
    """Different symbols (C)."""
    num_distractors: int = 20
    """Steps of noise between storing and recalling, in training."""
    test_distractors: tuple[int, ...] = (0, 5, 10, 20, 40, 80)
    """Steps of noise that each trained model is tested with as well."""
    num_slots: int = 4
    """Memory rows of the relational memory (S)."""
    num_heads: int = 2
    """Attention heads of the relational memory (H)."""
    head_size: int = 16
    """Numbers in one head's value (V) with gate unit; the other gates have fewer parameters, and get wider heads."""
    head_sizes: tuple[int, ...] = (32,)
    """Widths of the hidden layers between a core and its answer."""

    def __post_init__(self):
        super().__post_init__()
        some("variants", self.variants, VARIANTS, "variant")

    def contestants(self) -> dict[str, dict]:
        return one_axis(self.variants)

    def task(self, core: str | None = None) -> Copying:
        return self._copying(self.num_distractors)

    def tests(self, core: str | None = None) -> dict[str, Copying]:
        return {f"accuracy_after_{number}": self._copying(number) for number in self.test_distractors}

    def model(self, core: str) -> SequenceModel:
        """Return a fresh model of a variant, as wide as the parameters of gate unit allow."""
        task = self.task()

        def relational_memory(head_size: int, **options) -> SequenceModel:
            sizes = {"num_slots": self.num_slots, "num_heads": self.num_heads, "head_size": head_size}
            return SequenceModel(
                RelationalMemory(task.input_size, **sizes, **options), task.output_size, self.head_sizes
            )

        def lstm(hidden_size: int) -> SequenceModel:
            return SequenceModel(build_core("lstm", task.input_size, hidden_size), task.output_size, self.head_sizes)

        options = VARIANTS[core]
        if options is None:
            return match_parameters(lstm, relational_memory(self.head_size))
        if options["gate"] == "unit":
            return relational_memory(self.head_size, **options)
        return match_parameters(
            lambda wider: relational_memory(self.head_size - 1 + wider, **options), relational_memory(self.head_size)
        )

    def _copying(self, num_distractors: int) -> Copying:
        return Copying(self.num_items, self.vocab_size, num_distractors)

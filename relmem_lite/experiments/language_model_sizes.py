"""Language models by size: does a recurrence that trains in parallel fall behind attention as models grow?"""

from dataclasses import dataclass, replace
from typing import ClassVar

from relmem_lite.core import positive_int
from relmem_lite.experiments.experiment import some
from relmem_lite.experiments.language_model import LanguageModelExperiment
from relmem_lite.language_model import LanguageModel
from relmem_lite.models import match_parameters
from relmem_lite.tasks.text import load_once


@dataclass(frozen=True, kw_only=True)
class LanguageModelSizesExperiment(LanguageModelExperiment):
    """Language models by size: stacks of minGRU, attention and LSTM on small stories, at several sizes."""

    name: ClassVar[str] = "language_model_sizes"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "cores": ("min_gru+min_gru", "attention+attention"),
            "sizes": (10_000, 20_000),
            "time": 8,
            "steps": 4,
            "batch_size": 4,
            "eval_every": 2,
            "eval_samples": 200,
            "seeds": (0,),
        },
        "cpu": {
            "learning_rates": (3e-3, 1e-2),
            "steps": 300,
            "batch_size": 16,
            "eval_every": 100,
            "eval_samples": 20_000,
            "accelerator": "cpu",
        },
        "gpu": {
            "corpus": "tinyshakespeare",
            "level": "character",
            "sizes": (150_000, 500_000, 1_500_000),
            "cores": ("+".join(["min_gru"] * 3), "+".join(["attention"] * 3), "+".join(["lstm"] * 3)),
            "time": 256,
            "learning_rates": (1e-3, 3e-3),
            "steps": 1000,
            "batch_size": 64,
            "eval_every": 250,
            "eval_samples": 1_000_000,
        },
    }

    cores: tuple[str, ...] = ("min_gru+min_gru", "attention+attention", "lstm+lstm")
    """Stacks to compare, names joined by +; each is tried at every size."""
    sizes: tuple[int, ...] = (14_000, 46_000, 141_000)
    """Parameters of a model, with its embedding, whatever its core; its width follows."""

    def __post_init__(self):
        super().__post_init__()
        some("sizes", self.sizes)
        for size in self.sizes:
            positive_int("sizes", size)

    def contestants(self) -> dict[str, dict]:
        return {f"{core}, {size}": {"core": core, "size": size} for core in self.cores for size in self.sizes}

    def model(self, core: str, size: int) -> LanguageModel:
        return self.model_for(len(load_once(self.corpus, self.level).vocabulary), core, size)

    def model_for(self, vocab_size: int, core: str, size: int) -> LanguageModel:
        # Heads divide the width of attention; the others come closer to its parameters without that.
        step = 8 if "attention" in core else 1

        def build(steps: int) -> LanguageModel:
            wide = replace(self, cores=(core,), widths=(steps * step,))
            return LanguageModelExperiment.model_for(wide, vocab_size, core)

        return match_parameters(build, size)

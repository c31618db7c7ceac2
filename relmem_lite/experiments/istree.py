"""IsTree: what thinking aloud, looking things up and one attention layer do for models that retrieve badly."""

from dataclasses import dataclass, replace
from typing import ClassVar

from relmem_lite.core import positive_int
from relmem_lite.experiments.experiment import Experiment, Run, some
from relmem_lite.experiments.towers import check_towers
from relmem_lite.models import SequenceModel, stacked_model
from relmem_lite.tasks import IsTree
from relmem_lite.tasks.istree import FORMATS
from relmem_lite.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class IsTreeExperiment(Experiment):
    """IsTree: RNN, transformer and hybrid, by size of the graph and by what they write before the answer."""

    name: ClassVar[str] = "istree"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "models": ("min_gru", "min_gru+attention"),
            "num_nodes": (4,),
            "parameters": 3000,
            "steps": 4,
            "format_steps": (2, 4, 2),
            "format_batch_sizes": (8, 8, 4),
            "batch_size": 8,
            "eval_every": 2,
            "eval_samples": 8,
            "seeds": (0,),
        },
        "cpu": {
            "steps": 1200,
            "format_steps": (300, 1200, 600),
            "format_batch_sizes": (32, 32, 8),
            "eval_every": 400,
            "eval_samples": 192,
            "learning_rates": (1e-3, 3e-3),
            "stop_at": 0.99,
        },
        # The parameters of the smallest models of Wen et al. 2024, section 5.
        "gpu": {
            "num_nodes": (32, 64),
            "parameters": 500_000,
            "steps": 3000,
            "format_steps": (1000, 3000, 1500),
            "format_batch_sizes": (64, 64, 32),
            "eval_every": 1000,
            "eval_samples": 256,
            "learning_rates": (1e-3,),
            "stop_at": 0.995,
        },
        # Wen et al. 2024, section 5: the smallest of its three sizes, with Mamba as the RNN.
        "paper": {
            "models": ("+".join(["mamba"] * 16), "+".join(["attention"] * 8), "+".join(["mamba"] * 12 + ["attention"])),
            "num_nodes": (32, 64),
            "parameters": 500_000,
            "steps": 78_000,
            "batch_size": 64,
            "eval_every": 2000,
            "eval_samples": 1024,
            "learning_rates": (3e-4, 1e-3),
            "stop_at": 0.995,
            "data_workers": 2,
        },
    }

    models: tuple[str, ...] = ("min_gru+min_gru+min_gru", "attention+attention+attention", "min_gru+min_gru+attention")
    """Models to compare, each a stack of cores in residual blocks, whose names are joined by +, from first to last."""
    formats: tuple[str, ...] = FORMATS
    """What is written before the answer, "direct" (nothing), "chain_of_thought" or "retrieval"."""
    num_nodes: tuple[int, ...] = (8, 16)
    """Nodes of the graphs (n), each number learned by models of its own."""
    parameters: int = 104_000
    """Parameters of every model, with its embedding; its width follows."""
    format_steps: tuple[int, ...] = ()
    """Optimiser steps of each format, with evaluations in proportion; none for `steps` in all."""
    format_batch_sizes: tuple[int, ...] = ()
    """Samples a step of each format; none for `batch_size` in all."""

    def __post_init__(self):
        super().__post_init__()
        check_towers("models", self.models)
        some("formats", self.formats, FORMATS, "format of IsTree")
        some("num_nodes", self.num_nodes)
        positive_int("parameters", self.parameters)
        for name in ("format_steps", "format_batch_sizes"):
            values = getattr(self, name)
            for value in values:
                positive_int(name, value)
            if values and len(values) != len(self.formats):
                raise ValueError(f"{name} are one for each of {len(self.formats)} formats, or none, got {len(values)}.")
        for number in self.num_nodes:
            for format in self.formats:
                IsTree(number, format)

    def contestants(self) -> dict[str, dict]:
        return {
            f"{number} nodes, {format}, {model}": {"num_nodes": number, "format": format, "model": model}
            for number in self.num_nodes
            for format in self.formats
            for model in self.models
        }

    def task(self, num_nodes: int, format: str, **point) -> IsTree:
        return IsTree(num_nodes, format)

    def model(self, num_nodes: int, format: str, model: str) -> SequenceModel:
        return stacked_model(model.split("+"), self.task(num_nodes, format), self.parameters)

    def _settings(self, run: Run) -> TrainingSettings:
        settings, place = super()._settings(run), self.formats.index(self.contestants()[run.contestant]["format"])
        if self.format_batch_sizes:
            settings = replace(settings, batch_size=self.format_batch_sizes[place])
        if self.format_steps:
            steps = self.format_steps[place]
            every = max(1, round(self.eval_every * steps / self.steps))
            settings = replace(settings, steps=steps, eval_every=every)
        return settings

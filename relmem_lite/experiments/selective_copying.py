"""Selective copying: every member of the linear family beside GRU and attention, at one, two and three layers."""

from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.core import positive_int
from relmem_lite.cores import CORES
from relmem_lite.experiments.experiment import SECONDS, Experiment, some
from relmem_lite.models import SequenceModel, stacked_model
from relmem_lite.tasks import SelectiveCopying


@dataclass(frozen=True, kw_only=True)
class SelectiveCopyingExperiment(Experiment):
    """Selective copying: the linear family against GRU and attention, by depth, at about equal parameters."""

    name: ClassVar[str] = "selective_copying"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "cores": ("min_gru", "gru"),
            "depths": (1, 2),
            "time": 6,
            "num_items": 2,
            "parameters": 3000,
            **SECONDS,
        },
        "cpu": {
            "steps": 600,
            "batch_size": 64,
            "eval_every": 100,
            "eval_samples": 1024,
            "learning_rates": (2e-3, 6e-3),
            "stop_at": 0.999,
            "accelerator": "cpu",
        },
        "gpu": {
            "cores": ("gru", "min_gru", "mamba", "attention"),
            "time": 256,
            "num_items": 16,
            "vocab_size": 16,
            "parameters": 150_000,
            "steps": 2500,
            "batch_size": 64,
            "eval_every": 250,
            "eval_samples": 1024,
            "learning_rates": (1e-3, 3e-3),
            "stop_at": 0.9999,
        },
        "paper": {
            "time": 4096,
            "num_items": 16,
            "vocab_size": 16,
            "parameters": 150_000,
            "steps": 100_000,
            "batch_size": 64,
            "eval_every": 1000,
            "eval_samples": 1024,
            "learning_rates": (3e-4, 1e-3, 3e-3),
            "stop_at": 0.9999,
        },
    }

    cores: tuple[str, ...] = (
        "gru",
        "attention",
        "min_gru",
        "min_lstm",
        "qrnn",
        "sru",
        "sru_plus_plus",
        "s4d",
        "mamba",
        "rwkv",
        "linear_attention",
    )
    """Cores to compare; each is tried at every depth."""
    depths: tuple[int, ...] = (1, 2, 3)
    """Blocks on top of one another, all with the same core."""
    time: int = 32
    """Steps before the recall (L)."""
    num_items: int = 4
    """Data tokens to keep."""
    vocab_size: int = 8
    """Different data tokens (C)."""
    parameters: int = 20_000
    """Parameters of every model, about, whatever its core and depth; its width follows, in multiples of 8."""

    def __post_init__(self):
        super().__post_init__()
        some("cores", self.cores, CORES, "core")
        some("depths", self.depths)
        positive_int("parameters", self.parameters)
        for depth in self.depths:
            positive_int("depths", depth)

    def contestants(self) -> dict[str, dict]:
        return {
            f"{core}, {depth} layers": {"core": core, "depth": depth} for core in self.cores for depth in self.depths
        }

    def task(self, **point) -> SelectiveCopying:
        return SelectiveCopying(self.num_items, self.vocab_size, self.time)

    def model(self, core: str, depth: int) -> SequenceModel:
        return stacked_model([core] * depth, self.task(), self.parameters)

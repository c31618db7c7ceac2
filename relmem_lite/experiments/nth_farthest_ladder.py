"""Nth farthest as a ladder: more vectors, and longer ones, rung by rung, until each core falls off."""

import re
from dataclasses import dataclass
from typing import ClassVar

from relmem_lite.experiments.experiment import some
from relmem_lite.experiments.relational import RelationalExperiment
from relmem_lite.tasks import NthFarthest


@dataclass(frozen=True, kw_only=True)
class NthFarthestLadderExperiment(RelationalExperiment):
    """Nth farthest, rung by rung: at how many vectors, of how many numbers, does each core fall off?"""

    name: ClassVar[str] = "nth_farthest_ladder"
    presets: ClassVar[dict[str, dict]] = {
        "smoke": {
            "rungs": ("3x1", "3x2-growing"),
            "steps": 6,
            "batch_size": 16,
            "eval_every": 3,
            "eval_samples": 128,
            "seeds": (0,),
        },
        "cpu": {
            "rungs": ("3x1", "3x4", "4x1", "4x1-growing"),
            "steps": 5000,
            "batch_size": 128,
            "eval_every": 100,
            "eval_samples": 4096,
            "stop_at": 0.95,
            "learning_rates": (3e-4, 1e-3),
            "accelerator": "cpu",
        },
        # One seed of the paper's task, with the curriculum that helped on the rungs below.
        "gpu": {
            "cores": ("relational_memory", "lstm"),
            "rungs": ("8x16-growing",),
            "num_slots": 8,
            "num_heads": 8,
            "head_size": 32,
            "head_sizes": (256, 256, 256, 256),
            "steps": 16_000,
            "batch_size": 1600,
            "eval_every": 500,
            "eval_samples": 4096,
            "learning_rates": (3e-4,),
            "seeds": (0,),
        },
        "paper": {
            "rungs": ("4x1", "4x4", "6x8", "8x16", "8x16-growing"),
            "num_slots": 8,
            "num_heads": 8,
            "head_size": 32,
            "head_sizes": (256, 256, 256, 256),
            "steps": 100_000,
            "batch_size": 1600,
            "eval_every": 1000,
            "eval_samples": 12_800,
            "stop_at": 0.99,
            "learning_rates": (1e-4, 3e-4),
        },
    }

    rungs: tuple[str, ...] = ("3x1", "4x1", "4x1-growing")
    """Tasks to climb, KxD for K vectors of D numbers, with -growing or -mixed for a curriculum."""

    def __post_init__(self):
        super().__post_init__()
        some("rungs", self.rungs)
        for rung in self.rungs:
            _rung(rung)

    def contestants(self) -> dict[str, dict]:
        return {f"{core}, {rung}": {"core": core, **_rung(rung)} for rung in self.rungs for core in self.cores}

    def task(self, num_items: int, item_size: int, curriculum: str, core: str | None = None) -> NthFarthest:
        return NthFarthest(num_items, item_size, curriculum)


def _rung(text: str) -> dict:
    """The point that a rung's name stands for.

    Raises:
        ValueError: it does not read KxD or KxD-CURRICULUM.
    """
    parts = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)(?:-(growing|mixed))?", text) if isinstance(text, str) else None
    if parts is None:
        raise ValueError(f"rungs expected KxD or KxD-growing or KxD-mixed, such as 4x1-growing, got {text!r}.")
    return {"num_items": int(parts[1]), "item_size": int(parts[2]), "curriculum": parts[3] or "none"}

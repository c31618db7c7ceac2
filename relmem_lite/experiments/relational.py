"""What experiments on relations share: the relational memory beside other cores of as many parameters."""

from dataclasses import dataclass

from torch import nn

from relmem_lite.core import Core
from relmem_lite.cores import CORES, RelationalMemory
from relmem_lite.experiments.experiment import Experiment, some
from relmem_lite.experiments.towers import build_core
from relmem_lite.models import SequenceModel, match_parameters
from relmem_lite.tasks import Task


@dataclass(frozen=True, kw_only=True)
class RelationalExperiment(Experiment):
    """Cores against one another on tasks of relations; each point has a "core", the rest of it is the task's."""

    cores: tuple[str, ...] = ("relational_memory", "lstm", "gru")
    """Cores to compare, at equal numbers of parameters."""
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

    def model(self, core: str, **point) -> SequenceModel:
        """Return a fresh model; cores other than the relational memory are as wide as its parameters allow."""
        task = self.task(core=core, **point)

        def around(core: Core) -> SequenceModel:
            return SequenceModel(core, task.output_size, self.head_sizes, self.encoder(task))

        def relational_memory() -> SequenceModel:
            sizes = {"num_slots": self.num_slots, "num_heads": self.num_heads, "head_size": self.head_size}
            return around(RelationalMemory(self.core_inputs(task), **sizes))

        if core == "relational_memory":
            return relational_memory()
        return match_parameters(
            lambda width: around(build_core(core, self.core_inputs(task), width)), relational_memory()
        )

    def core_inputs(self, task: Task) -> int:
        """Return how many features a step has for the core."""
        return task.input_size

    def encoder(self, task: Task) -> nn.Module | None:
        """Return what turns the task's inputs into the core's; None where they are the same."""
        return None

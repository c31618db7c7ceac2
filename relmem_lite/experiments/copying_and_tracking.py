"""What experiments share that vary a recurrence: tried on keeping tokens and on tracking a state."""

from dataclasses import dataclass

from torch import nn

from relmem_lite.core import Core, positive_int
from relmem_lite.experiments.experiment import MINUTES, SECONDS, Experiment, some
from relmem_lite.models import SequenceModel, match_parameters
from relmem_lite.tasks import SelectiveCopying, StateTracking, Task

SELECTIVE_COPYING = "selective_copying"

BASE = {
    "smoke": {"time": 6, "num_items": 2, "track_time": 4, "parameters": 3000, **SECONDS},
    "cpu": MINUTES,
    "gpu": {
        "time": 256,
        "num_items": 16,
        "vocab_size": 16,
        "track_time": 40,
        "steps": 2000,
        "batch_size": 64,
        "eval_every": 250,
        "eval_samples": 1024,
        "learning_rates": (1e-3, 3e-3),
    },
}
"""What the presets of such an experiment start from."""


@dataclass(frozen=True, kw_only=True)
class CopyingAndTrackingExperiment(Experiment):
    """Stacks of blocks against one another, each on selective copying and on a group's word problem.

    A subclass names its `stacks`, and builds each as a `stack`. A contestant is a task, "on", and a stack's point.
    """

    tasks: tuple[str, ...] = (SELECTIVE_COPYING, "s3")
    """Selective copying, or a group's word problem, such as s3; each is learned by models of its own."""
    time: int = 32
    """Steps before the recall in selective copying (L)."""
    num_items: int = 4
    """Data tokens to keep."""
    vocab_size: int = 8
    """Different data tokens (C)."""
    track_time: int = 20
    """Steps of a word problem, with an answer at each."""
    parameters: int = 10_000
    """Parameters of every model; its width follows."""

    def __post_init__(self):
        super().__post_init__()
        some("tasks", self.tasks)
        positive_int("parameters", self.parameters)

    def stacks(self) -> dict[str, dict]:
        """Return the title of each stack and its point: the plain values that set it apart from the others."""
        raise NotImplementedError(f"{type(self).__name__} names no stacks")

    def stack(self, width: int, convolution: int, **point) -> Core:
        """Return a stack of a width, with a convolution of so many steps in each block, 0 for none."""
        raise NotImplementedError(f"{type(self).__name__} builds no stack")

    def contestants(self) -> dict[str, dict]:
        return {
            f"{task}, {name}": {"on": task, **point} for task in self.tasks for name, point in self.stacks().items()
        }

    def task(self, on: str, **point) -> Task:
        if on == SELECTIVE_COPYING:
            return SelectiveCopying(self.num_items, self.vocab_size, self.time)
        return StateTracking(on, self.track_time)

    def model(self, on: str, **point) -> SequenceModel:
        # As in the experiment of each task: the convolution would track a short chain of moves by itself.
        task, convolution = self.task(on), 4 if on == SELECTIVE_COPYING else 0

        def build(width: int) -> SequenceModel:
            stack = self.stack(width, convolution, **point)
            return SequenceModel(stack, task.output_size, (), nn.Embedding(task.num_tokens, width))

        return match_parameters(build, self.parameters)

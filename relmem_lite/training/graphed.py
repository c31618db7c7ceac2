"""A training step as one CUDA graph: one launch, where a GPU waited for hundreds of them."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from relmem_lite.tasks import Batch

MOST_SHAPES = 32
"""How many shapes of batches are captured: each keeps the memory of a step."""


class GraphedStep:
    """Takes training steps; from the second one of a shape on, by replaying a CUDA graph of it.

    Batches are padded in time to one of eight lengths an octave, so that there are few shapes. What comes after the
    last marked step changes nothing for a causal core.

    Args:
        step: forward, backward and the optimiser's step, from a batch to a tensor of numbers about it. It must look at
            no value on the CPU, and learn from marked steps alone.
        max_time: steps that the model has positions for; None where there is no limit.
    """

    def __init__(self, step: Callable[[Batch], Tensor], max_time: int | None = None):
        self._step, self._max_time = step, max_time
        self._seen: set[tuple] = set()
        self._graphs: dict[tuple, tuple[Batch, Tensor, Callable[[], None]]] = {}
        self._can_capture = True

    def __call__(self, batch: Batch) -> Tensor:
        """Take a step; what is returned is overwritten by the next one."""
        batch = _padded(batch, self._max_time)
        shape = tuple(tuple(part.shape) for part in batch)
        if shape in self._seen and shape not in self._graphs and len(self._graphs) < MOST_SHAPES:
            self._try_to_capture(shape, batch)
        self._seen.add(shape)
        if shape not in self._graphs:
            return self._step(batch)
        places, found, replay = self._graphs[shape]
        for place, part in zip(places, batch, strict=True):
            place.copy_(part)
        replay()
        return found

    def _try_to_capture(self, shape: tuple, batch: Batch) -> None:
        if not self._can_capture:
            return
        places = Batch(*(part.clone() for part in batch))
        try:
            self._graphs[shape] = places, *_capture(lambda: self._step(places))
        except RuntimeError as error:
            # What was captured before keeps the memory that a step launched piece by piece may need.
            self._can_capture, self._graphs = False, {}
            warnings.warn(
                f"A step could not be captured as a CUDA graph and is launched piece by piece: {error}", stacklevel=2
            )


def _capture(function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Return where a function's result comes to lie, and what runs it: nothing runs yet."""
    graph = torch.cuda.CUDAGraph()
    # A capture that fails leaves its own stream behind as the current one, and, before torch 2.13, a generator that
    # counts as captured and gives dropout no more numbers. The next step is to find both as they were.
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    as_it_was = generator.clone_state()
    with torch.cuda.stream(torch.cuda.current_stream()):
        try:
            # Other threads, such as one that pins memory for batches, may go on with what a capture forbids.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                found = function()
        except RuntimeError:
            generator.graphsafe_set_state(as_it_was)
            raise
    return found, graph.replay


def _padded(batch: Batch, max_time: int | None) -> Batch:
    time = batch.mask.shape[1]
    extra = -time % 2 ** max(0, time.bit_length() - 4)
    if max_time is not None:
        extra = min(extra, max(0, max_time - time))
    if not extra:
        return batch
    # The last dimension comes first in what `pad` takes.
    return Batch(*(pad(part, (0, 0) * (part.ndim - 2) + (0, extra)) for part in batch))

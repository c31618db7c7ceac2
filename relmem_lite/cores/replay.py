"""Forward and backward through a loop as one CUDA graph each: one launch, where a GPU waited for thousands."""

from collections.abc import Callable

import torch
from torch import Tensor

MOST_SHAPES = 4
"""How many shapes are captured: each keeps the memory of a whole forward and backward pass."""


class Replay:
    """Captures what a function of tensors does on a GPU, forward and backward, and replays it for other values.

    A graph computes in memory of its own, so there is one forward pass at a time: its backward pass comes before the
    next forward pass over the same shapes, and comes once. Whatever is handed out is a copy.

    Where nothing is to be captured the function is called as it is: on a CPU, without gradients, inside `torch.compile`
    and `torch.func`, and for more shapes than `MOST_SHAPES`.
    """

    def __init__(self):
        self._captured: dict[tuple, _Graphs] = {}
        self._learned: tuple = ()

    def __reduce__(self):
        # Graphs belong to the tensors they were captured with, not to a copy of them.
        return Replay, ()

    def __call__(
        self, function: Callable[..., tuple[Tensor, ...]], parameters: list[Tensor], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return `function(*tensors)`, which may learn nothing but `parameters`.

        Raises:
            RuntimeError: in the backward pass, if another forward or backward pass came in between.
        """
        if not self._can_capture(tensors[0]):
            return function(*tensors)
        learned = tuple((parameter.data_ptr(), parameter.requires_grad) for parameter in parameters)
        if learned != self._learned:
            self._captured, self._learned = {}, learned
        autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
        key = autocast, *((tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad) for tensor in tensors)
        if key not in self._captured:
            if len(self._captured) == MOST_SHAPES:
                return function(*tensors)
            self._captured[key] = _Graphs(function, parameters, tensors)
        return self._captured[key](*tensors, *parameters)

    @staticmethod
    def _can_capture(tensor: Tensor) -> bool:
        transformed = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        return tensor.is_cuda and torch.is_grad_enabled() and not transformed


class _Graphs:
    def __init__(self, function: Callable, parameters: list[Tensor], tensors: tuple[Tensor, ...]):
        samples = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors]
        autocast = torch.is_autocast_enabled("cuda")
        # What autocast keeps for the next call would be lost to it inside a graph.
        with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), enabled=autocast, cache_enabled=False):
            self._replay = torch.cuda.make_graphed_callables(
                lambda *given: function(*given[: len(samples)]), (*samples, *parameters)
            )
        self.passes = 0

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        given = [_OwnGradient.apply(tensor) if tensor.requires_grad else tensor for tensor in given]
        return _OwnOutputs.apply(self, *self._replay(*given))


class _OwnGradient(torch.autograd.Function):
    """Hands on a copy of a gradient, which the next backward pass would overwrite where it was kept."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, grad):
        return grad.clone()


class _OwnOutputs(torch.autograd.Function):
    """Hands on copies of outputs, and lets one backward pass through: the one that follows its forward pass."""

    @staticmethod
    def forward(ctx, graphs: _Graphs, *outputs: Tensor) -> tuple[Tensor, ...]:
        graphs.passes += 1
        ctx.graphs, ctx.passes = graphs, graphs.passes
        return tuple(output.clone() for output in outputs)

    @staticmethod
    def backward(ctx, *grads):
        if ctx.graphs.passes != ctx.passes:
            raise RuntimeError(
                "A replayed pass keeps one forward pass at a time, and this one's memory was used again, by another "
                "forward or backward pass. Call backward once, before the next forward pass; or build the core with "
                "replay=False."
            )
        ctx.graphs.passes += 1
        return None, *grads

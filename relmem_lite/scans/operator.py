"""The recurrence as one differentiable function of torch, over a kernel that computes it and its gradient."""

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

_KERNELS = {
    "in_place": "relmem_lite.scans.loop",
    "numba": "relmem_lite.scans.numba_kernels",
    "triton": "relmem_lite.scans.triton_kernels",
}


def kernel(name: str) -> ModuleType:
    """Return the module with a kernel's `forward` and `backward`, which write into tensors they are given."""
    return import_module(_KERNELS[name])


def scan_with(name: str, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Scan a, b (B, T, D) from h0 (B, D) with the kernel called `name`."""
    return _Scan.apply(a.contiguous(), b.contiguous(), h0.contiguous(), name)


def _states(a: Tensor, b: Tensor, h0: Tensor, name: str) -> Tensor:
    h = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    kernel(name).forward(a.contiguous(), b.contiguous(), h0.contiguous(), h)
    return h


def _gradients(a: Tensor, h: Tensor, h0: Tensor, grad: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    gradients = torch.empty_like(h), torch.empty_like(h), torch.empty_like(h0)
    kernel(name).backward(a.contiguous(), h.contiguous(), h0.contiguous(), grad.contiguous(), *gradients)
    return gradients


def _traced(a: Tensor) -> bool:
    return torch.compiler.is_compiling() or isinstance(a, FakeTensor)


# Operators of torch's own are opaque to torch.compile, which would otherwise trace into the kernels. To call one takes
# a hundred microseconds, so that nobody else does.
_forward = torch.library.custom_op("relmem_lite::scan", _states, mutates_args=())
_backward = torch.library.custom_op("relmem_lite::scan_backward", _gradients, mutates_args=())


@_forward.register_fake
def _(a, b, h0, name):
    return torch.empty(b.shape, dtype=b.dtype, device=b.device)


@_backward.register_fake
def _(a, h, h0, grad, name):
    return torch.empty_like(h), torch.empty_like(h), torch.empty_like(h0)


# Functions with a `vmap` are what torch.func can transform.
class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor, h0: Tensor, name: str) -> Tensor:
        return (_forward if _traced(a) else _states)(a, b, h0, name)

    @staticmethod
    def setup_context(ctx, inputs, output):
        a, _, h0, ctx.name = inputs
        ctx.save_for_backward(a, output, h0)

    @staticmethod
    def backward(ctx, grad):
        return *_ScanBackward.apply(*ctx.saved_tensors, grad, ctx.name), None

    @staticmethod
    def vmap(info, dims, a, b, h0, name):
        h = _Scan.apply(*_in_front(info, dims[:3], (a, b, h0)), name)
        return h.unflatten(0, (info.batch_size, -1)), 0


class _ScanBackward(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, h: Tensor, h0: Tensor, grad: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
        return (_backward if _traced(a) else _gradients)(a, h, h0, grad, name)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(
            "This scan method has no second derivative: for one, use method='loop', 'chunked' or a tree."
        )

    @staticmethod
    def vmap(info, dims, a, h, h0, grad, name):
        gradients = _ScanBackward.apply(*_in_front(info, dims[:4], (a, h, h0, grad)), name)
        return tuple(gradient.unflatten(0, (info.batch_size, -1)) for gradient in gradients), (0, 0, 0)


def _in_front(info, dims: tuple, tensors: tuple) -> list[Tensor]:
    """Give every tensor the mapped dimension, in front and joined with the batch."""
    return [
        (tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).flatten(0, 1)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]

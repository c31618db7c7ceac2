"""h_t = a_t h_{t-1} + b_t, computed every way: step by step, as a tree, in chunks, in logs, compiled."""

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from relmem_lite.core import nearest
from relmem_lite.scans.log_space import log_space
from relmem_lite.scans.loop import loop
from relmem_lite.scans.operator import scan_with
from relmem_lite.scans.trees import blelloch, chunked, hillis_steele

METHODS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "loop": loop,
    "in_place": lambda a, b, h0: scan_with("in_place", a, b, h0),
    "hillis_steele": hillis_steele,
    "blelloch": blelloch,
    "chunked": chunked,
    "log_space": log_space,
    "numba": lambda a, b, h0: scan_with("numba", a, b, h0),
    "triton": lambda a, b, h0: scan_with("triton", a, b, h0),
}
"""Every way to compute the recurrence, by name: functions of a, b (B, T, D) and h0 (B, D)."""

__all__ = ["METHODS", "available_methods", "blelloch", "chunked", "hillis_steele", "log_space", "loop", "scan"]


def scan(a: Tensor, b: Tensor, h0: Tensor | None = None, method: str = "auto") -> Tensor:
    """Compute h_t = a_t h_{t-1} + b_t for t = 1 to T, each channel by itself.

    Gradients flow to a, b and h0. 16-bit numbers are accumulated in 32 bits. All methods give the same numbers up to
    rounding; `log_space` is the least exact and takes positive values only; trees and chunks multiply gates with one
    another, and where gates above 1 make such a product overflow, they give NaN.

    `in_place`, `numba` and `triton` have a written-out backward: they work inside `torch.compile`, `torch.func.grad`
    and `torch.vmap`, but cannot be differentiated twice or in forward mode, and say so. `loop`, `hillis_steele`,
    `blelloch` and `chunked` are plain torch, for which all of that works.

    Args:
        a: what is kept, (B, T, ...), any number of state dimensions.
        b: what is written, the same shape as a, or one that broadcasts with it.
        h0: the state before the first step, (B, ...); None for zeros.
        method: a name of `METHODS`, or auto for the fastest that this machine has for the tensors' device.

    Returns:
        h, (B, T, ...), in the dtype of a and b.

    Raises:
        ValueError: shapes that do not fit, T = 0, a value that `log_space` cannot take, or an unknown method.
        TypeError: complex or whole numbers, or tensors of different dtypes or on different devices.
        RuntimeError: a method that cannot run here.
    """
    shape = _checked_shape(a, b, h0)
    method = _checked_method(method, b.device)
    dtype = b.dtype
    accumulate = torch.float32 if dtype.itemsize == 2 and method != "triton" else dtype

    def flat(tensor: Tensor, shape: tuple[int, ...], batch_dims: int) -> Tensor:
        return tensor.expand(shape).reshape(*shape[:batch_dims], math.prod(shape[batch_dims:])).to(accumulate)

    if h0 is None:
        h0 = b.new_zeros(shape[0], *shape[2:])
    initial = flat(h0, (shape[0], *shape[2:]), 1)
    h = METHODS[method](flat(a, shape, 2), flat(b, shape, 2), initial)
    return h.to(dtype).reshape(shape)


def available_methods(device: torch.device | str) -> list[str]:
    """Return the names of the methods that run on tensors of a device here, the one that auto takes first."""
    device = torch.device(device)
    names = [name for name in METHODS if _obstacle(name, device) is None]
    fastest = next(name for name in _PREFERRED.get(device.type, ("chunked",)) if name in names)
    return [fastest, *(name for name in names if name != fastest)]


_PREFERRED = {"cpu": ("numba", "in_place"), "cuda": ("triton", "chunked")}


_INSTALLED = {package: find_spec(package) is not None for package in ("numba", "triton")}


def _missing(package: str) -> str | None:
    """Say why a package cannot be used; None if it can."""
    if not _INSTALLED[package]:
        return f"needs {package.title()}, which is not installed (pip install {package})"
    return None if torch.compiler.is_compiling() else _import_error(package)


@cache
def _import_error(package: str) -> str | None:
    try:
        import_module(package)
    except Exception as error:  # such as Numba's, for a NumPy that is too new for it
        return f"needs {package.title()}, which is installed but cannot be imported ({error})"
    return None


def _checked_method(method: str, device: torch.device) -> str:
    if method == "auto":
        return available_methods(device)[0]
    if method not in METHODS:
        raise ValueError(nearest(method, ["auto", *METHODS], "scan method"))
    obstacle = _obstacle(method, device)
    if obstacle is not None:
        raise RuntimeError(
            f"scan method {method!r} {obstacle}; here you can use {', '.join(available_methods(device))}."
        )
    return method


def _obstacle(method: str, device: torch.device) -> str | None:
    """Say why a method does not run on a device; None if it does."""
    if method == "numba":
        if device.type != "cpu":
            return f"runs on CPU tensors, these are on {device}"
        return _missing("numba")
    if method == "triton":
        if device.type != "cuda":
            return f"runs on tensors on a GPU, these are on {device}"
        return _missing("triton")
    return None


def _checked_shape(a: Tensor, b: Tensor, h0: Tensor | None) -> tuple[int, ...]:
    """Refuse what does not fit together; return the shape of the result."""
    tensors = {"a": a, "b": b} | ({} if h0 is None else {"h0": h0})
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"scan expected {name} to be a tensor, got {type(tensor).__name__}: try torch.as_tensor(...)."
            )
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise TypeError(
                f"scan takes real numbers, {name} is {tensor.dtype}. If the size of a is the same at every step, turn "
                "the frame with its angle, as relmem_lite.S4D does, and scan real and imaginary part; if not, use "
                "2 x 2 rotations and a loop."
            )
        if not tensor.is_floating_point():
            raise TypeError(f"scan takes floating-point numbers, {name} is {tensor.dtype}: convert it with .float().")
        if tensor.dtype != b.dtype:
            raise TypeError(f"scan needs one dtype, got {_of_each(tensors, 'dtype')}: convert them with .to(...).")
        if tensor.device != b.device:
            raise TypeError(f"scan needs one device, got {_of_each(tensors, 'device')}: move them with .to(...).")
    try:
        shape = tuple(torch.broadcast_shapes(a.shape, b.shape))
    except RuntimeError:
        shape = ()
    if a.ndim != b.ndim or len(shape) < 2:
        raise ValueError(
            f"scan expected a and b of one shape (B, T, ...), or shapes that broadcast, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}. Add missing dimensions with a[None] or a.unsqueeze(...)."
        )
    if 0 in shape[:2]:
        raise ValueError(f"scan got a and b of shape {shape}: give at least one step (T) of one sequence (B).")
    if h0 is not None and tuple(h0.shape) != (shape[0], *shape[2:]):
        raise ValueError(f"scan expected h0 of shape {(shape[0], *shape[2:])}, got {tuple(h0.shape)}.")
    return shape


def _of_each(tensors: dict[str, Tensor], attribute: str) -> str:
    return ", ".join(f"{name} {getattr(tensor, attribute)}" for name, tensor in tensors.items())

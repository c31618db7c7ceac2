"""The recurrence compiled for the CPU: one pass over memory forward, one backward."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import numba
import numpy as np
import torch
from torch import Tensor

# Below this many numbers a thread costs more than it saves.
_WORTH_A_THREAD = 1 << 15

# Channels taken at a time on the way back.
_BLOCK = 64


def forward(a: Tensor, b: Tensor, h0: Tensor, h: Tensor) -> None:
    """Write h_t = a_t h_{t-1} + b_t into h; a, b, h (B, T, D), h0 (B, D), all contiguous."""
    _in_parallel(_forward, a.shape, [_array(tensor) for tensor in (a, b, h0, h)])


def backward(a: Tensor, h: Tensor, h0: Tensor, grad: Tensor, grad_a: Tensor, grad_b: Tensor, grad_h0: Tensor) -> None:
    """Write the gradients into grad_a, grad_b (B, T, D) and grad_h0 (B, D)."""
    _in_parallel(_backward, a.shape, [_array(tensor) for tensor in (a, h, h0, grad, grad_a, grad_b, grad_h0)])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


# Threads of Python's own, since the kernels release its lock: unlike OpenMP's, they do not spin between calls in the
# way of torch's.
@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="scan")


if hasattr(os, "register_at_fork"):
    # A forked process has the pool, but not its threads.
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def _in_parallel(run: Callable, shape: tuple[int, ...], arrays: list[np.ndarray]) -> None:
    """Run a kernel on shares of the batch, or of the channels where sequences are few."""
    batch, time, channels = shape
    threads = min(torch.get_num_threads(), max(1, batch * time * channels // _WORTH_A_THREAD))
    if batch % threads == 0 or batch >= 4 * threads:
        shares = [(*rows, 0, channels) for rows in _split(batch, threads)]
    else:
        shares = [(0, batch, *columns) for columns in _split(channels, threads)]
    others = [_helpers().submit(run, *arrays, *share) for share in shares[1:]]
    run(*arrays, *shares[0])
    for other in others:
        other.result()


def _split(size: int, parts: int) -> list[tuple[int, int]]:
    parts = min(parts, size)
    edges = [size * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _compiled(**options) -> Callable:
    def compiled(function: Callable) -> Callable:
        with suppress(RuntimeError):  # no folder to keep the result in: every process compiles for itself
            return numba.njit(nogil=True, cache=True, **options)(function)
        return numba.njit(nogil=True, **options)(function)

    return compiled


# LLVM turns a loop into vector instructions if it can tell its arrays apart, and asks about few at a time: hence rows,
# and two short loops where one would read better.
@_compiled(inline="always")
def _multiply_add(result, factor, state, added):
    for d in range(result.shape[0]):
        result[d] = factor[d] * state[d] + added[d]


@_compiled(inline="always")
def _multiply(result, factor, other):
    for d in range(result.shape[0]):
        result[d] = factor[d] * other[d]


@_compiled()
def _forward(a, b, h0, h, row, last_row, column, last_column):
    here = slice(column, last_column)
    for i in range(row, last_row):
        _multiply_add(h[i, 0, here], a[i, 0, here], h0[i, here], b[i, 0, here])
        for t in range(1, a.shape[1]):
            _multiply_add(h[i, t, here], a[i, t, here], h[i, t - 1, here], b[i, t, here])


@_compiled()
def _backward(a, h, h0, grad, grad_a, grad_b, grad_h0, row, last_row, column, last_column):
    last = a.shape[1] - 1
    first_block = column + (last_column - column - 1) // _BLOCK * _BLOCK
    for i in range(row, last_row):
        grad_b[i, last, column:last_column] = grad[i, last, column:last_column]
        for t in range(last, 0, -1):
            # Blocks from right to left, so that addresses fall all the way: the processor then fetches ahead. With
            # whole rows from left to right this pass took three times as long.
            for block in range(first_block, column - 1, -_BLOCK):
                here = slice(block, min(block + _BLOCK, last_column))
                _multiply(grad_a[i, t, here], grad_b[i, t, here], h[i, t - 1, here])
                _multiply_add(grad_b[i, t - 1, here], a[i, t, here], grad_b[i, t, here], grad[i, t - 1, here])
        here = slice(column, last_column)
        _multiply(grad_a[i, 0, here], grad_b[i, 0, here], h0[i, here])
        _multiply(grad_h0[i, here], grad_b[i, 0, here], a[i, 0, here])

"""The recurrence compiled for the CPU: one pass over memory forward, one backward."""

import itertools
import threading
from collections.abc import Callable

import numba
import numpy as np
import torch
from torch import Tensor

# Below this many numbers a thread costs more than it saves.
_WORTH_A_THREAD = 1 << 15


def forward(a: Tensor, b: Tensor, h0: Tensor, h: Tensor) -> None:
    """Write h_t = a_t h_{t-1} + b_t into h; a, b, h (B, T, D), h0 (B, D), all contiguous."""
    _in_parallel(_forward, a.shape, [_array(tensor) for tensor in (a, b, h0, h)])


def backward(a: Tensor, h: Tensor, h0: Tensor, grad: Tensor, grad_a: Tensor, grad_b: Tensor, grad_h0: Tensor) -> None:
    """Write the gradients into grad_a, grad_b (B, T, D) and grad_h0 (B, D)."""
    _in_parallel(_backward, a.shape, [_array(tensor) for tensor in (a, h, h0, grad, grad_a, grad_b, grad_h0)])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


# Threads of Python's own, since the kernels release its lock: unlike OpenMP's they neither spin between two calls, in
# the way of torch's, nor break a process that forks.
def _in_parallel(run: Callable, shape: tuple[int, ...], arrays: list[np.ndarray]) -> None:
    """Run a kernel on shares of the batch, or of the channels where sequences are few."""
    batch, time, channels = shape
    threads = min(torch.get_num_threads(), max(1, batch * time * channels // _WORTH_A_THREAD))
    whole = (0, batch), (0, channels)
    if batch % threads == 0 or batch >= 4 * threads:
        shares = [(share, whole[1]) for share in _split(batch, threads)]
    else:
        shares = [(whole[0], share) for share in _split(channels, threads)]
    others = [threading.Thread(target=run, args=(*arrays, *rows, *columns)) for rows, columns in shares[1:]]
    for thread in others:
        thread.start()
    run(*arrays, *shares[0][0], *shares[0][1])
    for thread in others:
        thread.join()


def _split(size: int, parts: int) -> list[tuple[int, int]]:
    parts = min(parts, size)
    edges = [size * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _forward(a, b, h0, h, row, last_row, column, last_column):
    for i in range(row, last_row):
        for d in range(column, last_column):
            h[i, 0, d] = a[i, 0, d] * h0[i, d] + b[i, 0, d]
        for t in range(1, a.shape[1]):
            for d in range(column, last_column):
                h[i, t, d] = a[i, t, d] * h[i, t - 1, d] + b[i, t, d]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _backward(a, h, h0, grad, grad_a, grad_b, grad_h0, row, last_row, column, last_column):
    last = a.shape[1] - 1
    for i in range(row, last_row):
        for d in range(column, last_column):
            grad_b[i, last, d] = grad[i, last, d]
        for t in range(last, 0, -1):
            for d in range(column, last_column):
                u = grad_b[i, t, d]
                grad_a[i, t, d] = u * h[i, t - 1, d]
                grad_b[i, t - 1, d] = grad[i, t - 1, d] + a[i, t, d] * u
        for d in range(column, last_column):
            u = grad_b[i, 0, d]
            grad_a[i, 0, d] = u * h0[i, d]
            grad_h0[i, d] = a[i, 0, d] * u

"""The linear recurrence on a GPU: one kernel forward, one backward, each reading and writing every element once.

A program owns a few channels of one sequence and walks over time in tiles of (rows of time, channels). Inside a tile
an associative scan finds all rows at once (Martin and Cundy 2018, arXiv 1709.04057, section 2); the last row is
carried to the next tile. The loads of the next tiles are under way while a tile is computed, since the time goes into
moving the tensors, not into the arithmetic.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# A large GPU has about this many multiprocessors (an H200 132): fewer programs would leave some of them idle.
ENOUGH_PROGRAMS = 128


def tile_shape(batch: int, channels: int, element_size: int) -> dict[str, int]:
    """Return how the programs cut up their sequences, as the kernels' settings.

    With many channels one warp reads 512 bytes a row, 16 a thread: each thread then scans channels of its own, with
    one multiplication and one addition an element. With few channels a program takes only 32 bytes a row, the least
    that memory delivers without waste, and its threads share the time steps of a tall tile. They multiply gates with
    each other then, and with gates above 1 such a product may overflow where the state would not.
    """
    # Triton loads a vector at a time only where it knows rows to be aligned, from a width divisible by 16.
    wide = 512 // element_size if channels % 16 == 0 else 32
    if batch * triton.cdiv(channels, wide) >= ENOUGH_PROGRAMS:
        return dict(TILE_T=8, TILE_D=wide, STAGES=5, num_warps=1)
    return dict(TILE_T=256, TILE_D=32 // element_size, STAGES=3, num_warps=4)


@triton.jit
def _then(a, b, next_a, next_b):
    # next_a (a h + b) + next_b
    return next_a * a, next_a * b + next_b


@triton.jit
def _scan_tile(a, b, carry, TILE_T: tl.constexpr):
    row = tl.arange(0, TILE_T)[:, None]
    # The carry enters with the first row: a thread that scans alone then needs no products of gates.
    b = tl.where(row == 0, a * carry[None, :] + b, b)
    _, h = tl.associative_scan((a, b), 0, _then)
    return h, tl.sum(tl.where(row == TILE_T - 1, h, 0.0), 0)


@triton.jit
def _own_channels(D, TILE_D: tl.constexpr):
    blocks = tl.cdiv(D, TILE_D)
    # B T D need not fit into 32 bits; offsets within a tile do.
    batch = (tl.program_id(0) // blocks).to(tl.int64)
    channel = tl.program_id(0) % blocks * TILE_D + tl.arange(0, TILE_D)
    return batch, channel, channel < D


@triton.jit(do_not_specialize=["T"])
def _forward(
    a_ptr, b_ptr, h0_ptr, h_ptr, T, D,
    ACC: tl.constexpr, TILE_T: tl.constexpr, TILE_D: tl.constexpr, STAGES: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    batch, channel, inside = _own_channels(D, TILE_D)
    row = tl.arange(0, TILE_T)[:, None]
    at = row * D + channel[None, :]
    carry = tl.zeros((TILE_D,), ACC)
    if h0_ptr is not None:
        carry = tl.load(h0_ptr + batch * D + channel, mask=inside, other=0).to(ACC)
    for start in tl.range(0, T, TILE_T, num_stages=STAGES):
        tile = (batch * T + start) * D
        mask = WHOLE | (row < T - start) & inside[None, :]
        a = tl.load(a_ptr + tile + at, mask=mask, other=0).to(ACC)
        b = tl.load(b_ptr + tile + at, mask=mask, other=0).to(ACC)
        # h_t = a_t h_{t-1} + b_t
        h, carry = _scan_tile(a, b, carry, TILE_T)
        tl.store(h_ptr + tile + at, h, mask=mask)


@triton.jit(do_not_specialize=["T"])
def _backward(
    a_ptr, h_ptr, h0_ptr, grad_ptr, grad_a_ptr, grad_b_ptr, grad_h0_ptr, T, D,
    ACC: tl.constexpr, TILE_T: tl.constexpr, TILE_D: tl.constexpr, STAGES: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    batch, channel, inside = _own_channels(D, TILE_D)
    # The rows of a tile run backwards in time, as do the tiles: the partial one comes first, the first step last.
    row = TILE_T - 1 - tl.arange(0, TILE_T)[:, None]
    at = row * D + channel[None, :]
    u = tl.zeros((TILE_D,), ACC)
    for done in tl.range(0, T, TILE_T, num_stages=STAGES):
        start = (T - 1) // TILE_T * TILE_T - done
        tile = (batch * T + start) * D
        mask = WHOLE | (row < T - start) & inside[None, :]
        has_next = mask & (WHOLE & (row < TILE_T - 1) | (row + 1 < T - start))
        has_last = mask & ((row > 0) | (start > 0))
        grad = tl.load(grad_ptr + tile + at, mask=mask, other=0).to(ACC)
        next_a = tl.load(a_ptr + tile + D + at, mask=has_next, other=0).to(ACC)
        last_h = tl.load(h_ptr + tile - D + at, mask=has_last, other=0).to(ACC)
        # u_t = grad_t + a_{t+1} u_{t+1}, the gradient of b_t
        grad_b, u = _scan_tile(next_a, grad, u, TILE_T)
        tl.store(grad_b_ptr + tile + at, grad_b, mask=mask)
        tl.store(grad_a_ptr + tile + at, grad_b * last_h, mask=has_last)
    # What came before the first step is h0.
    first = batch * T * D + channel
    h0 = tl.zeros((TILE_D,), ACC)
    if h0_ptr is not None:
        h0 = tl.load(h0_ptr + batch * D + channel, mask=inside, other=0).to(ACC)
        a = tl.load(a_ptr + first, mask=inside, other=0).to(ACC)
        tl.store(grad_h0_ptr + batch * D + channel, a * u, mask=inside)
    tl.store(grad_a_ptr + first, u * h0, mask=inside)


def _launch(kernel, *tensors: Tensor | None) -> None:
    B, T, D = tensors[0].shape
    settings = tile_shape(B, D, tensors[0].element_size())
    accumulator = tl.float64 if tensors[0].dtype == torch.float64 else tl.float32
    whole = T % settings["TILE_T"] == 0 and D % settings["TILE_D"] == 0
    programs = B * triton.cdiv(D, settings["TILE_D"])
    with torch.cuda.device_of(tensors[0]):
        kernel[(programs,)](*tensors, T, D, ACC=accumulator, WHOLE=whole, enable_fp_fusion=True, **settings)


def forward(a: Tensor, b: Tensor, h0: Tensor | None, h: Tensor) -> None:
    """Write h_t = a_t h_{t-1} + b_t into h.

    Args:
        a: Gates (B, T, D), contiguous like every tensor here, of float32, float64, bfloat16 or float16.
        b: Inputs (B, T, D).
        h0: State before the first step (B, D), or None for zeros.
        h: Where the states (B, T, D) go, sharing no memory with the others.
    """
    _launch(_forward, a, b, h0, h)


def backward(
    a: Tensor, h: Tensor, h0: Tensor | None, grad: Tensor, grad_a: Tensor, grad_b: Tensor, grad_h0: Tensor | None
) -> None:
    """Write the gradients of a, b and h0, given that of h.

    Args:
        a: Gates (B, T, D).
        h: States (B, T, D) that `forward` wrote.
        h0: State before the first step (B, D), or None for zeros.
        grad: Gradient of h (B, T, D).
        grad_a: Where the gradient of a goes. The three results share no memory with the other tensors.
        grad_b: Where the gradient of b goes.
        grad_h0: Where the gradient of h0 (B, D) goes, None when h0 is None.
    """
    _launch(_backward, a, h, h0, grad, grad_a, grad_b, grad_h0)

"""The recurrence without a loop over time: two steps of it are one step of the same kind, so they can be paired.

h -> a h + b followed by h -> a' h + b' is h -> (a' a) h + (a' b + b'): an associative operator on pairs (a, b), and a
scan over an associative operator has a tree (Blelloch 1990, "Prefix sums and their applications").
"""

import math

import torch
from torch import Tensor


def hillis_steele(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Each step joins the one 1, 2, 4, ... before it: log2 T levels, T log2 T operations (Hillis & Steele 1986)."""
    steps, distance = a.shape[1], 1
    b = _with_initial(a, b, h0)
    while distance < steps:
        later_a, later_b = a[:, distance:], b[:, distance:]
        b = torch.cat([b[:, :distance], torch.addcmul(later_b, later_a, b[:, :-distance])], dim=1)
        a = torch.cat([a[:, :distance], later_a * a[:, :-distance]], dim=1)
        distance *= 2
    return b


def blelloch(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Pair neighbours, scan the pairs, fill in between: 2 log2 T levels, about 2 T operations (Blelloch 1990)."""
    return _pairwise(a, _with_initial(a, b, h0))


def _pairwise(a: Tensor, b: Tensor) -> Tensor:
    steps = a.shape[1]
    if steps == 1:
        return b
    first_a, second_a = a[:, : steps - steps % 2 : 2], a[:, 1::2]
    first_b, second_b = b[:, : steps - steps % 2 : 2], b[:, 1::2]
    # Up: the states after every second step.
    seconds = _pairwise(first_a * second_a, torch.addcmul(second_b, second_a, first_b))
    # Down: the steps between them, each from the state before it.
    before = seconds[:, : (steps - 1) // 2]
    firsts = torch.cat([b[:, :1], torch.addcmul(b[:, 2::2], a[:, 2::2], before)], dim=1)
    if not torch.is_grad_enabled():
        h = torch.empty_like(b)
        h[:, ::2], h[:, 1::2] = firsts, seconds
        return h
    if steps % 2:
        paired = torch.stack([firsts[:, :-1], seconds], dim=2).flatten(1, 2)
        return torch.cat([paired, firsts[:, -1:]], dim=1)
    return torch.stack([firsts, seconds], dim=2).flatten(1, 2)


def chunked(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Step through all chunks of about sqrt(T) at once from zero, then carry each chunk's end into the next."""
    steps = a.shape[1]
    length = math.isqrt(steps - 1) + 1
    missing = -steps % length
    b = _with_initial(a, b, h0)
    if missing:
        a = torch.cat([a, a.new_ones(1, 1, 1).expand(a.shape[0], missing, a.shape[2])], dim=1)
        b = torch.cat([b, b.new_zeros(1, 1, 1).expand(b.shape[0], missing, b.shape[2])], dim=1)
    kept, state, products, states = None, None, [], []
    for a_t, b_t in zip(*(part.unflatten(1, (-1, length)).unbind(2) for part in (a, b)), strict=True):  # (B, chunks, D)
        state = b_t if state is None else torch.addcmul(b_t, a_t, state)
        kept = a_t if kept is None else kept * a_t
        states.append(state)
        products.append(kept)
    carry, carries = torch.zeros_like(state[:, 0]), []
    for a_chunk, b_chunk in zip(kept.unbind(1), state.unbind(1), strict=True):
        carries.append(carry)
        carry = torch.addcmul(b_chunk, a_chunk, carry)
    before = torch.stack(carries, dim=1).unsqueeze(2)  # (B, chunks, 1, D)
    h = torch.addcmul(torch.stack(states, dim=2), torch.stack(products, dim=2), before)
    return h.flatten(1, 2)[:, :steps]


def _with_initial(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Let the first step write what is left of h0 as well, so that every tree starts from zero."""
    return torch.cat([torch.addcmul(b[:, :1], a[:, :1], h0.unsqueeze(1)), b[:, 1:]], dim=1)

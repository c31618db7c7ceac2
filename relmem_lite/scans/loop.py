"""The recurrence as it is written, and the same with its gradient written out."""

import torch
from torch import Tensor


def loop(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t, one step after the other: what every other method must equal.

    Steps are taken with `unbind`, whose gradient is put together once. Written with `a[:, t]`, each step's gradient
    would be a tensor of the whole sequence's size, and the backward pass quadratic in T.
    """
    h, states = h0, []
    for kept, written in zip(a.unbind(1), b.unbind(1), strict=True):
        h = kept * h + written
        states.append(h)
    return torch.stack(states, dim=1)


def forward(a: Tensor, b: Tensor, h0: Tensor, h: Tensor) -> None:
    """Write all states into h, each beside the last: no memory but the result."""
    torch.addcmul(b[:, 0], a[:, 0], h0, out=h[:, 0])
    for t in range(1, a.shape[1]):
        torch.addcmul(b[:, t], a[:, t], h[:, t - 1], out=h[:, t])


def backward(a: Tensor, h: Tensor, h0: Tensor, grad: Tensor, grad_a: Tensor, grad_b: Tensor, grad_h0: Tensor) -> None:
    """Write the gradients: u_t = grad_t + a_{t+1} u_{t+1} from the end, then b gets u_t and a gets u_t h_{t-1}."""
    grad_b[:, -1] = grad[:, -1]
    for t in range(a.shape[1] - 2, -1, -1):
        torch.addcmul(grad[:, t], a[:, t + 1], grad_b[:, t + 1], out=grad_b[:, t])
    torch.mul(grad_b[:, 1:], h[:, :-1], out=grad_a[:, 1:])
    torch.mul(grad_b[:, 0], h0, out=grad_a[:, 0])
    torch.mul(grad_b[:, 0], a[:, 0], out=grad_h0)

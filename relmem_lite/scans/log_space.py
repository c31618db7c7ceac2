"""The recurrence in closed form, in logs, as the minGRU paper computes it (Feng et al. 2024, appendix B.1)."""

import torch
from torch import Tensor

from relmem_lite.core import true_somewhere


def log_space(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Compute h = exp(A + logcumsumexp(log b - A)) + exp(A) h0, where A is the running sum of log a.

    It survives where the closed form with running products does not, and is less exact than any other method: A grows
    with T, and its rounding error with it.

    Raises:
        ValueError: a or b has a value that has no logarithm.
    """
    for name, tensor in (("a", a), ("b", b)):
        if true_somewhere(tensor <= 0):
            raise ValueError(
                f"scan method 'log_space' takes positive values only, {name} has {tensor.min().item():g}. "
                "Use method='auto', which takes any sign."
            )
    return scan_logs(a.log(), b.log(), h0)


def scan_logs(log_a: Tensor, log_b: Tensor, h0: Tensor) -> Tensor:
    """Return h, (B, T, D), from log a, log b (B, T, D) and h0 (B, D)."""
    kept = log_a.cumsum(dim=1)  # A_t
    written = (kept + (log_b - kept).logcumsumexp(dim=1)).exp()
    # h0 stands outside the logarithms, so that it may be zero, and is never taken for a candidate.
    return torch.addcmul(written, kept.exp(), h0.unsqueeze(1))

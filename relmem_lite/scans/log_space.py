"""The recurrence in closed form, in logs, as the minGRU paper computes it (Feng et al. 2024, appendix B.1)."""

import torch
from torch import Tensor


def log_space(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Compute h = exp(A + logcumsumexp(log b - A)), where A is the running sum of log a.

    It survives where the closed form with running products does not, and is less exact than any other method: A grows
    with T, and its rounding error with it.

    Raises:
        ValueError: a value that has no logarithm.
    """
    # A state may start from zero, whose logarithm is -inf and adds nothing.
    for name, tensor, fits in (("a", a, a > 0), ("b", b, b > 0), ("h0", h0, h0 >= 0)):
        if _is_false_somewhere(fits | tensor.isnan()):
            raise ValueError(
                f"scan method 'log_space' takes positive values only, {name} has {tensor.min().item():g}. "
                "Use method='auto', which takes any sign."
            )
    return scan_logs(a.log(), b.log(), h0.log()).exp()


def scan_logs(log_a: Tensor, log_b: Tensor, log_h0: Tensor) -> Tensor:
    """Return log h, (B, T, D), from log a, log b (B, T, D) and log h0 (B, D)."""
    decay = log_a.cumsum(dim=1)  # A_t
    sums = torch.cat([log_h0.unsqueeze(1), log_b - decay], dim=1).logcumsumexp(dim=1)
    return decay + sums[:, 1:]


def _is_false_somewhere(condition: Tensor) -> bool:
    # On an accelerator a look at the values would stall the queue at every call.
    if condition.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        return not bool(condition.all())
    except RuntimeError:  # inside torch.vmap there is no one value to look at
        return False

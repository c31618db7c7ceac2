"""MinGRU and MinLSTM: the GRU and the LSTM with gates that look at the input alone (Feng et al. 2024)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from relmem_lite.core import positive_int, true_somewhere
from relmem_lite.cores.blend import blend
from relmem_lite.cores.linear import LinearRecurrence, Recurrence, full_precision
from relmem_lite.scans.log_space import scan_logs


class _MinimalRecurrence(LinearRecurrence):
    """h_t = a_t h_{t-1} + (1 - a_t) h~_t, and the same in logarithms; a member says how its input sets a_t."""

    def __init__(self, input_size: int, hidden_size: int, log_space: bool):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        super().__init__(input_size, hidden_size, (hidden_size,))
        self.log_space = log_space
        self.candidate = nn.Linear(input_size, hidden_size)

    def _keep_logits(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def coefficients(self, inputs: Tensor) -> Recurrence:
        keep_logits, candidate = self._keep_logits(inputs), self.candidate(inputs)
        if not self.log_space:
            return Recurrence(*blend(keep_logits, candidate))
        logits, dtype = full_precision(keep_logits), candidate.dtype
        # log a_t = log sigmoid(k),   log b_t = log(1 - a_t) + log g(h~_t)            appendix B
        log_a = logsigmoid(logits)
        log_b = logsigmoid(-logits) + _log_g(full_precision(candidate))
        return Recurrence(log_a.exp().to(dtype), log_b.exp().to(dtype), read=(log_a, log_b))

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the state before the first step, (B, D): zeros, or g(0) = 1/2 in log-space."""
        state = super().initial_state(batch_size)
        return state.fill_(0.5) if self.log_space else state

    def _recur(self, recurrence: Recurrence, initial: Tensor) -> Tensor:
        if not self.log_space:
            return super()._recur(recurrence, initial)
        log_a, log_b = recurrence.read
        return scan_logs(log_a, log_b, initial.to(log_a.dtype)).to(recurrence.a.dtype)

    def _check_state(self, state: Tensor, *details) -> None:
        super()._check_state(state, *details)
        if self.log_space and true_somewhere(state < 0):
            raise ValueError(
                f"{type(self).__name__}(log_space=True) keeps a positive state, got one with {state.min().item():.3g}. "
                "Pass what this core returned, or use log_space=False, which takes any state."
            )


class MinGRU(_MinimalRecurrence):
    """Minimal gated recurrent unit: one gate, set by the input alone (Feng et al. 2024, section 3.1).

    a_t = 1 - z_t and b_t = z_t h~_t, with z_t = sigmoid(W_z x_t + b_z) and h~_t = W_h x_t + b_h. In log-space
    (appendix B) b_t = z_t g(h~_t), with g(x) = x + 1/2 for x >= 0 and sigmoid(x) for x < 0, so that the state stays
    positive. The state is the hidden vector, (B, D), which is also the output.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the state and of the output.
        log_space: compute in logarithms, as the paper does; less exact and slower than the plain form.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1; in log-space, a negative state.
    """

    def __init__(self, input_size: int, hidden_size: int, *, log_space: bool = False):
        super().__init__(input_size, hidden_size, log_space)
        self.gate = nn.Linear(input_size, hidden_size)

    def _keep_logits(self, inputs: Tensor) -> Tensor:
        # 1 - sigmoid(k) = sigmoid(-k), which keeps its digits where the gate is nearly open. The weights are negated
        # rather than k, which is as exact and does not pass over the whole sequence once more.
        return linear(inputs, -self.gate.weight, -self.gate.bias)


class MinLSTM(_MinimalRecurrence):
    """Minimal long short-term memory: forget and input gate, in shares of one (Feng et al. 2024, section 3.2).

    a_t = f_t / (f_t + i_t) and b_t = i_t / (f_t + i_t) h~_t, with f_t = sigmoid(W_f x_t + b_f), i_t likewise and
    h~_t = W_h x_t + b_h. In log-space (appendix B) b_t has g(h~_t), as in `MinGRU`. The state is the hidden vector,
    (B, D), which is also the output.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the state and of the output.
        log_space: compute in logarithms, as the paper does; less exact and slower than the plain form.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1; in log-space, a negative state.
    """

    def __init__(self, input_size: int, hidden_size: int, *, log_space: bool = False):
        super().__init__(input_size, hidden_size, log_space)
        self.forget_gate = nn.Linear(input_size, hidden_size)
        self.input_gate = nn.Linear(input_size, hidden_size)

    def _keep_logits(self, inputs: Tensor) -> Tensor:
        # f / (f + i) = sigmoid(log f - log i), also where both are too small for a float
        return logsigmoid(self.forget_gate(inputs)) - logsigmoid(self.input_gate(inputs))


def _log_g(candidate: Tensor) -> Tensor:
    # g(x) = x + 1/2 for x >= 0, else sigmoid(x)            appendix B; unlike relu, clamp has a slope at 0
    return torch.where(candidate >= 0, (candidate.clamp(min=0) + 0.5).log(), logsigmoid(candidate))

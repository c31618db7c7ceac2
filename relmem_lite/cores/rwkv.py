"""RWKV: a weighted mean of all values so far, newer ones weighing more (Peng et al. 2023)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from relmem_lite.core import positive_int
from relmem_lite.cores.linear import LinearRecurrence, Recurrence, fill_with_log_of_nothing, full_precision


class RWKVState(NamedTuple):
    """What RWKV keeps: hidden (B, 2, D), the sums of equation 16 over exp(exponent); the last input, (B, I)."""

    hidden: Tensor
    last_input: Tensor
    exponent: Tensor


class RWKV(LinearRecurrence):
    """RWKV-4's time mixing: an attention whose weights decay, computed as two sums (Peng et al. 2023, section 3.1).

    a = exp(-w) and b_t = (exp(k_t) v_t, exp(k_t)): numerator and denominator of the mean of all values so far, where
    a value weighs exp(k_s) and exp(-w) less with each step. The output is W_o (sigmoid(r_t) mean_t), in which the
    step's own value weighs exp(u + k_t). r, k and v are linear in a blend of this input and the last.

    Keys are exponents, so that both sums are kept divided by exp(p_t), with p_t the largest exponent so far; a_t and
    b_t are then exp(p_{t-1} - w - p_t) and exp(k_t - p_t). The state is an `RWKVState`, whose `exponent` is p.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the number of channels and the size of the output.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    state_type = RWKVState

    def __init__(self, input_size: int, hidden_size: int):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        super().__init__(
            input_size, hidden_size, (2, hidden_size), {"last_input": (input_size,), "exponent": (hidden_size,)}
        )
        self.receptance = nn.Linear(input_size, hidden_size, bias=False)
        self.key = nn.Linear(input_size, hidden_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size, bias=False)
        # As the official code starts its first layer: the shares of this input rise over the features, those of the
        # receptance more slowly. Half a feature is added, so that a single one is not blind to the present.
        share = (torch.arange(input_size) + 0.5) / input_size
        self.mix_receptance = nn.Parameter(share.sqrt())
        self.mix_key = nn.Parameter(share.clone())
        self.mix_value = nn.Parameter(share.clone())
        # w = exp(decay): memories from exp(5) = 150 steps down to none
        self.decay = nn.Parameter(-5 + 8 * torch.linspace(0, 1, hidden_size) ** 0.7)
        self.bonus = nn.Parameter(
            torch.full((hidden_size,), 0.3).log() + 0.5 * ((torch.arange(hidden_size) + 1) % 3 - 1)
        )

    def initial_state(self, batch_size: int) -> RWKVState:
        """Return the state before the first step: sums and last input of zero, and an exponent below all others."""
        state = super().initial_state(batch_size)
        return state._replace(exponent=fill_with_log_of_nothing(state.exponent))

    def coefficients(self, inputs: Tensor, last_input: Tensor, exponent: Tensor) -> Recurrence:
        # r_t, k_t, v_t = W (mu x_t + (1 - mu) x_{t-1})            equations 11 to 13
        previous = torch.cat([last_input.unsqueeze(1), inputs[:, :-1]], dim=1)
        change = inputs - previous
        receptance = self.receptance(torch.addcmul(previous, self.mix_receptance, change))
        keys = full_precision(self.key(torch.addcmul(previous, self.mix_key, change)))
        values = full_precision(self.value(torch.addcmul(previous, self.mix_value, change)))
        decay = full_precision(self.decay).exp()
        scales = self._scales(keys.detach(), decay.detach(), exponent.detach())
        before = torch.cat([exponent.unsqueeze(1), scales[:, :-1]], dim=1)
        kept = torch.exp(before - decay - scales).unsqueeze(2)  # (B, T, 1, D)
        weights = torch.exp(keys - scales)
        written = torch.stack([weights * values, weights], dim=2)  # (B, T, 2, D)
        context = inputs[:, -1].clone(), scales[:, -1].to(exponent.dtype, copy=True)
        return Recurrence(kept, written, read=(receptance, keys, values, before), context=context)

    def _scales(self, keys: Tensor, decay: Tensor, exponent: Tensor) -> Tensor:
        """p_t = max(p_{t-1} - w, k_t), (B, T, D): no gradient flows through it, for the mean does not depend on it."""
        # Without the decay in it, p_t + t w is a running maximum.
        shift = torch.arange(1, keys.shape[1] + 1, dtype=keys.dtype, device=keys.device).unsqueeze(-1) * decay
        shifted = torch.cat([exponent.to(keys.dtype).unsqueeze(1), keys + shift], dim=1)
        return shifted.cummax(dim=1).values[:, 1:] - shift

    def read_out(self, hidden: Tensor, read: tuple[Tensor, ...], initial: Tensor) -> Tensor:
        receptance, keys, values, before = read
        numerator, denominator = torch.cat([initial.unsqueeze(1), hidden[:, :-1]], dim=1).unbind(2)
        # wkv_t = (num_{t-1} + exp(u + k_t) v_t) / (den_{t-1} + exp(u + k_t))            equation 16
        own = full_precision(self.bonus) + keys
        scale = torch.maximum(before, own).detach()
        past, own = torch.exp(before - scale), torch.exp(own - scale)
        mean = torch.addcmul(own * values, past, numerator) / torch.addcmul(own, past, denominator)
        # o_t = W_o (sigmoid(r_t) wkv_t)            equation 18
        return self.output(torch.sigmoid(receptance) * mean.to(receptance.dtype))

"""Linear attention: a matrix of keys times values as the state, with or without decay."""

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad

from relmem_lite.core import nearest, positive_int
from relmem_lite.cores.heads import head_size, width_of_heads
from relmem_lite.cores.linear import LinearRecurrence, Recurrence, full_precision


class LinearAttention(LinearRecurrence):
    """Attention without the softmax: a running sum of keys times values, which queries read.

    a_t = alpha_t and b_t = k_t v_t^T for each head, with keys k_t and values v_t linear in the input; the output is
    q_t S_t. What alpha is tells the family's members apart: 1 in linear attention (Katharopoulos et al. 2020, section
    3.3), a constant of each head in RetNet (Sun et al. 2023), a sigmoid of the input, as in xLSTM's mLSTM (Beck et
    al. 2024, section 2.3) and gated linear attention. The state is the matrix S, (B, H, K, V); normalised, it has one
    column more, the sum of the keys.

    Args:
        input_size: features of one step's input.
        hidden_size: D, features of the values over all heads, and the size of the output.
        num_heads: H, the number of heads; they divide D.
        key_size: K, features of a head's keys and queries; None for those of its values, D / H.
        decay: "none" keeps everything, "fixed" keeps 1 - 2^(-5-h) a step in head h, "gated" what the input says.
        normalise: divide by the sum of the weights, which elu(x) + 1 on queries and keys makes positive.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, heads that do not divide the width,
            or an unknown decay.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 4,
        key_size: int | None = None,
        decay: str = "none",
        normalise: bool = False,
    ):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        value_size = head_size(hidden_size, num_heads)
        key_size = value_size if key_size is None else positive_int("key_size", key_size)
        if decay not in ("none", "fixed", "gated"):
            raise ValueError(nearest(decay, ["none", "fixed", "gated"], "decay"))
        super().__init__(input_size, hidden_size, (num_heads, key_size, value_size + normalise))
        self.num_heads, self.key_size, self.decay, self.normalise = num_heads, key_size, decay, normalise
        self.query = nn.Linear(input_size, num_heads * key_size, bias=False)
        self.key = nn.Linear(input_size, num_heads * key_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        if decay == "gated":
            self.forget_gate = nn.Linear(input_size, num_heads)
            with torch.no_grad():
                # From sigmoid(3) = 0.95 to sigmoid(6) = 0.998: memories of 20 to 400 steps, as mLSTM's code starts.
                self.forget_gate.bias.copy_(torch.linspace(3, 6, num_heads))

    @classmethod
    def of_width(cls, input_size: int, width: int, *, num_heads: int = 4, **options) -> "LinearAttention":
        """Return linear attention of about `width` features: the next width that its heads divide."""
        return cls(input_size, width_of_heads(width, num_heads), num_heads=num_heads, **options)

    def coefficients(self, inputs: Tensor) -> Recurrence:
        queries, keys, values = (
            layer(inputs).unflatten(-1, (self.num_heads, -1)) for layer in (self.query, self.key, self.value)
        )  # (B, T, H, K or V)
        if self.normalise:
            # phi(x) = elu(x) + 1            Katharopoulos et al. 2020, equation 7
            queries, keys = elu(queries) + 1, elu(keys) + 1
            # A value that is always 1 adds up the keys, weighed like everything else.
            values = pad(values, (0, 1), value=1.0)
        # S_t = alpha_t S_{t-1} + k_t v_t^T
        written = keys.unsqueeze(-1) * values.unsqueeze(-2)  # (B, T, H, K, V)
        return Recurrence(self._kept(inputs)[..., None, None], written, read=queries)

    def _kept(self, inputs: Tensor) -> Tensor:
        """alpha_t of each head, (B, T, H) or (1, 1, H)."""
        if self.decay == "gated":
            return torch.sigmoid(full_precision(self.forget_gate(inputs)))
        ones = full_precision(self.query.weight).new_ones(1, 1, self.num_heads)
        if self.decay == "none":
            return ones
        # 1 - 2^(-5-h)            Sun et al. 2023, equation 8
        return ones - 2.0 ** (-5 - torch.arange(self.num_heads, dtype=ones.dtype, device=ones.device))

    def read_out(self, hidden: Tensor, read: Tensor, initial: Tensor) -> Tensor:
        # o_t = q_t S_t
        outputs = (read.to(hidden.dtype).unsqueeze(-2) @ hidden).squeeze(-2)  # (B, T, H, V)
        if self.normalise:
            # Keys that are all below -17 sum to zero in float32.
            outputs = outputs[..., :-1] / outputs[..., -1:].clamp(min=1e-6)
        return outputs.flatten(2).to(read.dtype)

"""QRNN: gates that see a window of inputs, and one linear recurrence to pool them (Bradbury et al. 2017)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from relmem_lite.core import nearest, positive_int
from relmem_lite.cores.blend import blend
from relmem_lite.cores.linear import LinearRecurrence, Recurrence


class QRNNState(NamedTuple):
    """What a QRNN keeps: hidden (B, D), and the inputs (B, window - 1, I) that the next window still sees."""

    hidden: Tensor
    inputs: Tensor


class QRNN(LinearRecurrence):
    """Quasi-recurrent network: a causal convolution sets the gates (Bradbury et al. 2017, arXiv 1611.01576, section 2).

    a_t = f_t and b_t = (1 - f_t) z_t, with f_t = sigmoid(W_f [x_{t-w+1}; ...; x_t] + b_f) and z_t = tanh(...) of the
    same window. The output is the hidden state, or o_t times it under fo-pooling. With window 1, no activation and
    a forget gate that is `MinGRU`'s gate negated, it is minGRU.

    The state is a `QRNNState`; with window 1 the hidden vector, (B, D), alone.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the hidden state and of the output.
        window: how many inputs a gate sees, the last of them the step's own; zeros stand before the first.
        pooling: "f" for a forget gate alone, "fo" for an output gate too.
        activation: "tanh", or None for candidates that are linear in the inputs.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, an unknown pooling or activation.
    """

    state_type = QRNNState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        window: int = 2,
        pooling: str = "f",
        activation: str | None = "tanh",
    ):
        for name, value in {"input_size": input_size, "hidden_size": hidden_size, "window": window}.items():
            positive_int(name, value)
        if pooling not in ("f", "fo"):
            raise ValueError(nearest(pooling, ["f", "fo"], "pooling"))
        if activation not in ("tanh", None):
            raise ValueError(nearest(activation, ["tanh"], "activation") + " Or None, for none at all.")
        super().__init__(
            input_size, hidden_size, (hidden_size,), {"inputs": (window - 1, input_size)} if window > 1 else None
        )
        if window == 1:
            self.state_type = None
        self.window, self.pooling, self.activation = window, pooling, activation
        self.forget_gate = nn.Linear(window * input_size, hidden_size)
        self.candidate = nn.Linear(window * input_size, hidden_size)
        if pooling == "fo":
            self.output_gate = nn.Linear(window * input_size, hidden_size)

    def coefficients(self, inputs: Tensor, *earlier: Tensor) -> Recurrence:
        windows, context = inputs, ()
        if self.window > 1:
            time, seen = inputs.shape[1], torch.cat([*earlier, inputs], dim=1)
            windows = torch.cat([seen[:, k : k + time] for k in range(self.window)], dim=-1)  # (B, T, w I)
            context = (seen[:, time:].clone(),)
        candidate = self.candidate(windows)
        if self.activation == "tanh":
            candidate = candidate.tanh()
        # c_t = f_t c_{t-1} + (1 - f_t) z_t            equations 3 and 4
        keep, write = blend(self.forget_gate(windows), candidate)
        output_gate = torch.sigmoid(self.output_gate(windows)) if self.pooling == "fo" else None
        return Recurrence(keep, write, output_gate, context)

    def read_out(self, hidden: Tensor, read: Tensor | None, initial: Tensor) -> Tensor:
        # h_t = o_t c_t            equation 4
        return hidden if read is None else read * hidden

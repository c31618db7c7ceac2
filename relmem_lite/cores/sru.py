"""SRU and SRU++: a light recurrence beside a highway for its input (Lei et al. 2017, Lei 2021)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from relmem_lite.core import Shape, positive_int
from relmem_lite.cores.attention import attend, extended
from relmem_lite.cores.blend import blend
from relmem_lite.cores.heads import head_size, width_of_heads
from relmem_lite.cores.linear import LinearRecurrence, Recurrence


class _HighwayRecurrence(LinearRecurrence):
    """A recurrence whose output is, in shares set by a reset gate, its hidden state or its input."""

    def __init__(self, input_size: int, hidden_size: int, context_shapes: dict[str, Shape] | None = None):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        super().__init__(input_size, hidden_size, (hidden_size,), context_shapes)
        same = input_size == hidden_size
        self.highway = nn.Identity() if same else nn.Linear(input_size, hidden_size, bias=False)

    def read_out(self, hidden: Tensor, read: tuple[Tensor, Tensor], initial: Tensor) -> Tensor:
        reset, inputs = read
        highway = self.highway(inputs)
        # h_t = r_t c_t + (1 - r_t) x_t
        return torch.addcmul(highway, reset, hidden - highway)


class SRU(_HighwayRecurrence):
    """Simple recurrent unit, with gates that see the input alone (Lei et al. 2017, arXiv 1709.02755 version 1).

    a_t = f_t and b_t = (1 - f_t) W x_t, with f_t = sigmoid(W_f x_t + b_f). The output is r_t c_t + (1 - r_t) x_t,
    with r_t = sigmoid(W_r x_t + b_r); x_t is projected there if its size is not D. Later versions let the gates look
    at the last state, feature by feature, which ends the scan. The state is the vector c, (B, D).

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the state and of the output.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size, bias=False)
        self.forget_gate = nn.Linear(input_size, hidden_size)
        self.reset_gate = nn.Linear(input_size, hidden_size)

    def coefficients(self, inputs: Tensor) -> Recurrence:
        # c_t = f_t c_{t-1} + (1 - f_t) W x_t            section 2
        keep, write = blend(self.forget_gate(inputs), self.candidate(inputs))
        return Recurrence(keep, write, read=(torch.sigmoid(self.reset_gate(inputs)), inputs))


class SRUPlusPlusState(NamedTuple):
    """What an SRU++ keeps: hidden (B, D), and keys and values of all steps so far, each (B, T, A)."""

    hidden: Tensor
    keys: Tensor
    values: Tensor


class SRUPlusPlus(_HighwayRecurrence):
    """SRU whose candidate and gates come from attention over all inputs so far (Lei 2021, arXiv 2102.12459, section 3).

    a_t = f_t and b_t = (1 - f_t) u_t, where u_t and the gates' inputs are W_o LayerNorm(q_t + alpha attention(q_t)),
    with q_t = W_q x_t, keys W_k q_t and values W_v q_t. alpha starts at zero: a fresh SRU++ does not attend yet. The
    gates do not look at the last state, as in `SRU`. The state, an `SRUPlusPlusState`, grows with time.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the recurrence's state and of the output.
        attention_size: A, features of a query over all heads; None for a quarter of D, at least one for each head.
        num_heads: H, the number of heads; they divide A.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, or heads that do not divide A.
    """

    state_type = SRUPlusPlusState

    def __init__(self, input_size: int, hidden_size: int, *, attention_size: int | None = None, num_heads: int = 1):
        positive_int("hidden_size", hidden_size)
        if attention_size is None:
            attention_size = width_of_heads(-(-hidden_size // 4), num_heads)
        head_size(positive_int("attention_size", attention_size), num_heads)
        super().__init__(input_size, hidden_size, {"keys": (None, attention_size), "values": (None, attention_size)})
        self.num_heads = num_heads
        self.query = nn.Linear(input_size, attention_size, bias=False)
        self.key = nn.Linear(attention_size, attention_size, bias=False)
        self.value = nn.Linear(attention_size, attention_size, bias=False)
        self.attention_scale = nn.Parameter(torch.zeros(()))
        self.norm = nn.LayerNorm(attention_size)
        self.output = nn.Linear(attention_size, 3 * hidden_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(2 * hidden_size))

    def coefficients(self, inputs: Tensor, keys: Tensor, values: Tensor) -> Recurrence:
        queries = self.query(inputs)
        keys, values = extended(keys, self.key(queries)), extended(values, self.value(queries))
        # U = W_o LayerNorm(Q + alpha softmax(Q K^T / sqrt(A)) V)            section 3.2
        attended = queries + self.attention_scale * attend(queries, keys, values, self.num_heads)
        candidate, gates = self.output(self.norm(attended)).tensor_split([self.output_size], dim=-1)
        forget_logits, reset_logits = (gates + self.bias).chunk(2, dim=-1)
        # c_t = f_t c_{t-1} + (1 - f_t) u_t
        keep, write = blend(forget_logits, candidate)
        return Recurrence(keep, write, read=(torch.sigmoid(reset_logits), inputs), context=(keys, values))

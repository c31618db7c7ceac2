"""LSTM and GRU: the equations in `step`, torch's fused kernel in `forward`, over the same parameters."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from relmem_lite.core import Core, positive_int


class LSTMState(NamedTuple):
    """What an LSTM keeps: hidden (B, D), which is also its output, and cell (B, D)."""

    hidden: Tensor
    cell: Tensor


class LSTM(Core):
    """Long short-term memory: one vector, three gates (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    The parameters are those of `torch.nn.LSTM`, in `self.lstm`: gate order input, forget, candidate, output.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the hidden state, of the cell and of the output.
        forget_bias: added to the forget gate's bias at the start; 1 lets a fresh LSTM remember
            (Jozefowicz et al. 2015).

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    state_type = LSTMState

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 0.0):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        super().__init__(input_size, hidden_size, {"hidden": (hidden_size,), "cell": (hidden_size,)})
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        with torch.no_grad():
            self.lstm.bias_ih_l0[hidden_size : 2 * hidden_size] += forget_bias

    def step(self, input: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        start = LSTMState(*self._checked(input, state, "BI"))
        hidden, cell = start
        input_gate, forget_gate, candidate, output_gate = self._gates(input, hidden)
        # c_t = f_t c_{t-1} + i_t g_t
        cell = forget_gate * cell + input_gate * candidate
        # h_t = o_t tanh(c_t)
        hidden = output_gate * torch.tanh(cell)
        if self._recordings:
            self._record_steps(input.unsqueeze(1), hidden.unsqueeze(1), start)
        return hidden, LSTMState(hidden, cell)

    def forward(self, inputs: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        start = LSTMState(*self._checked(inputs, state, "BTI"))
        outputs, (hidden, cell) = self.lstm(inputs, tuple(part.unsqueeze(0).contiguous() for part in start))
        if self._recordings:
            self._record_steps(inputs, outputs, start)
        return outputs, LSTMState(hidden.squeeze(0), cell.squeeze(0))

    def _gates(self, input: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        # i_t, f_t, o_t = sigmoid(W x_t + U h_{t-1} + b),   g_t = tanh(W x_t + U h_{t-1} + b)
        from_input = linear(input, self.lstm.weight_ih_l0, self.lstm.bias_ih_l0)
        from_hidden = linear(hidden, self.lstm.weight_hh_l0, self.lstm.bias_hh_l0)
        input_gate, forget_gate, candidate, output_gate = (from_input + from_hidden).chunk(4, dim=-1)
        return input_gate.sigmoid(), forget_gate.sigmoid(), candidate.tanh(), output_gate.sigmoid()

    @torch.no_grad()
    def _record_steps(self, inputs: Tensor, outputs: Tensor, start: LSTMState) -> None:
        # The gates see only the input and the last output, both known by now: no loop but the cell's own.
        previous = torch.cat([start.hidden.unsqueeze(1), outputs[:, :-1]], dim=1)
        input_gate, forget_gate, candidate, output_gate = self._gates(inputs, previous)
        cell, cells = start.cell, []
        for kept, written in zip(forget_gate.unbind(1), (input_gate * candidate).unbind(1), strict=True):
            cell = kept * cell + written
            cells.append(cell)
        self._record(
            input_gate=input_gate,
            forget_gate=forget_gate,
            candidate=candidate,
            output_gate=output_gate,
            hidden=outputs,
            cell=torch.stack(cells, dim=1),
        )


class GRU(Core):
    """Gated recurrent unit: one vector, two gates (Cho et al. 2014, in torch's form: reset after the product).

    The parameters are those of `torch.nn.GRU`, in `self.gru`: gate order reset, update, candidate. The state is the
    hidden vector, (B, D), which is also the output.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the state and of the output.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    def __init__(self, input_size: int, hidden_size: int):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        super().__init__(input_size, hidden_size, {"hidden": (hidden_size,)})
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)

    def step(self, input: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        previous = self._checked(input, state, "BI")
        _, update_gate, candidate = self._gates(input, previous)
        # h_t = (1 - z_t) n_t + z_t h_{t-1}
        hidden = (1 - update_gate) * candidate + update_gate * previous
        if self._recordings:
            self._record_steps(input.unsqueeze(1), hidden.unsqueeze(1), previous)
        return hidden, hidden

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start = self._checked(inputs, state, "BTI")
        outputs, hidden = self.gru(inputs, start.unsqueeze(0).contiguous())
        if self._recordings:
            self._record_steps(inputs, outputs, start)
        return outputs, hidden.squeeze(0)

    def _gates(self, input: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        from_input = linear(input, self.gru.weight_ih_l0, self.gru.bias_ih_l0).chunk(3, dim=-1)
        from_hidden = linear(hidden, self.gru.weight_hh_l0, self.gru.bias_hh_l0).chunk(3, dim=-1)
        # r_t, z_t = sigmoid(W x_t + U h_{t-1} + b)
        reset_gate = (from_input[0] + from_hidden[0]).sigmoid()
        update_gate = (from_input[1] + from_hidden[1]).sigmoid()
        # n_t = tanh(W x_t + b + r_t (U h_{t-1} + b'))
        candidate = (from_input[2] + reset_gate * from_hidden[2]).tanh()
        return reset_gate, update_gate, candidate

    @torch.no_grad()
    def _record_steps(self, inputs: Tensor, outputs: Tensor, start: Tensor) -> None:
        previous = torch.cat([start.unsqueeze(1), outputs[:, :-1]], dim=1)
        reset_gate, update_gate, candidate = self._gates(inputs, previous)
        self._record(reset_gate=reset_gate, update_gate=update_gate, candidate=candidate, hidden=outputs)

"""sLSTM: exponential gates, kept in range by a stabiliser (Beck et al. 2024). A true recurrence: nothing to scan."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from relmem_lite.core import Core, nearest, positive_int
from relmem_lite.cores.heads import head_size, width_of_heads
from relmem_lite.cores.linear import fill_with_log_of_nothing, full_precision


class SLSTMState(NamedTuple):
    """What an sLSTM keeps, each (B, D): hidden, which is its output; cell and normaliser, over exp(stabiliser)."""

    hidden: Tensor
    cell: Tensor
    normaliser: Tensor
    stabiliser: Tensor


class SLSTM(Core):
    """LSTM with an exponential input gate and a normaliser (Beck et al. 2024, arXiv 2405.04517, section 2.2).

    c_t = f_t c_{t-1} + i_t z_t, n_t = f_t n_{t-1} + i_t and h_t = o_t c_t / n_t: the cell is a mean of the candidates
    so far, which an exponential gate lets a late one dominate. All gates look at the last hidden state of their own
    head, so that no scan can compute them; that is also what lets it track states. Candidate, input, forget and output
    gate are the four parts, in this order, of `input` and `recurrent`.

    While it is recorded, it records "input_gate" and "forget_gate" as stabilised, "output_gate", "candidate", "hidden",
    "cell", "normaliser" and "stabiliser", each (B, T, D).

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of the hidden state, of the cell and of the output.
        num_heads: H, the number of heads; they divide D, and a head's gates see that head's hidden state alone.
        forget: "exp" for an exponential forget gate, "sigmoid" for one below 1.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, heads that do not divide the width,
            or an unknown forget gate.
    """

    state_type = SLSTMState

    def __init__(self, input_size: int, hidden_size: int, *, num_heads: int = 1, forget: str = "exp"):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        size = head_size(hidden_size, num_heads)
        if forget not in ("exp", "sigmoid"):
            raise ValueError(nearest(forget, ["exp", "sigmoid"], "forget gate"))
        super().__init__(input_size, hidden_size, dict.fromkeys(SLSTMState._fields, (hidden_size,)))
        self.num_heads, self.forget = num_heads, forget
        self.input = nn.Linear(input_size, 4 * hidden_size)
        self.recurrent = nn.Parameter(torch.empty(4, num_heads, size, size).uniform_(-(size**-0.5), size**-0.5))

    @classmethod
    def of_width(cls, input_size: int, width: int, *, num_heads: int = 1, **options) -> "SLSTM":
        """Return an sLSTM of about `width` features: the next width that its heads divide."""
        return cls(input_size, width_of_heads(width, num_heads), num_heads=num_heads, **options)

    def initial_state(self, batch_size: int) -> SLSTMState:
        """Return the state before the first step: zeros, and a stabiliser below every gate."""
        state = super().initial_state(batch_size)
        return state._replace(stabiliser=fill_with_log_of_nothing(state.stabiliser))

    def step(self, input: Tensor, state: SLSTMState | None = None) -> tuple[Tensor, SLSTMState]:
        state = self._checked(input, state, "BI")
        outputs, state = self._run(input.unsqueeze(1), state)
        return outputs.squeeze(1), state

    def forward(self, inputs: Tensor, state: SLSTMState | None = None) -> tuple[Tensor, SLSTMState]:
        state = self._checked(inputs, state, "BTI")
        return self._run(inputs, state)

    def _run(self, inputs: Tensor, start: SLSTMState) -> tuple[Tensor, SLSTMState]:
        # One product of matrices a step, for all gates and heads: heads lie first, the four gates side by side.
        projected = self.input(inputs).unflatten(-1, (4, self.num_heads, -1)).permute(1, 3, 0, 2, 4).flatten(3)
        recurrent = self.recurrent.permute(1, 3, 0, 2).flatten(2)  # (H, V, 4V)
        state = SLSTMState(*(part.unflatten(-1, (self.num_heads, -1)).transpose(0, 1) for part in start))  # (H, B, V)
        outputs, steps = [], []
        for from_input in projected.unbind(0):
            gates = torch.baddbmm(from_input, state.hidden.to(from_input.dtype), recurrent).chunk(4, dim=-1)
            state, recorded = self._update(*(full_precision(gate) for gate in gates), state)
            outputs.append(state.hidden)
            if self._recordings:
                steps.append(recorded | state._asdict())
        if self._recordings:
            self._record(**{name: self._joined([step[name] for step in steps]) for name in steps[0]})
        parts = (part.transpose(0, 1).flatten(1).to(old.dtype) for part, old in zip(state, start, strict=True))
        return self._joined(outputs).to(projected.dtype), SLSTMState(*parts)

    def _update(
        self, candidate: Tensor, input_gate: Tensor, forget_gate: Tensor, output_gate: Tensor, state: SLSTMState
    ):
        """The state after a step from its gates' logits, (H, B, V) each, and the gates themselves."""
        candidate, output_gate = candidate.tanh(), output_gate.sigmoid()
        log_forget = forget_gate if self.forget == "exp" else logsigmoid(forget_gate)
        # m_t = max(log f_t + m_{t-1}, log i_t)            equation 15; h_t does not depend on it, so no gradient does
        kept = log_forget + state.stabiliser
        stabiliser = torch.maximum(kept, input_gate).detach()
        # i'_t = exp(log i_t - m_t),   f'_t = exp(log f_t + m_{t-1} - m_t)            equations 16 and 17
        input_gate, forget_gate = torch.exp(input_gate - stabiliser), torch.exp(kept - stabiliser)
        # c_t = f'_t c_{t-1} + i'_t z_t,   n_t = f'_t n_{t-1} + i'_t,   h_t = o_t c_t / n_t            equations 8 to 10
        cell = torch.addcmul(input_gate * candidate, forget_gate, state.cell)
        normaliser = torch.addcmul(input_gate, forget_gate, state.normaliser)
        gates = dict(input_gate=input_gate, forget_gate=forget_gate, output_gate=output_gate, candidate=candidate)
        return SLSTMState(output_gate * cell / normaliser, cell, normaliser, stabiliser), gates

    def _joined(self, steps: list[Tensor]) -> Tensor:
        """One value of each step, (H, B, V), as (B, T, D)."""
        return torch.stack(steps).permute(2, 0, 1, 3).flatten(2)

"""State space models: N decaying states for each channel, fixed ones in S4D, selective ones in Mamba."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from relmem_lite.core import positive_int
from relmem_lite.cores.linear import LinearRecurrence, Recurrence, full_precision
from relmem_lite.scans import scan


class S4D(LinearRecurrence):
    """Diagonal state space model: N damped oscillators for each channel (Gu et al. 2022, arXiv 2206.11893).

    a = exp(dt A) and b_t = (a - 1) / A u_t: the zero-order hold of h' = A h + u at step dt, with complex A, one for
    each channel and state, and u_t the input, projected if its size is not D. The output is 2 Re(C h_t) + skip u_t.
    A starts as S4D-Lin, -1/2 + i pi n; dt is learned for each channel, from 0.001 to 0.1 at the start.

    Nothing here depends on the input but what is written: the same filter at every step, whatever it sees. The state
    holds real and imaginary part of h, (B, D, N, 2).

    Args:
        input_size: features of one step's input.
        hidden_size: D, the number of channels and the size of the output.
        state_per_channel: N, the number of complex states of a channel.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, state_per_channel: int = 8):
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "state_per_channel": state_per_channel}
        for name, value in sizes.items():
            positive_int(name, value)
        super().__init__(input_size, hidden_size, (hidden_size, state_per_channel, 2))
        self.embed = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        each = hidden_size, state_per_channel
        # A = -exp(log_decay) + i frequency = -1/2 + i pi n            S4D-Lin, section 4
        self.log_decay = nn.Parameter(torch.full(each, math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(state_per_channel).repeat(hidden_size, 1))
        self.log_step = nn.Parameter(_first_steps(hidden_size).log())
        self.read = nn.Parameter(torch.randn(*each, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(hidden_size))

    def coefficients(self, inputs: Tensor) -> Recurrence:
        channels = self.embed(inputs)
        pole = torch.complex(-full_precision(self.log_decay).exp(), full_precision(self.frequency))  # (D, N)
        exponent = full_precision(self.log_step).exp().unsqueeze(-1) * pole
        # h_t = exp(dt A) h_{t-1} + (exp(dt A) - 1) / A u_t
        written = full_precision(channels).unsqueeze(-1) * (torch.expm1(exponent) / pole)  # (B, T, D, N)
        return Recurrence(exponent.exp().expand(1, 1, -1, -1), written, read=(channels, exponent))

    def read_out(self, hidden: Tensor, read: tuple[Tensor, Tensor], initial: Tensor) -> Tensor:
        channels, _ = read
        # y_t = 2 Re(C h_t) + D u_t,   Re(C h) = Re C Re h - Im C Im h
        weights = full_precision(self.read) * hidden.new_tensor([2.0, -2.0])
        return ((hidden * weights).sum((-2, -1)) + self.skip * channels).to(channels.dtype)

    def _recur(self, recurrence: Recurrence, initial: Tensor) -> Tensor:
        _, exponent = recurrence.read
        # The pole turns by the same angle at every step. In a frame that turns with it, g_t = exp(-i t angle) h_t, the
        # recurrence is real: g_t = |a| g_{t-1} + exp(-i t angle) b_t.
        time = torch.arange(1, recurrence.b.shape[1] + 1, dtype=torch.float64, device=initial.device)
        # In float64: in float32 the angle of a late step would be off by as much as the memory is long.
        angle = time[:, None, None] * exponent.imag.double()
        frame = torch.polar(torch.ones_like(angle), angle).to(recurrence.b.dtype)  # (T, D, N)
        written = torch.view_as_real(recurrence.b * frame.conj())
        keep = exponent.real.exp()[None, None, :, :, None]
        turning = scan(keep, written, initial.to(written.dtype), self.scan_method)
        return torch.view_as_real(torch.view_as_complex(turning) * frame)

    def _advance(self, recurrence: Recurrence, initial: Tensor) -> Tensor:
        before = torch.view_as_complex(full_precision(initial).contiguous()).unsqueeze(1)
        # h_t = a h_{t-1} + b_t
        return torch.view_as_real(recurrence.a * before + recurrence.b)


class Mamba(LinearRecurrence):
    """Selective state space model: the input sets the step, and what is written and read (Gu & Dao 2023, section 3).

    a_t = exp(dt_t A) and b_t = dt_t B_t u_t, with A < 0 real, one for each channel and state. u_t = SiLU(W_u x_t),
    dt_t = softplus(W_dt u_t + b_dt) for each channel, B_t = W_B u_t and C_t = W_C u_t for each state. The output is
    (C_t h_t + skip u_t) SiLU(W_z x_t). A starts as -1, ..., -N; dt from 0.001 to 0.1.

    The paper's block also has a causal convolution of width 4 before the SiLU and a projection after the output: here
    they belong to the block around a core. The state is h, (B, D, N).

    Args:
        input_size: features of one step's input.
        hidden_size: D, the number of channels and the size of the output.
        state_per_channel: N, the number of states of a channel.
        step_rank: rank of W_dt; None for D / 16, rounded up.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, state_per_channel: int = 16, step_rank: int | None = None):
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "state_per_channel": state_per_channel}
        for name, value in sizes.items():
            positive_int(name, value)
        step_rank = -(-hidden_size // 16) if step_rank is None else positive_int("step_rank", step_rank)
        super().__init__(input_size, hidden_size, (hidden_size, state_per_channel))
        self.embed = nn.Linear(input_size, hidden_size, bias=False)
        self.gate = nn.Linear(input_size, hidden_size, bias=False)
        self.step_in = nn.Linear(hidden_size, step_rank, bias=False)
        self.step_out = nn.Linear(step_rank, hidden_size)
        self.write = nn.Linear(hidden_size, state_per_channel, bias=False)
        self.read = nn.Linear(hidden_size, state_per_channel, bias=False)
        # A = -exp(log_decay) = -1, ..., -N            S4D-Real, section 3.6
        decay = torch.arange(1, state_per_channel + 1, dtype=torch.get_default_dtype())
        self.log_decay = nn.Parameter(decay.log().repeat(hidden_size, 1))
        self.skip = nn.Parameter(torch.ones(hidden_size))
        with torch.no_grad():
            self.step_out.weight.uniform_(-(step_rank**-0.5), step_rank**-0.5)
            # softplus of the bias is the first step: log(exp(dt) - 1)
            first = _first_steps(hidden_size)
            self.step_out.bias.copy_(first + torch.log(-torch.expm1(-first)))

    def coefficients(self, inputs: Tensor) -> Recurrence:
        # u_t = SiLU(W x_t),   dt_t = softplus(W_dt u_t + b_dt)
        channels = silu(self.embed(inputs))
        step = softplus(full_precision(self.step_out(self.step_in(channels))))
        # h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t            algorithm 2
        decay = -full_precision(self.log_decay).exp()
        kept = (step.unsqueeze(-1) * decay).exp_()  # (B, T, D, N)
        written = (step * channels).unsqueeze(-1) * full_precision(self.write(channels)).unsqueeze(-2)
        return Recurrence(kept, written, read=(channels, inputs))

    def read_out(self, hidden: Tensor, read: tuple[Tensor, Tensor], initial: Tensor) -> Tensor:
        channels, inputs = read
        # y_t = (C_t h_t + D u_t) SiLU(z_t)
        states = (hidden @ self.read(channels).to(hidden.dtype).unsqueeze(-1)).squeeze(-1)
        return (states.to(channels.dtype) + self.skip * channels) * silu(self.gate(inputs))


def _first_steps(count: int) -> Tensor:
    """Steps dt, evenly spread in their logarithm from 0.001 to 0.1: memories of ten to a thousand steps."""
    low, high = math.log(0.001), math.log(0.1)
    return torch.exp(low + (high - low) * torch.rand(count))

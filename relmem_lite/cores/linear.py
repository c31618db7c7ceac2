"""The family h_t = a_t h_{t-1} + b_t: what its members share, so that each states only its own a and b."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from relmem_lite.core import Core, Shape, State
from relmem_lite.scans import scan


class Recurrence(NamedTuple):
    """What a member of the family makes of its inputs.

    Attributes:
        a: what is kept of the last hidden state, (B, T, ...) or a shape that broadcasts to it.
        b: what is written, likewise.
        read: whatever `read_out` needs beside the hidden states.
        context: what the next call needs of these inputs beside the hidden state, in the order of the state.
    """

    a: Tensor
    b: Tensor
    read: Any = None
    context: tuple[Tensor, ...] = ()


class LinearRecurrence(Core):
    """A core h_t = a_t h_{t-1} + b_t, where a_t and b_t depend on the inputs alone.

    Neither gate looks at the hidden state, so that a whole sequence is one scan. A member defines `coefficients` and,
    unless its output is its hidden state, `read_out`; sequences, steps, chunks and states follow from these. The
    state is the last hidden state, (B, ...), or, where a member needs more of the past, a named tuple that begins
    with it.

    While it is recorded, such a core records "keep" (a), "write" (b) and "hidden", each (B, T, ...).

    Args:
        input_size: features of one step's input.
        output_size: features of one step's output.
        hidden_shape: shape of the hidden state of one sequence.
        context_shapes: name and shape of each further part of the state.

    Attributes:
        scan_method: how `relmem_lite.scan` computes the sequence; set another name to compare methods.
    """

    scan_method = "auto"

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_shape: tuple[int, ...],
        context_shapes: dict[str, Shape] | None = None,
    ):
        super().__init__(input_size, output_size, {"hidden": hidden_shape} | (context_shapes or {}))

    def coefficients(self, inputs: Tensor, *context: Tensor) -> Recurrence:
        """Return a and b for each step of `inputs`, (B, T, input_size), given the context that the state carries."""
        raise NotImplementedError(f"{type(self).__name__} defines no coefficients")

    def read_out(self, hidden: Tensor, read: Any, initial: Tensor) -> Tensor:
        """Return outputs, (B, T, output_size), from hidden states, (B, T, ...), and the one before the first."""
        return hidden.flatten(2)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self._checked(inputs, state, "BTI")
        return self._run(inputs, state, self._recur)

    def step(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self._checked(input, state, "BI")
        outputs, state = self._run(input.unsqueeze(1), state, self._advance)
        return outputs.squeeze(1), state

    def _run(self, inputs: Tensor, state: State, recur: Callable) -> tuple[Tensor, State]:
        initial, *context = self._parts(state)
        recurrence = self.coefficients(inputs, *context)
        hidden = recur(recurrence, initial)
        outputs = self.read_out(hidden, recurrence.read, initial)
        if self._recordings:
            keep = recurrence.a.expand(*hidden.shape[:2], *recurrence.a.shape[2:])
            self._record(keep=keep, write=recurrence.b, hidden=hidden)
        # A copy: a view would hold on to the hidden states of the whole sequence for as long as the state lives.
        last = hidden[:, -1].to(initial.dtype, copy=True)
        return outputs, self._state([last, *recurrence.context])

    def _recur(self, recurrence: Recurrence, initial: Tensor) -> Tensor:
        """Hidden states (B, T, ...) of a sequence, from the one before it, (B, ...)."""
        a, b, initial = _alike(recurrence, initial)
        return scan(a, b, initial, self.scan_method)

    def _advance(self, recurrence: Recurrence, initial: Tensor) -> Tensor:
        """The hidden state (B, 1, ...) of a single step."""
        a, b, initial = _alike(recurrence, initial)
        # h_t = a_t h_{t-1} + b_t
        return torch.addcmul(b, a, initial.unsqueeze(1))


def _alike(recurrence: Recurrence, initial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and the initial state in the wider dtype of a and b, which differ in mixed precision."""
    dtype = torch.promote_types(recurrence.a.dtype, recurrence.b.dtype)
    return recurrence.a.to(dtype), recurrence.b.to(dtype), initial.to(dtype)


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it has 16 bits: for exponents and angles, whose errors a long memory multiplies."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def fill_with_log_of_nothing(logs: Tensor) -> Tensor:
    """Set logarithms of weights to that of a weight of zero, in place, as a number that is still finite."""
    return logs.fill_(max(-1e30, torch.finfo(logs.dtype).min))

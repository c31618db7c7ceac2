"""Look inside a core while it runs: attention maps, gates and memory, step by step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from relmem_lite.core import Core


class Recording(Mapping):
    """What a core did, by name: each value has shape (B, T, ...), over all steps that ran while it was recorded."""

    def __init__(self):
        self._pieces: dict[str, list[Tensor]] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Append values of shape (B, T, ...) along time; gradients are not followed through them."""
        for name, value in values.items():
            self._pieces.setdefault(name, []).append(value.detach().clone())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._pieces:
            known = ", ".join(self._pieces) or (
                "nothing: the core did not run while it was recorded, or is a stack, which records nothing itself"
            )
            raise KeyError(f"{name!r} was not recorded; recorded: {known}")
        pieces = self._pieces[name]
        batches = [len(piece) for piece in pieces]
        if len(set(batches)) > 1:
            raise ValueError(
                f"The recorded calls had batches of {sorted(set(batches))} sequences, which do not join into one: "
                "use one `with record(...)` block for each."
            )
        return torch.cat(pieces, dim=1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


@contextmanager
def record(core: "Core") -> Iterator[Recording]:
    """Record what `core` does inside the `with` block, without changing its numbers.

    `RelationalMemory` records "attention" (B, T, blocks, H, S, S+1: for each memory row, the weight it gives to each
    memory row and, last, to the input), "input_gate" and "forget_gate" (B, T, S, D or 1) and "memory" (B, T, S, D),
    the state after each step. `LSTM` and `GRU` record their gates, (B, T, D), and their state, and so does `SLSTM`,
    its gates as stabilised.

    Every core h_t = a_t h_{t-1} + b_t, from `MinGRU` to `LinearAttention`, records "keep" (a), "write" (b) and "hidden"
    (h), each (B, T, ...) in the shape of its hidden state or one that broadcasts to it; in `S4D`, a and b are complex,
    and "hidden" holds real and imaginary part. `CausalAttention` records "queries", "keys" and "values", (B, T, H, V).

    A `Block`, a `Stack` and a `CausalConvolution` record nothing themselves: record the core of a block,
    `record(stack.blocks[0].core)`.

    Example:
        >>> with record(core) as recording:
        ...     outputs, state = core(inputs)
        >>> recording["attention"].shape

    Raises:
        TypeError: `core` is not a Core.
        KeyError: asking the recording for what this core does not record.
        ValueError: asking a recording of calls with different batch sizes.
    """
    from relmem_lite.core import Core

    if not isinstance(core, Core):
        raise TypeError(f"record expects a Core, got {type(core).__name__}. A model keeps its core in model.core.")
    recording = Recording()
    core._recordings.append(recording)
    try:
        yield recording
    finally:
        # By identity: two recordings that hold the same are still two.
        core._recordings[:] = [other for other in core._recordings if other is not recording]

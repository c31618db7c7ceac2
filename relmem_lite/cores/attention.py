"""Causal attention: the core that keeps everything it has seen, and pays for it with a state that grows."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import scaled_dot_product_attention

from relmem_lite.core import Core, nearest, positive_int
from relmem_lite.cores.heads import head_size, width_of_heads
from relmem_lite.cores.linear import full_precision

POSITIONS = ["rotary", "learned", "none"]


class AttentionState(NamedTuple):
    """What attention keeps: keys and values of all steps so far, each (B, T, D).

    Values, to be read alone: without gradients, states that follow one another share memory.
    """

    keys: Tensor
    values: Tensor


class CausalAttention(Core):
    """Multi-head attention of each step to itself and all steps before (Vaswani et al. 2017, section 3.2).

    The only core here whose state grows with time: keys and values of every step, the "KV cache". Positions, counted
    from the first step in the cache, are rotary (Su et al. 2021, arXiv 2104.09864, section 3.2): queries and keys are
    turned by an angle that grows with their position, so that a score depends on distances alone. Or they are learned,
    as in GPT (Radford et al. 2018, section 3.1): a vector for each position, drawn as large as a token's. GPT adds it
    to the token's vector, and so to a stream that passes by every layer. Here that stream is outside the core, and
    each core adds vectors of its own to its input, where queries and keys are made from it; values carry none.

    While it is recorded, it records "queries", "keys" and "values", each (B, T, H, V), as they meet: the attention map
    is the softmax of queries times keys over sqrt(V), over the steps so far.

    Args:
        input_size: features of one step's input.
        hidden_size: D, the size of a step's keys and values over all heads, and of the output.
        num_heads: H, the number of heads; they divide D, into heads of even size if positions are rotary.
        positions: "rotary"; "learned"; or "none" for attention that cannot tell an earlier step from a later one.
        max_time: for learned positions, how many there are; a sequence that is longer is refused with ValueError.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, heads that do not divide the width,
            unknown positions, learned ones without max_time, or max_time for others, which have no end.
    """

    state_type = AttentionState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int = 4,
        positions: str = "rotary",
        max_time: int | None = None,
    ):
        positive_int("input_size", input_size)
        positive_int("hidden_size", hidden_size)
        if positions not in POSITIONS:
            raise ValueError(nearest(positions, POSITIONS, "kind of positions"))
        if positions != "learned" and max_time is not None:
            raise ValueError(
                f"max_time, {max_time}, is for learned positions; positions are {positions!r}, which have no end. "
                "Leave it out."
            )
        if positions == "learned" and max_time is None:
            raise ValueError("Learned positions need max_time, the number of them: the longest sequence to be read.")
        head_size(hidden_size, num_heads, even=positions == "rotary")
        super().__init__(input_size, hidden_size, {"keys": (None, hidden_size), "values": (None, hidden_size)})
        self.num_heads, self.positions = num_heads, positions
        self.position = None
        if max_time is not None:
            self.max_time = positive_int("max_time", max_time)
            self.position = nn.Embedding(max_time, input_size)
        self.query = nn.Linear(input_size, hidden_size, bias=False)
        self.key = nn.Linear(input_size, hidden_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size)

    @classmethod
    def of_width(cls, input_size: int, width: int, *, num_heads: int = 4, **options) -> "CausalAttention":
        """Return attention of about `width` features: the next width that its heads divide."""
        width = width_of_heads(width, num_heads, even=options.get("positions", "rotary") == "rotary")
        return cls(input_size, width, num_heads=num_heads, **options)

    def forward(self, inputs: Tensor, state: AttentionState | None = None) -> tuple[Tensor, AttentionState]:
        state = self._checked(inputs, state, "BTI")
        return self._attend(inputs, AttentionState(*state))

    def step(self, input: Tensor, state: AttentionState | None = None) -> tuple[Tensor, AttentionState]:
        state = self._checked(input, state, "BI")
        outputs, state = self._attend(input.unsqueeze(1), AttentionState(*state))
        return outputs.squeeze(1), state

    def _attend(self, inputs: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        start, placed = state.keys.shape[1], inputs
        if self.position is not None:
            placed = inputs + self._positions(start, start + inputs.shape[1])
        queries, keys, values = self.query(placed), self.key(placed), self.value(inputs)
        if self.positions == "rotary":
            angles = rotation(queries, start, self.num_heads)
            queries, keys = (turned(part, *angles) for part in (queries, keys))
        if self._recordings:
            parts = {"queries": queries, "keys": keys, "values": values}
            self._record(**{name: part.unflatten(-1, (self.num_heads, -1)) for name, part in parts.items()})
        state = AttentionState(extended(state.keys, keys), extended(state.values, values))
        return self.output(attend(queries, state.keys, state.values, self.num_heads)), state

    def _positions(self, start: int, stop: int) -> Tensor:
        if stop > self.max_time:
            so_far = f", {start} of them in the state" if start else ""
            raise ValueError(
                f"The sequence has {stop} steps{so_far}; this {type(self).__name__} has learned positions for "
                f"{self.max_time}. Read less, build it with a larger max_time, or take positions='rotary'."
            )
        return self.position.weight[start:stop]


def extended(cache: Tensor, new: Tensor) -> Tensor:
    """The cache (B, steps so far, D) and, after it, what is new (B, T, D), in the dtype of the new."""
    if not cache.shape[1]:
        return new
    # With gradients each cache is a value of its own, and so it is where tensors are more, or less, than their memory.
    afresh = torch.is_grad_enabled() or torch.compiler.is_compiling() or not (_is_memory(cache) and _is_memory(new))
    if afresh or cache.dtype != new.dtype:
        return torch.cat([cache.to(new.dtype), new], dim=1)
    return _appended(cache, new)


def _is_memory(tensor: Tensor) -> bool:
    try:
        tensor.untyped_storage()
    except NotImplementedError:  # inside torch.vmap and the other transforms of torch.func
        return False
    return unpack_dual(tensor).tangent is None  # forward-mode differentiation goes on where no_grad is


def _appended(cache: Tensor, new: Tensor) -> Tensor:
    """As `extended`, without gradients: a cache that was made here has room behind it, where the new goes uncopied.

    An older cache stays as it was, since it ends where the new begins. Whoever extends it a second time finds that room
    taken, and copies; so does who extends a part of a batch.
    """
    batch, start, size = cache.shape
    stop, memory = start + new.shape[1], cache.untyped_storage()
    length = memory.nbytes() // (batch * size * cache.element_size())
    whole = cache.storage_offset() == 0 and cache.stride() == (length * size, size, 1)
    if whole and stop <= length and getattr(memory, "taken", None) == start:
        room = cache.as_strided((batch, length, size), cache.stride())
    else:
        # A step copies an eighth of a row of the cache on average, where without room it would copy all rows.
        with torch.inference_mode(False):  # what is made in inference mode can't be written to outside it
            room = torch.empty(batch, stop + stop // 8 + 32, size, dtype=cache.dtype, device=cache.device)
        room.data[:, :start] = cache
    # By way of data: for autograd, the caches that end before are the same as they were.
    room.data[:, start:stop] = new
    # The memory knows how much of it is taken: it is what all caches in it share, whatever tensors they are.
    room.untyped_storage().taken = stop
    return room[:, :stop]


def attend(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int) -> Tensor:
    """Let the last T of all steps, queries (B, T, D), read the values (B, steps, D) of themselves and those before."""
    # (B, H, steps, V)
    queries, keys, values = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    time, earlier = queries.shape[2], keys.shape[2] - queries.shape[2]
    mask = None
    if earlier and time > 1:
        mask = torch.ones(time, earlier + time, dtype=torch.bool, device=keys.device).tril(earlier)
    # softmax(q k^T / sqrt(V)) v            Vaswani et al. 2017, equation 1
    attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=not earlier)
    return attended.transpose(1, 2).flatten(2)


def rotation(rows: Tensor, start: int, num_heads: int) -> tuple[Tensor, Tensor]:
    """Sine and cosine, each (T, 1, V/2), of the angles by which pairs of features of rows (B, T, D) are turned."""
    precise = full_precision(rows[:0])
    time, count = rows.shape[1], rows.shape[2] // num_heads // 2
    # angle = position * 10000^(-2i / V)            Su et al. 2021, equation 15
    pair = torch.arange(count, dtype=precise.dtype, device=rows.device)
    position = torch.arange(start, start + time, dtype=precise.dtype, device=rows.device)
    angle = (position.unsqueeze(-1) * 10000.0 ** (-pair / count)).unsqueeze(1)  # (T, 1, V/2)
    return angle.sin(), angle.cos()


def turned(rows: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    """Turn each pair of features of rows (B, T, D) by its position times the pair's own angle."""
    pairs = full_precision(rows).unflatten(-1, (-1, cos.shape[-1], 2))  # (B, T, H, V/2, 2)
    even, odd = pairs.unbind(-1)
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return pairs.flatten(2).to(rows.dtype)

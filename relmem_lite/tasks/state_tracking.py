"""State tracking: where does a chain of moves lead? Parity, a walk on a cycle, and the word problems of S3 and S5."""

from itertools import permutations

import torch
from torch import Generator, Tensor

from relmem_lite.core import nearest, positive_int
from relmem_lite.tasks.task import Batch, Task


def _cyclic(order: int) -> Tensor:
    """The table of sums modulo `order`, (C, C)."""
    elements = torch.arange(order)
    return (elements[:, None] + elements) % order


def _symmetric(size: int) -> Tensor:
    """The table of products of all permutations of `size` things, (C, C); row p, column q is p first, then q."""
    elements = torch.tensor(list(permutations(range(size))))  # (C, size), the identity first
    places = size ** torch.arange(size)
    index = torch.full((size**size,), -1)
    index[(elements * places).sum(-1)] = torch.arange(len(elements))
    products = elements[:, elements].transpose(0, 1)  # entry [q, p] is x -> q(p(x)), before the transposition [p, q]
    return index[(products * places).sum(-1)]


def _place(*permutation: int) -> int:
    """The number of a permutation among all of its size, in the order of `_symmetric`."""
    return list(permutations(range(len(permutation)))).index(permutation)


# Each group's table, and the elements that are moves.
_GROUPS = {
    "parity": (lambda: _cyclic(2), (0, 1)),
    "cycle": (lambda: _cyclic(5), (0, 1, 4)),
    "s3": (lambda: _symmetric(3), (_place(1, 0, 2), _place(1, 2, 0))),
    "s5": (lambda: _symmetric(5), (_place(1, 0, 2, 3, 4), _place(1, 2, 3, 4, 0))),
}


class StateTracking(Task):
    """Say after each step where the moves so far have led: a group's word problem (Merrill et al. 2024, section 2).

    A token is a move, an element of a group, and the answer at a step is the product of all moves up to it. Moves are
    drawn at random, all alike.

    Args:
        group: "parity" (is the number of ones odd?), "cycle" (stand still, step left or step right on a ring of five),
            "s3" or "s5" (how have 3 or 5 things been shuffled? a move swaps the first two, or shifts all by one place).
            S5 is not solvable: that is what sets it apart from the others.
        time: steps in a sample.
        min_time: first step at which an answer is asked for; from there on at every step.

    Raises:
        TypeError, ValueError: an unknown group, or steps that do not fit.
    """

    def __init__(self, group: str = "parity", time: int = 40, min_time: int = 1):
        if group not in _GROUPS:
            raise ValueError(nearest(group, list(_GROUPS), "group"))
        if positive_int("min_time", min_time) > positive_int("time", time):
            raise ValueError(f"min_time must be at most time, got {min_time} and {time}.")
        self.group, self.time, self.min_time = group, time, min_time
        make_table, moves = _GROUPS[group]
        self._table, self._moves = make_table(), torch.tensor(moves)
        self.num_tokens, self.output_size = len(self._moves), len(self._table)
        self.chance = 1 / self.output_size

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, time), answers from step min_time on."""
        positive_int("batch_size", batch_size)
        device = generator.device
        tokens = torch.randint(self.num_tokens, (batch_size, self.time), generator=generator, device=device)
        moves, table = self._moves.to(device)[tokens], self._table.to(device)
        states = [moves[:, 0]]
        for move in moves.unbind(1)[1:]:
            states.append(table[states[-1], move])
        mask = torch.zeros(batch_size, self.time, dtype=torch.bool, device=device)
        mask[:, self.min_time - 1 :] = True
        return Batch(tokens, torch.stack(states, dim=1), mask)

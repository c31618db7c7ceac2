"""IsTree: is a graph, read edge by edge, a tree? Answered at once, after thinking aloud, or after looking things up."""

import math
from collections.abc import Collection
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, Tensor

from relmem_lite.core import nearest, positive_int
from relmem_lite.tasks.task import Batch, Task, mean

if TYPE_CHECKING:
    from relmem_lite.models import SequenceModel

FORMATS = ("direct", "chain_of_thought", "retrieval")
"""What is written between a graph and the answer: nothing, a tour of the graph, or searches and what they found."""

_WORDS = ("[PAD]", "[BOS]", "[EOS]", "-", "~", "[STARTSEARCH]", "[ENDSEARCH]", "[FAILED]", "TRUE", "FALSE")
_PAD, _BOS, _EOS, _EDGE, _FATHER, _START, _END, _FAILED, _TRUE, _FALSE = range(len(_WORDS))
_NODE = 17  # node 0's token; those between the words and the nodes are never written
_TOKENS_AT_ONCE = 2**20  # that an evaluation's attention keeps keys and values of


class IsTree(Task):
    """Say whether a graph is a tree, with or without steps in between (Wen et al. 2024, section 4.3 and appendix C).

    A sample is `[BOS] u - v u - v ... [EOS] trace [EOS] TRUE`, or `FALSE` at its end: n - 1 edges in random order, the
    larger node first, then a trace, then the answer. From the first [EOS] on, each step asks for the token that comes
    next, which is also the next step's input. Samples are padded on the right to the longest of their batch. Graphs
    are the paper's "binary" ones: in a random order of the nodes, every one from the third on is joined to the first or
    the second, and one more edge joins two neighbours in that order; if these have different hubs the graph is a
    tree, as in half of all cases, else it is in two parts, and one of them has a cycle.

    The trace depends on the format:

    - "direct": there is none, and no second [EOS].
    - "chain_of_thought": an Euler tour from node 0, neighbours in the order in which their edges were read. A node is
      written on each visit, coming back included. The tour ends where it would enter a node a second time.
    - "retrieval": the same tour, where every step is looked up. `[STARTSEARCH] v - [ENDSEARCH]` asks for v's first
      neighbour, `[STARTSEARCH] v - u [ENDSEARCH]` for the one after u, `[STARTSEARCH] v ~ [ENDSEARCH]` for v's father
      in the tour, which the trace has stated before as `v ~ father`. The token after [ENDSEARCH] is read off the
      context by `retrieve`: no model has to learn it, and none is asked for it.

    The paper's code has a second family of graphs, "random", that is not offered. It labels a graph by its connectivity
    alone, so that some of its "trees" have cycles, and its graphs differ in their number of edges: counting these, and
    looking at no node at all, gives 80 % right answers. Here every graph has n - 1 edges.

    Args:
        num_nodes: n, at least 4.
        format: "direct", "chain_of_thought" or "retrieval".

    Attributes:
        shortcut: what the number of each node's neighbours gives, and no more of the graph; it fades with n.
        num_tokens: n + 17, as in the paper's code; 7 of them are never written.
        prompt_length: tokens of a graph, from [BOS] to the first [EOS], 3 n - 1.
        max_length: tokens of the longest sample, 3 n, 5 n or 40 n - 25, by the format.

    Raises:
        TypeError, ValueError: fewer than 4 nodes, or an unknown format.
    """

    chance = 0.5

    def __init__(self, num_nodes: int = 16, format: str = "chain_of_thought"):
        if positive_int("num_nodes", num_nodes) < 4:
            raise ValueError(f"num_nodes must be at least 4, got {num_nodes}: two hubs need two nodes to join them.")
        if format not in FORMATS:
            raise ValueError(nearest(format, list(FORMATS), "format of IsTree"))
        self.num_nodes, self.format = num_nodes, format
        self.num_tokens = self.output_size = _NODE + num_nodes
        self.prompt_length = 3 * num_nodes - 1
        lengths = {"direct": 3 * num_nodes, "chain_of_thought": 5 * num_nodes, "retrieval": 40 * num_nodes - 25}
        self.max_length = lengths[format]

    @property
    def shortcut(self) -> float:
        right, others = 0.0, self.num_nodes - 2
        # Whoever knows how many hang on the first hub knows how often two of them, drawn blindly, have different hubs.
        for first in range(others + 1):
            tree = 2 * first * (others - first) / (others * (others - 1))
            right += math.comb(others, first) / 2**others * max(tree, 1 - tree)
        return right

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, T), with T the longest sample's length less one, and at each step the next token.

        Marked are the steps from the first [EOS] to the answer, without those whose next token is looked up.
        """
        positive_int("batch_size", batch_size)
        device = generator.device
        seed = int(torch.randint(2**62, (), generator=generator, device=device))
        edges = self._drawn_edges(batch_size, np.random.Generator(np.random.PCG64(seed))) + _NODE
        texts = [self._text(pairs) for pairs in edges.tolist()]
        tokens = np.full((batch_size, max(map(len, texts))), _PAD)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = text
        inputs, targets = (torch.from_numpy(part.copy()).to(device) for part in (tokens[:, :-1], tokens[:, 1:]))
        mask = (targets != _PAD) & (inputs != _END)
        mask[:, : self.prompt_length - 1] = False
        return Batch(inputs, targets, mask)

    def write(self, edges: list[tuple[int, int]]) -> Tensor:
        """Return the tokens (T,) of a graph of your own, its trace and its answer; edges are read in their order.

        Raises:
            ValueError: they are not n - 1 different edges between nodes from 0 to n - 1.
        """
        for edge in edges:
            joined = list(edge) if isinstance(edge, Collection) else [edge]
            if len(joined) != 2 or not all(isinstance(node, Integral) for node in joined):
                raise ValueError(f"An edge is two whole numbers, the nodes that it joins, got {edge!r}.")
        pairs = [(max(edge), min(edge)) for edge in edges]
        nodes = range(self.num_nodes)
        if len(set(pairs)) != self.num_nodes - 1 or len(pairs) != len(set(pairs)):
            raise ValueError(
                f"A graph of IsTree({self.num_nodes}) has {self.num_nodes - 1} different edges, got {edges}."
            )
        for larger, smaller in pairs:
            if larger == smaller or larger not in nodes or smaller not in nodes:
                raise ValueError(f"An edge joins two nodes from 0 to {self.num_nodes - 1}, got {larger} - {smaller}.")
        return torch.tensor(self._text([(larger + _NODE, smaller + _NODE) for larger, smaller in pairs]))

    def read(self, tokens: Tensor) -> str:
        """Return tokens (T,) in words, such as `[BOS] 3 - 1 2 - 0 3 - 0 [EOS]`, without the padding.

        Raises:
            ValueError: not one sequence of tokens of this task.
        """
        if tokens.ndim != 1 or (len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.num_tokens):
            raise ValueError(
                f"read expected tokens (T,) from 0 to {self.num_tokens - 1}, got a tensor of shape "
                f"{tuple(tokens.shape)}. Read the samples of a batch one by one."
            )
        return " ".join(_word(token) for token in tokens.tolist() if token != _PAD)

    def retrieve(self, tokens: Tensor) -> Tensor:
        """Answer the searches that have just ended, from what was read and written so far and from nothing else.

        The neighbours of a node are looked up in the graph, its father in the trace: the last `v ~ father` outside a
        search.

        Args:
            tokens: (B, t), graphs and what follows them, all of one length.

        Returns:
            (B,), the tokens to write next, a node each, or [FAILED] where there is none to find or what was asked is no
            search; -1 where the last token is not [ENDSEARCH].

        Raises:
            ValueError: tokens that do not begin with a graph of n nodes.
        """
        self._check_graphs(tokens)
        answers = torch.full_like(tokens[:, 0], -1)
        asked = tokens[:, -1] == _END
        if not asked.any():
            return answers
        rows = tokens[asked]
        fifth, fourth, third, second = rows[:, -5:-1].unbind(1)
        alone = (fourth == _START) & (third >= _NODE)
        after_one = (fifth == _START) & (fourth >= _NODE) & (third == _EDGE) & (second >= _NODE)
        node = torch.where(after_one, fourth, third).unsqueeze(1)
        neighbour = self._neighbour(rows, node, torch.where(after_one, second, -1))
        found = torch.full_like(second, _FAILED)
        found = torch.where(alone & (second == _FATHER), self._father(rows, node), found)
        answers[asked] = torch.where((alone & (second == _EDGE)) | after_one, neighbour, found)
        return answers

    def evaluate(self, model: "SequenceModel", batch: Batch, chunk: int = 1024) -> dict[str, float | None]:
        """Score a model on what it writes by itself, token by token, after having read the graphs alone.

        In the "retrieval" format, `retrieve` writes what a search finds.

        Args:
            model: what is scored, whose answers are tokens.
            batch: samples that `sample` drew.
            chunk: graphs at a time, at most.

        Returns:
            "accuracy", the share of right answers; none within the longest sample's length is a wrong one.
            "teacher_forced", the same with the true trace given. "trace", the share of samples whose trace is written
            without a mistake; None in the "direct" format. "tokens", how many follow the graph, found ones included,
            in the mean.
        """
        # The trainer's wrapper has no steps; what it wraps does.
        bare = getattr(model, "module", model)
        self._check_graphs(batch.inputs)
        forced, right, same, count = [], [], [], []
        size = max(1, min(chunk, _TOKENS_AT_ONCE // self.max_length))
        for part in zip(*(part.split(size) for part in batch), strict=True):
            inputs, targets, mask = part
            at_end = _last(mask)
            logits, _ = model(inputs, mask=at_end)
            forced += (logits.argmax(-1) == targets[at_end]).tolist()
            for written, wanted, asked in zip(self._written(bare, inputs), targets, mask, strict=True):
                truth = wanted[self.prompt_length - 1 : int(asked.nonzero()[-1]) + 1].tolist()
                written = written.tolist()
                right.append(written[-1] == truth[-1])
                same.append(written[:-1] == truth[:-1])
                count.append(len(written))
        return {
            "accuracy": np.mean(right).item(),
            "teacher_forced": np.mean(forced).item(),
            "trace": None if self.format == "direct" else np.mean(same).item(),
            "tokens": np.mean(count).item(),
        }

    def scores(self, logits: Tensor, batch: Batch) -> dict[str, float | None]:
        """Accuracy of the answers with the true traces given; only `evaluate` can tell what a model does by itself."""
        return {"teacher_forced": mean(self.correct(logits, batch)[_last(batch.mask)[batch.mask]])}

    def _written(self, model: "SequenceModel", inputs: Tensor) -> list[Tensor]:
        from relmem_lite.decoding import generate

        return generate(
            model,
            inputs[:, : self.prompt_length],
            max_tokens=self.max_length - self.prompt_length,
            stop=(_TRUE, _FALSE),
            writer=self.retrieve if self.format == "retrieval" else None,
        )

    def _drawn_edges(self, batch_size: int, random: np.random.Generator) -> np.ndarray:
        """Edges (B, n - 1, 2) in the order in which they are written, the larger node first."""
        # Only random() is drawn from: what else a Generator draws may change from version to version.
        nodes = self.num_nodes
        order = random.random((batch_size, nodes)).argsort(axis=1, kind="stable")
        hub = (random.random((batch_size, nodes - 2)) >= 0.5).astype(np.int64)
        place = 2 + (random.random((batch_size, 1)) * (nodes - 3)).astype(np.int64)
        ends = [np.concatenate([order[:, 2:], np.take_along_axis(order, place, axis=1)], axis=1)]
        ends += [np.take_along_axis(order, np.concatenate([hub, place + 1], axis=1), axis=1)]
        edges = np.stack([np.maximum(*ends), np.minimum(*ends)], axis=-1)
        shuffled = random.random((batch_size, nodes - 1)).argsort(axis=1, kind="stable")
        return np.take_along_axis(edges, shuffled[..., None], axis=1)

    def _text(self, edges: list[tuple[int, int]]) -> list[int]:
        """A graph, its trace and its answer, from edges as pairs of tokens."""
        text, neighbours = [_BOS], {node: [] for node in range(_NODE, self.num_tokens)}
        for u, v in edges:
            text += (u, _EDGE, v)
            neighbours[u].append(v)
            neighbours[v].append(u)
        text.append(_EOS)
        trace, visited = (_searches if self.format == "retrieval" else _tour)(neighbours)
        if self.format != "direct":
            text += trace
            text.append(_EOS)
        # A graph with n - 1 edges is a tree if all of it can be reached.
        text.append(_TRUE if visited == self.num_nodes else _FALSE)
        return text

    def _check_graphs(self, tokens: Tensor) -> None:
        length = self.prompt_length
        fits = tokens.ndim == 2 and tokens.shape[0] > 0 and tokens.shape[1] >= length
        if fits and (tokens[:, length - 1] == _EOS).all() and (tokens[:, 2 : length - 1 : 3] == _EDGE).all():
            return
        got = f"a tensor of shape {tuple(tokens.shape)}"
        if tokens.ndim == 2:
            ends = [row.index(_EOS) + 1 for row in tokens.tolist() if _EOS in row]
            got += f" with the first [EOS] after {' or '.join(map(str, sorted(set(ends))))} tokens" if ends else ""
        raise ValueError(
            f"IsTree({self.num_nodes}) expected tokens (B, t) that begin with a graph of {self.num_nodes} nodes, "
            f"{length} tokens from [BOS] to the first [EOS], got {got}. Graphs of n nodes need IsTree(n)."
        )

    def _neighbour(self, rows: Tensor, node: Tensor, previous: Tensor) -> Tensor:
        """The neighbour of `node` (R, 1) after the `previous` one (R,), or the first one if that is -1; or [FAILED]."""
        end = self.prompt_length - 1
        u, v = rows[:, 1:end:3], rows[:, 3:end:3]
        other = torch.where(u == node, v, torch.where(v == node, u, _PAD))  # (R, n - 1)
        met = (other == previous.unsqueeze(1)).cumsum(1)
        later = (met > 0) & (other != previous.unsqueeze(1))
        free = (other != _PAD) & (later | (previous == -1).unsqueeze(1))
        return _first(free, other)

    def _father(self, rows: Tensor, node: Tensor) -> Tensor:
        """What `node` (R, 1) was last said to come from; or [FAILED]."""
        before, child, word, father = (rows[:, i : rows.shape[1] - 3 + i] for i in range(4))
        stated = (word == _FATHER) & (child == node) & (before != _START) & (father >= _NODE)
        return _first(stated.flip(1), father.flip(1))


def _word(token: int) -> str:
    if token >= _NODE:
        return str(token - _NODE)
    return _WORDS[token] if token < len(_WORDS) else f"[UNUSED{token}]"


def _first(marked: Tensor, values: Tensor) -> Tensor:
    """The first marked value of each row, or [FAILED]."""
    first = values.gather(1, marked.int().argmax(1, keepdim=True)).squeeze(1)
    return torch.where(marked.any(1), first, _FAILED)


def _last(mask: Tensor) -> Tensor:
    """A mask (B, T) of each row's last marked step alone."""
    return mask & (mask.flip(1).cumsum(1).flip(1) == 1)


def _tour(neighbours: dict[int, list[int]]) -> tuple[list[int], int]:
    """An Euler tour from node 0 that ends at a cycle, and how many nodes it has seen."""
    tour, visited = [_NODE], {_NODE}
    stack = [(_NODE, None, iter(neighbours[_NODE]))]
    while stack:
        node, father, others = stack[-1]
        for other in others:
            if other == father:
                continue
            if other in visited:
                return tour, len(visited)
            visited.add(other)
            tour.append(other)
            stack.append((other, node, iter(neighbours[other])))
            break
        else:
            stack.pop()
            if stack:
                tour.append(stack[-1][0])
    return tour, len(visited)


def _searches(neighbours: dict[int, list[int]]) -> tuple[list[int], int]:
    """The same tour as searches and what they found, and how many nodes it has seen."""
    trace, stack, fathers, previous = [], [_NODE], {_NODE: _FAILED}, _FAILED
    while stack:
        top = stack[-1]
        father, others = fathers[top], [*neighbours[top], _FAILED]
        trace += (top, _START, top, _FATHER, _END, father)
        if previous == father:
            place = 0
            trace += (_START, top, _EDGE, _END, others[place])
        else:
            place = others.index(previous) + 1
            trace += (_START, top, _EDGE, previous, _END, others[place])
        if others[place] == father != _FAILED:
            place += 1
            trace += (_START, top, _EDGE, father, _END, others[place])
        following = others[place]
        if following == _FAILED:
            previous = stack.pop()
            continue
        trace += (_START, following, _FATHER, _END)
        if following in fathers:
            trace.append(fathers[following])
            break
        trace += (_FAILED, following, _FATHER, top)
        fathers[following] = previous = top
        stack.append(following)
    return trace, len(fathers)

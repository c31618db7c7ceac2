"""Checks for the exercises of chapter 11, thinking aloud."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from relmem_lite.exercises import compare, describe, exercise, matches
from relmem_lite.tasks import IsTree

Edges = list[tuple[int, int]]


@exercise("11.1-words")
def words(answer):
    """The tour of a tree of 64 nodes: every edge twice, and the first node: 2 * 63 + 1 = 127."""
    known = [
        (126, "Those are the moves, two for each edge; the node that the tour begins with is written, too."),
        (63, "Those are the edges: each is walked there and back, and the first node is written before any move."),
        (64, "Each node is written once when it is entered; and again, each time the tour comes back to it."),
        (128, "One too many: there are 63 edges, not 64, each walked there and back."),
        (129, "The nodes are 64 and the edges 63: twice the edges, and the first node."),
        (125, "One end too few: 63 edges, there and back, and the node that it begins with."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong):
            return sentence
    return compare(answer, 127)


_LABELLED = [
    ("a tree", [(1, 0), (2, 1), (3, 1)], 4, True),
    ("a path in a mixed order", [(3, 2), (1, 0), (2, 1)], 4, True),
    ("a triangle and a node alone", [(1, 0), (2, 1), (2, 0)], 4, False),
    ("two separate pairs", [(1, 0), (3, 2)], 4, False),
    ("a square", [(1, 0), (2, 1), (3, 2), (3, 0)], 4, False),
    ("one node", [], 1, True),
]


@exercise("11.2-union-find")
def union_find(answer):
    """Whether edges on n nodes are a tree: n - 1 of them, and none joins what is joined already."""
    if not callable(answer):
        return f"The answer is a function of the edges and n that returns True or False; this is {describe(answer)}."
    given = {}
    for what, edges, nodes, truth in [*_LABELLED, *_drawn()]:
        found = answer(edges, nodes)
        if not isinstance(found, bool):
            return f"Return True or False; you returned {describe(found)}."
        given[what] = found, truth
    wrong = [what for what, (found, truth) in given.items() if found != truth]
    if not wrong:
        return None
    if len({found for found, _ in given.values()}) == 1:
        return f"Every graph gets the same answer, {next(iter(given.values()))[0]}: {wrong[0]}, for one, is wrong."
    if wrong[0] == "a tree":
        return f"{_LABELLED[0][1]} on 4 nodes is a tree, and gets False."
    if wrong[0] == "a triangle and a node alone" and "a square" not in wrong:
        return (
            "A triangle and a node alone have n - 1 edges, as a tree has: the number of edges does not tell them apart."
        )
    if "a square" in wrong and "two separate pairs" not in wrong:
        return "A square hangs together, and is no tree: an edge that joins what is joined already closes a cycle."
    if "two separate pairs" in wrong and "a square" not in wrong:
        return "Two separate pairs have no cycle, and are no tree: all must hang together, so n - 1 joins are needed."
    if wrong == ["one node"]:
        return "One node without an edge is a tree, the smallest: nothing is missing, and there is no cycle."
    if "a path in a mixed order" in wrong:
        return (
            "A path whose edges come in a mixed order is a tree: when two groups are joined, all nodes of both must "
            "agree on who stands for them, so follow the chain to its end first."
        )
    found, truth = given[wrong[0]]
    return f"{wrong[0][0].upper()}{wrong[0][1:]} is {'a' if truth else 'no'} tree, and gets {found}."


def _drawn():
    """Larger graphs of the task, with their labels."""
    task = IsTree(12, "direct")
    batch = task.sample(40, torch.Generator().manual_seed(11))
    for number, (row, target) in enumerate(zip(batch.inputs, batch.targets, strict=True)):
        edges = _edges_of(task, row)
        label = task.read(target[batch.mask[number]][-1:]) == "TRUE"
        yield f"graph {number} of IsTree(12), {edges},", edges, 12, label


def _edges_of(task: IsTree, row: torch.Tensor) -> Edges:
    nodes = [int(word) for word in task.read(row[1 : task.prompt_length - 1]).split() if word != "-"]
    return list(zip(nodes[::2], nodes[1::2], strict=True))


@exercise("11.3-tour")
def tour(answer):
    """An Euler tour from node 0, neighbours in the order of their edges, that ends where a cycle closes."""
    if not callable(answer):
        return f"The answer is a function of the edges that returns a list of nodes; this is {describe(answer)}."
    task = IsTree(8)
    batch = task.sample(60, torch.Generator().manual_seed(12))
    graphs = [_edges_of(task, row) for row in batch.inputs]
    # A graph that shows the order of neighbours alone comes first.
    for edges in [[(3, 0), (2, 0), (1, 0)], *graphs]:
        given = answer(edges)
        if isinstance(given, torch.Tensor | np.ndarray):
            given = given.tolist()
        if not isinstance(given, Sequence) or not all(isinstance(node, int) for node in given):
            return f"Return a list of nodes, such as [0, 3, 0]; you returned {describe(given)}."
        expected, given = _tour(edges), list(given)
        if given == expected:
            continue
        return _tour_mistake(edges, given, expected)
    return None


def _tour_mistake(edges: Edges, given: list[int], expected: list[int]) -> str:
    example = f"For {edges} the tour is {expected}; yours is {given}: "
    if not given or given[0] != 0:
        return example + "it begins at node 0."
    if given == [node for place, node in enumerate(expected) if node not in expected[:place]]:
        return example + "a node is written on each visit, coming back included."
    if given == _tour(sorted(edges)) or given == _tour(sorted(edges, key=min)):
        return example + "neighbours are taken in the order in which their edges were read, not by their number."
    if given == _tour(edges[::-1]):
        return example + "neighbours are taken in the order of their edges, the first first."
    if given == [0] or given == expected[:2]:
        return example + "the father is a neighbour, too, and no cycle: leave out the edge by which a node was entered."
    if len(given) < len(expected) and given == expected[: len(given)]:
        return example + "it stops too early."
    if given[: len(expected)] == expected:
        return example + "it goes on where a neighbour, not the father, was visited before: there a cycle closes."
    return example + "where do they part?"


def _tour(edges: Edges) -> list[int]:
    task = IsTree(len(edges) + 1)
    return [int(word) for word in task.read(task.write(edges)).split("[EOS]")[1].split()]


@exercise("11.4-family")
def family(answer):
    """Graphs of the family at n = 8 that are no trees: 840 * (1 + 4/2 + 6 + 4 + 1/3) = 11,200."""
    known = [
        (
            13_440,
            "That many ways to draw one there are, as there are trees; but some give the same graph: a part of two "
            "nodes does not tell which was the hub, and a triangle alone does not, either.",
        ),
        (11_760, "A triangle that stands alone does not tell which of its three corners was the hub."),
        (12_880, "Where the other part is a pair, either of its nodes may have been the hub: that graph counts once."),
        (24_640, "Those are all graphs of the family; the trees among them are not asked for."),
        (26_880, "The pair that is joined has no order; and some graphs can be drawn in several ways."),
        (5_600, "Twice that: hubs differ, one of them is in the triangle, so nothing is counted by both."),
        (22_400, "Half of that: the pair that is joined has no order."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong):
            return sentence
    # Counted, not measured: one more or less is another number.
    return compare(answer, 11_200, rtol=0, atol=0.5)


@exercise("11.5-invented")
def invented(answer):
    """The place in a tour of the first node that no edge joins to the one before; -1 if there is none."""
    if not callable(answer):
        return f"The answer is a function of the edges and a tour that returns a place; this is {describe(answer)}."
    edges = [(3, 0), (2, 1), (2, 0)]
    cases = [
        ([0, 3, 0, 2, 1, 2, 0], -1),
        ([0, 3, 2, 1, 2, 0], 2),
        ([0, 3, 0, 1, 2, 1], 3),
        ([0, 1], 1),
        ([0, 2, 0, 3, 0], -1),
        ([0, 2, 1, 3, 1, 0], 3),
        ([0], -1),
    ]
    given = [answer(edges, walk) for walk, _ in cases]
    for found in given:
        if isinstance(found, bool) or not isinstance(found, int):
            return f"Return a whole number, the place in the tour from 0 on, or -1; you returned {describe(found)}."
    truth = [place for _, place in cases]
    if given == truth:
        return None
    known: list[tuple[Callable, str]] = [
        (
            lambda edges, walk: max(-1, _place(edges, walk) - 1),
            "That is the place of the node before: the invented step is the one that goes there.",
        ),
        (
            lambda edges, walk: _place(edges, walk) + 1 or -1,
            "Places are counted from 0: the tour's first node has place 0.",
        ),
        (
            lambda edges, walk: _place(edges, walk, both=False),
            "An edge can be walked both ways: 3 - 0 joins 0 to 3 as well.",
        ),
        (
            lambda edges, walk: _place(edges, walk[::-1]),
            "The first one is asked for: go through the tour from its beginning.",
        ),
    ]
    for rule, sentence in known:
        if given == [rule(edges, walk) for walk, _ in cases]:
            return sentence
    walk, place, found = next(
        (walk, place, found) for (walk, place), found in zip(cases, given, strict=True) if place != found
    )
    if place == -1:
        return f"In {walk} every step follows one of the edges {edges}, in whatever order: -1, not {found}."
    return (
        f"In {walk}, with the edges {edges}, the step from {walk[place - 1]} to {walk[place]} is the first without an "
        f"edge: place {place}, not {found}."
    )


def _place(edges: Edges, walk: list[int], both: bool = True) -> int:
    joined = set(edges) | ({(v, u) for u, v in edges} if both else set())
    return next((place for place in range(1, len(walk)) if (walk[place - 1], walk[place]) not in joined), -1)

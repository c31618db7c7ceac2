"""The right answers to chapter 11's exercises, and the wrong ones that students give, each with its sentence."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch

from relmem_lite.exercises import check
from relmem_lite.figures.trace import right_tour
from relmem_lite.tasks import IsTree


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize("name", ["11.1-words", "11.2-union-find", "11.3-tour", "11.4-family", "11.5-invented"])
def test_the_stub_is_unanswered(name):
    assert check(name, ...).status == "unanswered"
    for stub in (lambda edges, n: ..., lambda edges: ..., lambda edges, walk: ...):
        for function in ("11.2-union-find", "11.3-tour", "11.5-invented"):
            verdict = check(function, stub)
            assert verdict.status == "unanswered" or "missing" in verdict.message or "raised" in verdict.message


def test_words_is_right():
    check("11.1-words", 127, strict=True)
    star = [(node, 0) for node in range(1, 64)]
    assert len(right_tour(star).split()) - 2 == 127  # without [EOS] and the answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (126, "Those are the moves"),
        (63, "Those are the edges"),
        (64, "each time the tour comes back"),
        (128, "One too many"),
        (129, "the edges 63"),
        (125, "One end too few"),
        (90, "too small"),
    ],
)
def test_words_names_the_mistake(answer, words):
    says("11.1-words", answer, words)


def groups_of(edges, n):
    stands_for = list(range(n))

    def find(node):
        while stands_for[node] != node:
            node = stands_for[node]
        return node

    cycle = False
    for u, v in edges:
        cycle |= find(u) == find(v)
        stands_for[find(u)] = find(v)
    return len({find(node) for node in range(n)}), cycle


def is_tree(edges, n):
    groups, cycle = groups_of(edges, n)
    return groups == 1 and not cycle


def forgetful(edges, n):  # joins only the two nodes, not their groups
    stands_for = list(range(n))
    for u, v in edges:
        if stands_for[u] == stands_for[v]:
            return False
        stands_for[u] = stands_for[v]
    return len(edges) == n - 1 and len(set(stands_for)) == 1


def test_union_find_is_right():
    check("11.2-union-find", is_tree, strict=True)
    check("11.2-union-find", lambda edges, n: len(edges) == n - 1 and groups_of(edges, n)[0] == 1, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda edges, n: len(edges) == n - 1, "number of edges does not tell"),
        (lambda edges, n: groups_of(edges, n)[0] == 1, "closes a cycle"),
        (lambda edges, n: not groups_of(edges, n)[1], "n - 1 joins are needed"),
        (lambda edges, n: bool(edges) and is_tree(edges, n), "the smallest"),
        (forgetful, "mixed order"),
        (lambda edges, n: True, "same answer"),
        (lambda edges, n: not is_tree(edges, n), "is a tree, and gets False"),
        (lambda edges, n: 1, "Return True or False"),
        (True, "is a function"),
    ],
)
def test_union_find_names_the_mistake(answer, words):
    says("11.2-union-find", answer, words)


def tour_of(edges, back=True, stops=True, skip_father=True):
    neighbours = {node: [] for node in range(len(edges) + 1)}
    for u, v in edges:
        neighbours[u].append(v)
        neighbours[v].append(u)
    tour, seen = [], set()

    def visit(node, father):
        tour.append(node)
        seen.add(node)
        for other in neighbours[node]:
            if skip_father and other == father:
                continue
            if other in seen:
                if stops:
                    return False
                continue
            if not visit(other, node):
                return False
            if back:
                tour.append(node)
        return True

    visit(0, None)
    return tour


def test_tour_is_right():
    check("11.3-tour", tour_of, strict=True)
    check("11.3-tour", lambda edges: [int(w) for w in right_tour(edges).split("[EOS]")[0].split()], strict=True)


def test_numpys_numbers_and_truths_are_answers_too():
    check("11.1-words", np.int64(127), strict=True)
    check("11.2-union-find", lambda edges, n: np.bool_(is_tree(edges, n)), strict=True)
    check("11.3-tour", lambda edges: list(np.array(tour_of(edges))), strict=True)
    check("11.3-tour", lambda edges: np.array(tour_of(edges)), strict=True)
    check("11.5-invented", lambda edges, walk: np.int64(first_invented(edges, walk)), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda edges: tour_of(edges, back=False), "on each visit"),
        (lambda edges: tour_of(sorted(edges)), "not by their number"),
        (lambda edges: tour_of(edges[::-1]), "not by their number"),
        (lambda edges: tour_of(edges, stops=False), "there a cycle closes"),
        (lambda edges: tour_of(edges, skip_father=False), "the father is a neighbour, too"),
        (lambda edges: tour_of(edges)[:-1], "stops too early"),
        (lambda edges: tour_of(edges)[1:], "begins at node 0"),
        (lambda edges: [0, 1, 2, 0], "where do they part"),
        (lambda edges: "0 1 0", "Return a list"),
        ([0, 1, 0], "is a function"),
    ],
)
def test_tour_names_the_mistake(answer, words):
    says("11.3-tour", answer, words)


def is_connected(graph, nodes):
    seen = {0}
    for _ in range(nodes):
        seen |= {node for edge in graph if edge & seen for node in edge}
    return len(seen) == nodes


def parts(nodes):
    """Graphs of the family that are no trees, drawn in every way."""
    for one, two in permutations(range(nodes), 2):
        rest = [node for node in range(nodes) if node not in (one, two)]
        for x, y in combinations(rest, 2):
            others = [node for node in rest if node not in (x, y)]
            for hubs in product((one, two), repeat=len(others)):
                yield frozenset(map(frozenset, [(one, x), (one, y), (x, y), *zip(others, hubs, strict=True)]))


def test_family_is_right():
    check("11.4-family", 11_200, strict=True)
    assert len(set(parts(8))) == 11_200
    assert len(list(parts(8))) == 13_440  # the mistake of counting ways to draw
    # The ways are those of the task: at n = 4 few enough to draw them all.
    task = IsTree(4, "direct")
    batch = task.sample(2000, torch.Generator().manual_seed(0))
    drawn = set()
    for row in batch.inputs:
        nodes = [int(word) for word in task.read(row[1:10]).split() if word != "-"]
        drawn.add(frozenset(map(frozenset, zip(nodes[::2], nodes[1::2], strict=True))))
    assert {graph for graph in drawn if not is_connected(graph, 4)} == set(parts(4))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (13_440, "which was the hub"),
        (11_760, "A triangle that stands alone"),
        (12_880, "is a pair"),
        (24_640, "all graphs of the family"),
        (26_880, "has no order"),
        (22_400, "has no order"),
        (11_201, "too large"),
        (11_199, "too small"),
        (100, "too small"),
    ],
)
def test_family_names_the_mistake(answer, words):
    says("11.4-family", answer, words)


def first_invented(edges, walk, both=True, first=0):
    joined = set(edges) | ({(v, u) for u, v in edges} if both else set())
    for place in range(1, len(walk)):
        if (walk[place - 1], walk[place]) not in joined:
            return place + first
    return -1


def test_invented_is_right():
    check("11.5-invented", first_invented, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda edges, walk: max(-1, first_invented(edges, walk) - 1), "the node before"),
        (lambda edges, walk: first_invented(edges, walk) + 1 or -1, "counted from 0"),
        (lambda edges, walk: first_invented(edges, walk, both=False), "both ways"),
        (lambda edges, walk: first_invented(edges, walk[::-1]), "from its beginning"),
        (lambda edges, walk: -1, "is the first without an edge"),
        (lambda edges, walk: 1, "-1, not 1"),
        (lambda edges, walk: True, "a whole number"),
        (3, "is a function"),
    ],
)
def test_invented_names_the_mistake(answer, words):
    says("11.5-invented", answer, words)

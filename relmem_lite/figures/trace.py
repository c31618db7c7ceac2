"""A tour of a graph, as a model wrote it, drawn on the graph: a picture, and the same as a page to step through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from matplotlib.patches import FancyArrowPatch

from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import GREY, INK, WRONG, figure, set_title

Edges = Sequence[tuple[int, int]]
"""A graph's edges in the order in which they are read; its nodes are 0 to the number of edges."""

_END, _ANSWERS = "[EOS]", ("TRUE", "FALSE")


@dataclass(frozen=True)
class Step:
    """One word of a written tour, and what the rule of the Euler tour says about it.

    The rule goes by the graph and by the words before, as they are: after a mistake it goes on from where that led.

    Attributes:
        word: what was written, such as "3", "[EOS]" or "TRUE".
        expected: what the rule says instead, or the same.
        move: what the rule asks for, "start", "down" (to a neighbour that was not visited, which has to be looked up
            among the edges), "back" (to where the node was first entered from, which stands in the tour), "end"
            ([EOS]) or "answer".
        kind: "right"; "invented", a node that no edge joins to the last one; "order", a neighbour that is not next, or
            an end that comes too early; "word", something that is no node; or "answer", a wrong one.
        sentence: the same in words.
    """

    word: str
    expected: str
    move: str
    kind: str
    sentence: str


class _Tour:
    """The rule: neighbours in the order of their edges, back where none is left, end where a cycle closes."""

    def __init__(self, edges: Edges):
        self.neighbours: dict[int, list[int]] = {node: [] for node in range(len(edges) + 1)}
        for u, v in edges:
            self.neighbours[u].append(v)
            self.neighbours[v].append(u)
        self.father: dict[int, int | None] = {}
        self.walked: dict[int, set[int]] = {}
        self.here: int | None = None

    def next(self) -> tuple[str, str]:
        """Return what comes next, and which move that is."""
        if self.here is None:
            return "0", "start"
        node, father = self._next_neighbour(), self.father[self.here]
        if node is not None:
            return (_END, "end") if node in self.father else (str(node), "down")
        return (_END, "end") if father is None else (str(father), "back")

    def closes_a_cycle(self) -> bool:
        return self.here is not None and self._next_neighbour() in self.father

    def _next_neighbour(self) -> int | None:
        left = {self.father[self.here], *self.walked[self.here]}
        return next((node for node in self.neighbours[self.here] if node not in left), None)

    def go(self, node: int) -> None:
        if self.here is not None and self.father[self.here] != node:
            self.walked[self.here].add(node)
        if node not in self.father:
            self.father[node], self.walked[node] = self.here, set()
        self.here = node


def judge(edges: Edges, words: str) -> tuple[Step, ...]:
    """Judge a written tour word by word, up to the answer.

    Args:
        edges: the graph, n - 1 edges between n nodes, in the order in which they were read.
        words: what was written after the graph, such as "0 4 0 [EOS] FALSE"; `IsTree.read` gives it.

    Raises:
        ValueError: edges that are not n - 1 different ones between the nodes 0 to n - 1.
    """
    _check_edges(edges)
    tour, steps, ended = _Tour(edges), [], False
    for word in words.split():
        if ended:
            truth = _ANSWERS[0] if _connected(edges) else _ANSWERS[1]
            steps.append(_answer(word, truth))
            break
        expected, move = tour.next()
        kind, sentence = _judged(tour, word, expected, move)
        steps.append(Step(word, expected, move, kind, sentence))
        if word == _END:
            ended = True
        elif kind != "word":
            tour.go(int(word))
    return tuple(steps)


def right_tour(edges: Edges) -> str:
    """Return the tour that the rule writes, with [EOS] and the answer."""
    _check_edges(edges)
    tour, words = _Tour(edges), []
    while (word := tour.next()[0]) != _END:
        words.append(word)
        tour.go(int(word))
    return " ".join([*words, _END, _ANSWERS[0] if _connected(edges) else _ANSWERS[1]])


def _judged(tour: _Tour, word: str, expected: str, move: str) -> tuple[str, str]:
    here = tour.here
    says = "by the rule, " + ("the tour ends here" if expected == _END else f"{expected} is next")
    if word == _END:
        if move == "end" and tour.closes_a_cycle():
            return "right", "The next neighbour was visited before: a cycle. The tour ends."
        if move == "end":
            return "right", f"Back at {here}, and nothing is left: the tour ends."
        return "order", f"The tour stops too early: {says}."
    if word not in map(str, tour.neighbours):
        return "word", f"{word} is no node: {says}."
    if here is None and word == expected:
        return "right", "The tour begins at 0."
    if here is None:
        return "order", f"The tour begins at {word}: {says}."
    if int(word) not in tour.neighbours[here]:
        if word == expected:
            return "invented", f"Back from {here} to {word}, along the edge that was invented on the way here."
        return "invented", f"From {here} to {word}: there is no such edge, it is invented; {says}."
    if word == expected:
        if move == "down":
            return "right", f"From {here} on to {word}: the edge has to be looked up in the text."
        return "right", f"Back from {here} to {word}, which stands in the tour already."
    return "order", f"From {here} to {word}: the edge is there, but {says}."


def _answer(word: str, truth: str) -> Step:
    meaning = "it is a tree" if truth == _ANSWERS[0] else "it is no tree"
    if word == truth:
        return Step(word, truth, "answer", "right", f"{word} is right: {meaning}.")
    kind = "answer" if word in _ANSWERS else "word"
    return Step(word, truth, "answer", kind, f"{word} is wrong: {meaning}.")


def places(edges: Edges) -> list[tuple[float, float]]:
    """Return a place on the circle of radius 1 for each node, in the order of a walk: a tree's edges do not cross.

    Raises:
        ValueError: as `judge`.
    """
    _check_edges(edges)
    neighbours, order = _Tour(edges).neighbours, []
    for start in neighbours:
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node not in order:
                order.append(node)
                waiting += reversed(neighbours[node])
    angles = {node: math.tau * (number / len(order) - 0.25) for number, node in enumerate(order)}
    return [(round(math.cos(angles[node]), 4), round(math.sin(angles[node]), 4)) for node in neighbours]


def graph_map(edges: Edges, words: str | None = None, title: str | None = None, ax=None, *, numbered: bool = False):
    """Draw a graph on a circle and, if there is one, a tour as arrows, red where it is wrong.

    Solid red arrows go where no edge is; dashed ones follow an edge that is not next.

    Args:
        edges: the graph, in the order in which its edges are read.
        words: a tour, as for `judge`; None for the graph alone.
        title: what the picture shows.
        ax: where to draw; None for a new figure.
        numbered: nodes in the order of their numbers round the circle, so that the picture gives nothing away.

    Returns:
        The Axes.

    Raises:
        ValueError: as `judge`.
    """
    steps = judge(edges, words or "")
    at = places(edges)
    if numbered:
        count = len(edges) + 1
        turns = [math.tau * (number / count - 0.25) for number in range(count)]
        at = [(math.cos(turn), math.sin(turn)) for turn in turns]
    if ax is None:
        ax = figure(4.2)[1]
    ax.set(xlim=(-1.2, 1.2), ylim=(1.2, -1.2), aspect="equal")  # the first node on top, as on the page
    ax.set_axis_off()
    for u, v in edges:
        ax.plot(*zip(at[u], at[v], strict=True), color=GREY, linewidth=1.6, zorder=1)
    here = None
    for step in steps:
        if not step.word.isdigit() or step.kind == "word":
            continue
        node = int(step.word)
        if here is not None and here != node:
            right = step.kind == "right"
            arrow = FancyArrowPatch(
                at[here],
                at[node],
                connectionstyle="arc3,rad=0.14",
                arrowstyle="-|>",
                mutation_scale=13,
                shrinkA=12,
                shrinkB=12,
                color=INK if right else WRONG,
                linewidth=1.3 if right else 2.6,
                linestyle=(0, (4, 2)) if step.kind == "order" else "-",
                zorder=2 if right else 3,
                gid=step.kind,
            )
            ax.add_patch(arrow)
        here = node
    for node, (x, y) in enumerate(at):
        ax.plot(x, y, "o", color="white", markeredgecolor=INK, markersize=21, markeredgewidth=1.2, zorder=4)
        ax.text(x, y, str(node), ha="center", va="center_baseline", fontsize=13, color=INK, zorder=5)
    if title is not None:
        set_title(ax, title)
    return ax


@dataclass(frozen=True, repr=False)
class TraceViewer(MovingFigure):
    """What `trace_viewer` returns; a notebook shows it as a page with radio buttons, a slider, Back and Next."""

    page = "trace.html"
    title = "A tour, word by word: red is what the graph does not allow"

    graphs: tuple[tuple[tuple[int, int], ...], ...]
    tours: Mapping[str, tuple[tuple[Step, ...], ...]]
    graph: int
    name: str

    def words(self) -> str:
        """Say who went wrong where, graph by graph."""
        lines = []
        for number in range(len(self.graphs)):
            found = [f"{name} {_first_mistake(tours[number])}" for name, tours in self.tours.items()]
            lines.append(f"Graph {number + 1}: {', '.join(found)}.")
        return " ".join(lines)

    def __repr__(self) -> str:
        return f"TraceViewer of {len(self.graphs)} graphs. {self.words()}"

    def data(self) -> dict:
        """Return the graphs, and every step of every tour."""
        graphs = [{"edges": edges, "places": places(edges)} for edges in self.graphs]
        # Pairs: a script's object has an order of its own for names that are numbers.
        tours = [(name, [[asdict(step) for step in steps] for steps in each]) for name, each in self.tours.items()]
        return {"graphs": graphs, "tours": tours, "start": {"graph": self.graph, "name": self.name}}

    def still(self):
        """Draw the tour that is shown first, as far as it goes."""
        words = " ".join(step.word for step in self.tours[self.name][self.graph])
        return graph_map(self.graphs[self.graph], words, f"The tour by {self.name}").figure


def trace_viewer(
    graphs: Sequence[Edges], tours: Mapping[str, Sequence[str]], *, graph: int = 0, name: str | None = None
) -> TraceViewer:
    """Return tours of graphs as a small page to step through, with mistakes in red: plain HTML, no kernel needed.

    The reader chooses a graph and whose tour of it to see, and goes through that word by word. "the rule" comes first
    among those who walk: it makes no mistakes.

    Args:
        graphs: edges in the order in which they are read, for each graph.
        tours: for each name, such as a model's, what it wrote about each graph, as for `judge`.
        graph: the number of the graph that is shown first, from 0.
        name: whose tour is shown first; the first of `tours` if not given, or the rule.

    Raises:
        ValueError: no graph, one that is not n - 1 edges, a tour missing, or a graph or a name to begin with that is
            not there.
    """
    graphs = tuple(tuple((int(u), int(v)) for u, v in edges) for edges in graphs)
    if not graphs:
        raise ValueError("There is no graph to show: give at least one.")
    if "the rule" in tours:
        raise ValueError('"the rule" is shown without being given: call the others by other names.')
    for who, texts in tours.items():
        if len(texts) != len(graphs):
            raise ValueError(f"{who} must have one tour for each of {len(graphs)} graphs, got {len(texts)}.")
    every = {"the rule": [right_tour(edges) for edges in graphs], **tours}
    judged = {who: tuple(map(judge, graphs, texts)) for who, texts in every.items()}
    name = next(iter(tours), "the rule") if name is None else name
    if name not in judged:
        raise ValueError(f"There is no tour by {name!r} to show: choose one of {', '.join(judged)}.")
    if graph not in range(len(graphs)):
        raise ValueError(f"There is no graph {graph} to show: choose one from 0 to {len(graphs) - 1}.")
    return TraceViewer(graphs, judged, graph, name)


def _first_mistake(steps: Sequence[Step]) -> str:
    for number, step in enumerate(steps, 1):
        if step.kind != "right":
            return f"goes wrong at word {number} ({step.word} for {step.expected})"
    if not steps or steps[-1].move != "answer":
        return "makes no mistake, but gives no answer"
    return "makes no mistake"


def _check_edges(edges: Edges) -> None:
    pairs = {frozenset(edge) for edge in edges}
    nodes = range(len(edges) + 1)
    if not edges or len(pairs) != len(edges) or any(len(pair) != 2 or not pair <= set(nodes) for pair in pairs):
        raise ValueError(
            f"A graph is n - 1 different edges between the nodes 0 to n - 1, got {len(edges)} edges: {list(edges)}."
        )


def _connected(edges: Edges) -> bool:
    neighbours = _Tour(edges).neighbours
    seen, waiting = {0}, [0]
    while waiting:
        for node in neighbours[waiting.pop()]:
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return len(seen) == len(neighbours)

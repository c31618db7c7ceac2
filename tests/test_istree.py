from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import nn

from relmem_lite.models import SequenceModel, stacked_model
from relmem_lite.tasks import Batch, IsTree
from relmem_lite.training.loop import evaluate

FORMATS = ["direct", "chain_of_thought", "retrieval"]
every_format = pytest.mark.parametrize("format", FORMATS)
MARKS = ["[PAD]", "[BOS]", "[EOS]", "-", "~", "[STARTSEARCH]", "[ENDSEARCH]", "[FAILED]", "TRUE", "FALSE"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(task, count, seed=0):
    """The samples of a batch as lists of words, with the words that are asked for."""
    inputs, targets, mask = task.sample(count, generator(seed))
    whole = torch.cat([inputs, targets[:, -1:]], dim=1)
    for row, wanted, marked in zip(whole, targets, mask, strict=True):
        yield task.read(row).split(), task.read(wanted[marked]).split()


def edges_of(words):
    """The edges of a graph in words, in their order."""
    graph = words[1 : words.index("[EOS]")]
    assert graph[1::3] == ["-"] * (len(graph) // 3)
    return [(int(u), int(v)) for u, v in zip(graph[::3], graph[2::3], strict=True)]


def is_tree(num_nodes, edges):
    """Union-find: a tree has n - 1 edges, and each of them joins two parts."""
    root = list(range(num_nodes))

    def find(node):
        while root[node] != node:
            node = root[node]
        return node

    for u, v in edges:
        if find(u) == find(v):
            return False
        root[find(u)] = find(v)
    return len(edges) == num_nodes - 1


def euler_tour(edges):
    """By the book: a recursive walk from node 0 that says whether it met a cycle."""
    tour, seen = [], set()

    def enter(node, father):
        seen.add(node)
        tour.append(str(node))
        for other in [v if u == node else u for u, v in edges if node in (u, v)]:
            if other == father:
                continue
            if other in seen or enter(other, node):
                return True
            tour.append(str(node))
        return False

    enter(0, None)
    return tour


@every_format
@pytest.mark.parametrize("num_nodes", [4, 5, 8, 16, 32])
def test_the_answer_is_true_for_trees_alone_as_union_find_proves(num_nodes, format):
    trees = 0
    for words, wanted in samples(IsTree(num_nodes, format), 300):
        edges = edges_of(words)
        assert len(edges) == num_nodes - 1
        assert words[-1] == wanted[-1] == ("TRUE" if is_tree(num_nodes, edges) else "FALSE")
        trees += words[-1] == "TRUE"
    # Standard deviation 8.7.
    assert abs(trees - 150) < 44


def test_a_graph_is_two_stars_that_one_more_edge_joins_or_closes_to_a_triangle():
    for words, _ in samples(IsTree(9), 300):
        edges = edges_of(words)
        assert all(u > v for u, v in edges)
        assert len(set(edges)) == 8
        degree = [sum(node in edge for edge in edges) for node in range(9)]
        # Without the extra edge, nodes other than the hubs have one neighbour each, and the hubs are strangers.
        extra = [
            edge
            for edge in edges
            if is_star_pair(9, [other for other in edges if other != edge]) and min(degree[node] for node in edge) >= 2
        ]
        assert extra, words


def is_star_pair(num_nodes, edges):
    """Whether all nodes but two hubs have exactly one neighbour, which is a hub, and the hubs are not neighbours."""
    nodes = range(num_nodes)
    return any(
        all(len({first, second} & {u, v}) == 1 for u, v in edges)
        and all(sum(node in edge for edge in edges) == 1 for node in nodes if node not in (first, second))
        for first in nodes
        for second in range(first)
    )


def test_half_of_the_graphs_are_trees():
    _, targets, mask = IsTree(5, "direct").sample(40_000, generator())
    # Standard deviation 0.0025; hubs of unequal chances, 0.4 and 0.6, would make 0.48 of them trees.
    assert (targets[mask] == MARKS.index("TRUE")).double().mean() == pytest.approx(0.5, abs=0.0125)


@pytest.mark.parametrize("num_nodes", [4, 5, 8])
def test_the_shortcut_is_the_best_that_the_numbers_of_neighbours_can_give(num_nodes):
    """Every graph whose first two nodes are the hubs, drawn as often as every other."""
    trees = Counter()
    for hubs in product((0, 1), repeat=num_nodes - 2):
        for place in range(num_nodes - 3):
            edges = [*zip(hubs, range(2, num_nodes), strict=True), (place + 2, place + 3)]
            degrees = sorted(Counter(node for edge in edges for node in edge).values())
            trees[tuple(degrees), is_tree(num_nodes, edges)] += 1
    kinds = {degrees for degrees, _ in trees}
    best = sum(max(trees[degrees, True], trees[degrees, False]) for degrees in kinds) / trees.total()
    assert IsTree(num_nodes, "direct").shortcut == pytest.approx(best)


def test_the_edge_that_joins_two_stars_stands_at_every_place_alike():
    places = torch.zeros(3)
    for words, _ in samples(IsTree(4, "direct"), 2000):
        edges = edges_of(words)
        degree = [sum(node in edge for edge in edges) for node in range(4)]
        middle = [place for place, (u, v) in enumerate(edges) if degree[u] == degree[v] == 2]
        if len(middle) == 1:  # a path of four nodes, whose ends are the hubs
            places[middle[0]] += 1
    assert places.sum() > 900
    # A third of about 1,000 each: standard deviation 15.
    assert (places - places.mean()).abs().max() < 75


def test_every_pair_of_nodes_is_joined_alike_and_every_node_stands_first_alike():
    counts = torch.zeros(6, 6)
    first = torch.zeros(6)
    for words, _ in samples(IsTree(6, "direct"), 3000):
        edges = edges_of(words)
        for u, v in edges:
            counts[u, v] += 1
        first[edges[0][0]] += 1
        first[edges[0][1]] += 1
    pairs = counts[*torch.tril_indices(6, 6, -1)]
    # 15 pairs share 5 x 3,000 edges: 1,000 each, with a standard deviation of at most 26.
    assert (pairs - 1000).abs().max() < 130
    # Each of 6 nodes at the ends of the first edge: 1,000 times, with a standard deviation of at most 26.
    assert (first - 1000).abs().max() < 130


@pytest.mark.parametrize("num_nodes", [4, 8, 16])
def test_a_chain_of_thought_is_the_euler_tour_in_the_order_of_the_edges_up_to_a_cycle(num_nodes):
    for words, wanted in samples(IsTree(num_nodes, "chain_of_thought"), 200):
        start = words.index("[EOS]") + 1
        end = words.index("[EOS]", start)
        assert words[start:end] == euler_tour(edges_of(words))
        assert words[end:] == ["[EOS]", words[-1]]
        assert wanted == words[start:]


@pytest.mark.parametrize("num_nodes", [4, 8, 16])
def test_a_retrieval_trace_replays_as_a_walk_whose_every_step_was_looked_up(num_nodes):
    """An independent reader: it follows the trace word by word, and answers the searches from the words alone."""
    for words, wanted in samples(IsTree(num_nodes, "retrieval"), 200):
        start = words.index("[EOS]") + 1
        end = words.index("[EOS]", start)
        edges, trace = edges_of(words), words[start:end]
        found, statements, visits, fathers = [], [], [], {}
        place = 0
        while place < len(trace):
            if trace[place] == "[STARTSEARCH]":
                closing = trace.index("[ENDSEARCH]", place)
                answer = looked_up(trace[place + 1 : closing], edges, fathers)
                assert trace[closing + 1] == answer, (words, place)
                found.append(closing + 1)
                place = closing + 2
            elif trace[place + 1] == "~":
                child, father = trace[place], trace[place + 2]
                assert child not in fathers
                fathers[child] = father
                statements.append((child, father))
                place += 3
            else:
                visits.append(trace[place])
                place += 1
        tour = euler_tour(edges)
        assert visits == tour
        entered = [(later, before) for before, later in pairwise(tour)]
        assert statements == [pair for number, pair in enumerate(entered) if pair[0] not in tour[: number + 1]]
        assert words[end:] == ["[EOS]", words[-1]]
        assert wanted == [word for place, word in enumerate(trace) if place not in found] + words[end:]


def looked_up(search, edges, fathers):
    """What a search in words finds: a father that was stated, or a neighbour in the order of the edges."""
    if search[1] == "~":
        return fathers.get(search[0], "[FAILED]")
    node = int(search[0])
    neighbours = [str(v if u == node else u) for u, v in edges if node in (u, v)]
    place = neighbours.index(search[2]) + 1 if len(search) > 2 else 0
    return [*neighbours, "[FAILED]"][place]


def test_a_small_graph_is_written_as_by_hand():
    path, knot = [(0, 1), (1, 3), (2, 1)], [(3, 1), (0, 3), (1, 0)]
    assert IsTree(4, "direct").read(IsTree(4, "direct").write(path)) == "[BOS] 1 - 0 3 - 1 2 - 1 [EOS] TRUE"
    thinking = IsTree(4, "chain_of_thought")
    assert thinking.read(thinking.write(path)) == "[BOS] 1 - 0 3 - 1 2 - 1 [EOS] 0 1 3 1 2 1 0 [EOS] TRUE"
    assert torch.equal(thinking.write(np.array(path)), thinking.write(path))
    assert thinking.read(thinking.write(knot)) == "[BOS] 3 - 1 3 - 0 1 - 0 [EOS] 0 3 1 [EOS] FALSE"
    apart = "[BOS] 3 - 2 3 - 1 2 - 1 [EOS] 0 [EOS] FALSE"
    assert thinking.read(thinking.write([(3, 2), (3, 1), (2, 1)])) == apart
    looking = IsTree(4, "retrieval")
    assert looking.read(looking.write(knot)).split("[EOS]")[1].split("[STARTSEARCH]") == [
        " 0 ",
        " 0 ~ [ENDSEARCH] [FAILED] ",
        " 0 - [ENDSEARCH] 3 ",
        " 3 ~ [ENDSEARCH] [FAILED] 3 ~ 0 3 ",
        " 3 ~ [ENDSEARCH] 0 ",
        " 3 - [ENDSEARCH] 1 ",
        " 1 ~ [ENDSEARCH] [FAILED] 1 ~ 3 1 ",
        " 1 ~ [ENDSEARCH] 3 ",
        " 1 - [ENDSEARCH] 3 ",
        " 1 - 3 [ENDSEARCH] 0 ",
        " 0 ~ [ENDSEARCH] [FAILED] ",
    ]


def test_the_same_graph_is_written_as_it_was_drawn():
    for format in FORMATS:
        task = IsTree(7, format)
        for words, _ in samples(task, 30):
            assert task.read(task.write(edges_of(words))).split() == words


LENGTHS = {
    ("direct", 16): (48, 48),
    ("direct", 32): (96, 96),
    ("direct", 64): (192, 192),
    ("chain_of_thought", 16): (70, 80),
    ("chain_of_thought", 32): (139, 160),
    ("chain_of_thought", 64): (276, 320),
    ("retrieval", 16): (424, 615),
    ("retrieval", 32): (848, 1255),
    ("retrieval", 64): (1801, 2535),
}


@pytest.mark.parametrize(("format", "num_nodes"), LENGTHS)
def test_lengths_are_those_of_the_papers_code(format, num_nodes):
    task = IsTree(num_nodes, format)
    assert task.num_tokens == num_nodes + 17
    _, targets, mask = task.sample(2000, generator())
    lengths = ((targets > 0).sum(1) + 1).float()
    mean, longest = LENGTHS[format, num_nodes]
    assert lengths.max() == longest == task.max_length
    # The paper's code drew fewer samples for its mean; a search's length spreads by half of it.
    assert lengths.mean() == pytest.approx(mean, rel=0.04 if format == "retrieval" else 0.02)
    assert (mask.int().argmax(1) == task.prompt_length - 1).all()


@every_format
def test_a_batch_asks_for_what_comes_after_the_graph_and_not_for_what_a_search_finds(format):
    task = IsTree(6, format)
    inputs, targets, mask = task.sample(20, generator())
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs.dtype == targets.dtype == torch.int64
    written = targets != MARKS.index("[PAD]")
    assert (written.int().diff(dim=1) <= 0).all(), "the padding is on the right"
    assert written.all(dim=0)[: task.prompt_length].all()
    expected = written & (inputs != MARKS.index("[ENDSEARCH]"))
    expected[:, : task.prompt_length - 1] = False
    assert torch.equal(mask, expected)
    assert targets.max() < task.num_tokens


@every_format
def test_a_batch_is_a_function_of_its_generator(format):
    task = IsTree(8, format)
    first, again, other = task.sample(10, generator(1)), task.sample(10, generator(1)), task.sample(10, generator(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.inputs[:, :23], other.inputs[:, :23])


def test_the_graphs_of_a_seed_are_the_same_in_every_format_and_version():
    graphs = [[edges_of(words) for words, _ in samples(IsTree(6, format), 4)] for format in FORMATS]
    assert graphs[0] == graphs[1] == graphs[2]
    assert graphs[0][0] == [(4, 3), (5, 0), (4, 2), (4, 1), (3, 2)]


def tokens_of(task, text):
    words = {task.read(torch.tensor([token])): token for token in range(task.num_tokens)}
    return torch.tensor([[words[word] for word in text.split()]])


def answer(task, text):
    token = int(task.retrieve(tokens_of(task, text)))
    return None if token == -1 else task.read(torch.tensor([token]))


def test_the_retriever_writes_what_the_samples_have_after_every_search_and_nothing_else():
    task = IsTree(8, "retrieval")
    inputs, targets, _ = task.sample(40, generator())
    searches = 0
    for time in range(task.prompt_length, inputs.shape[1]):
        found = task.retrieve(inputs[:, :time])
        ended = inputs[:, time - 1] == MARKS.index("[ENDSEARCH]")
        assert torch.equal(found, torch.where(ended, targets[:, time - 1], -1))
        searches += int(ended.sum())
    assert searches > 1000


GRAPH = "[BOS] 3 - 1 2 - 1 1 - 0 [EOS]"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("[STARTSEARCH] 1 - [ENDSEARCH]", "3"),
        ("[STARTSEARCH] 1 - 3 [ENDSEARCH]", "2"),
        ("[STARTSEARCH] 1 - 2 [ENDSEARCH]", "0"),
        ("[STARTSEARCH] 1 - 0 [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] 2 - 3 [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] 1 - 1 [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] 1 ~ [ENDSEARCH]", "[FAILED]"),
        ("1 ~ 3 [STARTSEARCH] 1 ~ [ENDSEARCH]", "3"),
        ("1 ~ 3 1 ~ 2 2 [STARTSEARCH] 1 ~ [ENDSEARCH]", "2"),
        ("1 ~ 3 2 ~ 1 [STARTSEARCH] 1 ~ [ENDSEARCH]", "3"),
        ("[STARTSEARCH] 1 ~ 3 [STARTSEARCH] 1 ~ [ENDSEARCH]", "[FAILED]"),
        ("1 ~ [FAILED] [STARTSEARCH] 1 ~ [ENDSEARCH]", "[FAILED]"),
        ("[ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] [ENDSEARCH]", "[FAILED]"),
        ("1 - [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] 1 - ~ [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] ~ - [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] - - 3 [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] 1 ~ 3 [ENDSEARCH]", "[FAILED]"),
        ("[STARTSEARCH] TRUE ~ [ENDSEARCH]", "[FAILED]"),
        ("", None),
        ("[STARTSEARCH] 1 -", None),
        ("[STARTSEARCH] 1 - [ENDSEARCH] 3", None),
    ],
)
def test_the_retriever_reads_the_context_and_fails_where_nothing_is_found(written, found):
    assert answer(IsTree(4, "retrieval"), f"{GRAPH} {written}") == found


def follows(task, text):
    """A model that goes on with `text` after any graph, word by word: it counts its steps."""
    script = tokens_of(task, text)[0]
    torch.manual_seed(0)
    model = stacked_model(["gru"], task, 3000)
    counter = {"time": 0}

    def forward(inputs, state=None, mask=None):
        _, state = SequenceModel.forward(model, inputs, state)
        counter["time"] = inputs.shape[1] - task.prompt_length + 1
        return logits(inputs if mask is None else inputs[mask]), state

    def step(inputs, state=None):
        _, state = SequenceModel.step(model, inputs, state)
        counter["time"] += 1
        return logits(inputs), state

    def logits(like):
        place = min(counter["time"], len(script)) - 1
        return nn.functional.one_hot(script[place], task.num_tokens).float().expand(*like.shape, -1)

    model.forward, model.step = forward, step
    return model


@every_format
def test_a_model_that_writes_one_sample_by_heart_is_right_about_it_alone(format):
    task = IsTree(4, format)
    batch = task.sample(60, generator())
    whole = torch.cat([batch.inputs, batch.targets[:, -1:]], dim=1)
    words = task.read(whole[0]).split()
    after = words[words.index("[EOS]") + 1 :]
    scores = evaluate(follows(task, " ".join(after)), task, batch, chunk=7)
    texts = [task.read(row).split() for row in whole]
    same = sum(text[len(words) - len(after) :] == after for text in texts) / 60
    assert scores["accuracy"] == pytest.approx(sum(text[-1] == after[-1] for text in texts) / 60)
    assert scores["trace"] == (None if format == "direct" else pytest.approx(same))
    assert scores["tokens"] == len(after)
    assert set(scores) == {"accuracy", "teacher_forced", "trace", "tokens"}


@every_format
def test_an_answer_that_does_not_come_is_a_wrong_one(format):
    task = IsTree(4, format)
    scores = evaluate(follows(task, "0 0 0"), task, task.sample(5, generator()))
    assert scores["accuracy"] == 0
    assert scores["tokens"] == task.max_length - task.prompt_length


def test_what_a_search_finds_is_written_for_the_model_and_in_retrieval_alone():
    """A script whose word after [ENDSEARCH] is wrong: the retriever's stands in its place."""
    task = IsTree(4, "retrieval")
    words = task.read(task.write([(1, 0), (3, 1), (2, 1)])).split()
    after = words[words.index("[EOS]") + 1 :]
    spoilt = ["2" if before == "[ENDSEARCH]" else word for before, word in zip(["", *after], after, strict=False)]
    assert spoilt != after
    batch = batch_of(task, task.write([(1, 0), (3, 1), (2, 1)]))
    scores = evaluate(follows(task, " ".join(spoilt)), task, batch)
    assert (scores["accuracy"], scores["trace"]) == (1, 1)
    thinking = IsTree(4, "chain_of_thought")
    batch = batch_of(thinking, thinking.write([(1, 0), (3, 1), (2, 1)]))
    assert evaluate(follows(thinking, "[ENDSEARCH] TRUE"), thinking, batch)["tokens"] == 2


def batch_of(task, tokens):
    mask = (torch.arange(len(tokens) - 1) >= task.prompt_length - 1) & (tokens[:-1] != MARKS.index("[ENDSEARCH]"))
    return Batch(tokens[None, :-1], tokens[None, 1:], mask[None])


@every_format
def test_teacher_forcing_scores_the_answer_alone(format):
    task = IsTree(5, format)
    batch = task.sample(40, generator())
    logits = torch.zeros(int(batch.mask.sum()), task.output_size)
    logits[:, MARKS.index("TRUE")] = 1
    trees = sum(words[-1] == "TRUE" for words, _ in samples(task, 40))
    assert task.scores(logits, batch) == {"teacher_forced": trees / 40}
    torch.manual_seed(0)
    model = stacked_model(["gru"], task, 3000)
    expected = task.scores(model(batch.inputs, mask=batch.mask)[0], batch)["teacher_forced"]
    assert evaluate(model, task, batch, chunk=16)["teacher_forced"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IsTree(3), "num_nodes must be at least 4, got 3"),
        (lambda: IsTree(8.0), "num_nodes must be a whole number, got 8.0"),
        (lambda: IsTree(8, "retreival"), "no format of IsTree 'retreival'. Did you mean 'retrieval'"),
        (lambda: IsTree(8).sample(0, generator()), "batch_size must be at least 1, got 0"),
        (lambda: IsTree(4).write([(0, 1), (1, 2)]), r"IsTree\(4\) has 3 different edges"),
        (lambda: IsTree(4).write([(0, 1), (1, 2), (1, 0)]), r"IsTree\(4\) has 3 different edges"),
        (lambda: IsTree(4).write([(0, 1), (1, 2), (4, 0)]), "nodes from 0 to 3, got 4 - 0"),
        (lambda: IsTree(4).write([(0, 1), (1, 2), (3, 3)]), "joins two nodes from 0 to 3, got 3 - 3"),
        (lambda: IsTree(4).write([(0, 1), (1, 2), (3, 1, 2)]), r"two whole numbers.*got \(3, 1, 2\)"),
        (lambda: IsTree(4).write([1, 2, 3]), r"two whole numbers.*got 1"),
        (lambda: IsTree(4).write([(0, 1), (1, 2), (3.0, 1)]), r"two whole numbers.*got \(3\.0, 1\)"),
        (lambda: IsTree(4).read(torch.tensor([30])), "tokens .* from 0 to 20"),
        (lambda: IsTree(4).read(torch.zeros(2, 3)), r"shape \(2, 3\)"),
    ],
)
def test_what_is_no_graph_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("other", [4, 16])
def test_graphs_of_another_size_are_refused(other):
    """A graph of 8 nodes where 4 or 16 are expected, and the other way round."""
    task, batch = IsTree(8, "retrieval"), IsTree(other, "retrieval").sample(3, generator())
    with pytest.raises(ValueError, match=rf"graph of 8 nodes, 23 tokens .* after {3 * other - 1} tokens.*IsTree\(n\)"):
        task.retrieve(batch.inputs)
    torch.manual_seed(0)
    model = stacked_model(["gru"], IsTree(16, "retrieval"), 3000)
    with pytest.raises(ValueError, match="graph of 8 nodes"):
        evaluate(model, task, batch)
    with pytest.raises(ValueError, match=r"got a tensor of shape \(1, 5\)"):
        task.retrieve(batch.inputs[:1, :5])
    with pytest.raises(ValueError, match=r"got a tensor of shape \(23,\)"):
        task.retrieve(batch.inputs[0, :23])

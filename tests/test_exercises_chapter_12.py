"""The right answers to chapter 12's exercises, and the wrong ones that students give, each with its sentence."""

import numpy as np
import pytest
import torch

from relmem_lite.exercises import check
from relmem_lite.models import Stack
from relmem_lite.tasks import IsTree


def says(name, answer, words):
    verdict = check(name, answer)
    assert verdict.status == "not yet", verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "name", ["12.1-retriever", "12.2-place-the-layer", "12.3-long-context", "12.4-count-the-tokens"]
)
def test_the_stub_is_unanswered(name):
    assert check(name, ...).status == "unanswered"
    assert check("12.1-retriever", lambda words: ...).status == "unanswered"


def neighbours_of(words):
    """The node that is asked about, the one after which it is asked for or None, and the neighbours in order."""
    graph = words[1 : words.index("[EOS]")]
    after = words[-2] if words[-2] != "-" else None
    node = words[-3] if after is None else words[-4]
    edges = list(zip(graph[0::3], graph[2::3], strict=True))
    return node, after, edges, [v if node == u else u for u, v in edges if node in (u, v)]


def right(words):
    _, after, _, others = neighbours_of(words)
    place = 0 if after is None else others.index(after) + 1
    return others[place] if place < len(others) else "[FAILED]"


def test_the_retriever_is_right():
    check("12.1-retriever", right, strict=True)


def round_and_round(words):
    _, after, _, others = neighbours_of(words)
    return others[0] if after is None else others[(others.index(after) + 1) % len(others)]


def the_same_again(words):
    _, after, _, _ = neighbours_of(words)
    return right(words) if after is None or right(words) == "[FAILED]" else after


def left_ends_only(words):
    node, after, edges, _ = neighbours_of(words)
    others = [v for u, v in edges if u == node]
    place = others.index(after) + 1 if after in others else 0
    return others[place] if place < len(others) else "[FAILED]"


def itself(words):
    return neighbours_of(words)[0]


def sorted_neighbours(words):
    _, after, _, others = neighbours_of(words)
    others = sorted(others)
    place = 0 if after is None else others.index(after) + 1
    return others[place] if place < len(others) else "[FAILED]"


def some_other_node(words):
    node, _, _, others = neighbours_of(words)
    return next(str(n) for n in range(8) if str(n) != node and str(n) not in others)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (round_and_round, "the last neighbour"),
        (the_same_again, "one after it"),
        (left_ends_only, "on the"),
        (itself, "the node itself"),
        (sorted_neighbours, "order"),
        (some_other_node, "no neighbour of"),
        (lambda words: 3, "return one word"),
        (lambda words: "none", "is no node"),
        ("3", "is a function"),
    ],
)
def test_the_retriever_names_the_mistake(answer, words):
    says("12.1-retriever", answer, words)


@pytest.mark.parametrize("answer", ["BCD", "dcb", ["B", "C", "D"], "B, C, D", np.array(["B", "C", "D"])])
def test_place_the_layer_is_right(answer):
    check("12.2-place-the-layer", answer, strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("ABCD", "bare tokens"),
        ("BCDE", "far below the bound"),
        ("BD", "C can"),
        ("CD", "B can, too"),
        ("BC", "D can, too"),
        ("XYZ", "letters are A to E"),
        (3, "Answer with letters"),
    ],
)
def test_place_the_layer_names_the_mistake(answer, words):
    says("12.2-place-the-layer", answer, words)


def test_a_long_context_is_right():
    hybrid = Stack(["min_gru", "attention"], 64, convolution=0)
    check("12.3-long-context", 4 * hybrid.state_size(100_000), strict=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (64 + 2 * 64 * 100_000, "4 bytes"),
        (32 * (64 + 2 * 64 * 100_000), "Those are bits"),
        (4 * (64 + 64 * 100_000), "a key and a value"),
        (4 * 2 * 64 * 100_000, "keeps 64 numbers besides"),
        (4 * 4 * 64 * 100_000, "two attention layers"),
        (4 * 3 * 64 * 100_000, "kept once"),
        (4 * (64 + 3 * 64 * 100_000), "Queries are not kept"),
        (1000, "too small"),
    ],
)
def test_a_long_context_names_the_mistake(answer, words):
    says("12.3-long-context", answer, words)


def test_count_the_tokens_is_right():
    for answer in ((14, 3), [14, 3], np.array([14, 3]), torch.tensor([14, 3])):
        check("12.4-count-the-tokens", answer, strict=True)
    task = IsTree(4, "retrieval")
    words = task.read(task.write([(1, 0), (2, 0), (3, 1)])).split()
    start = next(i for i in range(len(words)) if words[i - 3 : i + 1] == ["2", "~", "0", "2"])
    leaf = words[start : words.index("[FAILED]", start) + 1]
    found = leaf.count("[ENDSEARCH]")
    assert (len(leaf) - found, found) == (14, 3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((3, 14), "other way round"),
        ((17, 3), "all the words"),
        ((9, 2), "One search is missing"),
        ((13, 3), "the leaf itself"),
        ((15, 3), "belongs to u"),
        ((14, 2), "[FAILED] included"),
        ((20, 3), "too large"),
        ((14, 7), "asks 3 times"),
        (17, "Give two numbers"),
    ],
)
def test_count_the_tokens_names_the_mistake(answer, words):
    says("12.4-count-the-tokens", answer, words)

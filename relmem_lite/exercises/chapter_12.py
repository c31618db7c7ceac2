"""Checks for the exercises of chapter 12, retrieval and one attention layer."""

import numpy as np
import torch

from relmem_lite.exercises import compare, describe, exercise, matches
from relmem_lite.tasks import IsTree

_FAILED = "[FAILED]"


@exercise("12.1-retriever")
def retriever(answer):
    """The first neighbour of v in the order of the edges, or the one after u, or [FAILED]."""
    if not callable(answer):
        return f"The answer is a function of the words so far that returns one word; this is {describe(answer)}."
    for words, expected in _searches():
        given = answer(list(words))
        search = " ".join(words[_start(words) :])
        if not isinstance(given, str):
            return f"For {search} you returned {describe(given)}: return one word, such as '3' or '{_FAILED}'."
        if given != expected:
            return _retriever_mistake(words, search, given, expected)
    return None


def _retriever_mistake(words: list[str], search: str, given: str, expected: str) -> str:
    graph, start = words[1 : words.index("[EOS]")], _start(words)
    node, after = words[start + 1], words[start + 3] if words[-2] != "-" else None
    pairs = list(zip(graph[0::3], graph[2::3], strict=True))
    others = [v if node == u else u for u, v in pairs if node in (u, v)]
    says = f"For {search} you returned {given}"
    if expected == _FAILED and after is None:
        return f"{says}, but {node} stands in no edge: the answer is {_FAILED}."
    if expected == _FAILED:
        return f"{says}, but {after} is the last neighbour of {node}: there is none after it, which is {_FAILED}."
    if given == after:
        return f"{says}, the neighbour that was found before: the one after it is asked for."
    if given == _FAILED:
        left = any(node == u for u, _ in pairs)
        side = "right" if left and expected in [u for u, v in pairs if v == node] else "left"
        return f"{says}, but there is one: {node} may stand on the {side} of its edge as well."
    if given == node:
        return f"{says}, which is the node itself: the other end of the edge is asked for."
    if given in others and after is not None and others.index(given) < others.index(after):
        return f"{says}, which comes before {after} in the order of the edges."
    if given in others:
        return f"{says}, a neighbour, but not the next one in the order in which the edges were read."
    if given.isdigit():
        return f"{says}, which is no neighbour of {node}: look at the three words of one edge at a time."
    return f"{says}, which is no node."


def _start(words: list[str]) -> int:
    """Where the last search begins."""
    return len(words) - 1 - words[::-1].index("[STARTSEARCH]")


def _searches() -> list[tuple[list[str], str]]:
    """Searches for neighbours in true traces of a few graphs, and what they find."""
    task, found = IsTree(8, "retrieval"), []
    batch = task.sample(12, torch.Generator().manual_seed(0))
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        words = task.read(torch.cat([inputs[:1], targets])).split()
        ends = [place for place, word in enumerate(words) if word == "[ENDSEARCH]" and words[place - 1] != "~"]
        found += [(words[: place + 1], words[place + 1]) for place in ends]
    return found


@exercise("12.2-place-the-layer")
def place_the_layer(answer):
    """Attention must have a layer below it that sees the previous token: B, C and D."""
    if isinstance(answer, np.ndarray):
        answer = answer.ravel().tolist()
    if isinstance(answer, list | tuple | set):
        answer = "".join(map(str, answer))
    if not isinstance(answer, str):
        return f"Answer with letters, such as 'AB'; this is {describe(answer)}."
    letters = {letter for letter in answer.upper() if letter.isalpha()}
    if not letters or letters - set("ABCDE"):
        return f"The letters are A to E; you gave {answer!r}."
    if "E" in letters:
        return "E keeps a state of fixed size, far below the bound: no number of layers helps it to 64 pairs."
    if "A" in letters:
        return (
            "A can't: its attention reads bare tokens, so nothing at the value's place says which key came before it; "
            "what the layers above write comes too late."
        )
    if "C" not in letters:
        return "C can: the layer below the attention sees the previous token; that is all that is needed."
    if "B" not in letters:
        return "B can, too: one layer below the attention is enough, and one above it does no harm."
    if "D" not in letters:
        return "D can, too: with positions, the first attention layer can look one step back for the second."
    return None


@exercise("12.3-long-context")
def long_context(answer):
    """4 * (64 + 2 * 64 * 100,000) bytes."""
    length, width = 100_000, 64
    right = 4 * (width + 2 * width * length)
    known = [
        (right / 4, "Those are the numbers that are kept: a float32 has 4 bytes."),
        (8 * right, "Those are bits: a byte has 8 of them."),
        (right / 2, "A float32 has 4 bytes, not 2."),
        (4 * (width + width * length), "Each token leaves a key and a value: two vectors of 64 numbers, not one."),
        (4 * width * length, "Each token leaves a key and a value, two vectors of 64; and minGRU keeps its state."),
        (4 * 2 * width * length, "That is attention's cache; minGRU keeps 64 numbers besides, once."),
        (4 * 4 * width * length, "Those are two attention layers: one of the two is minGRU, which keeps 64 numbers."),
        (4 * 3 * width * length, "minGRU's 64 numbers are kept once, not for each token."),
        (4 * 2 * width, "That is what both would keep of one token; attention keeps all 100,000."),
        (4 * (width + 3 * width * length), "Queries are not kept: a token's query is used once, at its own step."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=1e-7, atol=0):
            return sentence
    # A hybrid's bytes differ from its cache's alone in the sixth digit.
    return compare(answer, right, rtol=1e-9, atol=0)


@exercise("12.4-count-the-tokens")
def count_the_tokens(answer):
    """A leaf costs 14 words of the model and 3 of the retriever."""
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        return f"Give two numbers, the model's words and the retriever's; this is {describe(answer)}."
    model, found = answer
    if matches([model, found], [14, 3]):
        return None
    known = [
        ((3, 14), "The other way round: first the model's words, then the retriever's."),
        ((17, 3), "17 are all the words; those that the retriever wrote are not the model's."),
        ((17, 0), "17 are all the words; after each [ENDSEARCH] the retriever writes one of them."),
        ((9, 2), "One search is missing: the first neighbour of the leaf is its father, so the tour asks once more."),
        ((10, 2), "One search is missing: the first neighbour of the leaf is its father, so the tour asks once more."),
        ((13, 3), "One word is missing: the tour writes the leaf itself, before the first search."),
        ((12, 3), "Of the three searches one has four words and two have five (with [STARTSEARCH] and [ENDSEARCH])."),
        ((15, 3), "One too many: what comes after the last [FAILED] belongs to u."),
        ((18, 3), "The statement v ~ u comes before: count from the v after it."),
        ((18, 4), "The statement and the search before it belong to u: count from the v after v ~ u."),
        ((14, 2), "Each of the three searches is answered, [FAILED] included."),
        ((11, 3), "The marks [STARTSEARCH] and [ENDSEARCH] are words, too, and the model writes both."),
    ]
    for wrong, sentence in known:
        if matches([model, found], list(wrong)):
            return sentence
    if not matches(found, 3):
        return f"The retriever writes one word after each [ENDSEARCH]: the leaf asks 3 times, you have {found}."
    return compare(model, 14, "the number of the model's words")

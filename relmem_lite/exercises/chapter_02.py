"""Checks for the exercises of chapter 2, attention over memory slots."""

import math

import torch

from relmem_lite.core import Core
from relmem_lite.cores import RelationalMemory
from relmem_lite.exercises import compare, describe, exercise, matches
from relmem_lite.experiments.port_mistakes import MISTAKES, PortedMemory


@exercise("02.1-strategy")
def strategy(answer):
    """K = 5: answer m at n = K, guess among all labels, m too, at the other n: 1/5 + 4/5 * 1/5 = 0.36."""
    if matches(answer, 36) or matches(answer, "36%"):
        return "That is the right share in percent: give it as a number from 0 to 1."
    if matches(answer, 2 / 5):
        return (
            "0.4 is the shortcut 2/K, whose guess leaves out m: this model guesses among all 5 labels, and wastes some."
        )
    if matches(answer, 1 / 5):
        return "0.2 is chance: it leaves out that this model knows the answer whenever n = K."
    if matches(answer, 1 / 5 + 1 / 25) or matches(answer, 1 / 25):
        return "The guess is made in 4 of 5 questions: weigh its 1/5 by 4/5, and add those that answer themselves."
    if matches(answer, 4 / 25):
        return "That is the part from guessing: add the 1 in 5 questions that answer themselves."
    if matches(answer, 1 / 3):
        return "1/3 would be 5 of 15: count the two cases, n = K and n < K, with their shares 1/5 and 4/5."
    return compare(answer, 9 / 25)


@exercise("02.2-shuffle")
def shuffle(answer):
    """Which statements survive a shuffle of the slots: a, c and e."""
    if isinstance(answer, str):
        answer = [letter for letter in answer.lower() if letter.isalpha()]
    if not isinstance(answer, set | frozenset | list | tuple) or not all(isinstance(each, str) for each in answer):
        return f'Give the letters as a string, such as "bd"; this is {describe(answer)}.'
    chosen = {each.strip().lower() for each in answer}
    if not chosen <= set("abcde"):
        return 'The statements have the letters a to e: name those that stay true, and nothing else, such as "bd".'
    if "b" in chosen:
        return "b: the output is the memory's rows one after another, so a row that moved moves its numbers too."
    if "d" in chosen:
        return "d: the head has its own weights for each place in the output, so it takes one slot for another."
    if "a" not in chosen:
        return "a: the step treats every row alike, so shuffled rows come out as the same rows, shuffled."
    if "c" not in chosen:
        return "c: the rows are the same up to their order, and a sum does not look at the order."
    if "e" not in chosen:
        return "e: a row carries its query with it, so it gives the input the same weight at whichever place it stands."
    return None


@exercise("02.3-count")
def count(answer):
    """How many numbers a relational memory learns, as a function of its sizes."""
    if not callable(answer):
        return f"The answer is a function of the four sizes; this is {describe(answer)}."
    for sizes in ((10, 4, 4, 16), (7, 3, 2, 5), (40, 8, 8, 32)):
        given = answer(*sizes)
        parts = _parts(*sizes)
        message = _count_mistake(given, sizes, parts)
        if message is not None:
            return message
    return None


def _parts(input_size, num_slots, num_heads, head_size):
    width = num_heads * head_size
    return {
        "embed": input_size * width + width,
        "qkv": width * 3 * width + 3 * width,
        "qkv_norm": 2 * 3 * width,
        "row_norms": 2 * 2 * width,
        "mlp": 2 * (width * width + width),
        "gates": 2 * (width * 2 * width + 2 * width),
    }


def _count_mistake(given, sizes, parts):
    input_size, num_slots, num_heads, head_size = sizes
    width, total = num_heads * head_size, sum(parts.values())
    if matches(given, total, rtol=0, atol=0.5):
        return None
    in_rows = total - parts["embed"]
    biases = width + 3 * width + 2 * width + 4 * width
    wrong = [
        (
            [total * num_slots, parts["embed"] + num_slots * in_rows],
            "You multiplied by the number of slots: all rows go through the same weights, so no slot adds any.",
        ),
        ([total + num_slots * width], "The initial memory is the identity and is not learned: leave its S * D out."),
        (
            [total - parts["mlp"] // 2],
            "You counted one MLP layer: there are two, each with weights of its own.",
        ),
        (
            [total - biases],
            "You left out the biases or the LayerNorms (10 D each, by chance): a map from a to b features has "
            "a * b + b parameters, and a LayerNorm has a gain and a bias for every feature.",
        ),
        ([total - parts["embed"]], "You left out the map that embeds the input to the width of a row."),
        ([total - 3 * width], "You left out the bias of the map to queries, keys and values: 3 D more."),
        (
            [total - parts["qkv_norm"], total - parts["qkv_norm"] + 2 * width],
            "The first LayerNorm works on the whole vector of queries, keys and values, 3 D features: it has 2 * 3 D.",
        ),
        (
            [total - parts["row_norms"], total - parts["row_norms"] // 2],
            "There are two LayerNorms of D features besides the first: one after attention, one after the MLP.",
        ),
        (
            [total - parts["gates"]],
            "You left out the gates: two linear maps, one from the input row and one from the memory rows.",
        ),
        (
            [total - parts["gates"] // 2],
            "You counted half the gates: the input row has a map and the memory rows have one, each to both gates.",
        ),
        (
            [total - parts["gates"] + 2 * (2 * width + 2)],
            'You counted one gate a row, as gate="memory" has: here every feature has its own, so the maps go to 2 D.',
        ),
        (
            [total + parts["gates"] // 2],
            "You counted three gates: there is no output gate, only an input and a forget gate.",
        ),
        (
            [total + width * width + width],
            "You counted a map after attention: there is no output projection.",
        ),
        (
            [total - parts["qkv"] + num_heads * parts["qkv"]],
            "You multiplied queries, keys and values by the heads once too often: H heads of V features are D in all.",
        ),
        (
            [total - parts["qkv"] + width * 3 * head_size + 3 * head_size],
            "Your map to queries, keys and values serves one head: H heads need 3 D outputs, not 3 V.",
        ),
    ]
    for values, sentence in wrong:
        if any(matches(given, value, rtol=0, atol=0.5) for value in values):
            return sentence
    if isinstance(given, int | float):
        return (
            f"For input size {input_size}, {num_slots} slots and {num_heads} heads of {head_size} it gives "
            f"{given:,.0f}, {abs(total - given):,.0f} too {'few' if given < total else 'many'}: "
            "go through `core.named_parameters()` line by line."
        )
    return compare(given, total)


@exercise("02.4-attend")
def attend(answer):
    """softmax(q k^T / sqrt(K)) v among S queries and S + 1 rows."""
    if not callable(answer):
        return f"The answer is a function of queries, keys and values; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(*shape, generator=generator) for shape in ((3, 5), (4, 5), (4, 2)))
    given = answer(queries, keys, values)
    products = queries @ keys.T

    def attended(scores, rows=values):
        return scores.softmax(-1) @ rows

    scaled = products / math.sqrt(5)
    known = [
        (scaled.softmax(0) @ values, "The softmax runs over the wrong axis: the S + 1 weights of each query sum to 1."),
        (attended(products), "The scores are not scaled: divide by sqrt(K), or the softmax saturates when K is large."),
        (
            attended(products / 5),
            "You divided by K: a sum of K products of spread 1 has spread sqrt(K), its square root.",
        ),
        (attended(products * math.sqrt(5)), "You multiplied by sqrt(K): divide by it."),
        (
            attended(products / math.sqrt(2)),
            "You scaled by sqrt(V): the products are sums over the K features of a key.",
        ),
        (
            attended(products / math.sqrt(4)),
            "You scaled by the number of rows: K is the last dimension of the queries.",
        ),
        (
            attended(products / math.sqrt(3)),
            "You scaled by the number of slots: K is the last dimension of the queries.",
        ),
        (
            attended(scaled[:, :-1], values[:-1]),
            "The input row is left out: every slot reads all S + 1 rows, the last too.",
        ),
        (scaled @ values, "The softmax is missing: these are the scores times the values."),
        (scaled.softmax(-1), "These are the weights: multiply them with the values."),
        (products.softmax(-1) / math.sqrt(5) @ values, "You scaled after the softmax, so that no weights sum to 1."),
        (attended(-scaled), "The sign of the scores is turned: a large product must mean a large weight."),
    ]
    for wrong, sentence in known:
        if matches(given, wrong):
            return sentence
    message = compare(given, attended(scaled), "what your function returns")
    if message is not None:
        return message
    large = answer(1000 * queries, keys, values)
    if not torch.as_tensor(large).isfinite().all():
        return "It overflows on large inputs: subtract each row's maximum before the exponential, as `softmax` does."
    return None


class _Stranger(Core):
    """A port with a mistake that its name does not give away."""

    def __init__(self, port: PortedMemory):
        super().__init__(port.input_size, port.output_size, port.state_shapes)
        self._port = port

    def step(self, input, state=None):
        return self._port.step(input, state)

    def initial_state(self, batch_size):
        return self._port.initial_state(batch_size)


_STRANGERS = ("wide_scale", "detached")


def strangers(core: RelationalMemory) -> list[Core]:
    """Return two ports of `core` with the core's weights, each with one of `MISTAKES` in it."""
    return [_Stranger(PortedMemory.like(core, mistake)) for mistake in _STRANGERS]


@exercise("02.5-strangers")
def name_the_mistakes(answer):
    """The mistakes of the two strangers, by name."""
    if isinstance(answer, str) or not isinstance(answer, list | tuple) or len(answer) != 2:
        return f"Give two names, one for each stranger, in a tuple; this is {describe(answer)}."
    first, second = answer
    for each in answer:
        if not isinstance(each, str) or each not in MISTAKES:
            return f"{each!r} is not one of the mistakes: {', '.join(MISTAKES)}."
    if (second, first) == _STRANGERS:
        return "Both names are right, in the other order."
    if first != _STRANGERS[0]:
        if first == "detached":
            return "A detached memory changes no output, and the first stranger's outputs differ from the core's."
        if first in ("last_relu", "unused_norm"):
            return (
                f"{first} fits the first stranger's number of parameters, but not its outputs: "
                "compare them with those of `PortedMemory.like(core, name)`."
            )
        return f"{first} fits no better than others: its outputs are not the first stranger's, with the same weights."
    if second != _STRANGERS[1]:
        return f"The second stranger's outputs equal the core's, and {second} would change them: look at its gradients."
    return None

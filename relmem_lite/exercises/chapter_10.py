"""Checks for the exercises of chapter 10, how much a state can recall."""

import math

import torch

from relmem_lite.exercises import AnswerRaised, NotWrittenYet, compare, describe, exercise, matches
from relmem_lite.tasks import accuracy_within


@exercise("10.1-phone-book")
def phone_book(answer):
    """A thousand numbers of seven digits, their names known: 7,000 log2(10) bits."""
    bits = 7000 * math.log2(10)
    known = [
        (bits / 1000, "That is one number's share; there are a thousand, and any may be asked for."),
        (bits / 7, "That is a thousand digits; each number has seven."),
        (math.log2(1000 * 10**7), "That picks one entry of a book: multiply the books' counts, so add their bits."),
        (7000 * math.log(10), "That is with the natural logarithm; bits count halvings, so take log2."),
        (7000.0, "A digit has ten choices, not two: how many bits is that?"),
        (
            28000.0,
            "Four bits would be one choice of sixteen; a digit is one of ten, and states are counted as a whole.",
        ),
        (1000 * math.log2(7), "Seven digits are 10 to the power 7 choices, not 7."),
        (bits + 1000 * math.log2(1000), "Everybody knows the names: only the numbers have to be kept."),
        (bits / 8, "That is in bytes; the question is about bits."),
        (bits / 32, "That is in floats of 32 bits; the question is about bits."),
    ]
    for wrong, sentence in known:
        if matches(answer, wrong, rtol=1e-5):
            return sentence
    # A whole number of bits, rounded up, is as right.
    return None if matches(answer, math.ceil(bits), rtol=0, atol=0.01) else compare(answer, bits)


@exercise("10.2-bits-to-pairs")
def bits_to_pairs(answer):
    """The largest n with n log2(C) at most numbers * bits."""
    if not callable(answer):
        return f"The answer is a function of numbers, bits and C; this is {describe(answer)}."
    for numbers, bits, C in ((512, 16, 64), (512, 16, 10), (3, 8, 16), (1, 4, 64), (100, 32, 1000)):
        given, state = answer(numbers, bits, C), numbers * bits
        pairs = math.floor(state / math.log2(C) + 1e-9)
        if matches(given, pairs):
            continue
        gives = describe(given).removeprefix("the number ")
        case = f"For {numbers} numbers of {bits} bits and C = {C} it gives {gives}"
        mistakes = [
            (math.ceil(state / math.log2(C)), "the last pair does not fit whole, so round down"),
            (state / math.log2(C), "pairs are whole, so round down"),
            (math.floor(numbers * 32 / math.log2(C)), "that is with 32 bits for each number; their size is given"),
            (math.floor(numbers / math.log2(C)), "that is with one bit for each number; their size is given"),
            (math.floor(state / C), "C is the number of choices, and a value takes log2(C) bits"),
            (math.floor(state / math.log(C)), "the logarithm must be to base 2"),
            (2**state // C, "multiplying choices adds bits: divide the bits by log2(C)"),
            (math.floor(state / (2 * math.log2(C))), "the keys are not counted here: the values alone must fit"),
        ]
        for wrong, sentence in mistakes:
            if matches(given, wrong):
                return f"{case}: {sentence}."
        return f"{case}, where {pairs} pairs fit."
    return None


@exercise("10.3-one-bit")
def one_bit(answer):
    """The best mean accuracy of n coins from one bit: say which side the majority has."""
    if not callable(answer):
        return f"The answer is a function of n that returns an accuracy; this is {describe(answer)}."
    for n in (1, 3, 2, 4, 5):
        given, best = answer(n), _majority(n)
        if matches(given, best):
            continue
        case = f"For n = {n} it gives {describe(given).removeprefix('the number ')}"
        mistakes = [
            (0.5 + 0.5 / n, "that is to keep one coin and guess the rest; is there a bit that tells something of all?"),
            (accuracy_within(1, n, 2), "that is the bound, which so few coins do not reach; try all memories"),
            (best * n, "that is the number of right answers; divide by n"),
            (0.5, "that is without the bit: two states may have two different lists of answers"),
            (1 / n, "that counts the coin that was kept, and the others are right half of the time"),
            (1.0, "one bit can't name all histories: is each history scored with the list of its own state?"),
        ]
        for wrong, sentence in mistakes:
            if matches(given, wrong):
                return f"{case}: {sentence}{'' if sentence.endswith('?') else '.'}"
        return f"{case}, which is not the best of all memories of one bit."
    return None


def _majority(n: int) -> float:
    """Share of coins that are right, if all are said to lie as the majority does."""
    return sum(math.comb(n, heads) * max(heads, n - heads) for heads in range(n + 1)) / (n * 2**n)


@exercise("10.4-linear-memory")
def linear_memory(answer):
    """Write sum of k v^T, read q S."""
    if not callable(answer):
        return f"The answer is a function of keys, values and questions; this is {describe(answer)}."
    generator = torch.Generator().manual_seed(0)
    keys = torch.linalg.qr(torch.randn(8, 5, generator=generator))[0].T.contiguous()  # five, orthogonal
    values = torch.randn(5, 3, generator=generator)
    order = torch.tensor([3, 0, 4, 1])
    try:
        given = answer(keys, values, keys[order])
    except NotWrittenYet:
        raise
    except AnswerRaised:
        if _is_transposed(answer):
            return "S lies on its side, (V, K): it is the sum of k v^T, so that the key comes first and S has K rows."
        raise
    if getattr(given, "shape", None) != (4, 3):
        return f"For 4 questions and values of 3 numbers return a tensor (4, 3); you returned {describe(given)}."
    if not matches(given, values[order], atol=1e-4):
        return _linear_mistake(given, keys, values, order)
    # Keys that overlap: the memory must give what a sum gives, and not the pair that is nearest.
    mixed = torch.randn(6, 4, generator=generator)
    values, asked = torch.randn(6, 3, generator=generator), torch.randn(7, 4, generator=generator)
    given = answer(mixed, values, asked)
    if matches(given, asked @ (mixed.T @ values), atol=1e-4):
        return None
    if matches(given, values[(asked @ mixed.T).argmax(-1)], atol=1e-4):
        return "You looked for the nearest key: that needs all keys, and the reading may see S only."
    if matches(given, (asked @ mixed.T).softmax(-1) @ values, atol=1e-4):
        return "That is attention, with a softmax over the keys: the reading may see S only, and q S has no softmax."
    return (
        "Orthogonal keys come back, others do not as they should: is S the plain sum of all k v^T, and the answer q S?"
    )


def _is_transposed(answer) -> bool:
    """Whether S is the sum of v k^T, which raises nothing where a key is as long as a value."""
    keys, values, questions = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
    try:
        return matches(answer(keys, values, questions), questions @ values.T @ keys, atol=1e-4)
    except AnswerRaised:
        return False


def _linear_mistake(given, keys, values, order) -> str:
    asked = keys[order]
    if matches(given, values[:4], atol=1e-4):
        return "The values come back in the order in which they were written: read with the questions."
    if matches(given, (asked @ keys.T).softmax(-1) @ values, atol=1e-4):
        return "That is attention, with a softmax over the keys: the reading may see S only, and q S has no softmax."
    if matches(given, values[order] / len(keys), atol=1e-4):
        return "S is a sum over the pairs; you have taken their mean."
    if matches(given, asked @ torch.outer(keys[-1], values[-1]), atol=1e-4):
        return "Only the last pair is in S: add each pair to what is there."
    return compare(given, values[order], "what is read with orthogonal keys")

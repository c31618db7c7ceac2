"""Recall: what was shown is asked for by name, or by its place; and how many bits of memory that takes."""

import math

import torch
from torch import Generator, Tensor

from relmem_lite.core import nearest, positive_int
from relmem_lite.tasks.task import Batch, Task, answers_at_end, mean

CURRICULA = ("none", "mixed", "growing")


class Recall(Task):
    """Multi-query associative recall: pairs of a key and its value pass by, then each key asks for its value.

    After Arora et al. 2023 (Zoology, arXiv 2312.04927, section 3). Keys are the tokens 0 to K - 1, all different in a
    sample; values are K to K + C - 1, drawn with repetition; noise is K + C. A sample is `num_pairs` times key and
    value, `gap` times noise, then all its keys in another order, and each of those steps asks for the number of the
    key's value, 0 to C - 1.

    The shortcut knows which values were shown, and guesses one of them.

    Args:
        num_pairs: P, pairs to keep.
        num_keys: K, keys to choose from, at least P.
        num_values: C, values to choose from, at least 2.
        gap: steps of noise between the last pair and the first question.
        curriculum: pairs in a training batch: "none" for P, "mixed" for any power of two from 2 up to P, and P, all
            alike, "growing" for those in turn in the first half of training, then as "mixed".

    Raises:
        TypeError, ValueError: a size that does not fit, such as more pairs than keys, or an unknown curriculum.
    """

    def __init__(
        self, num_pairs: int = 8, num_keys: int = 64, num_values: int = 64, gap: int = 0, curriculum: str = "none"
    ):
        if positive_int("num_pairs", num_pairs) > positive_int("num_keys", num_keys):
            raise ValueError(
                f"num_pairs must be at most num_keys, got {num_pairs} pairs for {num_keys} keys: a key has one value. "
                f"Try num_keys={num_pairs}, or more."
            )
        _several("num_values", num_values, "value")
        if isinstance(gap, bool) or not isinstance(gap, int) or gap < 0:
            raise ValueError(f"gap must be a whole number of at least 0, got {gap!r}.")
        if curriculum not in CURRICULA:
            raise ValueError(nearest(curriculum, list(CURRICULA), "curriculum"))
        self.num_pairs, self.num_keys, self.num_values, self.gap = num_pairs, num_keys, num_values, gap
        self.curriculum = curriculum
        self.num_tokens = num_keys + num_values + 1
        self.output_size = num_values
        self.chance = 1 / num_values
        self.shortcut = 1 / num_pairs + (1 - 1 / num_pairs) / num_values

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, 3P + gap), answers at the last P steps."""
        return self._sample(batch_size, self.num_pairs, generator)

    def training_batch(self, batch_size: int, generator: Generator, step: int, steps: int) -> Batch:
        """Draw the batch of a training step: tokens (B, 3p + gap), with p pairs as the curriculum has it."""
        pairs = self.num_pairs
        if self.curriculum != "none":
            sizes = [*(2**power for power in range(1, (pairs - 1).bit_length())), pairs]
            turn = 2 * step * len(sizes) // steps
            if self.curriculum == "mixed" or turn >= len(sizes):
                turn = int(torch.randint(len(sizes), (), generator=generator, device=generator.device))
            pairs = sizes[turn]
        return self._sample(batch_size, pairs, generator)

    def bits(self, accuracy: float = 1.0) -> float:
        """Return how many bits must pass from the pairs to the questions: `bits_needed`."""
        return bits_needed(self.num_pairs, self.num_values, accuracy)

    def _sample(self, batch_size: int, pairs: int, generator: Generator) -> Batch:
        shape, device = (positive_int("batch_size", batch_size), pairs), generator.device
        keys = torch.rand(batch_size, self.num_keys, generator=generator, device=device).argsort(dim=1)[:, :pairs]
        values = torch.randint(self.num_values, shape, generator=generator, device=device)
        order = torch.rand(shape, generator=generator, device=device).argsort(dim=1)
        shown = torch.stack([keys, self.num_keys + values], dim=2).flatten(1)
        noise = keys.new_full((batch_size, self.gap), self.num_tokens - 1)
        return answers_at_end(torch.cat([shown, noise, keys.gather(1, order)], dim=1), values.gather(1, order))


class IndexLookup(Task):
    """A row of symbols passes by, then places are named, and each asks for the symbol that stood there.

    Wen et al. 2024 (arXiv 2402.18510, section 4: "Index"). Symbols are the tokens 0 to C - 1, the first place is C, the
    last C + L - 1.

    Args:
        length: L, symbols in the row.
        num_symbols: C, at least 2.
        num_questions: places asked for, all different.

    Raises:
        TypeError, ValueError: a size that does not fit.
    """

    def __init__(self, length: int = 16, num_symbols: int = 16, num_questions: int = 1):
        _several("num_symbols", num_symbols, "symbol")
        if positive_int("num_questions", num_questions) > positive_int("length", length):
            raise ValueError(f"num_questions must be at most length, got {num_questions} for {length} places.")
        self.length, self.num_symbols, self.num_questions = length, num_symbols, num_questions
        self.num_tokens = num_symbols + length
        self.output_size = num_symbols
        self.chance = 1 / num_symbols

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, L + questions), answers at the last steps."""
        shape, device = (positive_int("batch_size", batch_size), self.length), generator.device
        row = torch.randint(self.num_symbols, shape, generator=generator, device=device)
        places = torch.rand(shape, generator=generator, device=device).argsort(dim=1)[:, : self.num_questions]
        return answers_at_end(torch.cat([row, self.num_symbols + places], dim=1), row.gather(1, places))

    def bits(self, accuracy: float = 1.0) -> float:
        """Return how many bits must pass from the row to the questions: `bits_needed`."""
        return bits_needed(self.length, self.num_symbols, accuracy)


class NgramLookup(Task):
    """A string passes by, then an n-gram of it is repeated, and what followed it is asked for, letter by letter.

    Jelassi et al. 2024 (Repeat After Me, arXiv 2402.01032, section 3.2: n-gram look-up with prefix keys). Letters are
    the tokens 0 to C - 1, the question begins with the token C; the n-gram stands at one place of the string only.
    From its second letter on, the answer is read as it is written.

    Args:
        length: L, letters in the string.
        ngram: n, letters that are repeated.
        answer: letters that are asked for.
        num_letters: C, at least 2.

    Raises:
        TypeError, ValueError: a size that does not fit, or an alphabet too small for n-grams that stand once.
    """

    def __init__(self, length: int = 32, ngram: int = 2, answer: int = 4, num_letters: int = 26):
        _several("num_letters", num_letters, "letter")
        positive_int("length", length)
        if positive_int("ngram", ngram) + positive_int("answer", answer) > length:
            raise ValueError(
                f"length must be at least ngram + answer, got {length} letters for {ngram} that ask and {answer} that "
                "answer."
            )
        if num_letters**ngram < 2 * length:
            raise ValueError(
                f"{num_letters} letters make {num_letters**ngram} different {ngram}-grams, too few for a string of "
                f"{length} in which one stands once: give at least twice as many, with more letters or a larger ngram."
            )
        self.length, self.ngram, self.answer, self.num_letters = length, ngram, answer, num_letters
        self.num_tokens = self.output_size = num_letters + 1
        self.chance = 1 / num_letters

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch: tokens (B, L + n + answer), answers at the last steps."""
        shape, device = (positive_int("batch_size", batch_size), self.length), generator.device
        strings = torch.randint(self.num_letters, shape, generator=generator, device=device)
        once = self._places(strings)
        # Rare with a large alphabet: a string in which no n-gram with an answer stands once is drawn again.
        while not (fits := once.any(dim=1)).all():
            strings[~fits] = torch.randint(
                self.num_letters, (int((~fits).sum()), self.length), generator=generator, device=device
            )
            once = self._places(strings)
        place = (torch.rand(once.shape, generator=generator, device=device) * once).argmax(dim=1, keepdim=True)
        again = strings.gather(1, place + torch.arange(self.ngram + self.answer, device=device))
        ask = strings.new_full((batch_size, 1), self.num_letters)
        return answers_at_end(torch.cat([strings, ask, again[:, :-1]], dim=1), again[:, -self.answer :])

    def scores(self, logits: Tensor, batch: Batch) -> dict[str, float | None]:
        """Accuracy of the letters, and the share of samples in which all are right."""
        correct = self.correct(logits, batch)
        return {"accuracy": mean(correct), "exact_match": mean(correct.unflatten(0, (-1, self.answer)).all(dim=1))}

    def _places(self, strings: Tensor) -> Tensor:
        """Say where an n-gram begins that stands nowhere else and has an answer after it: (B, places) bool."""
        ngrams = strings.unfold(1, self.ngram, 1)  # (B, places, n)
        same = (ngrams.unsqueeze(1) == ngrams.unsqueeze(2)).all(dim=3)
        return (same.sum(dim=2) == 1)[:, : self.length - self.ngram - self.answer + 1]


def bits_needed(answers: int, choices: int, accuracy: float = 1.0) -> float:
    """Return the least number of bits from which so many independent answers can be given with this mean accuracy.

    Each answer is one of `choices`, all alike, and whoever answers sees nothing else of what decides it. Then an answer
    that is right with probability p takes log2(C) - H(p) - (1 - p) log2(C - 1) bits, where H is the entropy of a coin:
    the rate-distortion function of a uniform source (Cover and Thomas 2006, Elements of Information Theory, problem
    10.5). At p = 1 this is log2(C): C^n different histories take n log2(C) bits to be told apart. At p = 1/C it is 0.

    Args:
        answers: n, how many there are.
        choices: C, at least 2.
        accuracy: p; at or below 1/C nothing is needed.

    Raises:
        TypeError, ValueError: a number that makes no sense.
    """
    positive_int("answers", answers)
    _several("choices", choices, "choice")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must lie between 0 and 1, got {accuracy}.")
    if accuracy <= 1 / choices:
        return 0.0
    wrong = 1 - accuracy
    coin = -sum(p * math.log2(p) for p in (accuracy, wrong) if p)
    # Near chance the difference of the three may come out a rounding below zero.
    return max(0.0, answers * (math.log2(choices) - coin - wrong * math.log2(choices - 1)))


def accuracy_within(bits: float, answers: int, choices: int) -> float:
    """Return the best mean accuracy of so many answers that this number of bits allows: `bits_needed`, turned round.

    Raises:
        TypeError, ValueError: as `bits_needed`, or a number of bits below 0.
    """
    if not bits >= 0:
        raise ValueError(f"bits must be a number of at least 0, got {bits}.")
    if bits >= bits_needed(answers, choices):
        return 1.0
    low, high = 1 / choices, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if bits_needed(answers, choices, middle) <= bits else (low, middle)
    return low


def _several(name: str, count: int, what: str) -> None:
    if positive_int(name, count) < 2:
        raise ValueError(f"{name} must be at least 2, got {count}: one {what} leaves nothing to remember.")

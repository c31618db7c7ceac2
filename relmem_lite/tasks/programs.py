"""Programs: read a short program character by character, and write down what it prints (Zaremba & Sutskever 2014)."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from string import ascii_lowercase, digits

import torch
from torch import Generator, Tensor

from relmem_lite.core import nearest, positive_int
from relmem_lite.tasks.task import Batch, Task, mean

_ASK, _END, _PAD = "?", ".", " "
_NAMES = ascii_lowercase.replace("x", "")  # x counts the rounds of every loop
_CHARACTERS = _PAD + _END + _ASK + digits + ascii_lowercase + "\n()*+-:<=>"
_TOKENS = torch.zeros(128, dtype=torch.int64)
_TOKENS[[ord(character) for character in _CHARACTERS]] = torch.arange(len(_CHARACTERS))

MEMORISED = {"copy": lambda text: text, "reverse": lambda text: text[::-1], "double": lambda text: 2 * text}
_CURRICULA = ("none", "naive", "mixed", "combined")


class Programs(Task):
    """Learning to execute, character by character (Zaremba & Sutskever 2014; Santoro et al. 2018, section 4.2).

    A sample is a program in Python, a question mark, its value and a full stop, such as `(12+34)*5?230.`; programs
    with variables and loops have several lines, and the last one is an expression. From the question mark on, each
    step asks for the character that comes next, which is also the next step's input (teacher forcing). Samples are
    padded with blanks to the longest of their batch.

    A program is `nesting` operations, each of which takes the last one's result as one of its operands; the others
    are numbers of `length` digits. What multiplies a number or counts a loop's rounds is at most 4 * length (Zaremba &
    Sutskever, section 3). In memorisation the "program" is `length` digits, which are to be written down again.

    Args:
        kind: "addition", "control" (conditions and loops) or "program" (these, subtraction, multiplication by small
            numbers and variables); or memorisation, "copy", "reverse" or "double" (write it twice).
        length: digits of a number.
        nesting: operations in a program, at most 25; 1 in memorisation.
        curriculum: what is trained on; validated and tested is always full size. "none" trains on full size too,
            "mixed" on sizes from 1 digit and 1 operation up, drawn for every sample, "naive" on one size after the
            other, through all digits for every number of operations, "combined" on a mixed sample one time in five
            and on a naive one otherwise. A naive curriculum reaches full size at half of the steps: the original moves
            on when scores stop rising, but here a batch depends on its step alone.

    Raises:
        TypeError, ValueError: an unknown kind or curriculum, or a size that does not fit.
    """

    def __init__(self, kind: str = "program", length: int = 5, nesting: int = 1, curriculum: str = "none"):
        if kind not in KINDS:
            raise ValueError(nearest(kind, list(KINDS), "kind of program"))
        if curriculum not in _CURRICULA:
            raise ValueError(nearest(curriculum, list(_CURRICULA), "curriculum"))
        positive_int("length", length)
        most = 1 if kind in MEMORISED else len(_NAMES)
        if positive_int("nesting", nesting) > most:
            raise ValueError(f"nesting must be at most {most} for {kind}, got {nesting}.")
        self.kind, self.length, self.nesting, self.curriculum = kind, length, nesting, curriculum
        # A sum is never negative, nor is what was memorised.
        self._answers = _END + digits + ("-" if kind in ("control", "program") else "")
        self._answer_of_token = torch.zeros(len(_CHARACTERS), dtype=torch.int64)
        self._answer_of_token[_tokens(self._answers)] = torch.arange(len(self._answers))
        self.num_tokens, self.output_size = len(_CHARACTERS), len(self._answers)
        self.chance = 1 / self.output_size

    @property
    def shortcut(self) -> float:
        """Accuracy without reading the program, by the character most frequent at each place of the answer."""
        return _blind_accuracy(self.kind, self.length, self.nesting)

    def sample(self, batch_size: int, generator: Generator) -> Batch:
        """Draw a batch at full size: tokens (B, T), with T the longest text's length less one."""
        return self._batch(batch_size, generator, lambda random: (self.length, self.nesting))

    def training_batch(self, batch_size: int, generator: Generator, step: int, steps: int) -> Batch:
        """Draw the batch of training step `step` of `steps`, at the sizes that the curriculum has for it."""
        sizes = [(length + 1, nesting + 1) for nesting in range(self.nesting) for length in range(self.length)]
        naive = sizes[min(2 * step * len(sizes) // steps, len(sizes) - 1)]
        size = {
            "none": lambda random: sizes[-1],
            "naive": lambda random: naive,
            "mixed": lambda random: _drawn(sizes, random),
            "combined": lambda random: _drawn(sizes, random) if random.random() < 0.2 else naive,
        }
        return self._batch(batch_size, generator, size[self.curriculum])

    def read(self, batch: Batch) -> list[tuple[str, str]]:
        """Return the program and the answer of each sample of a batch, as texts without marks."""
        samples = []
        for tokens, targets, asked in zip(*(part.cpu() for part in batch), strict=True):
            program, answer = tokens[: asked.int().argmax()], targets[asked][:-1]
            samples.append(("".join(_CHARACTERS[i] for i in program), "".join(self._answers[i] for i in answer)))
        return samples

    def scores(self, logits: Tensor, batch: Batch) -> dict[str, float | None]:
        """Accuracy of the answers' characters, full stops included, and the share of samples with all of them right."""
        correct = self.correct(logits, batch)
        sample = batch.mask.nonzero()[:, 0]
        wrong = sample[~correct].bincount(minlength=len(batch.mask))
        return {"accuracy": mean(correct), "exact_match": mean(wrong == 0)}

    def _batch(self, batch_size: int, generator: Generator, size: Callable[[Random], tuple[int, int]]) -> Batch:
        positive_int("batch_size", batch_size)
        device = generator.device
        random = Random(int(torch.randint(2**62, (), generator=generator, device=device)))
        samples = [_write(self.kind, *size(random), random) for _ in range(batch_size)]
        asked = torch.tensor([len(program) for program, _ in samples])[:, None]
        ends = torch.tensor([len(program) + len(answer) for program, answer in samples])[:, None] + 1
        texts = [f"{program}{_ASK}{answer}{_END}" for program, answer in samples]
        longest = int(ends.max()) + 1
        tokens = _tokens("".join([text.ljust(longest, _PAD) for text in texts])).view(batch_size, longest)
        place = torch.arange(longest - 1)
        batch = Batch(tokens[:, :-1], self._answer_of_token[tokens[:, 1:]], (place >= asked) & (place < ends))
        return Batch(*(part.contiguous().to(device) for part in batch))


def _drawn(sizes: list[tuple[int, int]], random: Random) -> tuple[int, int]:
    # Of all that a Random draws, Python keeps random() alone the same from version to version.
    return sizes[int(random.random() * len(sizes))]


def _tokens(text: str) -> Tensor:
    return _TOKENS[torch.frombuffer(bytearray(text, "ascii"), dtype=torch.uint8).long()]


class _Author:
    """Writes a program, one operation at a time, and keeps count of its value.

    Attributes:
        lines: what was written before the last line.
        result: the last line so far, an expression, and its value; None before the first operation.
    """

    def __init__(self, length: int, random: Random):
        self.random, self.most = random.random, 4 * length
        self.smallest, self.numbers = 10 ** (length - 1), 9 * 10 ** (length - 1)
        self.lines: list[str] = []
        self.result: tuple[str, int] | None = None
        self.names = _shuffled(random)

    def operands(self, count: int) -> list[tuple[str, int]]:
        """`count` expressions and their values: numbers, and at a random place the last result."""
        values = [self.smallest + int(self.random() * self.numbers) for _ in range(count)]
        operands = [(str(value), value) for value in values]
        if self.result is not None:
            text, value = self.result
            place = int(self.random() * count)
            operands[place] = (text if text.isalnum() else f"({text})", value)
        return operands

    def small(self) -> int:
        return 1 + int(self.random() * self.most)

    def coin(self) -> bool:
        return self.random() < 0.5

    def add(self) -> None:
        (a, a_value), (b, b_value) = self.operands(2)
        self.result = f"{a}+{b}", a_value + b_value

    def subtract(self) -> None:
        (a, a_value), (b, b_value) = self.operands(2)
        self.result = f"{a}-{b}", a_value - b_value

    def multiply(self) -> None:
        [(a, value)], factor = self.operands(1), self.small()
        self.result = f"{a}*{factor}" if self.coin() else f"{factor}*{a}", value * factor

    def assign(self) -> None:
        (a, a_value), (b, b_value) = self.operands(2)
        name = next(self.names)
        self.lines.append(f"{name}={a}")
        self.result = (f"{name}+{b}", a_value + b_value) if self.coin() else (f"{name}-{b}", a_value - b_value)

    def choose(self) -> None:
        (a, a_value), (b, b_value), (c, c_value), (d, d_value) = self.operands(4)
        if self.coin():
            self.result = f"{a} if {b}>{c} else {d}", a_value if b_value > c_value else d_value
        else:
            self.result = f"{a} if {b}<{c} else {d}", a_value if b_value < c_value else d_value

    def loop(self) -> None:
        (a, a_value), (b, b_value) = self.operands(2)
        name, rounds = next(self.names), self.small()
        sign = "+" if self.coin() else "-"
        self.lines += [f"{name}={a}", f"for x in range({rounds}):{name}{sign}={b}"]
        self.result = name, a_value + rounds * b_value if sign == "+" else a_value - rounds * b_value


def _shuffled(random: Random) -> Iterator[str]:
    """All names in random order, each drawn only when it is needed."""
    left = list(_NAMES)
    while left:
        yield left.pop(int(random.random() * len(left)))


_OPERATIONS = {
    "addition": (_Author.add,),
    "control": (_Author.choose, _Author.loop),
    "program": (
        _Author.add,
        _Author.subtract,
        _Author.multiply,
        _Author.assign,
        _Author.choose,
        _Author.loop,
    ),
}
KINDS = (*_OPERATIONS, *MEMORISED)
"""Kinds of programs: what is computed, and what is memorised."""


def _write(kind: str, length: int, nesting: int, random: Random) -> tuple[str, str]:
    """One program, and its value as a text."""
    if kind in MEMORISED:
        text = str(int(random.random() * 10**length)).zfill(length)
        return text, MEMORISED[kind](text)
    author, operations = _Author(length, random), _OPERATIONS[kind]
    for _ in range(nesting):
        operations[int(random.random() * len(operations))](author)
    text, value = author.result
    return "\n".join([*author.lines, text]), str(value)


@cache
def _blind_accuracy(kind: str, length: int, nesting: int, samples: int = 10_000) -> float:
    random = Random(0)
    places: dict[int, Counter] = {}
    for _ in range(samples):
        answer = _write(kind, length, nesting, random)[1] + _END
        for place, character in enumerate(answer):
            places.setdefault(place, Counter())[character] += 1
    return sum(max(counts.values()) for counts in places.values()) / sum(map(Counter.total, places.values()))

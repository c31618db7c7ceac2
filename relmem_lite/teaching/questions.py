"""The questions of the graded assignment: each student's numbers, the text, the right answer and the likely mistakes.

A question's answer is a value or a function in the student's notebook. Its right answer and its mistakes are of the
same kind: what a mistake gives is recognised, and answered with its sentence, as in `relmem_lite.exercises`. To write
one, subclass `Question` and add it to `QUESTIONS`; tests/test_teaching_questions.py tells what it must hold.
"""

import math
import random
from abc import ABC, abstractmethod
from fractions import Fraction
from functools import cache
from itertools import combinations

import torch

from relmem_lite.exercises import compare, describe, matches


class Question(ABC):
    """One question of the assignment.

    Attributes:
        name: of the variable or function in the notebook.
        chapter: whose matter it asks for.
        title: a few words.
        stub: the code that the student completes.
        points: for a right answer; there are none for another.
        tolerance: relative; a rounded answer may be off by so much.
    """

    name: str
    chapter: int
    title: str
    stub: str
    points = 10
    tolerance = 1e-4

    @abstractmethod
    def draw(self, chance: random.Random) -> dict:
        """One student's numbers."""

    @abstractmethod
    def text(self, **numbers) -> str:
        """What is asked, in Markdown."""

    @abstractmethod
    def right(self, **numbers):
        """The right answer: a value, or a function."""

    @abstractmethod
    def mistakes(self, **numbers) -> list[tuple]:
        """What likely mistakes give, each with its sentence."""

    def inputs(self, **numbers) -> list[tuple]:
        """What a function is tried on; empty where the answer is a value."""
        return []

    def read(self, answer):
        """The answer in the form in which it is compared."""
        return answer

    @cache  # noqa: B019  questions last as long as the program
    def _drawn(self, seed: int, student: str) -> dict:
        chance = random.Random(f"{seed} {student} {self.name}")
        for _ in range(1000):
            numbers = self.draw(chance)
            answers = [self.right(**numbers), *(mistake for mistake, _ in self.mistakes(**numbers))]
            outputs = [self._outputs(answer, numbers) for answer in answers]
            if not any(matches(*pair, rtol=3 * self.tolerance) for pair in combinations(outputs, 2)):
                return numbers
        raise ValueError(f"{self.name}: two answers are always the same; draw other numbers.")

    def numbers(self, seed: int, student: str) -> dict:
        """A student's numbers, drawn until all mistakes give something else than the right answer and one another."""
        return dict(self._drawn(seed, student))

    def check(self, answer, numbers: dict) -> str | None:
        """None for a right answer, otherwise one sentence that says what is wrong, as a checker of an exercise does.

        `answer` is a value, or a function that is called on inputs of ours; it may raise
        `relmem_lite.exercises.AnswerRaised`.
        """
        if self.inputs(**numbers) and not callable(answer):
            return f"`{self.name}` is to be a function; it is {describe(answer)}."
        if not self.inputs(**numbers) and callable(answer):
            return f"`{self.name}` is to be a value, not a function: call it."
        expected = self._outputs(self.right(**numbers), numbers)
        given = self._outputs(answer, numbers) if callable(answer) else self.read(answer)
        if matches(given, expected, rtol=self.tolerance):
            return None
        for mistake, sentence in self.mistakes(**numbers):
            if matches(given, self._outputs(mistake, numbers), rtol=self.tolerance):
                return sentence
        if not callable(answer):
            return compare(given, expected, f"`{self.name}`", rtol=self.tolerance)
        pairs = zip(given, expected, strict=True)
        messages = (compare(one, other, f"what `{self.name}` returns", rtol=self.tolerance) for one, other in pairs)
        return next(message for message in messages if message is not None)

    def _outputs(self, answer, numbers):
        return [answer(*each) for each in self.inputs(**numbers)] if callable(answer) else answer


def _tensors(*shapes, count: int = 2, seed: int = 0) -> list[tuple]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randn(shape, generator=generator) for shape in shapes) for _ in range(count)]


class Parameters(Question):
    """Chapter 1: an LSTM's parameters."""

    name, chapter, title = "parameters", 1, "Parameters of an LSTM"
    stub = "parameters = ..."
    tolerance = 1e-9

    def draw(self, chance):
        return {"inputs": chance.randrange(10, 60), "units": chance.randrange(20, 90)}

    def text(self, inputs, units):
        return f"How many parameters has `torch.nn.LSTM({inputs}, {units})`? Count them; do not build it."

    def right(self, inputs, units):
        return 4 * units * (inputs + units + 2)

    def mistakes(self, inputs, units):
        return [
            (4 * units * (inputs + units + 1), "One bias is missing: torch keeps two for each gate."),
            (4 * units * (inputs + units), "The biases are missing."),
            (3 * units * (inputs + units + 2), "That is enough for three gates: the candidate has weights too."),
            (units * (inputs + units + 2), "That is one gate's share: there are four such sets."),
            (4 * units * (inputs + 2), "The weights are missing through which the hidden state comes back."),
        ]


class WindowAttention(Question):
    """Chapter 2: rows that read the last rows."""

    name, chapter, title = "attend", 2, "Attention with a window"
    stub = "def attend(queries, keys, values):\n    return ..."

    def draw(self, chance):
        return {"window": chance.randrange(2, 7)}

    def text(self, window):
        return (
            "Write scaled dot-product attention over one sequence: `queries` and `keys` are $(T, K)$, `values` are "
            f"$(T, V)$, the result is $(T, V)$. Row $t$ reads the last {window} rows, itself among them: rows "
            f"$t - {window - 1}$ to $t$, as far as there are so many. Scores are divided by $\\sqrt{{K}}$."
        )

    def inputs(self, window):
        return _tensors((9, 4), (9, 4), (9, 3))

    @staticmethod
    def _attend(first, last=0, scale=None, blocked=-math.inf, dim=-1):
        def attend(queries, keys, values):
            T, K = queries.shape
            back = torch.arange(T)[:, None] - torch.arange(T)
            scores = queries @ keys.T / (math.sqrt(K) if scale is None else scale)
            scores = scores.masked_fill((back >= first) | (back < last), blocked)
            return torch.softmax(scores, dim) @ values

        return attend

    def right(self, window):
        return self._attend(window)

    def mistakes(self, window):
        return [
            (self._attend(99, -99), "Every row reads all rows, also the later ones: the window is missing."),
            (self._attend(99), "No row reads a later one, but it reads all earlier ones: the window is missing."),
            (self._attend(window, -window + 1), "The window reaches into the future: row t reads no later row."),
            (self._attend(window + 1), f"The window is one row too long: {window} rows, row t among them."),
            (self._attend(window - 1), f"The window is one row too short: {window} rows, row t among them."),
            (self._attend(window, scale=1), "The scores are not divided by the root of K."),
            (self._attend(window, scale=4), "The scores are divided by K: it is the root of K."),
            (
                self._attend(window, blocked=0.0),
                "A score of 0 still gets weight in a softmax: rows outside the window get minus infinity.",
            ),
            (self._attend(window, dim=0), "The softmax runs along the wrong axis: the weights of each row sum to 1."),
        ]


class GateStep(Question):
    """Chapter 3: how a row of the memory is written."""

    name, chapter, title = "gate_step", 3, "The gates of a memory row"
    stub = "def gate_step(memory, attended, logits):\n    return ..."

    def draw(self, chance):
        return {
            "first": chance.choice(["input", "forget"]),
            "bias": chance.choice([0.5, 0.75, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0]),
        }

    def text(self, first, bias):
        second = {"input": "forget", "forget": "input"}[first]
        return (
            "Write the step with which the Relational Memory Core updates its rows. `memory` and `attended` are "
            f"$(S, D)$, `logits` are $(S, 2D)$: the {first} gate's logits, and then the {second} gate's. The forget "
            f"gate's logits get a constant of {bias} before the sigmoid. What is written is $\\tanh$ of `attended`. "
            "Return the new memory."
        )

    def inputs(self, first, bias):
        return _tensors((3, 4), (3, 4), (3, 8))

    @staticmethod
    def _step(first, bias=0.0, written=torch.tanh, kept=lambda rows: rows, on_input=0.0, squash=torch.sigmoid):
        def step(memory, attended, logits):
            halves = logits.chunk(2, dim=-1)
            input_gate, forget_gate = halves if first == "input" else halves[::-1]
            return squash(input_gate + on_input) * written(attended) + squash(forget_gate + bias) * kept(memory)

        return step

    def right(self, first, bias):
        return self._step(first, bias)

    def mistakes(self, first, bias):
        other = {"input": "forget", "forget": "input"}[first]
        return [
            (self._step(other, bias), f"The halves are swapped: the {first} gate comes first."),
            (self._step(first), f"The forget gate's constant of {bias} is missing."),
            (self._step(first, on_input=bias), "The constant is on the wrong gate: it opens the forget gate."),
            (self._step(first, -bias), "The constant has the wrong sign: it is added."),
            (self._step(first, bias, written=lambda rows: rows), "The tanh around `attended` is missing."),
            (self._step(first, bias, kept=torch.tanh), "You keep tanh of the memory: it is carried on as it is."),
            (self._step(first, bias, squash=lambda logits: logits), "The sigmoids are missing."),
        ]


class Plateau(Question):
    """Chapter 4: what is right without solving the task."""

    name, chapter, title = "accuracy", 4, "Accuracy on the way"
    stub = "accuracy = ..."
    tolerance = 1e-3

    def draw(self, chance):
        items = chance.randrange(6, 15)
        return {"items": items, "solved": chance.randrange(2, items - 2)}

    def text(self, items, solved):
        return (
            f"Nth farthest with $K = {items}$ vectors; $n$ is one of $1, \\dots, {items}$, all equally likely. A model "
            f"answers $n = K$ rightly, which is $m$ itself, and also {solved} other values of $n$. For each of the "
            "rest it guesses evenly among the labels of all vectors but $m$. What accuracy does it have?"
        )

    def right(self, items, solved):
        return (1 + solved) / items + (items - 1 - solved) / items / (items - 1)

    def mistakes(self, items, solved):
        rest = items - 1 - solved
        return [
            ((1 + solved) / items + rest / items / items, "The guess is among the K - 1 labels that are not m's."),
            ((1 + solved) / items, "Guesses are right now and then: their share is missing."),
            (solved / items + (items - solved) / items / (items - 1), "n = K is answered, too, not guessed."),
            (2 / items, "That is the plateau: this model answers more values of n."),
            ((1 + solved) / items + 1 / (items - 1), "Only the questions that it guesses have the luck of 1/(K - 1)."),
            (100 * self.right(items, solved), "Give a share between 0 and 1, not per cent."),
        ]


class MinGru(Question):
    """Chapter 6: a gate that cannot see the state."""

    name, chapter, title = "min_gru", 6, "A minGRU with another gate"
    stub = "def min_gru(logits, candidates, state):\n    return ..."

    def draw(self, chance):
        return {"writes": chance.choice([True, False]), "sharpness": chance.choice([0.25, 0.5, 1.5, 2.0, 3.0, 4.0])}

    def text(self, writes, sharpness):
        rule = r"z_t \, \tilde h_t + (1 - z_t) \, h_{t-1}" if writes else r"(1 - z_t) \, \tilde h_t + z_t \, h_{t-1}"
        return (
            f"Write the recurrence $h_t = {rule}$ with the gate $z_t = \\sigma({sharpness} \\, l_t)$. `logits`, the "
            "$l_t$, and `candidates`, the $\\tilde h_t$, are $(T, D)$; `state` is $h_0$, $(D,)$. Return all states "
            "$h_1, \\dots, h_T$, $(T, D)$."
        )

    def inputs(self, writes, sharpness):
        return _tensors((6, 3), (6, 3), (3,)) + _tensors((1, 2), (1, 2), (2,), count=1, seed=1)

    @staticmethod
    def _run(writes, sharpness, start=1.0, squash=torch.sigmoid, share=True):
        def run(logits, candidates, state):
            state, states = start * state, []
            for logit, candidate in zip(logits, candidates, strict=True):
                z = squash(sharpness * logit)
                kept = 1 - z if writes else z
                state = kept * state + ((1 - kept) * candidate if share else candidate)
                states.append(state)
            return torch.stack(states)

        return run

    def right(self, writes, sharpness):
        return self._run(writes, sharpness)

    def mistakes(self, writes, sharpness):
        right = self._run(writes, sharpness)
        return [
            (self._run(not writes, sharpness), "The gate's sense is turned: look which part of h_t has z_t."),
            (self._run(writes, 1.0), f"The logits are not multiplied by {sharpness}."),
            (self._run(writes, sharpness, start=0.0), "It starts from zeros: the first step builds on `state`."),
            (self._run(writes, sharpness, squash=lambda logits: logits), "The sigmoid is missing."),
            (self._run(writes, sharpness, share=False), "The candidate is written whole: it has a share, too."),
            (lambda *given: right(*given)[-1], "That is the last state alone: return all of them, (T, D)."),
            (
                lambda logits, candidates, state: torch.cat([state[None], right(logits, candidates, state)]),
                "`state` stands in front: return h_1 to h_T.",
            ),
        ]


class Join(Question):
    """Chapter 7: three steps as one."""

    name, chapter, title = "joined", 7, "Three steps as one"
    stub = "joined = ...  # (a, b)"

    def draw(self, chance):
        halves = [Fraction(n, 2) for n in range(-6, 7) if n not in (0, 2)]
        return {"steps": [(float(chance.choice(halves)), float(chance.choice(halves))) for _ in range(3)]}

    def text(self, steps):
        lines = "; ".join(f"$h_{t} = {a} \\, h_{t - 1} + ({b})$" for t, (a, b) in enumerate(steps, 1))
        return f"{lines}. The three steps together are one: $h_3 = a \\, h_0 + b$. Give `(a, b)`."

    @staticmethod
    def _join(steps):
        a, b = 1.0, 0.0
        for next_a, next_b in steps:
            a, b = next_a * a, next_a * b + next_b
        return a, b

    def right(self, steps):
        return self._join(steps)

    def mistakes(self, steps):
        a, b = self._join(steps)
        all_b = [each for _, each in steps]
        return [
            (self._join(steps[::-1]), "That is the other order: the first step is done first."),
            ((a, sum(all_b)), "The b are added as they stand: each still goes through the later steps."),
            (
                (a, math.prod(all_b)),
                "The b do not multiply: each step multiplies what came before by its a, adds its b.",
            ),
            ((sum(each for each, _ in steps), b), "b is right; the a multiply, they do not add."),
            ((a, b - all_b[-1]), "The last step's own b is missing."),
            ((b, a), "Both numbers are right, in the other order: a comes first."),
            (self._join(steps[:2]), "That is the first two steps: the third is missing."),
        ]


class Cups(Question):
    """Chapter 9: following a permutation."""

    name, chapter, title = "cups", 9, "Following the cups"
    stub = 'cups = ...  # such as "BADCE"'

    def draw(self, chance):
        return {"swaps": [tuple(sorted(chance.sample(range(1, 6), 2))) for _ in range(7)]}

    def text(self, swaps):
        moves = ", ".join(f"{first} and {second}" for first, second in swaps)
        return (
            "Five balls lie in a row: A at place 1, then B, C, D, and E at place 5. The balls at two *places* are "
            f"swapped, one swap after the other: {moves}. Which balls lie at places 1 to 5 in the end? Five letters."
        )

    def read(self, answer):
        return "".join(answer.split()).upper() if isinstance(answer, str) else answer

    @staticmethod
    def _follow(swaps):
        row = list("ABCDE")
        for first, second in swaps:
            row[first - 1], row[second - 1] = row[second - 1], row[first - 1]
        return "".join(row)

    def right(self, swaps):
        return self._follow(swaps)

    def mistakes(self, swaps):
        row = self._follow(swaps)
        return [
            # Swapping balls by their names comes to the same.
            (self._follow(swaps[::-1]), "That is what the swaps of places give from the last to the first."),
            (self._follow(swaps[:-1]), "The last swap is missing."),
            (self._follow(swaps[1:]), "The first swap is missing."),
            (row[::-1], "That is the row from place 5 to place 1."),
            ("ABCDE", "Nothing has moved."),
        ]


class Numbers(Question):
    """Chapter 10: bits in, bits out."""

    name, chapter, title = "numbers_needed", 10, "Room for recall"
    stub = "numbers_needed = ..."
    tolerance = 1e-9

    def draw(self, chance):
        return {
            "pairs": chance.randrange(50, 400),
            "choices": chance.choice([10, 12, 20, 26, 30, 50, 100, 1000]),
            "bits": chance.choice([4, 8, 16]),
        }

    def text(self, pairs, choices, bits):
        return (
            f"A memory reads {pairs} pairs of a key and a value. Each value is one of {choices}; the keys are known "
            "beforehand. It will be asked for all values and must not err. Its state is made of numbers of "
            f"{bits} bits. How many such numbers does it need at least?"
        )

    def right(self, pairs, choices, bits):
        return math.ceil(pairs * math.log2(choices) / bits)

    def mistakes(self, pairs, choices, bits):
        needed = pairs * math.log2(choices)
        return [
            (math.floor(needed / bits), "Not quite enough: a part of a number is needed, so round up."),
            (needed / bits, "Numbers are whole: round up."),
            (math.ceil(needed), f"Those are bits: a number has {bits}."),
            (math.ceil(pairs * math.log(choices) / bits), "Bits come from the logarithm to the base 2."),
            (math.ceil(pairs * choices / bits), f"A value out of {choices} takes log2({choices}) bits."),
            (math.ceil(math.log2(choices) / bits), "That is enough for one pair."),
            (pairs, "A number for each value is more than needed, or less: count bits."),
        ]


class LinearMemory(Question):
    """Chapter 10: pairs written on top of one another."""

    name, chapter, title = "recall", 10, "A linear memory that fades"
    stub = "def recall(keys, values, questions):\n    return ..."

    def draw(self, chance):
        return {"decay": chance.choice([0.25, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9])}

    def text(self, decay):
        return (
            f"A linear memory that fades: $S_t = {decay} \\, S_{{t-1}} + k_t v_t^\\top$ with $S_0 = 0$. `keys` are "
            "$(P, K)$, `values` are $(P, V)$. When all pairs are written, each row $q$ of `questions`, $(Q, K)$, reads "
            "$q S_P$. Return what is read, $(Q, V)$."
        )

    def inputs(self, decay):
        return _tensors((5, 4), (5, 3), (2, 4)) + _tensors((1, 2), (1, 2), (3, 2), count=1, seed=1)

    @staticmethod
    def _recall(decay, late=1.0, reverse=False):
        def recall(keys, values, questions):
            state = torch.zeros(keys.shape[1], values.shape[1])
            pairs = list(zip(keys, values, strict=True))
            for key, value in pairs[::-1] if reverse else pairs:
                state = decay * state + late * torch.outer(key, value)
            return questions @ state

        return recall

    def right(self, decay):
        return self._recall(decay)

    def mistakes(self, decay):
        return [
            (self._recall(1.0), f"Nothing fades: before each write the state is multiplied by {decay}."),
            (self._recall(decay, late=decay), "The new pair fades at once: it is written after the fading."),
            (self._recall(decay, reverse=True), "The pairs fade from the wrong end: the last one is the freshest."),
            (self._recall(1 - decay), f"What is kept is {decay}, not what is lost."),
            (self._recall(decay, late=1 - decay), "What is written is the whole of k v^T, not a share."),
            (lambda k, v, q: q @ torch.outer(k[-1], v[-1]), "Only the last pair is there."),
            (lambda k, v, q: torch.softmax(q @ k.T, -1) @ v, "That is attention: only the state may be read."),
        ]


class Cache(Question):
    """Chapter 14: what attention keeps."""

    name, chapter, title = "cache_bytes", 14, "A cache's bytes"
    stub = "cache_bytes = ..."
    tolerance = 2e-3  # rounded by hand is right

    def draw(self, chance):
        return {
            "layers": chance.choice([12, 20, 28, 36, 44]),
            "attention_every": chance.choice([2, 4]),
            "heads": chance.choice([24, 40, 48]),
            "kept": chance.choice([4, 6]),
            "size": chance.choice([64, 96, 160]),
            "time": 1000 * chance.randrange(5, 60),
        }

    def text(self, layers, attention_every, heads, kept, size, time):
        return (
            f"A hybrid has {layers} layers; every {attention_every}th is attention, the others keep nothing that "
            f"grows. An attention layer has {heads} query heads of {size} numbers, and {kept} heads of keys and "
            "values, of the same size, which the query heads share. Numbers have 16 bits. How many bytes does its "
            f"cache hold after {time:,} tokens of one sequence?"
        )

    def right(self, layers, attention_every, heads, kept, size, time):
        return 2 * (layers // attention_every) * kept * size * 2 * time

    def mistakes(self, layers, attention_every, heads, kept, size, time):
        right = self.right(layers, attention_every, heads, kept, size, time)
        return [
            (right // 2, "Half of it: the values are missing beside the keys, or a number counts as one byte."),
            (right // 4, "A quarter: keys and values are two, and each number has two bytes."),
            (right * 8, "Eight times too much: 16 bits are two bytes."),
            (right * attention_every, "Only the attention layers have a cache."),
            (right * heads // kept, f"The query heads share {kept} heads of keys and values."),
            (right // time, "That is one token's share."),
            (right // (layers // attention_every), "That is one layer's cache."),
            (right / 1e9, "That is in GB: give bytes."),
        ]


QUESTIONS: list[Question] = [
    Parameters(),
    WindowAttention(),
    GateStep(),
    Plateau(),
    MinGru(),
    Join(),
    Cups(),
    Numbers(),
    LinearMemory(),
    Cache(),
]

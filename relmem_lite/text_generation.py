"""From a language model and the beginning of a text to the rest of it, word by word."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from relmem_lite.core import State, positive_int
from relmem_lite.decoding import check_choice, check_length, choose

if TYPE_CHECKING:
    from relmem_lite.corpora import Vocabulary
    from relmem_lite.language_model import LanguageModel


def generate_text(
    model: "LanguageModel",
    vocabulary: "Vocabulary",
    prompt: str,
    *,
    tokens: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Go on with a text, token by token: the pieces, one after the other, are what the model wrote.

    The core takes one step a token and keeps no more than its state: with a state of fixed size a token takes as long,
    and as much memory, at the end of a long text as at its start. Attention's state grows. For tokens of any model, and
    many sequences at once, there is `decoding.generate`.

    Args:
        model: what predicts the next token; it is put into evaluation mode.
        vocabulary: the one that the model was trained with.
        prompt: how the text begins, in words that the vocabulary has.
        tokens: how many tokens to write.
        temperature: below 1 for more of the likely, above 1 for more of the unlikely; 0 always takes the likeliest.
        top_k: draw among so many of the likeliest tokens; None for all.
        seed: the same seed and settings write the same text.

    Raises:
        ValueError, TypeError: a prompt that is empty or has words that the vocabulary lacks, more tokens than the core
            has positions for, or a setting that makes no sense; at once, before anything is written. And, on the way,
            scores that are NaN or infinite.
    """
    positive_int("tokens", tokens)
    check_choice(temperature, top_k)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number of at least 0 and less than 2**63, got {seed!r}.")
    if len(vocabulary) != model.num_tokens:
        raise ValueError(
            f"The model has {model.num_tokens} tokens, the vocabulary {len(vocabulary)}: "
            "give the vocabulary that it was trained with."
        )
    start = _encoded(vocabulary, prompt)
    check_length(model.core, len(start), tokens)
    random = Generator().manual_seed(seed)
    return _written(model.eval(), vocabulary, start, tokens, temperature, top_k, random)


def _written(
    model: "LanguageModel",
    vocabulary: "Vocabulary",
    start: list[int],
    tokens: int,
    temperature: float,
    top_k: int | None,
    random: Generator,
) -> Iterator[str]:
    device = next(model.parameters()).device
    state, writer = None, _Writer(vocabulary)
    for token in start:
        writer.write(token)
        scores, state = _step(model, token, state, device)
    for left in reversed(range(tokens)):
        token = int(choose(scores, temperature, top_k, random))
        yield writer.write(token)
        if left:
            scores, state = _step(model, token, state, device)


def _step(model: "LanguageModel", token: int, state: State | None, device: torch.device) -> tuple[Tensor, State]:
    # Not around the whole loop: a generator hands control back between its steps, and gradients with it.
    with torch.no_grad():
        scores, state = model.step(torch.tensor([token], device=device), state)
    return scores, state


def _encoded(vocabulary: "Vocabulary", prompt: str) -> list[int]:
    from relmem_lite.corpora import UNK

    numbers = vocabulary.encode(prompt)
    if not numbers:
        raise ValueError(f"The prompt is empty: give at least one {vocabulary.level} for the text to begin with.")
    if vocabulary.level == "word" and UNK in vocabulary:
        unknown = vocabulary.encode(UNK)[0]
        for word in prompt.split():
            if UNK not in word and unknown in vocabulary.encode(word):
                raise ValueError(
                    f"The vocabulary lacks the word {word!r}: it has {len(vocabulary):,} others. Use one of them, or "
                    f"write {UNK} in its place, as the corpus does."
                )
    return numbers


class _Writer:
    """Text of tokens as they come, in constant time each: all pieces together are what `decode` makes of all tokens."""

    def __init__(self, vocabulary: "Vocabulary"):
        from relmem_lite.corpora import EOS

        self.vocabulary, self.end = vocabulary, EOS
        self.open_quote, self.context = [], []

    def write(self, token: int) -> str:
        vocabulary, text = self.vocabulary, self.vocabulary.tokens[token]
        if vocabulary.level == "character":
            return text
        piece = vocabulary.decode([*self.context, token])[len(vocabulary.decode(self.context)) :]
        # How a token is joined to the next one depends on it, and on whether a quotation is open.
        if text == self.end:
            self.open_quote, self.context = [], []
        elif text == '"':
            self.open_quote = [] if self.open_quote else [token]
            self.context = self.open_quote or [token, token]
        else:
            self.context = [*self.open_quote, token]
        return piece

"""From a model that answers with tokens to sequences of them: the prompt in one pass, then a step a token."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from relmem_lite.core import Core, State, positive_int

Writer = Callable[[Tensor], Tensor]
"""Somebody who writes next to the model: tokens so far (B, T) to the next ones (B,), -1 where the model chooses."""


def generate(
    model: nn.Module,
    prompts: Tensor | Sequence[Tensor],
    *,
    max_tokens: int,
    stop: int | Sequence[int] = (),
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: Generator | None = None,
    writer: Writer | None = None,
) -> list[Tensor]:
    """Let a model go on with token sequences.

    Prompts are read in one parallel pass, up to the length of the shortest, and then it is one step a token: what is
    kept is the core's state, of fixed size for a recurrent core, a cache of keys and values for attention. A sequence
    that has ended leaves the batch and costs nothing more.

    Args:
        model: a `SequenceModel` whose answers are the tokens that it reads, or a `LanguageModel`. It runs in evaluation
            mode and without gradients, and is given back in the mode in which it came.
        prompts: what the sequences begin with, (B, T) int64, or a list of B tensors (T,) int64 of any lengths.
        max_tokens: how many tokens to write at most after each prompt.
        stop: a token after which a sequence ends, or several.
        temperature: 0 takes the likeliest token; 1 draws by the model's probabilities, less than 1 more of the likely,
            more than 1 more of the unlikely.
        top_k: draw among so many of the likeliest tokens; None for all.
        generator: what tokens are drawn with; None for torch's own.
        writer: called before each token with the tokens so far, (B, T) with the prompt in front, of those sequences
            whose prompts have ended and that have not; it returns the next token of each, (B,) int64, or -1 where the
            model is to choose. The model reads what is written for it as if it were its own.

    Returns:
        For each prompt what follows it, (N,) int64 with N at most `max_tokens`, the stop token included.

    Raises:
        TypeError, ValueError: a model whose answers are not tokens; a prompt that is empty, has tokens that the model
            has not, or goes, with what is to be written, past the positions that the core has; a setting that makes
            no sense. All of that before anything is computed; and a writer that returns something else than tokens, or
            a model whose scores are NaN or infinite.
    """
    num_tokens = _num_tokens(model)
    device = next(model.parameters()).device
    rows = _rows(prompts, num_tokens)
    positive_int("max_tokens", max_tokens)
    check_choice(temperature, top_k)
    ends = torch.tensor(_stop_tokens(stop, num_tokens), dtype=torch.int64, device=device)
    lengths = [len(row) for row in rows]
    check_length(model.core, max(lengths), max_tokens)
    tokens = torch.empty(len(rows), max(lengths) + max_tokens, dtype=torch.int64, device=device)
    for row, prompt in zip(tokens, rows, strict=True):
        row[: len(prompt)] = prompt
    with _evaluation(model), torch.no_grad():
        return _written(model, tokens, lengths, max_tokens, ends, (temperature, top_k, generator), writer)


def _written(
    model: nn.Module,
    tokens: Tensor,
    lengths: list[int],
    max_tokens: int,
    ends: Tensor,
    choice: tuple[float, int | None, Generator | None],
    writer: Writer | None,
) -> list[Tensor]:
    written: list[Tensor] = [tokens[0, :0]] * len(tokens)
    # The sequences that are still in the batch, by number, and where their prompts end.
    live, starts = list(range(len(tokens))), torch.tensor(lengths, device=tokens.device)
    time, longest = min(lengths), max(lengths)
    last = torch.zeros(len(tokens), time, dtype=torch.bool, device=tokens.device)
    last[:, -1] = True
    logits, state = model(tokens[:, :time], mask=last)
    while True:
        writing = slice(None) if time >= longest else starts <= time
        tokens[writing, time] = _next_tokens(tokens[writing, :time], logits[writing], choice, writer)
        time += 1
        ended = starts + max_tokens == time
        if len(ends):
            ended |= (starts < time) & torch.isin(tokens[:, time - 1], ends)
        if ended.any():
            for row in ended.nonzero().squeeze(1).tolist():
                written[live[row]] = tokens[row, starts[row] : time].clone()
            stay = (~ended).nonzero().squeeze(1)
            if not len(stay):
                return written
            live, starts = [live[row] for row in stay.tolist()], starts[stay]
            tokens, state = _cut_tokens(tokens, max(time, longest), stay), _cut(model.core, state, stay)
        logits, state = model.step(tokens[:, time - 1], state)


def _next_tokens(
    tokens: Tensor, logits: Tensor, choice: tuple[float, int | None, Generator | None], writer: Writer | None
) -> Tensor:
    if not len(tokens):
        return tokens[:, 0]
    temperature, top_k, generator = choice
    if writer is None:
        return choose(logits, temperature, top_k, generator)
    given = writer(tokens.clone())
    if not isinstance(given, Tensor) or given.shape != (len(tokens),) or given.dtype != torch.int64:
        what = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else repr(given)
        raise TypeError(
            f"writer was given tokens of shape {tuple(tokens.shape)} and must return a tensor of shape "
            f"({len(tokens)},), int64, got {what}: one token for each sequence, -1 where the model is to choose."
        )
    given = given.to(tokens.device)
    unknown = given[(given < -1) | (given >= logits.shape[1])]
    if len(unknown):
        raise ValueError(
            f"writer returned the token {int(unknown[0])}; the model has 0 to {logits.shape[1] - 1}, "
            "and -1 lets it choose."
        )
    if (given >= 0).all():
        return given
    return torch.where(given >= 0, given, choose(logits, temperature, top_k, generator))


def choose(logits: Tensor, temperature: float, top_k: int | None, generator: Generator | None) -> Tensor:
    """Choose a token for each row of logits, or of log-probabilities: (B, C) to (B,) int64.

    Args:
        logits: scores of the tokens.
        temperature: 0 for the likeliest token; otherwise what logits are divided by before one is drawn.
        top_k: draw among so many of the likeliest; None for all.
        generator: what is drawn with; None for torch's own.

    Raises:
        ValueError: scores that are NaN or infinite; minus infinity rules a token out, but not all of them.
    """
    if not logits.amax(-1).isfinite().all():  # NaN is the largest
        raise ValueError("The model's scores for the next token are NaN or infinite: did its training diverge?")
    if temperature == 0:
        return logits.argmax(-1)
    device = logits.device
    # Where the generator is, which need not be where the model is.
    logits = logits.to(device if generator is None else generator.device, torch.float64)
    numbers = None
    if top_k is not None and top_k < logits.shape[1]:
        logits, numbers = logits.topk(top_k)
    # A difference to the likeliest, so that a small temperature leaves infinities on one side only.
    logits = (logits - logits.max(-1, keepdim=True).values) / temperature
    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
    if numbers is not None:
        drawn = numbers.gather(1, drawn)
    return drawn.squeeze(1).to(device)


def check_choice(temperature: float, top_k: int | None) -> None:
    """Refuse settings that no token can be chosen by.

    Raises:
        TypeError: not a number. ValueError: out of bounds.
    """
    if top_k is not None:
        positive_int("top_k", top_k)
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise TypeError(f"temperature must be a number, got {temperature!r} ({type(temperature).__name__}).")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature}.")


def check_length(core: Core, prompt: int, max_tokens: int) -> None:
    """Refuse to write more than a core has positions for.

    Raises:
        ValueError: a prompt so long, with so many tokens after it, does not fit.
    """
    # What is written last is never read.
    most = prompt + max_tokens - 1
    if core.max_time is not None and most > core.max_time:
        raise ValueError(
            f"A prompt of {prompt:,} tokens and up to {max_tokens:,} more take {most:,} positions, the model's core "
            f"has {core.max_time:,}. Shorten the prompt, write fewer tokens, or train a core with more positions."
        )


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Turn dropout off for a while, wherever it is on."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _cut_tokens(tokens: Tensor, used: int, rows: Tensor) -> Tensor:
    """Return the tokens of some of the sequences; what is not written yet is not copied."""
    kept = tokens.new_empty(len(rows), tokens.shape[1])
    kept[:, :used] = tokens[rows, :used]
    return kept


def _cut(core: Core, state: State, rows: Tensor) -> State:
    """Return the state of some of the sequences."""
    return core._state([part.index_select(0, rows) for part in core._parts(state)])


def _num_tokens(model: nn.Module) -> int:
    name = type(model).__name__
    if not isinstance(getattr(model, "core", None), Core) or not hasattr(model, "step"):
        raise TypeError(f"generate expected a SequenceModel or a LanguageModel, got {name}.")
    if model.num_tokens is None:
        raise ValueError(
            f"generate expected a model that reads tokens, this {name} reads features. Build it with an encoder for "
            "tokens, such as nn.Embedding, or say how many there are: encoder.num_tokens = ..."
        )
    if model.output_size != model.num_tokens:
        raise ValueError(
            f"generate expected a model that answers with the tokens that it reads, this {name} reads "
            f"{model.num_tokens} and has {model.output_size} answers. Build it with output_size={model.num_tokens}."
        )
    return model.num_tokens


def _rows(prompts: Tensor | Sequence[Tensor], num_tokens: int) -> list[Tensor]:
    """Return the prompts one by one, after a look at each."""
    if isinstance(prompts, Tensor) and prompts.ndim != 2:
        raise ValueError(
            f"prompts must be tokens (B, T), or a list of tensors (T,), got a tensor of shape {tuple(prompts.shape)}. "
            "For a single prompt try prompts[None]."
        )
    if not isinstance(prompts, Tensor | Sequence):
        raise TypeError(f"prompts must be tokens (B, T), or a list of tensors (T,), got {type(prompts).__name__}.")
    rows = list(prompts)
    if not rows:
        raise ValueError("There are no prompts: give at least one.")
    for number, row in enumerate(rows):
        if not isinstance(row, Tensor):
            raise TypeError(f"Prompt {number} must be a tensor, got {type(row).__name__}: try torch.tensor(...).")
        if row.ndim != 1:
            raise ValueError(f"Prompt {number} must have shape (T,), got {tuple(row.shape)}.")
        if not len(row):
            raise ValueError(f"Prompt {number} is empty: give at least one token to begin with.")
        if row.dtype != torch.int64:
            raise TypeError(f"Prompt {number} must be tokens, torch.int64, got {row.dtype}: try .long().")
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= num_tokens:
            raise ValueError(
                f"Prompt {number} has the token {low if low < 0 else high}; the model has 0 to {num_tokens - 1}."
            )
    return rows


def _stop_tokens(stop: int | Sequence[int], num_tokens: int) -> list[int]:
    tokens = list(stop) if isinstance(stop, Sequence) else [stop]
    for token in tokens:
        if isinstance(token, bool) or not isinstance(token, int):
            raise TypeError(f"stop must be a token or several, got {token!r} ({type(token).__name__}).")
        if not 0 <= token < num_tokens:
            raise ValueError(f"stop has the token {token}; the model has 0 to {num_tokens - 1}.")
    return tokens

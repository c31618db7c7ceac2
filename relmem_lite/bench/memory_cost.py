"""What remembering costs: milliseconds and bytes of one more step after so many, and generation beside re-reading."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from relmem_lite.bench.results import Results
from relmem_lite.bench.timing import ratio, summary, take_turns
from relmem_lite.core import Core, State, positive_int
from relmem_lite.decoding import generate
from relmem_lite.models import SequenceModel, Stack
from relmem_lite.training.settings import positive_float

CORES = {
    "lstm": ("lstm", "lstm"),
    "gru": ("gru", "gru"),
    "relational_memory": ("relational_memory", "relational_memory"),
    "min_gru": ("min_gru", "min_gru"),
    "mamba": ("mamba", "mamba"),
    "linear_attention": ("linear_attention", "linear_attention"),
    "attention": ("attention", "attention"),
    "min_gru+attention": ("min_gru", "attention"),
}
"""What is measured: stacks of two blocks, all of one width."""
WIDTH, NUM_TOKENS = 64, 64
TIMES = (128, 512, 2048, 8192, 16_384, 65_536)
BATCHES = (1, 16)
STEPS = 8
"""Steps that a turn takes: one alone is too short to be timed well."""
BYTES = 4


def benchmark_memory_cost(
    rounds: int = 21,
    generation_rounds: int = 5,
    tokens: int = 512,
    every: int = 16,
    threads: int | None = None,
    memory: float = 4.0,
    record: Path | None = None,
) -> None:
    """What a decoding step costs after a context of many steps: time and state; and generation beside re-reading.

    Args:
        rounds: Turns of 8 steps that each core takes at each length, up to 29; the table gives medians and quartiles.
        generation_rounds: Turns that generation and the loop that reads everything again take; 0 for none of it.
        tokens: Tokens that are generated in 16 sequences.
        every: The loop that reads everything again is timed at one in so many of its tokens; 1 for all.
        threads: Processor threads; as many as torch takes by itself if not given.
        memory: Gigabytes that the states of one core may take, at all lengths together.
        record: File to write the results into, as JSON.
    """
    most = 2 * (min(TIMES) - STEPS - 1) // STEPS
    if positive_int("rounds", rounds) > most:
        raise ValueError(
            f"rounds must be at most {most}, got {rounds}: the steps of all turns are to lie around each length, the "
            f"shortest of which is {min(TIMES)}."
        )
    positive_int("tokens", tokens)
    positive_int("every", every)
    positive_float("memory", memory)
    if generation_rounds:
        positive_int("generation_rounds", generation_rounds)
    if every > tokens:
        raise ValueError(f"every must be at most the number of tokens, {tokens}, got {every}.")
    if threads is not None:
        torch.set_num_threads(positive_int("threads", threads))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = Results("memory_cost", device, "core")
    results.extra |= {"width": WIDTH, "blocks": 2, "flatness": [], "generation": []}
    place = f"{results.environment['device_name']}, {results.environment['threads']} threads"
    print(f"{place}. Two blocks of width {WIDTH}, float32.")
    print(
        "One step after so many (T), of all sequences at once (B): milliseconds, median (quartiles); bytes a sequence"
    )
    models = {name: _model(name, device) for name in CORES}
    for batch in BATCHES:
        for name, model in models.items():
            _steps(results, name, model, batch, rounds, memory)
            results.save(record)
    print("\nA step after longer contexts beside one after the shortest, times as long, for states that do not grow:")
    for row in results.extra["flatness"]:
        print(f"  {row['core']:20}B {row['batch']:3}  T {row['time']:6,}  {_spread(row['times_as_long'], 3)}")
    if generation_rounds:
        print(f"\n{tokens} tokens in {max(BATCHES)} sequences: tokens a second; how many times as fast as re-reading")
        for name, model in models.items():
            row = _generation(model, max(BATCHES), tokens, every, generation_rounds, device)
            results.extra["generation"].append({"core": name, **row})
            median = row["tokens_per_second"][0]
            print(f"  {name:20}{median:12,.0f}  {_spread(row['times_as_fast'], 1)}", flush=True)
            results.save(record)
    if record is not None:
        print(f"\nRecord: {record}")


def _model(name: str, device: torch.device) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(Stack(CORES[name], WIDTH), NUM_TOKENS, (), nn.Embedding(NUM_TOKENS, WIDTH)).to(device).eval()


def _steps(results: Results, name: str, model: SequenceModel, batch: int, rounds: int, memory: float) -> None:
    """Time steps at all lengths whose states fit, in turns, so that a slow moment is slow for all lengths."""
    kept = {time: BYTES * model.core.state_size(time) for time in TIMES}
    # A step makes room behind a cache: for a moment there are two.
    fit = [time for time in TIMES if 2.5 * batch * sum(kept[other] for other in TIMES if other <= time) <= memory * 1e9]
    seconds = take_turns({str(time): _turn(model, batch, time, rounds) for time in fit}, rounds)
    seconds = {time: [value / STEPS for value in values] for time, values in zip(fit, seconds.values(), strict=True)}
    for time in fit:
        row = {"batch": batch, "time": time, "seconds": list(summary(seconds[time])), "state_bytes": kept[time]}
        results.add(name, row)
        timing = _spread([1e3 * value for value in row["seconds"]], 3)
        print(f"  {name:20}B {batch:3}  T {time:6,}  {timing:28}{kept[time]:14,}", flush=True)
    for time in fit[1:]:
        if kept[time] == kept[fit[0]]:
            row = {"core": name, "batch": batch, "time": time, "times_as_long": ratio(seconds[time], seconds[fit[0]])}
            results.extra["flatness"].append(row)


def _turn(model: SequenceModel, batch: int, time: int, rounds: int) -> Callable[[], None]:
    """Return what takes a few steps, each from where the one before ended, so that `time` is the middle of all turns.

    To begin each turn at the same state would copy a cache each time.
    """
    # The first turn only warms up.
    state = state_after(model.core, batch, time - STEPS - STEPS * rounds // 2)
    tokens = torch.randint(NUM_TOKENS, (batch,), device=next(model.parameters()).device)

    def run() -> None:
        nonlocal state, tokens
        with torch.no_grad():
            for _ in range(STEPS):
                logits, state = model.step(tokens, state)
                tokens = logits.argmax(-1)

    return run


def state_after(core: Core, batch: int, time: int) -> State:
    """Return a state as it is after `time` steps, without reading them: caches hold random numbers."""
    parameter = next(core.parameters())
    with torch.no_grad():
        _, state = core(torch.randn(batch, 4, core.input_size, device=parameter.device))
    parts = []
    for part, shape in zip(core._parts(state), core.state_shapes.values(), strict=True):
        grown = [time if size is None else size for size in shape]
        parts.append(parameter.new_empty(batch, *grown).normal_() if None in shape else part)
    return core._state(parts)


def _generation(model: SequenceModel, batch: int, tokens: int, every: int, rounds: int, device: torch.device) -> dict:
    """Time the generation of tokens in turns with the loop that reads the whole sequence again for each of them."""
    prompts = torch.randint(NUM_TOKENS, (batch, 1), device=device)
    written = torch.randint(NUM_TOKENS, (batch, tokens), device=device)
    # As many in each stretch of the way, from its middle: the cost of a token grows with the tokens before it.
    lengths = range((every + 1) // 2, tokens + 1, every)
    seconds = take_turns(
        {
            "generate": lambda: generate(model, prompts, max_tokens=tokens),
            "reread": partial(_reread, model, written, lengths),
        },
        rounds,
    )
    whole = [value * tokens / len(lengths) for value in seconds["reread"]]
    return {
        "batch": batch,
        "tokens": tokens,
        "seconds": summary(seconds["generate"]),
        "reread_seconds": summary(whole),
        "tokens_per_second": summary([batch * tokens / value for value in seconds["generate"]]),
        "times_as_fast": ratio(whole, seconds["generate"]),
    }


def _reread(model: SequenceModel, tokens: Tensor, lengths: range) -> None:
    """Choose the token that follows each of these lengths, from the whole sequence up to there."""
    with torch.no_grad():
        for length in lengths:
            model(tokens[:, :length])[0][:, -1].argmax(-1)


def _spread(timing: list[float] | tuple[float, ...], digits: int) -> str:
    median, low, high = timing
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

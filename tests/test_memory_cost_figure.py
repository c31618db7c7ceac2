import json
import re

import pytest
import torch
from in_browser import in_browser

from relmem_lite.cores import LSTM, CausalAttention, LinearAttention, Mamba, MinGRU, RelationalMemory
from relmem_lite.figures.memory_cost import SIZES, in_words, kept, memory_cost, num_weights
from relmem_lite.models import Stack, num_parameters

LENGTHS = [1, 100, 4095, 4096, 4097, 2**20]


def data_of(page):
    return json.loads(re.search(r"const given = (\{.*\});", page).group(1))


def stack_of(core, layers, width):
    """The model that a line of the figure speaks of, as the library would build it."""
    heads = width // 128
    shared = {"num_heads": heads // 4}
    with torch.device("meta"):
        each = {
            "min_gru": lambda: MinGRU(width, width),
            "lstm": lambda: LSTM(width, width),
            "relational_memory": lambda: RelationalMemory(width, num_slots=4, num_heads=heads, head_size=128),
            "mamba": lambda: Mamba(width, width),
            "linear_attention": lambda: LinearAttention(width, width, num_heads=heads),
            "attention": lambda: CausalAttention(width, width, num_heads=heads),
            "grouped": lambda: CausalAttention(width, width // 4, **shared),
            "window": lambda: CausalAttention(width, width // 4, **shared),
            "hybrid": lambda: MinGRU(width, width),
        }
        cores = [each[core]() for _ in range(layers)]
        if core == "hybrid":
            cores[7::8] = [each["grouped"]() for _ in cores[7::8]]
        return Stack(cores, width, convolution=0, expansion=0)


@pytest.mark.parametrize("core", list(memory_cost().kept))
@pytest.mark.parametrize(("layers", "width"), [(16, 1024), (9, 512)])
def test_a_model_keeps_what_the_state_size_of_its_stack_says(core, layers, width):
    stack = stack_of(core, layers, width)
    for time in LENGTHS:
        seen = min(time, 4096) if core == "window" else time
        assert kept(core, layers, width).numbers(time) == stack.state_size(seen)


def test_heads_that_share_keep_a_share_of_the_cache():
    whole, shared = kept("attention", 32, 4096), kept("grouped", 32, 4096)
    assert whole.each == 4 * shared.each == 2 * 32 * 32 * 128  # keys and values, layers, heads, head size


def test_the_weights_are_those_of_attention_and_its_mlp():
    with torch.device("meta"):
        stack = Stack([CausalAttention(1024, 1024) for _ in range(4)], 1024, convolution=0, expansion=4)
    assert num_parameters(stack) == pytest.approx(num_weights(4, 1024), rel=0.01)


def test_the_page_computes_from_the_numbers_of_state_size():
    figure = memory_cost(time=131_072, batch=4, budget=16, size=1)
    data = data_of(figure._repr_html_())
    assert [data[key] for key in ("time", "batch", "budget", "size", "bytes")] == [131_072, 4, 16, 1, 2]
    assert data["sizes"] == [[*size, num_weights(*size)] for size in SIZES]
    for core, row in zip(figure.kept, data["rows"], strict=True):
        assert [tuple(counts) for counts in row["kept"]] == [tuple(kept(core, *size)) for size in SIZES]
        fixed, each, window = row["kept"][1]
        seen = data["time"] if window is None else min(data["time"], window)
        bytes_kept = data["batch"] * data["bytes"] * (fixed + each * seen)
        assert figure.state_bytes(core) == bytes_kept
        assert figure.fits(core) == (bytes_kept + 2 * data["sizes"][1][2] <= 16e9)
        assert f"{row['name']} {in_words(bytes_kept)}" in figure._repr_html_()  # for who has no scripts
        assert f"{in_words(bytes_kept):>8}" in repr(figure)


def test_more_memory_makes_no_core_stop_fitting_and_longer_contexts_make_none_fit():
    few, many = memory_cost(budget=8, size=1), memory_cost(budget=80, size=1)
    short, long = memory_cost(time=1024, size=2), memory_cost(time=2**20, size=2)
    for core in few.kept:
        assert few.fits(core) <= many.fits(core)
        assert long.fits(core) <= short.fits(core)
    assert [core for core in long.kept if not long.fits(core)] == ["hybrid", "grouped", "attention"]


def test_a_token_takes_at_least_the_time_to_read_weights_and_states_once():
    slow, fast = memory_cost(speed=25, size=2, budget=80), memory_cost(speed=3200, size=2, budget=80)
    for core in slow.kept:
        assert slow.token_seconds(core) == pytest.approx(128 * fast.token_seconds(core))
        assert fast.token_seconds(core) * 3200e9 == pytest.approx(fast.weight_bytes() + fast.state_bytes(core))


def test_the_page_says_the_same_bytes_and_times(tmp_path):
    figure = memory_cost(time=8192, batch=4, budget=80, speed=100, size=1)
    found = in_browser(
        memory_cost(),
        tmp_path,
        """
        slide("Context", 13); slide("Batch", 2); slide("Memory", 80); slide("Memory speed", 2); slide("Model", 1);
        return { lines: read("li .words"), said: said() };
        """,
    )
    for core, line in zip(figure.kept, found["lines"], strict=True):
        least = figure.token_seconds(core)
        assert f"{in_words(figure.state_bytes(core))} ✓ fits" in line
        assert f"≥ {float(f'{1000 * least:.3g}'):g} ms a token" in line
    assert "All of these fit" in found["said"]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (16_384, "16.4 kB"),
        (999_999, "1 MB"),
        (2_147_483_648, "2.15 GB"),
        (12e18, "12,000 PB"),
    ],
)
def test_bytes_in_words(count, words):
    assert in_words(count) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"time": 1000}, "time must be a power of two from 1,024 to 1,048,576, got 1,000"),
        ({"time": 2**21}, "time must be a power of two"),
        ({"batch": 512}, "batch must be a power of two from 1 to 256"),
        ({"budget": 100}, "from 8 to 80 gigabytes, got 100"),
        ({"speed": 60}, "25 times a power of two, up to 3,200, got 60"),
        ({"size": 4}, "from 0 to 3, got 4"),
        ({"cores": ["min_gur"]}, "min_gru"),
        ({"cores": []}, "at least one core"),
        ({"sizes": [(4, 1024)]}, "at least 8 layers, got 4"),
        ({"sizes": [(8, 700)]}, "multiple of 512"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        memory_cost(**arguments)

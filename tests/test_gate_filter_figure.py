import itertools
import math
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt
from in_browser import in_browser

from relmem_lite.cores import MinGRU
from relmem_lite.figures.gate_filter import (
    example_signal,
    filtered,
    frequency_response,
    gate_filter,
    taps_needed,
)
from relmem_lite.recorder import record


def missed_by_a_window(keep, taps, time=20_000):
    """By how much a window of the first taps differs from the filter at the worst input, a constant 1."""
    response = (1 - keep) * keep ** np.arange(time)
    return np.convolve(np.ones(time), response)[time - 1] - response[:taps].sum()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99, 0.998])
def test_so_many_taps_are_enough_and_one_less_is_not(keep):
    taps = taps_needed(keep)
    assert missed_by_a_window(keep, taps) <= 1e-3 + 1e-12
    assert taps == 1 or missed_by_a_window(keep, taps - 1) > 1e-3


def test_at_a_gate_of_one_hundredth_it_takes_688_taps_and_687_are_a_hair_too_few():
    assert taps_needed(0.99) == 688
    assert missed_by_a_window(0.99, 687) == pytest.approx(0.0010031, abs=1e-7)


@pytest.mark.parametrize("taps", [None, 1, 7, 64])
def test_the_frequency_response_is_that_of_the_impulse_response(taps):
    waves = np.array([0.001, 0.1, 1.0, math.pi])
    impulse = 0.1 * 0.9 ** np.arange(600 if taps is None else taps)
    expected = [abs((impulse * np.exp(-1j * wave * np.arange(len(impulse)))).sum()) for wave in waves]
    np.testing.assert_allclose(frequency_response(0.9, waves, taps), expected, rtol=1e-9)


@pytest.mark.parametrize(("keep", "strength"), [(0.99, 0.0), (0.9, 3.0), (0.5, 8.0)])
def test_the_filter_is_a_min_gru_of_one_unit(keep, strength):
    core = MinGRU(1, 1).double()
    with torch.no_grad():
        core.gate.weight.fill_(strength)
        core.gate.bias.fill_(-math.log(keep / (1 - keep)))
        core.candidate.weight.fill_(1.0)
        core.candidate.bias.zero_()
        with record(core) as recording:
            core(torch.tensor(example_signal(), dtype=torch.float64).reshape(1, -1, 1))
    gates, states = filtered(example_signal(), keep, strength)
    np.testing.assert_allclose(gates, 1 - recording["keep"].flatten(), rtol=1e-9)
    np.testing.assert_allclose(states, recording["hidden"].flatten(), rtol=1e-9)


def test_a_gate_that_keeps_nothing_hands_its_input_on():
    gates, states = filtered([0.5, -1.0], 0.0, 3.0)
    assert gates.tolist() == [1, 1]
    assert states.tolist() == [0.5, -1.0]


LOOK = """
const points = (path) => path.getAttribute("points").split(" ").map((point) => point.split(",").map(Number));
const paths = (kind) => all(`polyline.${kind}`).map(points);
const looks = {};
for (const [steps, taps, strength] of SETTINGS) {
  slide("Kept, a", steps); slide("Window", taps); slide("Input moves the gate, s", strength);
  const [curves, windows, fixed] = ["curve", "window", "fixed"].map(paths);
  looks[[steps, taps, strength]] = { said: said(), curves, windows, fixed };
}
return looks;
"""


def test_the_page_says_and_draws_what_numpy_computes(tmp_path):
    settings = list(itertools.product([0, 20, 40, 60], [6], [0, 8]))
    found = in_browser(gate_filter(), tmp_path, LOOK.replace("SETTINGS", str([list(each) for each in settings])))
    for steps, power, strength in settings:
        keep, look = 1 - 10 ** (-steps / 20), found[f"{steps},{power},{strength}"]
        assert f"a window needs {taps_needed(keep):,} tap" in look["said"]
        gates, states = filtered(example_signal(), keep, strength)
        assert f"ends with h = {states[-1]:.2f}".replace("-", "−") in look["said"]
        if strength:
            low, high = re.search(r"goes from (.+) to (.+), and ends", look["said"]).groups()
            assert float(high) == pytest.approx(gates.max(), rel=0.006)
            if low == "less than 0.001":
                assert gates.min() < 0.001
            else:
                assert float(low) == pytest.approx(gates.min(), rel=0.006)
        _, response, path = (np.array(curve) for curve in look["curves"])
        # A place on the screen goes in a straight line with the number, or its logarithm.
        waves = np.geomspace(10**-3.5, math.pi, 300)
        for drawn, taps in ((response, None), (np.array(look["windows"][1]), 2**power)):
            same_line(np.log(np.maximum(frequency_response(keep, waves, taps), 1e-3)), drawn[:, 1])
        same_line(states, path[:, 1])
        assert len(look["fixed"]) == (1 if strength else 0)


def same_line(values, places):
    """Places are rounded to a tenth of a pixel."""
    if np.ptp(values) < 1e-6:
        assert np.ptp(places) < 0.2
        return
    slope, start = np.polyfit(values, places, 1)
    assert slope < 0  # upwards
    np.testing.assert_allclose(slope * values + start, places, atol=0.15)


def test_the_start_is_where_it_was_asked_for():
    data = gate_filter(keep=0.9, taps=16, strength=2.5).data()
    assert (data["steps"], data["doublings"], data["strength"]) == (20, 4, 2.5)
    assert "a = 0.990 kept, a window needs 688 taps" in gate_filter().words()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 1.0}, "from 0 to 0.999"),
        ({"taps": 100}, "power of two up to 8,192"),
        ({"taps": 16_384}, "power of two up to 8,192"),
        ({"strength": 0.3}, "in halves"),
        ({"strength": 11}, "from 0 to 10"),
    ],
)
def test_what_the_sliders_have_not_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        gate_filter(**options)


@pytest.mark.parametrize(("keep", "error"), [(1.0, 0.1), (-0.1, 0.1), (0.5, 0.0), (0.5, 1.0)])
def test_no_window_is_counted_for_what_is_no_filter(keep, error):
    with pytest.raises(ValueError, match=r"keep must be in \[0, 1\)"):
        taps_needed(keep, error)


def test_the_still_picture_has_a_gate_that_moves_beside_one_that_stands_still():
    fig = gate_filter().still()
    signal, fixed, moved = (line.get_ydata() for line in fig.axes[2].lines)
    assert list(signal) == list(example_signal())
    assert np.max(moved) > 0.5 > 0.1 > np.max(fixed)
    plt.close(fig)

"""A gate as a filter: impulse and frequency response of h_t = a h_{t-1} + (1 - a) x_t, and a gate that moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from relmem_lite.core import positive_int
from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import GREY, INK, figure, on_both, set_title, style_of

ERROR = 1e-3
STEPS_A_DECADE = 20
MOST_STEPS = 60  # three decades: z from 1 down to 0.001
MOST_DOUBLINGS = 13
"""The longest window has 2 to the power of this many taps."""
_EVENTS = {20: 1.0, 75: 0.8}


def taps_needed(keep: float, error: float = ERROR) -> int:
    """Return how many taps a window needs to do what h_t = a h_{t-1} + (1 - a) x_t does, up to `error`.

    Of inputs between -1 and 1, a window of n taps misses at most the sum of (1 - a) a^k from k = n on, which is a^n.

    Args:
        keep: a, at least 0 and below 1.
        error: largest difference allowed, between 0 and 1.

    Raises:
        ValueError: a number out of its range.
    """
    if not 0 <= keep < 1 or not 0 < error < 1:
        raise ValueError(f"keep must be in [0, 1) and error in (0, 1), got {keep} and {error}.")
    return max(1, math.ceil(math.log(error) / math.log(keep))) if keep else 1


def filtered(signal, keep: float, strength: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return gates and states of a minGRU of one unit whose candidate is its input and whose gate sees it, too.

    z_t = sigmoid(b + s x_t), with b such that z = 1 - a at x = 0, and h_t = (1 - z_t) h_{t-1} + z_t x_t from h = 0.

    Args:
        signal: x, (T,).
        keep: a, what is kept at x = 0; at least 0 and below 1.
        strength: s, how far the input moves the gate; 0 for a filter that stays as it is.

    Returns:
        z and h, (T,) each.
    """
    signal = np.asarray(signal, dtype=float)
    odds = np.inf if keep == 0 else (1 - keep) / keep
    gates = 1 / (1 + np.exp(-strength * signal) / odds)
    state, states = 0.0, []
    for gate, x in zip(gates, signal, strict=True):
        state = (1 - gate) * state + gate * x
        states.append(state)
    return gates, np.array(states)


def frequency_response(keep: float, frequencies, taps: int | None = None) -> np.ndarray:
    """Return what is left of waves of these frequencies, in radians a step, by the filter or its first taps."""
    turned = keep * np.exp(-1j * np.asarray(frequencies, dtype=float))
    shown = 1 if taps is None else 1 - turned**taps
    return (1 - keep) * np.abs(shown / (1 - turned))


@dataclass(frozen=True, repr=False)
class GateFilter(MovingFigure):
    """What `gate_filter` returns; a notebook shows it as a page with three sliders."""

    page = "gate_filter.html"
    title = "One number does the work of hundreds of taps, while the gate stands still"

    steps: int
    doublings: int
    strength: float
    signal: tuple[float, ...]

    @property
    def keep(self) -> float:
        """What is kept, a."""
        return 1 - 10 ** (-self.steps / STEPS_A_DECADE)

    def words(self) -> str:
        """Say what the filter does at the gate that is shown first."""
        taps = 2**self.doublings
        return (
            f"With a = {self.keep:.3f} kept, a window needs {taps_needed(self.keep):,} taps to do the same to within "
            f"{ERROR}; one of {taps:,} misses {100 * self.keep**taps:.1f} % of a constant input."
        )

    def data(self) -> dict:
        """Return where the sliders begin, and the signal."""
        return {
            "steps": self.steps,
            "mostSteps": MOST_STEPS,
            "decade": STEPS_A_DECADE,
            "doublings": self.doublings,
            "mostDoublings": MOST_DOUBLINGS,
            "strength": self.strength,
            "error": ERROR,
            "signal": self.signal,
            "color": on_both(style_of("min_gru").color),
        }

    def still(self):
        """Draw the three panels as they are at first, and beside the gate that stands still one that moves."""
        color, taps = style_of("min_gru").color, 2**self.doublings
        fig, axes = figure(7.4, 3)
        since = np.geomspace(1, 10_000, 300)
        axes[0].plot(since, self.keep**since, color=color)
        axes[0].axvline(taps, color=GREY, linestyle="--", linewidth=1.2)
        axes[0].set(xscale="log", xlabel="steps since", ylabel="left of an input", ylim=(0, 1.05))
        set_title(axes[0], f"{taps_needed(self.keep):,} taps would do the same, {taps:,} (dashed) do not")
        waves = np.geomspace(10**-3.5, np.pi, 600)
        axes[1].plot(waves, frequency_response(self.keep, waves), color=color)
        axes[1].plot(waves, frequency_response(self.keep, waves, taps), color=GREY, linestyle="--", linewidth=1.2)
        axes[1].set(xscale="log", yscale="log", xlabel=r"frequency $\omega$", ylabel="left of a wave", ylim=(2e-3, 1.6))
        axes[2].plot(self.signal, ".", color=GREY, markersize=4)
        axes[2].plot(filtered(self.signal, self.keep)[1], color=INK, linestyle=":", label="gate fixed")
        axes[2].plot(filtered(self.signal, self.keep, 8.0)[1], color=color, label="gate sees x")
        axes[2].set(xlabel="step", ylabel="x (dots), h")
        axes[2].legend(loc="upper right", ncols=2)
        return fig


def example_signal(time: int = 120) -> tuple[float, ...]:
    """Return the figure's input: faint noise, and two steps that stand out."""
    signal = 0.12 * np.random.default_rng(0).standard_normal(time)
    for step, value in _EVENTS.items():
        signal[step] = value
    return tuple(np.round(signal, 3).tolist())


def gate_filter(*, keep: float = 0.99, taps: int = 64, strength: float = 0.0) -> GateFilter:
    """Return the gate of a minGRU as a filter, on a page with sliders: plain HTML, no kernel needed.

    The reader sets what is kept, the taps of a window that shall do the same, and how far the input moves the gate,
    and sees what is left of one input and of waves of each frequency, and what the gate makes of a signal.

    Args:
        keep: a at first, from 0 to 0.999; the slider has 20 places for every factor of 10 in 1 - a, and the nearest
            is taken.
        taps: of the window at first, a power of two up to 8,192.
        strength: s at first, from 0 to 10, in halves.

    Raises:
        TypeError, ValueError: a start that the sliders have not.
    """
    if not 0 <= keep <= 0.9991:
        raise ValueError(f"keep must be from 0 to 0.999, got {keep}.")
    if positive_int("taps", taps) & (taps - 1) or taps > 2**MOST_DOUBLINGS:
        raise ValueError(f"taps must be a power of two up to {2**MOST_DOUBLINGS:,}, got {taps}.")
    if not 0 <= strength <= 10 or 2 * strength != int(2 * strength):
        raise ValueError(f"strength must be from 0 to 10, in halves, got {strength}.")
    steps = min(MOST_STEPS, round(-STEPS_A_DECADE * math.log10(1 - keep)))
    return GateFilter(steps, taps.bit_length() - 1, strength, example_signal())

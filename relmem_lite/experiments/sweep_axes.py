"""What is typed after `relmem sweep NAME --over`: settings and the values to try."""

import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Literal, get_args, get_origin, get_type_hints

from relmem_lite.core import nearest
from relmem_lite.experiments.experiment import Experiment
from relmem_lite.experiments.sweep import Range, grid, known_axis, sample


def points(base: Experiment, over: Sequence[str], samples: int | None = None, seed: int = 0) -> tuple[dict, ...]:
    """Return the points of a grid, or random ones of it, from texts such as "num_heads=4,8".

    A text names a setting and its values; a value of several parts has blanks between them, as in
    "test_times=40 64,40 128". "learning_rate=1e-4..1e-2" is a range, for random points; learning_rate stands for
    learning_rates with one value.

    Raises:
        TypeError, ValueError: no text, a setting twice, a setting or value that there is none of, with the nearest.
    """
    axes = {}
    for text in over:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values:
            raise ValueError(f"over must be a setting and its values, as in num_heads=4,8, got {text!r}.")
        if name == "learning_rate":
            name = "learning_rates"
        known_axis(type(base), name)
        if name in axes:
            raise ValueError(f"over names {name} twice: give all its values at once, as in {name}=A,B.")
        low, dots, high = values.partition("..")
        if dots:
            axes[name] = _range(base, name, low, high)
        else:
            axes[name] = [_value(base, name, value) for value in values.split(",")]
            if len(set(axes[name])) < len(axes[name]):
                raise ValueError(_twice(base, name, values))
    if not axes:
        raise ValueError("name at least one setting and its values: --over num_heads=4,8.")
    made = grid(axes) if samples is None else sample(axes, samples, seed)
    # A range draws single numbers, also for a setting that is a tuple of them.
    return tuple(
        {
            name: (value,) if isinstance(axes[name], Range) and isinstance(getattr(base, name), tuple) else value
            for name, value in point.items()
        }
        for point in made
    )


def _twice(base: Experiment, name: str, values: str) -> str:
    message = (
        f"over {name} holds a value twice: {', '.join(values.split(','))}. Each is a point of its own: give it once"
    )
    if not isinstance(getattr(base, name), tuple):
        return f"{message}."
    return f'{message}, and put blanks between values that belong to one point, as in "{name}=A B".'


def _value(base: Experiment, name: str, text: str) -> object:
    """Read one value of a setting as the command line reads it."""
    import tyro

    hint = get_type_hints(type(base))[name]
    if get_origin(hint) is Literal and text not in map(str, get_args(hint)):
        raise ValueError(nearest(text, [str(choice) for choice in get_args(hint)], name))
    try:
        # What tyro says is drawn in a box, and names the value but not the setting.
        with redirect_stderr(StringIO()):
            return tyro.cli(hint, args=text.split(), console_outputs=False)
    except SystemExit:
        kind = hint.__name__ if isinstance(hint, type) else str(hint)
        message = f"over {name}={text}: {text!r} is no value of {name}, which is {kind}."
        if bounds := re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?)[-:]([\d.]+(?:e[+-]?\d+)?)", text):
            message += f" A range has two dots: {name}={bounds[1]}..{bounds[2]}."
        raise ValueError(message) from None


def _range(base: Experiment, name: str, low: str, high: str) -> Range:
    """Read a range of a number, or of a setting that holds several of which each point has one."""
    bounds = []
    for text in (low, high):
        value = _value(base, name, text)
        bounds.append(value[0] if isinstance(value, tuple) and len(value) == 1 else value)
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
    if not numbers or not 0 < bounds[0] < bounds[1]:
        raise ValueError(f"over {name}={low}..{high}: a range goes from a number above 0 to a larger one.")
    return Range(*bounds)

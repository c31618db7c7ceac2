"""A figure whose reader changes the model: each change runs it and draws again. Moving it needs a running notebook."""

from __future__ import annotations

import base64
import html
import inspect
import io
import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from numbers import Real

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.random import fork_rng

from relmem_lite.figures.style import WRONG

STILL = "RELMEM_STILL"
"""Environment variable: if it is set, nobody will be there to move anything, and no widget is made."""


@dataclass(frozen=True, eq=False)
class Explorer:
    """What `explore` returns: a notebook shows it as controls above the drawing, a page as the first drawing alone.

    Attributes:
        settings: what draw is called with at first.
        still: the first drawing, as SVG; None where draw failed and there are controls to try something else.
        controls: ipywidgets' sliders and lists, by the names of the choices, each with the place of what is chosen
            among its values; empty where nothing can be moved.
        view: the widget that holds the controls and, last of its children, the drawing; None where there are none.
    """

    settings: dict
    still: str | None = field(repr=False)
    controls: dict = field(default_factory=dict, repr=False)
    view: object = field(default=None, repr=False)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        # A running notebook takes the widget, whatever else there is; where a saved one is read, the still is left.
        bundle = {"text/plain": repr(self)}
        if self.still is not None:
            bundle["image/svg+xml"] = self.still
        if self.view is not None:
            shown = {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}
            bundle["application/vnd.jupyter.widget-view+json"] = shown
        return bundle


def explore(draw: Callable, /, **choices: Iterable) -> Explorer:
    """Let the reader of a notebook choose what `draw` is called with, and draw again after each choice.

    As in `explore(draw, width=[8, 32, 128], gate=["unit", "memory"])`, with `def draw(width=32, gate="unit")`. Numbers
    become a slider, which draws when it is let go; anything else becomes a list to pick from. Without ipywidgets, and
    in the built book, the drawing at the first settings stands alone.

    Args:
        draw: makes one matplotlib figure. It is called anew for each choice, so it should take well under a second;
            PyTorch's random numbers on the CPU stay as they are for the rest of the notebook. Where it raises, the
            reader sees what, and with which settings, and can go on. The first settings are the defaults of its
            arguments; of what only its `**settings` takes, the first of the values.
        choices: for each argument of draw that can be chosen, its values, in order.

    Raises:
        TypeError: draw has no such argument, or one without default; a choice is not several values.
        ValueError: nothing to choose, or nothing to choose from; a default that is not among the values.
        Exception: whatever draw raises, where there are no controls to try something else.
    """
    settings, values = _first_settings(draw, choices)
    if os.environ.get(STILL):
        return Explorer(settings, _drawn(draw, settings))
    try:
        import ipywidgets
    except ImportError:
        print("To move this figure's settings, install ipywidgets: pip install ipywidgets")
        return Explorer(settings, _drawn(draw, settings))

    controls = {name: _control(ipywidgets, name, options, settings[name]) for name, options in values.items()}
    drawing = ipywidgets.HTML()

    def redraw(_change=None):
        chosen = {name: values[name][control.value] for name, control in controls.items()}
        try:
            svg = _drawn(draw, chosen)
        except Exception as error:
            words = html.escape(_explained(draw, chosen, error))
            drawing.value = f'<p role="alert" style="color: {WRONG}">{words}</p>'
            return None
        source = base64.b64encode(svg.encode()).decode()
        words = html.escape(_call(draw, chosen))
        drawing.value = f'<img alt="{words}" style="max-width: 100%" src="data:image/svg+xml;base64,{source}">'
        return svg

    still = redraw()
    for control in controls.values():
        control.observe(redraw, names="value")
    return Explorer(settings, still, controls, ipywidgets.VBox([*controls.values(), drawing]))


def _first_settings(draw, choices):
    name_of_draw, parameters = _name(draw), inspect.signature(draw).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    if not choices:
        raise ValueError(f"There is nothing to choose: name an argument of {name_of_draw}, as in width=[8, 32, 128].")
    settings, values = {}, {}
    for name, options in choices.items():
        if name not in defaults and not takes_any:
            has = ", ".join(defaults) or "none"
            raise TypeError(f"{name_of_draw} has no argument called {name!r}; it has {has}.")
        try:
            values[name] = None if isinstance(options, str) else list(options)
        except TypeError:  # a number, or a tensor that is one
            values[name] = None
        if values[name] is None:
            raise TypeError(f"{name}={options!r} is one value: give those to choose from, as a list.")
        if not values[name]:
            raise ValueError(f"There is nothing to choose from: give {name} some values, as in {name}=[8, 32, 128].")
        first = defaults.get(name, values[name][0])
        if first is inspect.Parameter.empty:
            raise TypeError(f"{name_of_draw} begins with no {name}: give the argument a default, as in {name}=...")
        if _place(first, values[name]) is None:
            raise ValueError(f"{name_of_draw} begins with {name}={first!r}, which is not among {values[name]}.")
        settings[name] = first
    return settings, values


def _place(wanted, values) -> int | None:
    """Return the place of a value among others, None if it is not there; of a tensor, the place of its equal."""
    return next((place for place, value in enumerate(values) if _same(wanted, value)), None)


def _same(one, other) -> bool:
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    try:
        return bool(one == other)
    except (RuntimeError, ValueError):  # arrays answer for each of their numbers
        return False


def _control(widgets, name, values, first):
    look = {"description": name.replace("_", " "), "style": {"description_width": "8em"}}
    look["layout"] = {"width": "100%", "max_width": "32em"}
    # What a control holds is a place among the values: one that holds None shows nothing.
    labels = [f"{value:g}" if isinstance(value, float) else " ".join(str(value).split()) for value in values]
    look |= {"options": [(label, place) for place, label in enumerate(labels)], "value": _place(first, values)}
    if all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        # While it is dragged, each place that it passes would be drawn, one after the other.
        return widgets.SelectionSlider(continuous_update=False, **look)
    return widgets.Dropdown(**look)


def _drawn(draw, settings) -> str:
    """Return what draw draws, as SVG; figures that were open stay open, and no other one does."""
    before = set(plt.get_fignums())
    try:
        with fork_rng(devices=[]):
            draw(**settings)
        made = sorted(set(plt.get_fignums()) - before)
        if len(made) != 1:
            raise ValueError(f"it made {len(made)} figures; make one, with _, ax = figure(), and do not show it")
        svg = io.StringIO()
        plt.figure(made[0]).savefig(svg, format="svg", metadata={"Date": None})
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
    return svg.getvalue()


def _explained(draw, settings, error) -> str:
    own_file = getattr(getattr(inspect.unwrap(draw), "__code__", None), "co_filename", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own_file]
    where = f", in its line: {own[-1].line}" if own and own[-1].line else ""
    return f"{_call(draw, settings)} failed: {type(error).__name__}: {error}{where}"


def _call(draw, settings) -> str:
    return f"{_name(draw)}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


def _name(draw) -> str:
    return getattr(draw, "__name__", type(draw).__name__)

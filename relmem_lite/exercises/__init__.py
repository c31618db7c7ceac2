"""Checks for the book's exercises: `check("name", answer)` says right, or what the likely mistake is.

A checker is a function in one of this package's modules (chapter_01.py, ...), registered by name:

    @exercise("forget_bias")
    def forget_bias(answer):
        if matches(answer, 1.0):
            return "That is the bias; the gate is its sigmoid."
        return compare(answer, torch.sigmoid(torch.tensor(1.0)))

It returns None when the answer is right, and otherwise one sentence that names the likely mistake. When the answer is
a function, the checker calls it like any other (`answer(x)`): it gets copies of its inputs, and if it raises, the
student is told the exception and the inputs' shapes.
"""

from __future__ import annotations

import difflib
import functools
import html
import importlib
import inspect
import math
import pkgutil
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Rational

import numpy as np
import torch

__all__ = ["Verdict", "call", "check", "compare", "describe", "exercise", "matches", "names"]

_CHECKERS: dict[str, Callable] = {}

# The accents of the box: at least 3 to 1 on white and on near-black, and never the only sign.
_WORDS = {
    "right": ("Right", "✓", "#1E9E6A"),
    "not yet": ("Not yet", "✗", "#D55E00"),
    "unanswered": ("Not answered yet", "…", "#7A828A"),
}


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` found: `status` is "right", "not yet" or "unanswered"; `message` is a sentence, or empty.

    True when the answer is right. A notebook shows it as a box, a terminal as a line.
    """

    name: str
    status: str
    message: str = ""

    def __bool__(self) -> bool:
        return self.status == "right"

    def __repr__(self) -> str:
        word = _WORDS[self.status][0]
        return f"{word} ({self.name}): {self.message}" if self.message else f"{word} ({self.name})."

    def _repr_html_(self) -> str:
        word, sign, accent = _WORDS[self.status]
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.message))
        return (
            f'<div role="status" style="border: 1px solid currentColor; border-left: 0.5em solid {accent}; '
            'border-radius: 0.3em; padding: 0.5em 0.8em; margin: 0.3em 0; color: inherit; background: transparent">'
            f'<span aria-hidden="true">{sign}</span> <strong>{word}</strong> '
            f"<code>{html.escape(self.name)}</code>{': ' if message else ''}{message}</div>"
        )


class AnswerRaised(Exception):
    """The student's function raised; the message is the sentence to show."""


class NotWrittenYet(AnswerRaised):
    """The student's function is still the stub that the exercise gave."""


def exercise(name: str):
    """Register the decorated function as the checker of exercise `name`.

    The function takes the answer and returns None when it is right, or a sentence. Raises ValueError when another
    function has the name already.
    """

    def register(checker):
        known = _CHECKERS.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (checker.__module__, checker.__qualname__):
            raise ValueError(f"Two checkers are called {name!r}: {known.__module__} and {checker.__module__}.")
        _CHECKERS[name] = checker
        return checker

    return register


def names() -> list[str]:
    """The names of all exercises, in the order of the chapters."""
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return list(_CHECKERS)


def check(name: str, answer, *, strict: bool = False) -> Verdict:
    """Check the answer to an exercise.

    `answer` is a number, a tensor, a function or a module, as the exercise says; None or `...` means that it is not
    answered yet. Nothing that is wrong with the answer raises, so that a notebook with open exercises runs through;
    with `strict=True` everything but a right answer raises AssertionError. Raises ValueError for an unknown `name`.
    """
    known = names()
    if name not in _CHECKERS:
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or known
        raise ValueError(f"There is no exercise called {name!r}; the nearest are {', '.join(map(repr, near))}.")
    verdict = _judge(name, answer)
    if strict and not verdict:
        raise AssertionError(repr(verdict))
    return verdict


def _judge(name: str, answer) -> Verdict:
    if answer is None or answer is ...:
        return Verdict(name, "unanswered", "replace the `...` by your answer and run the cell again.")
    watched = _watched(_plain(answer))
    try:
        message = _CHECKERS[name](watched)
    except NotWrittenYet as error:
        return Verdict(name, "unanswered", str(error))
    except AnswerRaised as error:
        return Verdict(name, "not yet", str(error))
    except Exception as error:
        subject = f"your answer, {describe(answer)},"
        if hasattr(watched, "returned"):
            subject = f"{_title(answer)} returned {watched.returned}, which"
        return Verdict(name, "not yet", f"{subject} could not be checked: {_exception(error)}.")
    if message is None:
        return Verdict(name, "right")
    return Verdict(name, "not yet", message)


def call(function, *inputs, **options):
    """Call a student's function, module or method on copies of `inputs`.

    An exception in it becomes AnswerRaised, which `check` shows as one sentence with the exception and the inputs'
    shapes. A plain function given to `check` is called this way already. Returns what the function returns.
    """
    given = ", ".join(
        [describe(value) for value in inputs] + [f"{key}={describe(value)}" for key, value in options.items()]
    )
    title = _title(function)
    try:
        result = function(*map(_copy, inputs), **{key: _copy(value) for key, value in options.items()})
    except Exception as error:
        if isinstance(error, NotImplementedError) and not _from_torch(error):
            raise NotWrittenYet(f"{title} is not written yet: it raises NotImplementedError.") from None
        raise AnswerRaised(f"{title} raised {_exception(error)}; it was given {given or 'nothing'}.") from error
    if result is None:
        raise AnswerRaised(f"{title} returned None: is its `return` missing? It was given {given or 'nothing'}.")
    if result is ...:
        raise NotWrittenYet(f"{title} returns `...`: replace it by your answer and run the cell again.")
    return _plain(result)


def _from_torch(error) -> bool:
    """Whether torch raised it, as calling a module without a `forward` does, and not a stub."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith("torch.")


def _watched(answer):
    if not callable(answer) or isinstance(answer, type | torch.nn.Module):
        return answer

    @functools.wraps(answer)
    def watched(*inputs, **options):
        result = call(answer, *inputs, **options)
        watched.returned = describe(result)  # where a checker fails on it, that is what to tell
        return result

    return watched


def _title(function) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "your function" if name == "<lambda>" else f"`{name}`"


def _plain(value):
    """NumPy's numbers and truths as Python's, and fractions as floats, also in a list: checkers mean any number."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Rational) and not isinstance(value, int):
        return float(value)
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def _copy(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_copy, value))
    if isinstance(value, list | tuple):
        return type(value)(map(_copy, value))
    return value


def _exception(error) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe(value) -> str:
    """A value in a few words: "a tensor of shape (3, 4)", "the number 0.5", "a list of 3"."""
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        dtype = str(value.dtype).removeprefix("torch.")
        usual = "" if dtype == "float32" or (kind == "an array" and dtype == "float64") else f" ({dtype})"
        return f"{kind} of shape {tuple(value.shape)}{usual}"
    if isinstance(value, bool | str | None):
        return repr(value)
    if isinstance(value, int | float | np.number):
        return f"the number {_number(value)}"
    if isinstance(value, list | tuple | set | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return f"an object of type {type(value).__name__}"


def _number(value) -> str:
    if isinstance(value, int) and _is_huge(value):  # a float may not hold it, and Python writes out no 4,300 digits
        rest, digits = math.modf(math.log10(abs(value)))
        return f"{'-' if value < 0 else ''}{10**rest:.3g}e+{digits:.0f}"
    return f"{value}" if isinstance(value, int | np.integer) else f"{float(value):.6g}"


def _is_huge(value: int) -> bool:
    return value.bit_length() > 63


def compare(actual, expected, what: str = "your answer", *, rtol: float = 1e-4, atol: float = 1e-5) -> str | None:
    """None when `actual` equals `expected` within tolerance, else a sentence that says how it differs.

    Numbers, NumPy arrays and tensors are compared by value, of whatever dtype and device; tuples, lists and dicts
    member by member; anything else with `==`. `what` names the answer in the sentence ("the cell state").
    """
    if actual is None or actual is ...:
        return f"{what} is not there yet."
    if isinstance(expected, Mapping):
        if not isinstance(actual, Mapping):
            return f"{what} is {describe(actual)} where a dict was expected."
        if set(actual) != set(expected):
            return f"{what} has the keys {sorted(map(str, actual))} where {sorted(map(str, expected))} were expected."
        parts = [(actual[key], expected[key], f"{what}[{key!r}]") for key in expected]
        return _first(parts, rtol, atol)
    if isinstance(expected, list | tuple):
        if not isinstance(actual, list | tuple):
            return f"{what} is {describe(actual)} where {describe(expected)} was expected."
        if len(actual) != len(expected):
            return f"{what} has {len(actual)} members where {len(expected)} were expected."
        fields = getattr(expected, "_fields", None) or [f"member {i + 1} of {what}" for i in range(len(expected))]
        return _first(list(zip(actual, expected, fields, strict=True)), rtol, atol)
    if _is_numeric(expected):
        return _compare_numbers(actual, expected, what, rtol, atol)
    return None if actual == expected else f"{what} is {_short(actual)}, which is not what was expected."


def _first(parts, rtol, atol):
    messages = (compare(actual, expected, what, rtol=rtol, atol=atol) for actual, expected, what in parts)
    return next((message for message in messages if message is not None), None)


def _short(value) -> str:
    return repr(value) if isinstance(value, str) and len(value) < 60 else describe(value)


def _is_numeric(value) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, bool | int | float | np.number | np.bool_ | torch.Tensor)


def _compare_numbers(actual, expected, what, rtol, atol):
    wanted = describe(expected) if getattr(expected, "shape", ()) else "a number"
    if isinstance(actual, list | tuple):
        try:
            actual = torch.as_tensor(np.array(actual) if isinstance(actual[0], np.ndarray) else actual)
        except (IndexError, TypeError, ValueError, RuntimeError):
            unjoined = isinstance(actual, list) and actual and all(isinstance(part, torch.Tensor) for part in actual)
            hint = ": put its tensors together, with torch.stack or torch.cat." if unjoined else "."
            return f"{what} is {describe(actual)} where {wanted} was expected{hint}"
    if not _is_numeric(actual):
        return f"{what} is {_short(actual)} where {wanted} was expected."
    if isinstance(actual, int) and _is_huge(actual):
        return f"{what} is {_number(actual)}, which is not right{_ratio(actual, 0)}."
    actual, expected = (torch.as_tensor(value).detach().cpu().to(torch.float64) for value in (actual, expected))
    if expected.ndim == 0:
        if actual.numel() != 1:
            return f"{what} is {actual.numel()} numbers where a single one was expected."
        actual = actual.reshape(())
    if actual.shape != expected.shape:
        hint = ""
        if sorted(actual.shape) == sorted(expected.shape):
            hint = ": are two dimensions swapped?"
        elif actual.numel() == expected.numel():
            hint = ": the same count of numbers, arranged differently."
        return f"{what} has shape {tuple(actual.shape)} where {tuple(expected.shape)} was expected{hint or '.'}"
    odd = ~torch.isfinite(actual) & torch.isfinite(expected)
    if odd.any():
        share = f"{int(odd.sum())} of its {odd.numel()} values" if odd.ndim else "its value"
        kind = (
            "NaN"
            if torch.isnan(actual[odd]).all()
            else "infinite"
            if not torch.isnan(actual[odd]).any()
            else "NaN or infinite"
        )
        verb = "are" if int(odd.sum()) > 1 else "is"
        return f"{what} is not finite: {share} {verb} {kind}."
    wrong = ~torch.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    if not wrong.any():
        return None
    if expected.ndim == 0:
        return f"{what} is {_number(actual.item())}, which is not right{_ratio(actual.item(), expected.item())}."
    gap = torch.where(wrong, (actual - expected).abs().nan_to_num(posinf=math.inf), torch.zeros(()))
    place = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
    return (
        f"{what} has the right shape, but {int(wrong.sum())} of its {wrong.numel()} values differ, most at "
        f"{list(place)}: {_number(actual[place].item())} where {_number(expected[place].item())} was expected."
    )


def _ratio(actual, expected) -> str:
    if expected != 0 and math.isclose(actual, -expected, rel_tol=1e-3):
        return ": its sign is wrong"
    if expected != 0 and actual != 0:
        factor = actual / expected
        for times in (2, 4, 8, 10, 100):
            if math.isclose(factor, times, rel_tol=1e-3):
                return f": it is {times} times too large"
            if math.isclose(factor, 1 / times, rel_tol=1e-3):
                return f": it is {times} times too small"
    return ": it is too large" if actual > expected else ": it is too small"


def matches(actual, wrong, *, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """Whether the answer equals a value that a known mistake gives; never raises. See `compare`."""
    try:
        return compare(actual, wrong, rtol=rtol, atol=atol) is None
    except Exception:
        return False

"""The examples of CONTRIBUTING.md do what it says."""

import importlib.util
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from relmem_lite import exercises
from relmem_lite.experiments.sorting import SortingExperiment

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(path, tmp_path):
    """Import the file that CONTRIBUTING.md gives in full under the name `path`."""
    (source,) = re.findall(rf"`{re.escape(path)}`[^`]*:\n\n +```python\n(.*?)\n +```", TEXT, flags=re.DOTALL)
    name = "contributed_" + Path(path).stem
    (tmp_path / f"{name}.py").write_text(dedent("   " + source.lstrip() if source[0] != " " else source))
    spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_core_keeps_the_contract(tmp_path):
    torch.manual_seed(0)
    core = example("relmem_lite/cores/moving_average.py", tmp_path).MovingAverage(3, 5)
    inputs, hidden, steps = torch.randn(2, 7, 3), torch.zeros(2, 5), []
    a = torch.sigmoid(core.speed)
    for input in inputs.unbind(1):
        hidden = a * hidden + (1 - a) * core.value(input)
        steps.append(hidden)
    outputs, state = core(inputs)
    torch.testing.assert_close(outputs, torch.stack(steps, 1))
    first, between = core(inputs[:, :4])
    second, last = core(inputs[:, 4:], between)
    torch.testing.assert_close(torch.cat([first, second], 1), outputs)
    torch.testing.assert_close(last, state)
    torch.testing.assert_close(core.step(inputs[:, 4], between)[0], outputs[:, 4])
    with pytest.raises(ValueError, match="hidden_size"):
        type(core)(3, 0)


def test_the_task_answers_as_a_plain_loop_does(tmp_path):
    task = example("relmem_lite/tasks/largest.py", tmp_path).Largest(4)
    batch = task.sample(100, torch.Generator().manual_seed(0))
    for steps, targets, mask in zip(*batch, strict=True):
        numbers = {int(step[1:].argmax()): float(step[0]) for step in steps}
        assert sorted(numbers) == [0, 1, 2, 3]
        assert mask.tolist() == [False, False, False, True]
        assert targets[-1] == max(numbers, key=numbers.get)
    with pytest.raises(ValueError, match="at least 2"):
        type(task)(1)


def test_the_checker_answers(tmp_path, monkeypatch):
    import math

    exercises.names()  # chapters that register later would do so in the copy, and be lost with it
    monkeypatch.setattr(exercises, "_CHECKERS", dict(exercises._CHECKERS))
    example("relmem_lite/exercises/chapter_15.py", tmp_path)
    exercises.check("15.1-half-life", lambda f: math.log(0.5) / math.log(f), strict=True)
    for answer, says in (
        (lambda f: math.log(2) / math.log(f), "turn its sign"),
        (lambda f: -1 / math.log(f), "1/e is left"),
        (lambda f: -math.log(f) / math.log(2), "the inverse"),
        (lambda f: 0.5, "too small"),
        (0.5, "is a function"),
    ):
        assert says in exercises.check("15.1-half-life", answer).message


def test_what_it_names_is_there():
    for path in set(re.findall(r"`((?:relmem_lite|tests|chapters)/[\w/.]+)`", TEXT)):
        if not re.search(r"15|moving_average|largest|NAME", path):
            assert (ROOT / path).exists(), path
    assert SortingExperiment.presets.keys() == {"smoke", "cpu", "gpu"}
    for name, module in (("CORE_STYLES", "relmem_lite.figures.style"), ("EXPERIMENTS", "relmem_lite.experiments")):
        assert hasattr(__import__(module, fromlist=[name]), name)

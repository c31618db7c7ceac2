"""Sliders that run a model again: what they draw, what goes wrong, and what is left of them on a page."""

import base64
import html
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
import yaml
from bs4 import BeautifulSoup

mpl.use("Agg")

import ipywidgets
import matplotlib.pyplot as plt

from relmem_lite import MinGRU
from relmem_lite.figures import explore, figure, use_style

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _as_in_a_notebook(monkeypatch):
    monkeypatch.delenv("RELMEM_STILL", raising=False)
    with mpl.rc_context():
        use_style()
        yield
    plt.close("all")


def draw(gate_bias=0, width=4, kind="noise"):
    core = MinGRU(2, width)
    with torch.no_grad():
        core.gate.bias += gate_bias
        outputs, _ = core(torch.ones(1, 12, 2) if kind == "ones" else torch.randn(1, 12, 2))
    _, ax = figure(2)
    ax.plot(outputs[0])
    ax.set_title(f"{kind}, {gate_bias}")


CHOICES = {"gate_bias": [-4, -2, 0], "width": [2, 4], "kind": ["noise", "ones"]}


def drawn(**settings) -> str:
    """What draw draws by itself, as SVG."""
    draw(**settings)
    svg = io.StringIO()
    plt.savefig(svg, format="svg", metadata={"Date": None})
    plt.close()
    return svg.getvalue()


def shown(explorer) -> str:
    """The SVG of the picture below the controls, or, where draw failed, the words there."""
    value = explorer.view.children[-1].value
    source = re.search(r"base64,([\w+/=]+)", value)
    return base64.b64decode(source[1]).decode() if source else html.unescape(re.sub("<[^>]*>", "", value))


def test_a_control_that_is_moved_draws_what_the_function_draws_by_itself():
    torch.manual_seed(0)
    explorer = explore(draw, **CHOICES)
    assert explorer.settings == {"gate_bias": 0, "width": 4, "kind": "noise"}
    torch.manual_seed(0)
    first = drawn()
    assert shown(explorer) == explorer.still == first

    torch.manual_seed(0)
    explorer.controls["gate_bias"].value = CHOICES["gate_bias"].index(-2)
    explorer.controls["kind"].value = CHOICES["kind"].index("ones")
    assert shown(explorer) == drawn(gate_bias=-2, kind="ones") != first
    assert 'alt="draw(gate_bias=-2, width=4, kind=&#x27;ones&#x27;)"' in explorer.view.children[-1].value
    assert explorer.still == first


def test_numbers_become_sliders_that_wait_until_they_are_let_go_and_the_rest_lists():
    explorer = explore(draw, **CHOICES)
    bias, width, kind = explorer.controls.values()
    assert explorer.view.children[:-1] == (bias, width, kind)
    for slider in (bias, width):
        assert isinstance(slider, ipywidgets.SelectionSlider)
        assert not slider.continuous_update
    assert isinstance(kind, ipywidgets.Dropdown)
    assert bias.description == "gate bias"
    assert [label for label, _ in bias.options] == ["-4", "-2", "0"]
    switch = explore(lambda on=True: figure(), on=[False, True]).controls["on"]
    assert isinstance(switch, ipywidgets.Dropdown)


def test_none_can_be_chosen_and_a_list_shows_that_it_is():
    drawn_with = []

    def with_gate(gate=None):
        drawn_with.append(gate)
        figure()

    gate = explore(with_gate, gate=[None, "unit"]).controls["gate"]
    assert gate.label == "None"
    for place, label in ((1, "unit"), (0, "None")):
        gate.index = place  # as somebody picks it
        assert (gate.index, gate.label) == (place, label)
    assert drawn_with == [None, "unit", None]


def test_a_tensor_can_be_chosen_among_others_of_any_shape():
    drawn_with = []
    lone, matrix = torch.tensor([1.0, 2.0]), torch.zeros(2, 2)
    its_equal = lone.clone()

    def with_inputs(inputs=its_equal):
        drawn_with.append(inputs)
        figure()

    inputs = explore(with_inputs, inputs=[matrix, torch.ones(2), lone, None]).controls["inputs"]
    assert isinstance(inputs, ipywidgets.Dropdown)
    assert (inputs.index, inputs.label) == (2, "tensor([1., 2.])")
    inputs.index = 0
    assert drawn_with[1] is matrix
    assert inputs.label == "tensor([[0., 0.], [0., 0.]])"


def test_an_array_of_numpy_begins_where_it_is_itself_the_default():
    ones, twos = np.ones(3), np.full(3, 2.0)

    def with_inputs(inputs=twos):
        figure()

    assert explore(with_inputs, inputs=[ones, twos]).controls["inputs"].index == 1


def test_a_draw_that_takes_any_settings_begins_with_the_first_of_each():
    drawn_with = []

    def passes_on(title="", **settings):
        drawn_with.append((title, settings))
        figure()

    explorer = explore(passes_on, width=[8, 16], title=["loud", ""])
    assert explorer.settings == {"width": 8, "title": ""}
    explorer.controls["width"].index = 1
    assert drawn_with == [("", {"width": 8}), ("", {"width": 16})]


def test_a_notebook_is_offered_the_controls_and_the_still():
    explorer = explore(draw, **CHOICES)
    bundle = explorer._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.view.model_id
    assert bundle["image/svg+xml"] == explorer.still
    assert bundle["text/plain"].startswith("Explorer(settings=")


def test_the_random_numbers_and_the_figures_of_the_rest_of_the_notebook_stay():
    mine, _ = figure()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    explorer = explore(draw, **CHOICES)
    explorer.controls["width"].value = 0
    assert torch.equal(torch.rand(1), expected)
    assert plt.get_fignums() == [mine.number]


def test_a_draw_that_fails_says_so_once_and_can_be_left_again():
    def fails(width=8):
        if width > 8:
            figure()
            raise ValueError(f"<{width}> is too wide")
        figure()

    explorer = explore(fails, width=[8, 16])
    explorer.controls["width"].value = 1
    assert shown(explorer) == (
        'fails(width=16) failed: ValueError: <16> is too wide, in its line: raise ValueError(f"<{width}> is too wide")'
    )
    assert plt.get_fignums() == []
    explorer.controls["width"].value = 0
    assert shown(explorer) == explorer.still


def test_a_draw_that_fails_at_first_leaves_something_to_move():
    def fails(width=8):
        return 1 / (width - 8), figure()

    explorer = explore(fails, width=[8, 16])
    assert "ZeroDivisionError" in shown(explorer)
    assert set(explorer._repr_mimebundle_()) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    explorer.controls["width"].value = 1
    assert shown(explorer).startswith("<?xml")


@pytest.mark.parametrize("figures", [0, 2])
def test_a_draw_that_makes_not_one_figure_is_told_to(figures):
    def several(width=8):
        for _ in range(figures):
            figure()

    message = shown(explore(several, width=[8, 16]))
    assert f"it made {figures} figures; make one, with _, ax = figure()" in message
    assert plt.get_fignums() == []


@pytest.mark.parametrize("unattended", [True, False])
def test_where_nothing_can_be_moved_it_draws_once(monkeypatch, capsys, unattended):
    if unattended:
        monkeypatch.setenv("RELMEM_STILL", "1")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # importing it fails
    torch.manual_seed(0)
    explorer = explore(draw, **CHOICES)
    torch.manual_seed(0)
    assert explorer._repr_mimebundle_() == {"text/plain": repr(explorer), "image/svg+xml": drawn()}
    assert (explorer.controls, explorer.view) == ({}, None)
    told = "" if unattended else "To move this figure's settings, install ipywidgets: pip install ipywidgets\n"
    assert capsys.readouterr().out == told

    with pytest.raises(ZeroDivisionError):
        explore(lambda width=8: 1 / 0, width=[8, 16])


def no_default(width):
    figure()


@pytest.mark.parametrize(
    ("function", "choices", "error", "message"),
    [
        (draw, {}, ValueError, "nothing to choose: name an argument of draw"),
        (draw, {"depth": [1]}, TypeError, "draw has no argument called 'depth'; it has gate_bias, width, kind"),
        (draw, {"width": 4}, TypeError, "width=4 is one value: give those to choose from, as a list"),
        (draw, {"kind": "ones"}, TypeError, "kind='ones' is one value"),
        (draw, {"width": [8, 16]}, ValueError, "draw begins with width=4, which is not among [8, 16]"),
        (draw, {"width": torch.tensor(4)}, TypeError, "width=tensor(4) is one value"),
        (draw, {"width": []}, ValueError, "nothing to choose from: give width some values"),
        (draw, {"width": [torch.ones(2), torch.ones(3)]}, ValueError, "draw begins with width=4, which is not among"),
        (no_default, {"width": [8]}, TypeError, "no_default begins with no width"),
        (no_default, {"height": [8]}, TypeError, "no_default has no argument called 'height'; it has width."),
        (lambda *sizes: figure(), {"sizes": [8]}, TypeError, "has no argument called 'sizes'; it has none"),
    ],
)
def test_choices_that_do_not_fit_are_refused(function, choices, error, message):
    with pytest.raises(error, match=re.escape(message)):
        explore(function, **choices)


CELL = """
from relmem_lite.figures import explore, figure
def draw(width=4):
    figure(2)[1].plot(range(width))
explore(draw, width=[2, 4, 8])
"""


@pytest.mark.parametrize("extensions", [["myst_nb", "book.stills"], ["myst_nb"]])
def test_a_page_shows_the_still_and_asks_nobody_for_scripts(tmp_path, extensions):
    stills = "book.stills" in extensions
    title = nbformat.v4.new_markdown_cell("# A page")
    cell = nbformat.v4.new_code_cell(CELL, metadata={"mystnb": {"image": {"alt": "A rising line."}}})
    nbformat.write(nbformat.v4.new_notebook(cells=[title, cell]), tmp_path / "index.ipynb")
    book = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    assert "book.stills" in book["extensions"]
    settings = {name: value for name, value in book.items() if name.startswith("nb_")}
    settings |= {"extensions": extensions, "nb_execution_mode": "force", "html_theme": "basic"}
    (tmp_path / "conf.py").write_text("\n".join(f"{name} = {value!r}" for name, value in settings.items()))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(tmp_path), str(tmp_path / "built" / "html")]
    built = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert built.returncode == 0, built.stderr

    page = BeautifulSoup((tmp_path / "built" / "html" / "index.html").read_text(encoding="utf-8"), "html.parser")
    [picture] = page("img")
    assert picture["alt"] == "A rising line."
    assert re.fullmatch(r"_images/\w+\.svg", picture["src"])
    scripts = [(script.get("src", ""), script.get("type", "")) for script in page("script")]
    assert not any("//" in source or "widget-view" in kind for source, kind in scripts)
    # What was saved of a widget lies in the page, and does nothing there; where none was made, nothing does.
    assert any("widget" in kind for _, kind in scripts) != stills
    executed = (tmp_path / "built" / "jupyter_execute" / "index.ipynb").read_text(encoding="utf-8")
    assert "image/svg+xml" in executed
    assert ("vnd.jupyter.widget" in executed) != stills

import json
import random
import re

import pytest
from check_site import faults, main

GOOD = """
<link rel="stylesheet" href="_static/book.css"><script src="_static/book.js?v=1"></script>
<h2 id="gates">Gates</h2> <a href="#gates">up</a> <a href="other.html#there">on</a>
<a href="https://arxiv.org/abs/1806.01822">paper</a> <img src="_static/map.svg" alt="Attention over time">
<img src="data:image/png;base64,AAAA" alt="A dot">
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "book.css").write_text("body { background: url(map.svg) }")
    (tmp_path / "_static" / "book.js").touch()
    (tmp_path / "_static" / "map.svg").touch()
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "other.html").write_text('<p id="there">Here.</p>')
    return tmp_path


def test_a_whole_site_passes(site, capsys):
    assert main(site) == 0
    assert "2 pages, 0 faults" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ('<a href="missing.html">x</a>', "leads nowhere: missing.html"),
        ("<pre>Text(0.0, 1.0, 'A title')</pre>", "a cell prints an object: Text(0.0"),
        ('<a href="other.html#gone">x</a>', "no such place on the page: other.html#gone"),
        ('<a href="#gone">x</a>', "no such place on the page: #gone"),
        ('<script src="https://cdn.example/a.js"></script>', "third party: https://cdn.example/a.js"),
        ('<script src="//cdn.example/a.js"></script>', "third party: //cdn.example/a.js"),
        ('<link rel="stylesheet" href="https://cdn.example/a.css">', "third party: https://cdn.example/a.css"),
        ('<img src="https://example.org/a.png" alt="a">', "third party: https://example.org/a.png"),
        ('<img srcset="_static/map.svg 1x, https://example.org/a.png 2x" alt="a">', "https://example.org/a.png"),
        ('<iframe src="https://example.org"></iframe>', "third party: https://example.org"),
        ('<script type="application/vnd.jupyter.widget-state+json">{}</script>', "holds a widget"),
        ("<style>@import 'https://example.org/a.css'</style>", "a style loads from a third party"),
        ('<img src="_static/map.svg">', "a picture without alt text: _static/map.svg"),
        ('<img src="_static/map.svg" alt="_static/map.svg">', "a picture without alt text: _static/map.svg"),
    ],
)
def test_each_fault_is_found_and_is_the_only_one(site, broken, complaint):
    (site / "index.html").write_text(GOOD + broken)
    [fault] = faults(site)
    assert fault.startswith("index.html: ")
    assert complaint in fault
    assert main(site) == 1


def test_a_font_from_elsewhere_is_found(site):
    (site / "_static" / "book.css").write_text("@font-face { src: url('https://fonts.example/a.woff2') }")
    assert "https://fonts.example/a.woff2" in next(faults(site))


def test_an_empty_folder_is_no_site(tmp_path):
    assert main(tmp_path) == 1


def test_a_heavy_page_is_found(site):
    (site / "_images").mkdir()
    (site / "_images" / "noise.png").write_bytes(random.Random(0).randbytes(600_000))
    (site / "other.html").write_text('<p id="there"><img src="_images/noise.png" alt="Noise"></p>')
    [fault] = faults(site)
    assert re.fullmatch(r"other.html: weighs 6\d\d,\d\d\d bytes, which is more than 600,000", fault)


REFERENCE = """<section id="cores"><dl class="py"><dt id="LSTM">LSTM</dt><dd>{taught}</dd></dl>
<dl class="py"><dt id="LSTMState">LSTMState</dt><dd></dd></dl></section>"""
TAUGHT = '<p class="taught-in">Chapter <a href="01_a.html">1</a></p>'
USED = '<p class="from-the-library"><a href="reference.html#LSTM">LSTM</a></p>'


@pytest.mark.parametrize(
    ("taught", "used", "complaints"),
    [
        (TAUGHT, USED, []),
        ("", USED, ["reference.html: no chapter teaches LSTM", "01_a.html: linked with LSTM in one direction only"]),
        (TAUGHT, "", ["01_a.html: no links to the entries", "01_a.html: linked with LSTM in one direction only"]),
    ],
)
def test_a_link_in_one_direction_only_is_found(site, taught, used, complaints):
    (site / "chapters").mkdir()
    (site / "chapters" / "reference.html").write_text(REFERENCE.format(taught=taught))
    (site / "chapters" / "01_a.html").write_text(used)
    found = list(faults(site))
    assert len(found) == len(complaints)
    for fault, complaint in zip(found, complaints, strict=True):
        assert fault.startswith(f"chapters/{complaint}")


@pytest.mark.parametrize(("count", "outputs", "whole"), [(1, [{}], True), (None, [{}], False), (1, [], False)])
def test_a_notebook_that_was_not_run_is_found(site, count, outputs, whole):
    (site / "_sources").mkdir()
    cells = [{"cell_type": "code", "execution_count": count, "outputs": outputs}]
    (site / "_sources" / "01_a.ipynb").write_text(json.dumps({"cells": cells}))
    assert (list(faults(site)) == []) == whole


def test_a_notebook_that_holds_a_widget_is_found(site):
    (site / "_sources").mkdir()
    cells = [{"cell_type": "code", "execution_count": 1, "outputs": [{}]}]
    (site / "_sources" / "01_a.ipynb").write_text(json.dumps({"metadata": {"widgets": {}}, "cells": cells}))
    [fault] = faults(site)
    assert fault.startswith("_sources/01_a.ipynb: holds a widget")

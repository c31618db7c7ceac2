"""What all figures that move keep to, whatever they show."""

import io
import re
from html.parser import HTMLParser
from importlib.resources import files
from math import nan
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")

from in_browser import in_browser
from PIL import Image

from relmem_lite.figures import contrast
from relmem_lite.figures.gate_filter import gate_filter
from relmem_lite.figures.memory_cost import memory_cost
from relmem_lite.figures.memory_reader import memory_reader
from relmem_lite.figures.recall import Recalled, recall_figure
from relmem_lite.figures.scan_stepper import scan_stepper
from relmem_lite.figures.slot_attention import slot_attention
from relmem_lite.figures.style import CORE_STYLES, DARK, INK, WRONG, on_both
from relmem_lite.figures.trace import trace_viewer

FIGURES = {
    "scan-stepper": scan_stepper([0.9, 0.5, 0.8, 1.0], [1.0, 2.0, -1.0, 0.5]),
    "recall": recall_figure([Recalled("lstm", 48, ((4, 0.25), (8, 0.14), (64, 0.03)))]),
    "trace": trace_viewer([[(3, 0), (2, 1), (2, 0)]], {"minGRU": ["0 1 0 [EOS] TRUE"]}),
    "memory-cost": memory_cost(),
    "slot-attention": slot_attention(),
    "memory-reader": memory_reader({"trained": [[0.9, 0.8], [nan, 0.9]], "untrained": [[0.9, 0.2], [nan, 0.8]]}),
    "gate-filter": gate_filter(),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


class Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@every_figure
def test_the_page_stands_alone_and_twice_on_one_page(name):
    figure = FIGURES[name]
    first, second = figure._repr_html_(), figure._repr_html_()
    tags = Page(first + second).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids)) == 2
    for _, attributes in tags:
        assert not {"href", "srcset", "data", "poster"} & set(attributes)
        assert attributes.get("src", "data:").startswith("data:")
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"')]*", re.sub(r"base64,[\w+/=]+", "", first)))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a namespace, which nothing fetches
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", first)
    assert "__" not in first


@every_figure
def test_the_script_is_small(name):
    (script,) = re.findall(r"<script>(.*)</script>", FIGURES[name]._repr_html_(), re.DOTALL)
    assert len(re.sub(r"const given = .*;\n", "", script).encode()) < 40_000


@every_figure
def test_the_page_can_be_told_from_the_others_and_read_out(name):
    figure = FIGURES[name]
    tags = Page(figure._repr_html_()).tags
    (root,) = [attributes for _, attributes in tags if "data-figure" in attributes]
    assert root["data-figure"] == name
    assert root["aria-label"] == figure.title
    (picture,) = [attributes for tag, attributes in tags if tag == "svg"]
    assert picture == {"role": "img", "aria-label": figure.words()}
    assert sum(attributes.get("role") == "status" for _, attributes in tags) == 1
    (still,) = [attributes for tag, attributes in tags if tag == "img"]  # in a noscript: what there is without scripts
    assert still["alt"] == figure.words()
    assert "<noscript><img" in figure._repr_html_()


@every_figure
def test_the_still_picture_is_one_and_light(name):
    still = FIGURES[name]._repr_png_()
    with Image.open(io.BytesIO(still)) as picture:
        assert picture.width == 910  # 7 inches
        colors = picture.convert("RGB").getcolors(1_000_000)
    assert len(colors) > 8  # something is drawn on the white
    assert len(still) < 80_000


@every_figure
def test_a_figure_has_no_colours_of_its_own(name):
    own = files("relmem_lite.figures").joinpath(FIGURES[name].page).read_text()
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|\b(?:white|black)\b(?!-)", own)


@pytest.mark.parametrize("color", sorted({INK, WRONG} | {style.color for style in CORE_STYLES.values()}))
def test_colours_can_be_read_on_dark_pages_too(color):
    light, dark = re.fullmatch(r"light-dark\((#\w{6}), (#\w{6})\)", on_both(color)).groups()
    assert light == color.upper()
    assert contrast(dark, DARK) >= 4.5


SEEN = """
  const seen = () => said() + root.querySelector(".stage").innerHTML, still = [];
  const named = (input) => input.getAttribute("aria-label") || input.closest("label").textContent.trim();
  for (const input of all("input")) {
    const before = seen();
    if (input.checked || (input.type === "range" && input.max === input.min)) continue;
    if (input.type === "radio") input.click();
    else slide(named(input), input.value === input.max ? input.min : input.max);
    if (seen() === before) still.push(named(input));
  }

  document.body.style.width = "358px"; // a phone's 390 without the page's margins
  const edge = root.getBoundingClientRect().right + 0.5;
  const beyond = all("*").filter((each) => each.getBoundingClientRect().right > edge).map((each) => each.outerHTML);

  const page = document.documentElement, grounds = {};
  const ground = () => getComputedStyle(root).backgroundColor;
  page.dataset.theme = "light"; grounds.light = ground();
  page.dataset.theme = "dark"; grounds.dark = ground();
  delete page.dataset.theme;
  document.body.dataset.jpThemeLight = "false"; grounds.lab = ground();
  delete document.body.dataset.jpThemeLight;
  page.setAttribute("theme", "dark"); grounds.colab = ground();
  return { unnamed: all("input").filter((input) => !named(input)).length, still, beyond, grounds };
"""


@every_figure
def test_in_a_browser_every_control_works_nothing_is_too_wide_and_dark_pages_get_a_dark_figure(name, tmp_path):
    found = in_browser(FIGURES[name], tmp_path, SEEN)
    assert found["unnamed"] == 0
    assert found["still"] == []  # controls that changed nothing that is drawn or said
    assert found["beyond"] == []
    red, green, blue = (int(DARK[place : place + 2], 16) for place in (1, 3, 5))
    dark = f"rgb({red}, {green}, {blue})"
    assert found["grounds"] == {"light": "rgb(255, 255, 255)", "dark": dark, "lab": dark, "colab": dark}


def test_the_pages_are_part_of_the_package():
    settings = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert '"relmem_lite.figures" = ["*.html", "*.json"]' in settings

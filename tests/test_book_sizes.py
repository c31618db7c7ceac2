"""Pictures and formulas say their size before they come."""

import re

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from PIL import Image
from small_book import SmallBook, shown

from book.sizes import size, width_in_em

SVG = '<svg xmlns="http://www.w3.org/2000/svg" {sides}><circle r="9"/></svg>'


@pytest.mark.parametrize(
    ("sides", "pixels"),
    [
        ('width="300pt" height="150.75pt"', (400, 201)),  # an inch is 72 points, and 96 pixels
        ('width="300px" height="150px"', (300, 150)),
        ('width="300" height="149.6"', (300, 150)),
        ('width="100%" height="150"', None),
        ('viewBox="0 0 10 10"', None),
    ],
)
def test_size_of_an_svg(tmp_path, sides, pixels):
    picture = tmp_path / "picture.svg"
    picture.write_text(SVG.format(sides=sides), encoding="utf-8")
    assert size(picture) == pixels


@pytest.mark.parametrize("suffix", ["png", "jpeg"])
def test_size_of_a_bitmap(tmp_path, suffix):
    picture = tmp_path / f"picture.{suffix}"
    Image.new("L", (31, 17)).save(picture)
    assert size(picture) == (31, 17)


# Formulas of the book; matplotlib sets them a second time, in the same letters (Computer Modern) as MathJax.
@pytest.mark.parametrize(
    "tex",
    [
        "T",
        "h_t",
        "h_{t-1}",
        "a_t, b_t",
        "2/K",
        r"\sigma(a)",
        r"\tilde h_t",
        r"z_t = \sigma(W x_t + b)",
        "h_t = a_t h_{t-1} + b_t",
        r"M_{t-1} \to M_t",
        r"h = o \odot \tanh(c)",
        r"n \log_2 C",
        r"D \times D",
        r"\mathrm{softmax}",
    ],
)
def test_the_width_of_a_formula_is_about_right(tex):
    font = FontProperties(size=10, math_fontfamily="cm")
    width = MathTextParser("path").parse(f"${tex}$", dpi=72, prop=font).width / 10
    # What is off by less than half an em and a fifth seldom sends a word to another line.
    assert width_in_em(tex) == pytest.approx(width, rel=0.2, abs=0.5)


def test_the_width_is_of_what_is_shown_not_of_its_markup():
    assert width_in_em("a &lt; b") == width_in_em("a < b")
    assert width_in_em(r"\mathrm{ab}") == width_in_em("{a}b") == width_in_em("a b") == width_in_em(r"\alpha b")
    assert width_in_em("a_b") < width_in_em("a b")


def test_pages_say_both(tmp_path):
    folder = tmp_path / "sources" / "chapters"
    folder.mkdir(parents=True)
    Image.new("L", (31, 17)).save(folder / "small.png")
    book = SmallBook(tmp_path, "sizes")
    book.write(
        "chapters/01_pictures.ipynb",
        "# Pictures\n\n![a square](small.png)\n\n<img src='elsewhere.png' alt='unknown to Sphinx'>\n\nAnd $h_t$.",
        "```{image} small.png\n:alt: set\n:width: 9px\n```",
        shown({"image/svg+xml": SVG.format(sides='width="30pt" height="15pt"'), "text/plain": "<Figure>"}),
    )
    page = book.build()["01_pictures"]
    sides = [(image.get("width"), image.get("height")) for image in page.select("[role=main] img")]
    styled = page.select_one("[alt=set]")["style"]
    assert sides == [("31", "17"), (None, None), ("31", "17"), ("40", "20")]
    assert "width: 9px" in styled
    assert re.fullmatch(r"--set-width: [\d.]+em", page.select_one("span.math")["style"])

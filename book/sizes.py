"""Pictures and formulas that say their size beforehand, so that the text around them does not jump when they come."""

import html
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from sphinx.util.images import get_image_size

PICTURE = re.compile(r'<img (?=[^>]*\bsrc="[^"]*_images/(?P<name>[^"/]+)")')
INLINE_MATH = re.compile(r'<span class="math notranslate nohighlight">\\\((?P<tex>.*?)\\\)</span>', re.DOTALL)
SPELLED_OUT = re.compile(r"\\(?=(?:cos|deg|exp|ln|log|max|min|sin|tanh)(?![a-zA-Z]))")
BETWEEN_TERMS = re.compile(r"\\(?:approx|cdot|ge|in|le|mapsto|mid|odot|pm|times|to)(?![a-zA-Z])")
PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3}


@cache
def size(picture: Path) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, a JPEG or an SVG; None where it does not say."""
    if picture.suffix != ".svg":
        return get_image_size(picture)
    root = ElementTree.parse(picture).getroot()
    sides = [re.fullmatch(r"([\d.]+)(px|pt|)", root.get(side, "")) for side in ("width", "height")]
    return tuple(round(float(side[1]) * PIXELS[side[2]]) for side in sides) if all(sides) else None


def width_in_em(tex: str) -> float:
    """Return about how wide a formula will be: letters of half an em, capitals wider, operators with air around them.

    >>> width_in_em("h_t = a_t h_{t-1} + b_t") > width_in_em("h_t")
    True
    """
    tex = re.sub(r"\\(?:mathrm|operatorname|text|tilde|hat|bar|big|Big|left|right)\b", "", html.unescape(tex))
    scripts = "".join(re.findall(r"[_^](\{[^{}]*\}|\\[a-zA-Z]+|.)", tex))
    return round(0.52 * _glyphs(re.sub(r"[_^](\{[^{}]*\}|\\[a-zA-Z]+|.)", "", tex)) + 0.38 * _glyphs(scripts) + 0.1, 2)


def _glyphs(tex: str) -> float:
    tex = SPELLED_OUT.sub("", BETWEEN_TERMS.sub("+", tex))
    shown = re.sub(r"[\s{}_^]", "", re.sub(r"\\(?:[a-zA-Z]+|.)", "x", tex))
    return len(shown) + len(re.findall("[=+<>−-]", shown)) + 0.5 * len(re.findall("[A-Z]", shown))


def add_sizes(app, pagename, templatename, context, doctree):
    sources = {name: source for source, name in app.builder.images.items()}

    def with_size(tag):
        sides = size(Path(app.srcdir) / sources[tag["name"]]) if tag["name"] in sources else None
        return f'<img width="{sides[0]}" height="{sides[1]}" ' if sides else tag[0]

    def with_width(math):
        return math[0].replace("<span ", f'<span style="--set-width: {width_in_em(math["tex"])}em" ', 1)

    if "body" in context:
        context["body"] = INLINE_MATH.sub(with_width, PICTURE.sub(with_size, context["body"]))


def setup(app):
    app.connect("html-page-context", add_sizes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

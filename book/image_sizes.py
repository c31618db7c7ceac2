"""Pictures that say their size, so that the text below them does not jump when they come."""

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from sphinx.util.images import get_image_size

PICTURE = re.compile(r'<img (?![^>]*\bwidth=)(?=[^>]*\bsrc="[^"]*_images/(?P<name>[^"/]+)")')
PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3}


@cache
def size(picture: Path) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, a JPEG or an SVG; None where it does not say."""
    if picture.suffix != ".svg":
        return get_image_size(picture)
    root = ElementTree.parse(picture).getroot()
    sides = [re.fullmatch(r"([\d.]+)(px|pt|)", root.get(side, "")) for side in ("width", "height")]
    return tuple(round(float(side[1]) * PIXELS[side[2]]) for side in sides) if all(sides) else None


def add_sizes(app, pagename, templatename, context, doctree):
    sources = {name: source for source, name in app.builder.images.items()}

    def with_size(tag):
        sides = size(Path(app.srcdir) / sources[tag["name"]]) if tag["name"] in sources else None
        return f'<img width="{sides[0]}" height="{sides[1]}" ' if sides else tag[0]

    if "body" in context:
        context["body"] = PICTURE.sub(with_size, context["body"])


def setup(app):
    app.connect("html-page-context", add_sizes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

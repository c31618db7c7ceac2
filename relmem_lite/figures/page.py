"""What the figures that move share: one page for all of them, in which a figure fills in its style and its drawing."""

import base64
import html
import io
import json
import re
import uuid
from functools import cached_property
from importlib.resources import files
from typing import ClassVar

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex
from PIL import Image

from relmem_lite.figures.style import (
    BOOK_STYLE,
    DARK,
    DIVERGING,
    GREY,
    INK,
    PALE,
    PARALLEL_GREEN,
    SEQUENTIAL,
    WRONG,
    on_both,
)


class MovingFigure:
    """A figure that its reader moves: a notebook shows it as a page of plain HTML with a script, no kernel needed.

    A subclass names its `page`, a file of this folder with one style, for its own parts alone, and one script, which
    draws. "page.html" has what they share: colours for light and dark pages, sliders, buttons, and what is read out.
    The script finds `data()` as `given`.
    """

    page: ClassVar[str]
    title: str
    """What the figure shows, in one sentence."""

    def words(self) -> str:
        """Say what is to be seen before the figure is moved."""
        raise NotImplementedError

    def data(self) -> dict:
        """Return what the script draws, as plain values."""
        raise NotImplementedError

    def still(self):
        """Draw what is to be seen before the figure is moved: for print, and where scripts are off.

        Returns:
            A matplotlib Figure.
        """
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        return self._still

    @cached_property
    def _still(self) -> bytes:
        with plt.rc_context(BOOK_STYLE):
            drawn, drawing = self.still(), io.BytesIO()
            drawn.savefig(drawing, dpi=130)
        plt.close(drawn)
        # A drawing has few colours: 48 of them take a third of the bytes.
        smaller = io.BytesIO()
        Image.open(drawing).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(smaller, "png", optimize=True)
        return smaller.getvalue()

    def _repr_html_(self) -> str:
        style, script = re.fullmatch(
            r"<style>\n(.*)</style>\n<script>\n(.*)</script>\n", _template(self.page), re.DOTALL
        ).groups()
        name = self.page.removesuffix(".html").replace("_", "-")
        parts = _COLORS | {
            "NAME": name,
            "ID": f"{name}-{uuid.uuid4().hex}",  # one figure may be shown twice on a page
            "TITLE": html.escape(self.title),
            "WORDS": html.escape(self.words()),
            "STILL": base64.b64encode(self._still).decode(),
            "STYLE": style.rstrip(),
            "SCRIPT": script.rstrip(),
            # In a script, and nothing in it can end that.
            "DATA": json.dumps(self.data(), separators=(",", ":")).replace("<", "\\u003c"),
        }
        # All at once: what was put in is not looked through for what is left.
        return re.sub("__([A-Z]+)__", lambda place: parts[place[1]], _template("page.html"))


_COLORS = {
    "INK": f"light-dark({INK}, #E8EAED)",
    "PAPER": f"light-dark(#FFFFFF, {DARK})",
    "GREY": on_both(GREY),
    "PALE": f"light-dark({PALE}, #2D343D)",
    "FULL": f"light-dark({to_hex(SEQUENTIAL(0.8))}, #C9BFF5)",  # the dark end of maps that begin with the paper
    "ACCENT": on_both(PARALLEL_GREEN),
    "WRONG": on_both(WRONG),
    "MINUS": f"light-dark({to_hex(DIVERGING(0.08))}, {to_hex(DIVERGING(0.3))})",
    "PLUS": f"light-dark({to_hex(DIVERGING(0.9))}, {to_hex(DIVERGING(0.72))})",
}


def _template(name: str) -> str:
    return files("relmem_lite.figures").joinpath(name).read_text(encoding="utf-8")

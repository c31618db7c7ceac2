"""A figure's page from its template: data go into its script, words into its text, and neither can end them."""

import html
import json
import re
import uuid
from collections.abc import Mapping
from importlib.resources import files


def filled(template: str, data: object, words: Mapping[str, str]) -> str:
    """Return a template of this folder, such as "recall.html", with what its page shows.

    In the template, `__DATA__` stands for the data, as JSON in a script, `__ID__` for a name that no other showing has,
    since one figure may be shown twice on a page, and each `__KEY__` for the words of that key.

    Args:
        template: the file's name.
        data: plain values.
        words: text by key; it may stand in an attribute.

    Raises:
        KeyError: the template asks for words that are not given.
    """
    name = template.removesuffix(".html").replace("_", "-")
    parts = {key: html.escape(text) for key, text in words.items()} | {
        "DATA": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "ID": f"{name}-{uuid.uuid4().hex}",
    }
    page = files("relmem_lite.figures").joinpath(template).read_text(encoding="utf-8")
    # All at once: what was put in is not looked through for what is left.
    return re.sub("__([A-Z]+)__", lambda place: parts[place[1]], page)

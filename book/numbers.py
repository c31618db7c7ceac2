"""Numbered figures and equations: Figure 3.2, equation (3.1), without a word more in the notebooks.

Every picture and moving figure of a chapter gets a number below it, every displayed equation one beside it. To refer
to a figure, name it in its cell's metadata, `"mystnb": {"figure": {"name": "fig-reach"}}`; to an equation, put the
comment `<!-- eq-carry -->` before it, which no notebook shows. A link whose text is "figure" or "equation" then gets
the number: `[figure](#fig-reach)` reads "figure 3.2" on the site, and "figure" in a notebook.
"""

import re

from docutils import nodes
from sphinx.transforms import SphinxTransform

CHAPTER = re.compile(r"(\d+)\. ")
NAMED_EQUATION = re.compile(r"\s*<!-- (eq-[\w-]+) -->\s*")
NUMBERED = re.compile(r"(figure|equation)", re.IGNORECASE)


class NumberFiguresAndEquations(SphinxTransform):
    """Give every figure and displayed equation of a chapter its number, once the page is read."""

    default_priority = 800  # before links are resolved, by MyST (879) and Sphinx (900)

    def apply(self):
        chapter = CHAPTER.match(next(iter(self.document.findall(nodes.title)), nodes.title()).astext())
        if chapter:
            numbers = {}
            self.number_figures(chapter[1], numbers)
            self.number_equations(chapter[1], numbers)
            vars(self.env).setdefault("book_numbers", {})[self.env.docname] = numbers

    def number_figures(self, chapter, numbers):
        shown = [node for node in self.document.findall(nodes.container) if _is_figure(node)]
        for count, output in enumerate(shown, 1):
            figure = output.parent if isinstance(output.parent, nodes.figure) else nodes.figure()
            if figure is not output.parent:
                output.replace_self(figure)
                figure += output
            number = f"{chapter}.{count}"
            figure["ids"].append(f"figure-{count}")
            figure += nodes.caption("", f"Figure {number}")
            numbers.update(dict.fromkeys([*figure["ids"], *figure["names"]], number))

    def number_equations(self, chapter, numbers):
        domain = self.env.get_domain("math")
        for count, equation in enumerate(self.document.findall(nodes.math_block), 1):
            equation["number"] = f"{chapter}.{count}"
            anchor = f"equation-{count}"
            comment = _before(equation)
            named = isinstance(comment, nodes.raw) and NAMED_EQUATION.fullmatch(comment.astext())
            if named:
                anchor = named[1]
                comment.parent.remove(comment)
                equation["names"].append(anchor)
                self.document.note_explicit_target(equation)
            else:
                equation["ids"].append(anchor)
            equation["label"] = equation.get("label") or f"{self.env.docname}:{anchor}"
            domain.equations[equation["label"]] = (self.env.docname, equation["number"])
            numbers[anchor] = f"({equation['number']})"


def _is_figure(node):
    if node.get("nb_element") != "mime_bundle":
        return False
    return any(node.findall(nodes.image)) or any("data-figure=" in raw.astext() for raw in node.findall(nodes.raw))


def _before(node):
    place = node.parent.index(node)
    return node.parent[place - 1] if place else None


def write_numbers(app, doctree, docname):
    """Complete links whose text is "figure" or "equation" with the number of what they lead to."""
    numbers = {}
    for of_page in getattr(app.env, "book_numbers", {}).values():
        numbers |= {anchor: number for anchor, number in of_page.items() if anchor.startswith(("fig-", "eq-"))}
    for link in doctree.findall(nodes.reference):
        anchor = link.get("refid") or link.get("refuri", "").rpartition("#")[2]
        if anchor in numbers and NUMBERED.fullmatch(link.astext()):
            words = link.astext()
            link.clear()
            link += nodes.Text(f"{words} {numbers[anchor]}")


def forget_numbers(app, env, docname):
    getattr(env, "book_numbers", {}).pop(docname, None)


def setup(app):
    app.add_transform(NumberFiguresAndEquations)
    app.connect("doctree-resolved", write_numbers)
    app.connect("env-purge-doc", forget_numbers)
    return {"version": "1", "env_version": 1, "parallel_read_safe": False, "parallel_write_safe": True}

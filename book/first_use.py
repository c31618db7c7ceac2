"""Links from a symbol or a term, where a chapter first uses it, to the notation page or the glossary.

A symbol is what stands in the first column of the notation page's tables; a term is what the glossary defines. Both are
found in the text, so that notebooks need no markup that Colab and JupyterLab would show raw.
"""

import re

from docutils import nodes

NOTATION, GLOSSARY = "chapters/notation", "chapters/glossary"
CHAPTER = re.compile(r"chapters/\d\d_")
NO_TEXT = (nodes.reference, nodes.literal, nodes.title, nodes.caption, nodes.raw, nodes.math, nodes.strong)


def anchor_of(symbol: str) -> str:
    """Return the place of a symbol on the notation page: `symbol-h-t` for `h_t`."""
    return "symbol-" + "-".join(re.findall(r"[A-Za-z0-9]+", symbol))


def symbols(cell) -> list[str]:
    """Return the symbols in the first cell of a table's row: `$i_t, f_t$` are two."""
    return [symbol.strip() for math in cell.findall(nodes.math) for symbol in math.astext().split(",")]


def _rows(doctree):
    for row in doctree.findall(nodes.row):
        if isinstance(row.parent, nodes.tbody):
            yield row[0]


def find_symbols(app, doctree):
    """Mark the symbols of the notation page as places to link to, and keep them."""
    if app.env.docname != NOTATION:
        return
    app.env.book_symbols = {}
    for cell in _rows(doctree):
        for symbol in symbols(cell):
            if symbol not in app.env.book_symbols:
                app.env.book_symbols[symbol] = anchor_of(symbol)
                cell["ids"].append(anchor_of(symbol))


def link_first_uses(app, doctree, docname):
    if CHAPTER.match(docname):
        _link_symbols(app, doctree, docname)
        _link_terms(app, doctree, docname)


def _link_symbols(app, doctree, docname):
    page = app.builder.get_relative_uri(docname, NOTATION)
    left = dict(getattr(app.env, "book_symbols", {}))
    for symbol in app.config.book_own_symbols.get(docname, []):
        left.pop(symbol)
    for math in list(doctree.findall(nodes.math)):
        if math.astext() in left and not _inside(math, (nodes.reference, nodes.title, nodes.caption)):
            uri = f"{page}#{left.pop(math.astext())}"
            link = nodes.reference("", "", internal=True, refuri=uri, classes=["first-use"], reftitle="Notation")
            math.replace_self(link)
            link += math


def _link_terms(app, doctree, docname):
    terms = _terms(app)
    if not terms:
        return
    page = app.builder.get_relative_uri(docname, GLOSSARY)
    wanted = re.compile(
        r"(?<![\w-])(" + "|".join(map(re.escape, sorted(terms, key=len, reverse=True))) + r")(?:s|es)?(?![\w-])",
        re.IGNORECASE,
    )
    linked = set()
    for paragraph in list(doctree.findall(nodes.paragraph)):
        for text in list(paragraph.findall(nodes.Text)):
            if _inside(text, NO_TEXT):
                continue
            parts, end = [], 0
            for found in wanted.finditer(text):
                anchor, meaning = terms[found[1].lower()]
                if anchor not in linked:
                    linked.add(anchor)
                    options = {"refuri": f"{page}#{anchor}", "reftitle": meaning, "classes": ["first-use"]}
                    parts += [nodes.Text(text[end : found.start()])]
                    parts += [nodes.reference("", found[0], internal=True, **options)]
                    end = found.end()
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def _terms(app) -> dict[str, tuple[str, str]]:
    """Return anchor and meaning of each of the glossary's terms."""
    if not hasattr(app, "book_terms"):
        app.book_terms = {}
        if GLOSSARY in app.env.found_docs:
            for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
                meaning = item[-1].astext().replace("\n", " ")
                for term in item.findall(nodes.term):
                    app.book_terms[term.astext().lower()] = (term["ids"][0], meaning)
    return app.book_terms


def _inside(node, kinds):
    while node is not None:
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def chapters_again(app, env):
    """Write all chapters again when any page changed: it may have been the glossary."""
    return [page for page in env.found_docs if CHAPTER.match(page)]


def setup(app):
    app.add_config_value("book_own_symbols", {}, "html")
    app.connect("doctree-read", find_symbols)
    app.connect("doctree-resolved", link_first_uses)
    app.connect("env-updated", chapters_again)
    return {"parallel_read_safe": False, "parallel_write_safe": True}

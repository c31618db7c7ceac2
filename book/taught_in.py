"""Links both ways between the chapters and the library's reference, from what the chapters' code imports.

Each chapter ends with the entries of the reference that it uses, each entry names the chapters that use it.
"""

import ast
import pydoc
import re
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx import addnodes

from relmem_lite.experiments import EXPERIMENTS

REFERENCE = "chapters/reference"
CHAPTER = re.compile(r"chapters/(\d\d)_")
LIBRARY = "relmem_lite"
MAGIC = re.compile(r"(?m)(?<=^)[ \t]*[%!].*$")


def used_names(notebook) -> set[str]:
    """Return the full names of what a notebook takes from the library, by `from relmem_lite import` and what it calls.

    An experiment is used where its record is: `recorded.load("gating")`.
    """
    names, imported, words = set(), {}, set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(MAGIC.sub("", cell.source))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == LIBRARY:
                imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
                names.add(f"{imported[node.value.id]}.{node.attr}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    experiments = {_full_name(kind) for name, kind in EXPERIMENTS.items() if name in words}
    return names | set(imported.values()) | experiments


def _full_name(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


def find_uses(app, env):
    """Keep, of each chapter, the entries of the reference that its code uses; write the pages of both sides again."""
    # By what they are: `relmem_lite.scan` and `relmem_lite.scans.scan` are one thing, with one entry.
    entries = {
        id(pydoc.locate(name)): (name, entry.node_id)
        for name, entry in env.get_domain("py").objects.items()
        if entry.docname == REFERENCE and not entry.aliased and entry.objtype in ("class", "exception", "function")
    }
    env.book_uses = {}
    for page in sorted(env.found_docs):
        if CHAPTER.match(page) and env.doc2path(page).endswith(".ipynb"):
            used = used_names(nbformat.read(Path(env.doc2path(page)), as_version=4))
            found = {entries[id(thing)] for thing in map(pydoc.locate, used) if id(thing) in entries}
            env.book_uses[page] = dict(sorted(found, key=lambda entry: _last(entry[0])))
    return [REFERENCE, *env.book_uses]


def _last(name):
    return name.rpartition(".")[2].lower()


def link_both_ways(app, doctree, docname):
    uses = getattr(app.env, "book_uses", {})
    if docname == REFERENCE:
        for entry in doctree.findall(addnodes.desc):
            name = entry[0].get("fullname", "") and f"{entry[0].get('module', '')}.{entry[0]['fullname']}"
            pages = [page for page, names in uses.items() if name in names]
            if pages:
                entry[-1].insert(0, _chapters(app, pages))
    elif uses.get(docname):
        doctree[0].append(_entries(app, docname, uses[docname]))


def _chapters(app, pages):
    line = nodes.paragraph("", classes=["taught-in"])
    line += nodes.Text("Chapter " if len(pages) == 1 else "Chapters ")
    for place, page in enumerate(pages):
        line += nodes.Text(", " if place else "")
        uri = app.builder.get_relative_uri(REFERENCE, page)
        title = app.env.titles[page].astext()
        line += nodes.reference("", str(int(CHAPTER.match(page)[1])), internal=True, refuri=uri, reftitle=title)
    return line


def _entries(app, docname, names):
    line = nodes.paragraph("", classes=["from-the-library"])
    line += nodes.Text("From the library, in this chapter: ")
    for place, (name, anchor) in enumerate(names.items()):
        line += nodes.Text(", " if place else "")
        uri = f"{app.builder.get_relative_uri(docname, REFERENCE)}#{anchor}"
        link = nodes.reference("", "", internal=True, refuri=uri, reftitle=name)
        link += nodes.literal("", name.rpartition(".")[2])
        line += link
    line += nodes.Text(".")
    return line


def setup(app):
    app.connect("env-updated", find_uses)
    app.connect("doctree-resolved", link_both_ways)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""What every chapter keeps to, beyond running from top to bottom."""

import ast
import dis
import re
from pathlib import Path
from types import CodeType

import nbformat
import pytest

CHAPTERS = Path(__file__).parent.parent / "chapters"
PAPER = re.compile(r"arxiv\.org/abs/(\d{4}\.\d+)|doi\.org/([^\s)>\"}]+)")


def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in notebook(path).cells if cell.cell_type == "code"]


every_notebook = pytest.mark.parametrize("path", sorted(CHAPTERS.glob("*.ipynb")), ids=lambda path: path.stem)


@every_notebook
def test_it_is_a_valid_notebook(path):
    nbformat.validate(notebook(path))


@every_notebook
def test_it_opens_like_the_others(path):
    first = code_cells(path)[0]
    assert first.source == code_cells(CHAPTERS / "intro.ipynb")[0].source
    assert first.metadata.tags == ["remove-cell"]


@every_notebook
def test_it_holds_no_outputs(path):
    """Stored ones go stale; the book's are made when it is built."""
    for cell in code_cells(path):
        assert not cell.outputs, cell.source
        assert cell.execution_count is None, cell.source


@every_notebook
def test_its_papers_are_in_the_bibliography(path):
    bibliography = (CHAPTERS / "references.bib").read_text(encoding="utf-8")
    prose = "\n".join(cell.source for cell in notebook(path).cells if cell.cell_type == "markdown")
    for arxiv, doi in PAPER.findall(prose):
        assert (arxiv or doi) in bibliography


@every_notebook
def test_its_code_solutions_stay_folded_everywhere(path):
    """In the book by the tag, in Colab by cellView and # @title, in JupyterLab by source_hidden."""
    for cell in code_cells(path):
        if "# @title Solution" in cell.source:
            assert cell.source.startswith("# @title Solution")
            assert "hide-cell" in cell.metadata.get("tags", [])
            assert cell.metadata.get("cellView") == "form"
            assert cell.metadata.get("jupyter", {}).get("source_hidden") is True


def names(code, operation):
    return {step.argval for step in dis.get_instructions(code) if step.opname == operation}


def globals_of(code):
    """What a function reads of the notebook, itself or in a comprehension, a lambda or a function inside it."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return names(code, "LOAD_GLOBAL").union(*map(globals_of, inner))


@every_notebook
def test_a_name_that_is_imported_stays_what_it_is(path):
    """Bound anew, it would be something else in every cell below, a reader's own among them."""
    imported = set()
    for cell in code_cells(path):
        imports = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        here = {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}
        assert not (names(compile(cell.source, path.stem, "exec"), "STORE_NAME") - here) & imported, cell.source
        imported |= here


@every_notebook
def test_what_sliders_run_means_the_same_when_the_whole_notebook_has_run(path):
    """Somebody runs all cells and then moves a slider: a name that was bound anew below would draw something else."""
    functions, needed = {}, set()
    for cell in code_cells(path):
        module = compile(cell.source, path.stem, "exec")
        rebound = names(module, "STORE_NAME") & needed
        assert not rebound, cell.source
        functions |= {const.co_name: const for const in module.co_consts if isinstance(const, CodeType)}
        found = re.findall(r"^explore\(\s*(\w+)", cell.source, re.MULTILINE)
        while found:
            needed.add(name := found.pop())
            if name in functions:
                found += globals_of(functions[name]) - needed

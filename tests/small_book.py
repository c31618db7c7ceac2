"""A book of a few small pages, built by Sphinx with some of our extensions and read back."""

import io
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def shown(data: dict, **metadata):
    """Return an executed cell that shows `data`, by mime type."""
    output = new_output("display_data", data)
    return new_code_cell("show()", execution_count=1, outputs=[output], metadata=metadata)


class SmallBook:
    """A book in a folder.

    Args:
        folder: where its sources, and the built book, go.
        extensions: of `book`, as in "numbers".
        config: further settings of Sphinx.
    """

    def __init__(self, folder: Path, *extensions: str, **config):
        self.sources, self.built = folder / "sources", folder / "built"
        self.config = {
            "extensions": ["myst_nb", *(f"book.{name}" for name in extensions)],
            "master_doc": "contents",
            "nb_execution_mode": "off",
            "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath"],
            "html_theme": "basic",
            **config,
        }

    def write(self, page: str, *cells):
        """Write a page: notebook cells, or Markdown alone."""
        path = self.sources / page
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            path.write_text("\n".join(cells), encoding="utf-8")
        else:
            cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
            nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)

    def _list_pages(self):
        pages = sorted(path.relative_to(self.sources).as_posix() for path in self.sources.glob("chapters/*.[im]*"))
        (self.sources / "contents.md").write_text("\n".join(["# Contents", "```{toctree}", *pages, "```"]))

    def build(self) -> dict[str, BeautifulSoup]:
        """Build what changed since the last time, without a warning; return every page."""
        self._list_pages()
        warnings = io.StringIO()
        folders = [str(self.sources), None, str(self.built), str(self.built / ".doctrees")]
        with patch_docutils(), docutils_namespace():
            Sphinx(*folders, "html", confoverrides=self.config, status=None, warning=warnings).build()
        assert "WARNING" not in warnings.getvalue(), warnings.getvalue()
        pages = (self.built / "chapters").glob("*.html")
        return {page.stem: BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in pages}

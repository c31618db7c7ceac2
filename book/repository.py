"""Where the published book's sources lie: its buttons, and the notebooks that install the library from there.

The notebooks in the repository name no address, so that every fork's book leads to the fork. When a book is published,
BOOK_REPOSITORY holds the address of its repository and BOOK_REF the tag or commit that it was built from; pages and
executed notebooks are then stamped with them. Unset, there are no buttons, and the notebooks stay as they are.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_cache import get_cache

PUBLISHED_BRANCH = "gh-pages"  # where .github/workflows/publish.yml puts the site
COLAB = "https://colab.research.google.com/github"
ADDRESS = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
REF = re.compile(r"[\w./-]+")
NO_LIBRARY = 'if find_spec("relmem_lite") is None:\n'


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub, and the tag or commit of it that a book is built from."""

    owner: str
    name: str
    ref: str

    @classmethod
    def from_environment(cls, environment=os.environ) -> "Repository | None":
        """Return what BOOK_REPOSITORY and BOOK_REF name, or None where neither is set.

        Raises:
            ValueError: only one of them is set, or it is no address on GitHub or no tag.
        """
        address, ref = environment.get("BOOK_REPOSITORY", ""), environment.get("BOOK_REF", "")
        if not address and not ref:
            return None
        known = ADDRESS.fullmatch(address)
        if not known or not REF.fullmatch(ref):
            raise ValueError(
                f"Got BOOK_REPOSITORY={address!r} and BOOK_REF={ref!r}: set both, as in "
                "BOOK_REPOSITORY=https://github.com/owner/name BOOK_REF=v0.1.0, or neither."
            )
        return cls(*known.groups(), ref)

    @property
    def address(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def site(self) -> str:
        return f"https://{self.owner.lower()}.github.io/{self.name}"

    def in_colab(self, page: str) -> str:
        """Return where Colab opens the executed notebook of a page, such as "chapters/03_gating"."""
        return f"{COLAB}/{self.owner}/{self.name}/blob/{PUBLISHED_BRANCH}/_sources/{page}.ipynb"


def stamped(notebook, page: str, repository: Repository):
    """Return a copy of a notebook that stands alone: it installs the library, and its links lead to the site.

    Only the first code cell changes its code: where it would say that the library is missing, it installs it. What the
    library needs and the environment has stays untouched, as pyproject.toml gives lower bounds only.

    Raises:
        ValueError: the first code cell does not look for the library.
    """
    notebook = nbformat.from_dict(notebook)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    before, found, _ = first.source.partition(NO_LIBRARY)
    if not found:
        raise ValueError(f"{page}: the first code cell must look for relmem_lite, with: {NO_LIBRARY.strip()}")
    first.source = f"{before}{found}    %pip install --quiet git+{repository.address}@{repository.ref}"
    folder = page.rpartition("/")[0]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = RELATIVE_LINK.sub(lambda link: f"]({_on_the_site(link, folder, repository)})", cell.source)
    return notebook


RELATIVE_LINK = re.compile(r"\]\((?P<file>[\w./-]+)\.(?:ipynb|md)(?P<anchor>#[\w.-]+)?\)")


def _on_the_site(link, folder, repository):
    page = os.path.normpath(f"{folder}/{link['file']}")
    return f"{repository.site}/{page}.html{link['anchor'] or ''}"


def offer_executed_notebooks(app, exception):
    """Put the executed notebooks, stamped, where the pages' download buttons look for their sources.

    They come from Jupyter's cache: MyST-NB writes out what it has run itself, but not what it found there.
    """
    if exception or app.builder.format != "html":
        return
    cache = get_cache(app.env.mystnb_config.execution_cache_path)
    for page in sorted(app.env.found_docs):
        source = Path(app.env.doc2path(page))
        offered = Path(app.outdir) / "_sources" / f"{page}.ipynb"
        if source.suffix == ".ipynb" and offered.parent.is_dir():
            notebook = nbformat.read(source, as_version=4)
            with suppress(KeyError):  # not run
                _, notebook = cache.merge_match_into_notebook(notebook)
            if app.config.book_repository:
                notebook = stamped(notebook, page, app.config.book_repository)
            nbformat.write(notebook, offered)


def add_repository(app, config):
    repository = config.book_repository = Repository.from_environment()
    if repository:
        config.html_theme_options.update(
            repository_url=repository.address,
            repository_branch=os.environ.get("BOOK_BRANCH", "main"),
            use_repository_button=True,
            use_edit_page_button=True,
            use_issues_button=True,
        )


def add_colab_button(app, pagename, templatename, context, doctree):
    repository = app.config.book_repository
    if repository and app.env.doc2path(pagename).endswith(".ipynb"):
        button = {
            "type": "link",
            "url": repository.in_colab(pagename),
            "tooltip": "Open this chapter in Colab",
            "text": "Colab",
            "icon": "fas fa-rocket",
            "label": "colab-button",
        }
        context["header_buttons"].insert(0, button)


def setup(app):
    app.add_config_value("book_repository", None, "html", types=[Repository, type(None)])
    app.connect("config-inited", add_repository)
    app.connect("html-page-context", add_colab_button, priority=502)  # after the theme has made its list of buttons
    app.connect("build-finished", offer_executed_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

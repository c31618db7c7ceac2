"""What a published book adds: its repository's address and tag, and notebooks that install the library from there."""

import copy
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell
from small_book import SmallBook

from book.edition import day_of_the_sources, edition
from book.repository import Repository, stamped
from relmem_lite import __version__

ROOT = Path(__file__).parent.parent
FORK = Repository("somebody", "a-fork", "v1.2.3")
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_workflow = pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem
)


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@every_notebook
def test_a_stamped_notebook_differs_in_its_first_cell_and_in_its_links_alone(path):
    plain = nbformat.read(path, as_version=4)
    before = copy.deepcopy(plain)
    marked = stamped(plain, f"chapters/{path.stem}", FORK)
    assert plain == before
    assert code(marked)[1:] == code(plain)[1:]
    assert code(marked)[0].endswith("\n    %pip install --quiet git+https://github.com/somebody/a-fork@v1.2.3")
    assert "git+http" not in path.read_text(encoding="utf-8")
    for old, new in zip(plain.cells, marked.cells, strict=True):
        assert {**old, "source": ""} == {**new, "source": ""}
        if old.cell_type == "markdown":
            assert not re.search(r"\]\([\w./-]+\.(ipynb|md)", new.source)


def test_links_of_a_stamped_notebook_lead_to_the_site():
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(code(nbformat.read(NOTEBOOKS[0], as_version=4))[0]),
            nbformat.v4.new_markdown_cell(
                "[a](02_b.ipynb) [c](notation.md#core-contract) [d](https://x.org/e.md) [f](#g)"
            ),
        ]
    )
    assert stamped(notebook, "chapters/01_a", FORK).cells[1].source == (
        "[a](https://somebody.github.io/a-fork/chapters/02_b.html) "
        "[c](https://somebody.github.io/a-fork/chapters/notation.html#core-contract) [d](https://x.org/e.md) [f](#g)"
    )


def test_a_notebook_that_does_not_look_for_the_library_cannot_be_stamped():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import torch")])
    with pytest.raises(ValueError, match="01_a: the first code cell must look for relmem_lite"):
        stamped(notebook, "chapters/01_a", FORK)


def test_without_an_address_nothing_is_stamped():
    assert Repository.from_environment({}) is None
    assert Repository.from_environment({"BOOK_REPOSITORY": "", "BOOK_REF": ""}) is None


def test_a_notebook_is_offered_as_it_was_run_now_or_before(tmp_path):
    book = SmallBook(tmp_path, "repository", nb_execution_mode="cache")
    times = set()
    for prose in ("# Run", "# From the cache"):
        book.write("chapters/01_time.ipynb", prose, new_code_cell("import time\ntime.time_ns()"))
        book.build()
        offered = nbformat.read(book.built / "_sources" / "chapters" / "01_time.ipynb", as_version=4)
        told, run = offered.cells
        assert told.source == prose
        assert run.execution_count == 1
        times.add(run.outputs[0].data["text/plain"])
    assert len(times) == 1


def test_an_address_and_a_tag_are_read():
    given = {"BOOK_REPOSITORY": "https://github.com/Somebody/a-fork.git", "BOOK_REF": "v1.2.3"}
    repository = Repository.from_environment(given)
    assert repository == Repository("Somebody", "a-fork", "v1.2.3")
    assert repository.site == "https://somebody.github.io/a-fork"
    assert repository.in_colab("chapters/03_gating") == (
        "https://colab.research.google.com/github/Somebody/a-fork/blob/gh-pages/_sources/chapters/03_gating.ipynb"
    )


@pytest.mark.parametrize(
    "given",
    [
        {"BOOK_REPOSITORY": "https://github.com/somebody/a-fork"},
        {"BOOK_REF": "v1.2.3"},
        {"BOOK_REPOSITORY": "git@github.com:somebody/a-fork", "BOOK_REF": "v1.2.3"},
        {"BOOK_REPOSITORY": "https://github.com/somebody/a-fork", "BOOK_REF": "v1; rm -rf ."},
    ],
)
def test_half_an_address_is_refused(given):
    with pytest.raises(ValueError, match="set both, as in"):
        Repository.from_environment(given)


def test_the_day_is_that_of_the_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795241272")
    assert edition(day_of_the_sources(tmp_path)) == f"relmem_lite {__version__}, sources of 2026-11-21"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert edition(day_of_the_sources(tmp_path)) == f"relmem_lite {__version__}"


IN_COLAB = """
import sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in open(sys.argv[1]).read().split("\\0"):
    shell.run_cell(cell).raise_error()
"""


def test_a_published_chapter_installs_the_library_and_nothing_else_where_it_is_missing(tmp_path):
    """As in Colab: the real install cell, with git led to a clone here, where torch and the like are there already."""
    clone, colab = tmp_path / "clone", tmp_path / "colab"
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    files = subprocess.run(
        ["git", "ls-files", "-z", "relmem_lite", "pyproject.toml", "README.md"], cwd=ROOT, capture_output=True
    )
    clone.mkdir()
    for name in filter(None, files.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"], ["tag", FORK.ref]):
        subprocess.run([*git, *command], check=True)

    # An environment that has what this one has, but for the library: a path file's folder is not searched for others,
    # and the library is installed here by one.
    venv.create(colab)
    python = colab / "bin" / "python"
    [packages] = colab.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "here.pth").write_text(here)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{clone.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": FORK.address,
        "PIP_NO_INDEX": "1",  # whatever is missing is not to be had
        "PIP_NO_BUILD_ISOLATION": "0",  # that is how pip is told not to fetch setuptools anew
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    run = {"env": environment, "capture_output": True, "text": True}

    def installed():
        frozen = subprocess.run([python, "-m", "pip", "freeze"], **run, check=True).stdout.splitlines()
        return {line for line in frozen if not line.startswith(("#", "-e ", "relmem"))}

    before = installed()
    assert any(line.startswith("torch==") for line in before)
    notebook = stamped(nbformat.read(NOTEBOOKS[0], as_version=4), "chapters/01_lstm_bottleneck", FORK)
    (tmp_path / "cells").write_text("\0".join([*code(notebook)[:2], "import relmem_lite; print(relmem_lite.__file__)"]))
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run([python, "-c", IN_COLAB, tmp_path / "cells"], cwd=empty, **run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith(str(packages / "relmem_lite" / "__init__.py"))
    assert list(packages.glob("relmem_lite/figures/*.html"))
    assert list(packages.glob("relmem_lite/recorded/*.json"))
    assert installed() == before
    assert list(empty.iterdir()) == []


@every_workflow
def test_actions_are_pinned_and_no_more_is_allowed_than_needed(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert "secrets." not in text
    for job in workflow["jobs"].values():
        granted = {**workflow["permissions"], **job.get("permissions", {})}
        assert granted in ({"contents": "read"}, {"contents": "write"})
        assert (granted["contents"] == "write") == (path.stem == "publish")
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
                assert re.search(rf"{step['uses']} # v\d+\.\d+\.\d+\n", text)
            # What somebody else can name, a branch for example, comes in by the environment, never into a command.
            assert "${{" not in step.get("run", "")

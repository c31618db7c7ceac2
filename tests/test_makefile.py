"""What make does when a Python is named, and when it executes the chapters again."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

ROOT = Path(__file__).parent.parent


def would_run(directory, *arguments):
    """Return what make would run in a folder that holds a copy of the Makefile."""
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True).stdout


def lay_out(directory):
    """Put the Makefile into a folder, and empty files where it looks for some."""
    shutil.copy(ROOT / "Makefile", directory)
    for made in ("relmem_lite", "chapters", ".venv/bin", "_build"):
        (directory / made).mkdir(parents=True)
    for file in ("requirements.txt", "pyproject.toml", ".venv/requirements", ".venv/package"):
        (directory / file).touch()


def stamp_of(directory):
    """Return what make would call the stamp of the chapters that it executes."""
    [stamp] = [line.split()[1] for line in would_run(directory, "book").splitlines() if line.startswith("touch _build")]
    return stamp


@pytest.mark.parametrize("version", [platform.python_version(), "3.11.0rc1"])
def test_a_venv_of_another_python_than_the_one_named_is_made_anew_with_what_it_executed(tmp_path, version):
    lay_out(tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    (tmp_path / stamp_of(tmp_path)).touch()

    for found in (would_run(tmp_path, "book"), would_run(tmp_path, f"PYTHON={sys.executable}", "serve")):
        assert "venv --clear" not in found
        assert "rm -rf" not in found
    named = would_run(tmp_path, f"PYTHON={sys.executable}", "book")
    other = version != platform.python_version()
    assert (f"echo 'Making .venv anew: it is of another Python than {sys.executable}.'" in named) == other
    assert (f'"{sys.executable}" -m venv --clear .venv' in named) == other
    assert ("rm -rf _build/executed-with-*" in named) == other


def test_chapters_are_executed_again_for_another_library_and_not_for_what_running_it_left(tmp_path):
    lay_out(tmp_path)
    cache = tmp_path / "relmem_lite" / "scans" / "__pycache__"
    cache.mkdir(parents=True)
    source = tmp_path / "relmem_lite" / "scans" / "kernels.py"
    source.write_text("one")
    before = stamp_of(tmp_path)
    for left in ("kernels.cpython-311.pyc", "kernels._forward-91.py311.nbi", "kernels._forward-91.py311.1.nbc"):
        (cache / left).write_bytes(b"compiled")
    assert stamp_of(tmp_path) == before
    source.write_text("two")
    assert stamp_of(tmp_path) != before


def test_printing_without_a_browser_says_what_to_install(tmp_path):
    lay_out(tmp_path)
    tried = subprocess.run(
        [shutil.which("make"), "pdf"], cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert tried.returncode != 0
    assert "No Chromium here to print with: install it, or Chrome." in tried.stdout
    assert "jupyter-book" not in tried.stdout

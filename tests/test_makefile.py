"""What make does when a Python is named."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def would_run(directory, *arguments):
    """Return what make would run in a folder that holds a copy of the Makefile."""
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("version", [platform.python_version(), "3.11.0rc1"])
def test_a_venv_of_another_python_than_the_one_named_is_made_anew_with_what_it_executed(tmp_path, version):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for made in ("relmem_lite", "chapters", ".venv/bin", "_build"):
        (tmp_path / made).mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    for file in ("requirements.txt", "pyproject.toml", ".venv/requirements", ".venv/package"):
        (tmp_path / file).touch()
    # No chapters were executed yet: make says what it would call the stamp of those that are.
    [stamp] = [line.split()[1] for line in would_run(tmp_path, "book").splitlines() if line.startswith("touch _build")]
    (tmp_path / stamp).touch()

    for found in (would_run(tmp_path, "book"), would_run(tmp_path, f"PYTHON={sys.executable}", "serve")):
        assert "venv --clear" not in found
        assert "rm -rf" not in found
    named = would_run(tmp_path, f"PYTHON={sys.executable}", "book")
    other = version != platform.python_version()
    assert (f"echo 'Making .venv anew: it is of another Python than {sys.executable}.'" in named) == other
    assert (f'"{sys.executable}" -m venv --clear .venv' in named) == other
    assert ("rm -rf _build/executed-with-*" in named) == other

"""The line under every page: which version of the library it shows, and of which day its sources are."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from relmem_lite import __version__


def day_of_the_sources(folder: Path) -> str | None:
    """Return the day, as in 2026-11-27, of SOURCE_DATE_EPOCH or else of the last commit: never the build's own day.

    Two builds of the same sources are to give the same pages. None where neither is known.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if seconds is None:
        command = ["git", "-C", str(folder), "log", "-1", "--format=%ct"]
        try:
            seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None
    return datetime.fromtimestamp(int(seconds), UTC).date().isoformat()


def edition(day: str | None) -> str:
    """Return the line, without markup."""
    return f"relmem_lite {__version__}" + (f", sources of {day}" if day else "")


def show_edition(app, config):
    config.html_theme_options["extra_footer"] = f"<p>{edition(day_of_the_sources(Path(app.srcdir)))}</p>"


def setup(app):
    app.connect("config-inited", show_edition)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

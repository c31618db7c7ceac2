"""The browser that tests open pages in: the system's own Chromium."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return where it lies. Where it is missing, the test is skipped; under CI it fails: no page goes untried there."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = "No Chromium: install it, as in apt-get install chromium, to have pages tried in a browser."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return found

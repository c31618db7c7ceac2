import shutil

import pytest
from chromium import find_chromium


def test_without_a_browser_a_test_is_skipped_but_fails_under_ci(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        find_chromium()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        find_chromium()


def test_any_of_its_names_will_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", {"google-chrome": "/opt/google-chrome"}.get)
    assert find_chromium() == "/opt/google-chrome"

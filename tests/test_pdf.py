"""The book on paper: solutions are unfolded, folded code is left out, and each chapter begins a page."""

import re
from pathlib import Path

from chromium import find_chromium

from book.pdf import print_book

ROOT = Path(__file__).parent.parent
OVER_A_PAGE = '<div style="height: 1800px">'  # A4 at 0.8 holds 1,233 px between its margins


def pages_of(tmp_path, body):
    """Return how many pages a single page becomes that has the book's own styles."""
    style = (ROOT / "assets" / "book.css").read_text()
    (tmp_path / "chapters").mkdir()
    page = f'<!doctype html><meta charset="utf-8"><style>{style}</style><body class="bd-article">{body}'
    (tmp_path / "chapters" / "intro.html").write_text(page)
    print_book(find_chromium(), tmp_path, tmp_path / "book.pdf")
    return len(re.findall(rb"/Type /Page\b", (tmp_path / "book.pdf").read_bytes()))


def test_solutions_are_unfolded(tmp_path):
    assert pages_of(tmp_path, f"<details><summary> Solution 1.1</summary>{OVER_A_PAGE}</div></details>") == 2


def test_folded_code_is_left_out(tmp_path):
    assert pages_of(tmp_path, f"<details><summary>Show code</summary>{OVER_A_PAGE}</div></details>after") == 1


def test_each_chapter_begins_a_page(tmp_path):
    chapters = "".join(f'<span id="document-chapters/{n}"></span><section>{n}</section>' for n in range(3))
    assert pages_of(tmp_path, f"<section>intro</section>{chapters}") == 4

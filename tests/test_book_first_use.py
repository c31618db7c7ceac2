"""Symbols and terms lead to the notation page and the glossary where a chapter first uses them."""

import pytest
from docutils import nodes
from small_book import SmallBook

from book.first_use import anchor_of, symbols

NOTATION = """# Notation

| symbol | meaning |
|---|---|
| $h_t$ | hidden state |
| $i_t, f_t$ | gates, of which one is like $h_t$ |
| $K$ | size of a key |
"""
GLOSSARY = """# Glossary

```{glossary}
chain
  One thing after another.

chain of thought
  The steps of a solution,
  written down.

cache
key-value cache
  What attention keeps.

plateau
  %s.
```
"""
CHAPTER = """# 3. A plateau in $h_t$

## A chain

**Cache**, `cache`, [a cache](https://example.org), a cached key, a pre-cache, and $x_t$ are no uses. Chains are
no *chain of thought*, nor is a Chain. And $h_t$, $h_t$, then $f_t$ and $h_t = f_t$.

A second chain of thought, two Plateaus, a plateau; a key-value cache, two caches.
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    own = {"chapters/04_own": ["K"]}
    book = SmallBook(tmp_path_factory.mktemp("book"), "first_use", book_own_symbols=own)
    book.write("chapters/notation.md", NOTATION)
    book.write("chapters/glossary.md", GLOSSARY % "Where a score stays")
    book.write("chapters/03_gating.ipynb", CHAPTER)
    book.write("chapters/04_own.md", "# 4. Letters of its own\n\n$K$ counts vectors, $h_t$ none.")
    book.write("chapters/intro.md", "# A plateau\n\nNo chapter: a plateau, and $h_t$.")
    return book


@pytest.fixture(scope="module")
def pages(book):
    return book.build()


def first_uses(page):
    return [(link.get_text().strip("\\()"), link["href"]) for link in page.select("a.first-use")]


def test_each_symbol_and_term_is_linked_once_where_prose_first_uses_it(pages):
    assert first_uses(pages["03_gating"]) == [
        ("Chains", "glossary.html#term-chain"),
        ("chain of thought", "glossary.html#term-chain-of-thought"),
        ("h_t", "notation.html#symbol-h-t"),
        ("f_t", "notation.html#symbol-f-t"),
        ("Plateaus", "glossary.html#term-plateau"),
        ("key-value cache", "glossary.html#term-key-value-cache"),
        ("caches", "glossary.html#term-cache"),
    ]


def test_a_link_leads_to_a_place_that_is_there_and_says_what_is_meant(pages):
    for link in pages["03_gating"].select("a.first-use"):
        page, _, anchor = link["href"].partition(".html#")
        assert len(pages[page].select(f"[id='{anchor}']")) == 1, link
    meaning = {link.get_text(): link["title"] for link in pages["03_gating"].select("a.first-use")}
    assert meaning["chain of thought"] == "The steps of a solution, written down."


def test_the_words_around_a_link_stay(pages):
    words = " ".join(pages["03_gating"].select_one("section section").get_text().split())
    assert "Chains are no chain of thought, nor is a Chain. And" in words
    assert "A second chain of thought, two Plateaus, a plateau; a key-value cache, two caches." in words


def test_a_page_may_have_letters_of_its_own(pages):
    assert [text for text, _ in first_uses(pages["04_own"])] == ["h_t"]


def test_only_chapters_are_linked(pages):
    for name in ("intro", "notation", "glossary"):
        assert first_uses(pages[name]) == []


def test_a_changed_glossary_reaches_the_chapters(book, pages):
    book.write("chapters/glossary.md", GLOSSARY % "A flat piece of a curve")
    titles = [link["title"] for link in book.build()["03_gating"].select("a.first-use")]
    assert "A flat piece of a curve." in titles


def test_symbols_of_a_cell_and_their_places():
    cell = nodes.entry("", nodes.math("", "i_t, f_t"), nodes.Text(", "), nodes.math("", r"\tilde h_t"))
    assert symbols(cell) == ["i_t", "f_t", r"\tilde h_t"]
    assert [anchor_of(symbol) for symbol in symbols(cell)] == ["symbol-i-t", "symbol-f-t", "symbol-tilde-h-t"]

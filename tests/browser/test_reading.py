"""What a reader does with the site: search, copy, print, and open it from a folder."""

import re
from pathlib import Path

import pytest

CHAPTER = "chapters/01_lstm_bottleneck.html"


def test_search_finds_a_phrase(visit):
    page = visit("search.html?q=perplexity").page
    page.get_by_role("link", name="A language model with memory slots").first.wait_for()


def test_search_starts_from_every_page(visit):
    page = visit(CHAPTER).page
    page.locator(".search-button__button:visible, .search-button-field:visible").first.click()
    page.keyboard.type("Blelloch")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="The parallel scan").first.wait_for()
    assert "search.html" in page.url


def test_the_copy_button_copies_the_code(visit, address):
    opened = visit(CHAPTER, permissions=["clipboard-read", "clipboard-write"])
    cell = opened.page.locator("div.cell_input div.highlight:visible").first
    cell.hover()
    cell.locator("button.copybtn").click()
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == cell.locator("pre").text_content().rstrip("\n")
    assert "Comparison(5)" in copied
    assert opened.faults == []


@pytest.mark.parametrize("name", ["chapters/intro.html", CHAPTER, "search.html?q=perplexity"])
def test_it_reads_as_well_from_a_folder(visit, site, name):
    opened = visit(name, address=site.resolve().as_uri() + "/")
    assert opened.page.locator("h1").count() >= 1
    if name.startswith("search"):
        # Browsers let no page fetch files: what is found is named there, without the lines around it.
        opened.page.get_by_role("link", name="A language model with memory slots").first.wait_for()
    else:
        assert opened.faults == []


def test_on_paper_a_dark_page_is_light_and_has_nothing_beside_its_text(visit):
    page = visit(CHAPTER, scheme="dark").page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    for beside in (
        ".bd-sidebar-primary",
        ".bd-sidebar-secondary",
        ".bd-header-article",
        ".prev-next-footer",
        "button.copybtn",
    ):
        assert page.locator(f"{beside}:visible").count() == 0
    code = page.locator("div.cell_input pre:visible").first
    assert code.evaluate("(pre) => getComputedStyle(pre).whiteSpace") == "pre-wrap"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_every_page_says_its_version_and_date(site):
    for page in (site / "chapters").glob("*.html"):
        footer = re.search(r'class="extra_footer">\s*<p>(.*?)</p>', page.read_text(encoding="utf-8"), re.DOTALL)
        assert re.fullmatch(r"relmem_lite \d+\.\d+\.\d+(\.\w+)?, sources of \d{4}-\d\d-\d\d", footer[1]), page


def test_each_chapter_offers_its_notebook(visit, site):
    page = visit(CHAPTER).page
    link = page.locator("a.btn-download-source-button").get_attribute("href")
    assert Path(link).name == "01_lstm_bottleneck.ipynb"
    assert '"image/svg+xml"' in (site / "chapters" / link).resolve().read_text(encoding="utf-8")

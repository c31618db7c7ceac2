"""Figures and equations are counted by chapter, and links to them say their numbers."""

import pytest
from small_book import SmallBook, shown

# One black pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
MOVING = '<div class="relmem-figure" data-figure="recall">moves</div>'


def picture(name=None):
    mystnb = {"image": {"alt": "a picture"}} | ({"figure": {"name": name}} if name else {})
    return shown({"image/png": PNG, "text/plain": "<Figure>"}, mystnb=mystnb)


def write_gating(book, *cells):
    book.write(
        "chapters/03_gating.ipynb",
        "# 3. Gating",
        *cells,
        picture("fig-reach"),
        "Forward to the [equation](#eq-carry), back to the [figure](#fig-reach), to [this one](#fig-reach).",
        "$$\na = b\n$$\n\n<!-- eq-carry -->\n\n$$\nh_t = a_t h_{t-1}\n$$",
    )


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    book = SmallBook(tmp_path_factory.mktemp("book"), "numbers")
    book.write(
        "chapters/intro.ipynb",
        "# A book without numbers",
        picture(),
        "$$\nx = y\n$$",
        "[Figure](#fig-reach) and [equation](#eq-carry)",
    )
    write_gating(book, picture(), shown({"text/html": MOVING}), shown({"text/html": "<table></table>"}))
    book.write("chapters/10_recall.ipynb", "# 10. Recall", picture(), "$$\ny = x\n$$")
    return book


@pytest.fixture(scope="module")
def pages(book):
    return book.build()


def captions(page):
    return [caption.get_text().strip("\n ¶#") for caption in page.select("figure figcaption")]


def equation_numbers(page):
    return [number.get_text().strip("¶#") for number in page.select(".math .eqno")]


def test_pictures_and_moving_figures_are_counted_by_chapter(pages):
    assert captions(pages["03_gating"]) == ["Figure 3.1", "Figure 3.2", "Figure 3.3"]
    assert captions(pages["10_recall"]) == ["Figure 10.1"]
    assert [bool(figure.find("img")) for figure in pages["03_gating"].select("figure")] == [True, False, True]
    assert pages["03_gating"].select_one("figure [data-figure=recall]")
    assert not pages["03_gating"].select("figure table")


def test_a_page_without_a_number_counts_nothing(pages):
    assert captions(pages["intro"]) == equation_numbers(pages["intro"]) == []


def test_equations_are_counted_by_chapter(pages):
    assert equation_numbers(pages["03_gating"]) == ["(3.1)", "(3.2)"]
    assert equation_numbers(pages["10_recall"]) == ["(10.1)"]


def test_a_figure_and_an_equation_can_be_linked_to_by_place_or_name(pages):
    page = pages["03_gating"]
    for place in ("figure-1", "figure-2", "figure-3", "fig-reach", "equation-1", "eq-carry"):
        assert len(page.select(f"[id='{place}']")) == 1, place
    assert "Figure 3.3" in page.select_one("figure:has([id='fig-reach']), figure[id='fig-reach']").get_text()
    assert "h_t = a_t" in page.select_one("div[id='eq-carry']").get_text()
    assert "<!-- eq-" not in str(page)


def link_texts(page, *anchors):
    return [link.get_text() for link in page.select("p a.internal") if link["href"].rpartition("#")[2] in anchors]


def test_links_say_the_number_where_their_text_is_figure_or_equation(pages):
    here = link_texts(pages["03_gating"], "eq-carry", "fig-reach")
    assert here == ["equation (3.2)", "figure 3.3", "this one"]
    assert link_texts(pages["intro"], "eq-carry", "fig-reach") == ["Figure 3.3", "equation (3.2)"]


def test_numbers_follow_when_a_figure_goes(book, pages):
    write_gating(book)
    again = book.build()
    assert captions(again["03_gating"]) == ["Figure 3.1"]
    assert link_texts(again["03_gating"], "fig-reach") == ["figure 3.1", "this one"]

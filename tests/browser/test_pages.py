"""Every page: it loads in silence, asks nobody else, fits a phone, does not jump, and stands in nobody's way."""

import pytest
from axe_playwright_python.sync_playwright import Axe

PHONE, DESKTOP = 390, 1100
# How far text may move up or down in all until a page is done. A word that a formula sends to the next line moves far,
# to the left: that is not what makes a reader lose the place.
TWO_LINES = 54
OTHER = {"light": "dark", "dark": "light"}

# What leaves its box on the right, and cannot be scrolled to inside a box of its own.
OVERFLOWING = """
() => {
  const scrolls = (element) => {
    for (let box = element; box && box !== document.body; box = box.parentElement)
      if (/auto|scroll|hidden/.test(getComputedStyle(box).overflowX)) return true;
    return false;
  };
  const wide = "figure, img, svg, table, pre, mjx-container, [data-figure], [data-figure] *";
  return [...document.querySelectorAll(`main :is(${wide})`)]
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && element.checkVisibility())
    .filter((element) => !scrolls(element))
    .map((element) => element.outerHTML.slice(0, 150));
}
"""

# Our own content: without the inside of formulas, which is MathJax's, the colours of code and the marks of signatures,
# which are the theme's (and tens of thousands of elements), and links to headings, whose pale # is the theme's. The
# reference is one section over and over: its first one speaks for all.
OUR_OWN = """
() => {
  for (const sameMarkup of document.querySelectorAll("#cores ~ section")) sameMarkup.remove();
  for (const theirs of document.querySelectorAll("mjx-container, .highlight pre, dt.sig"))
    theirs.replaceChildren(theirs.textContent);
  for (const theirs of document.querySelectorAll(".headerlink, .bd-sidebar, header")) theirs.remove();
}
"""
UNSET_MATH = "[...document.querySelectorAll('.math')].filter((each) => !each.querySelector('mjx-container')).length"


def overflowing(page):
    too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return page.evaluate(OVERFLOWING) + ([f"the page itself, by {too_wide} px"] if too_wide > 0 else [])


def in_the_way(page, **options):
    found = Axe().run(page, context={"include": ["main"]}, options={"preload": False, **options}).response["violations"]
    return [
        f"{fault['help']} ({fault['id']}): {fault['nodes'][0]['html'][:200]}, and {len(fault['nodes']) - 1} more"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_it_loads_in_silence_fits_and_stands_in_nobodys_way(visit, page_name, width, scheme):
    opened = visit(page_name, width=width, scheme=scheme)
    page = opened.page
    shifts = page.evaluate("window.shifts")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate(UNSET_MATH) == 0
    assert page.locator("mjx-merror").count() == 0
    assert sum(shift["pixels"] for shift in shifts) < TWO_LINES, shifts
    assert overflowing(page) == []

    # The other two of the four ways to look at it, without setting all math again.
    page.emulate_media(color_scheme=OTHER[scheme])
    page.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=OTHER[scheme])
    assert overflowing(page) == []
    assert opened.faults == []

    page.evaluate(OUR_OWN)
    page.emulate_media(color_scheme=scheme)
    rules = {} if width == DESKTOP else {"runOnly": ["color-contrast"]}  # the rest is the same at any width
    assert in_the_way(page, resultTypes=["violations"], **rules) == []

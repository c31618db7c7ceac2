"""The book on paper: Jupyter Book's single page of all chapters, printed into a PDF by the Chromium that is here."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# On a page of its own, a chapter's solutions are for the reader to unfold; paper cannot be unfolded.
READY = """
async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  for (const folded of document.querySelectorAll("details"))
    folded.open = /^Solution/.test(folded.querySelector("summary").textContent.trim());
  await Promise.all(document.getAnimations().map((animation) => animation.finished));
}
"""
FOOTER = '<div style="width: 100%; text-align: center; font-size: 8px" class="pageNumber"></div>'


def print_book(chromium: str, single_page: Path, pdf: Path) -> None:
    """Print what `jupyter-book build --builder singlehtml` wrote into the folder `single_page`, on A4."""
    # The page lies beside the first chapter's source, and its links are those of a page at the top.
    page = shutil.copy(single_page / "chapters" / "intro.html", single_page / "book.html")
    with sync_playwright() as playwright:
        # --no-sandbox: containers have none; the page is our own.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(0)
        tab.goto(page.resolve().as_uri())
        tab.evaluate(READY)
        tab.pdf(
            path=pdf,
            format="A4",
            scale=0.8,
            margin=dict.fromkeys(("top", "bottom", "left", "right"), "18mm"),
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        browser.close()


if __name__ == "__main__":
    chromium, single_page, pdf = sys.argv[1:]
    print_book(chromium, Path(single_page), Path(pdf))

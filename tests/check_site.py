"""Check a built site: links lead somewhere, no third party is asked, pictures have words, cells print no bare objects.

And: pages are light, chapters and reference lead to one another, the notebooks to download are executed, and neither
holds a widget, which would be dead there.

python tests/check_site.py _build/html
"""

import gzip
import json
import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

from bs4 import BeautifulSoup

FETCHED = {"src", "srcset", "data", "poster"}  # attributes that make a browser load something
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
CSS_ELSEWHERE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^"')\s]+""", re.IGNORECASE)

HEAVIEST = 600_000  # bytes of a page, gzipped, with its pictures; the theme and MathJax, in _static, come on top

# What a figure's cell shows beside its figure if its last line is not ended by a semicolon.
BARE_OBJECT = re.compile(r"^(?:Text\(|<Axes|<Figure|\[?<matplotlib)")

WIDGET = "holds a widget, which nobody can move here: run the chapters with RELMEM_STILL=1"


@cache
def parsed(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(page: Path) -> set[str]:
    return {value for tag in parsed(page)(True) for value in (tag.get("id"), tag.get("name")) if value}


def pages(site: Path) -> list[Path]:
    """Return what a reader can open: the theme leaves its own templates in _static."""
    return [page for page in site.rglob("*.html") if "_static" not in page.relative_to(site).parts]


def faults(site: Path):
    """Yield one line for each thing on the site that is wrong."""
    for sheet in site.rglob("*.css"):
        for found in CSS_ELSEWHERE.findall(sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(site)}: loads from a third party: {found}"
    for page in pages(site):
        for tag in parsed(page)(True):
            for fault in tag_faults(site, page, tag):
                yield f"{page.relative_to(site)}: {fault}"
        if weight(page) > HEAVIEST:
            yield f"{page.relative_to(site)}: weighs {weight(page):,} bytes, which is more than {HEAVIEST:,}"
    yield from one_way_links(site)
    yield from notebook_faults(site)


def weight(page: Path) -> int:
    """Return the bytes of a page and of its pictures, gzipped."""
    sources = {unquote(tag["src"]) for tag in parsed(page)("img", src=True) if "_images/" in tag["src"]}
    files = [page, *(page.parent / source for source in sources)]
    return sum(len(gzip.compress(file.read_bytes(), mtime=0)) for file in files if file.is_file())


def one_way_links(site: Path):
    """Yield what a chapter takes from the library without the reference's entry naming the chapter, and the reverse.

    Every core has a chapter. The state that a core hands back is explained with the core.
    """
    reference = site / "chapters" / "reference.html"
    if not reference.is_file():
        return
    there, back = set(), set()
    for page in (site / "chapters").glob("[0-9][0-9]_*.html"):
        links = parsed(page).select(".from-the-library a")
        there |= {(page.name, urldefrag(link["href"])[1]) for link in links}
        if not links:
            yield f"{page.relative_to(site)}: no links to the entries of the reference that it uses"
    for entry in parsed(reference).select("dl.py > dt[id]"):
        chapters = entry.parent.select(":scope > dd > .taught-in a")
        back |= {(urldefrag(link["href"])[0], entry["id"]) for link in chapters}
        is_core = entry.find_parent(id="cores") and not entry.parent.find_parent("dl")
        if is_core and not entry["id"].endswith("State") and not chapters:
            yield f"{reference.relative_to(site)}: no chapter teaches {entry['id']}"
    for page, entry in there ^ back:
        yield f"chapters/{page}: linked with {entry} in one direction only"


def notebook_faults(site: Path):
    """Yield the notebooks offered for download whose code was not run, or run with widgets."""
    for notebook in (site / "_sources").rglob("*.ipynb"):
        content = json.loads(notebook.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        if "widgets" in content.get("metadata", {}):
            yield f"{notebook.relative_to(site)}: {WIDGET}"
        if not any(cell["outputs"] for cell in cells) or not all(cell["execution_count"] for cell in cells):
            yield f"{notebook.relative_to(site)}: is offered for download without having been run"


def tag_faults(site: Path, page: Path, tag):
    if tag.name == "style" and CSS_ELSEWHERE.search(tag.get_text()):
        yield "a style loads from a third party"
    if tag.name == "script" and tag.get("type", "").startswith("application/vnd.jupyter.widget"):
        yield WIDGET
    if tag.name == "pre" and BARE_OBJECT.match(tag.get_text()):
        yield f"a cell prints an object: {tag.get_text()[:60].strip()}"
    if tag.name == "img":
        alt = tag.get("alt", "").strip()
        if not alt or alt == tag.get("src", "").strip():
            yield f"a picture without alt text: {tag.get('src', '')[:80]}"
    for attribute in FETCHED | {"href"}:
        for address in [part.split()[0] for part in tag.get(attribute, "").split(", ") if part.strip()]:
            fetched = attribute in FETCHED or (tag.name == "link" and "canonical" not in tag.get("rel", []))
            if address.startswith(("data:", "mailto:", "javascript:")):
                continue
            if ELSEWHERE.match(address):
                if fetched:
                    yield f"<{tag.name}> loads from a third party: {address}"
                continue
            path, anchor = urldefrag(unquote(address))
            path = path.partition("?")[0]
            target = (site / path[1:] if path.startswith("/") else page.parent / path) if path else page
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"leads nowhere: {address}"
            elif anchor and target.suffix == ".html" and anchor not in anchors(target):
                yield f"no such place on the page: {address}"


def main(site: Path) -> int:
    found = sorted(set(faults(site)))
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{site}: {len(pages(site))} pages, {len(found)} faults")
    return 1 if found or not pages(site) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

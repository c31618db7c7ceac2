"""Check a built site: links lead somewhere, no third party is asked, pictures have words, cells print no bare objects.

python tests/check_site.py _build/html
"""

import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

from bs4 import BeautifulSoup

FETCHED = {"src", "srcset", "data", "poster"}  # attributes that make a browser load something
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
CSS_ELSEWHERE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^"')\s]+""", re.IGNORECASE)

# What a figure's cell shows beside its figure if its last line is not ended by a semicolon.
BARE_OBJECT = re.compile(r"^(?:Text\(|<Axes|<Figure|\[?<matplotlib)")


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


def tag_faults(site: Path, page: Path, tag):
    if tag.name == "style" and CSS_ELSEWHERE.search(tag.get_text()):
        yield "a style loads from a third party"
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

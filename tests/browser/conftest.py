"""The built site in a real browser, served on this machine, with every other address blocked."""

import functools
import http.server
import threading
from pathlib import Path

import pytest
from chromium import find_chromium
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]

# From the page's first moment on; a page may not have both a browser that is slow and a test that waits.
WATCH_LAYOUT = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const shift of list.getEntries())
    window.shifts.push({
      pixels: Math.max(0, ...shift.sources.map((source) => Math.abs(source.currentRect.y - source.previousRect.y))),
      moved: shift.sources.map((source) => (source.node?.outerHTML ?? source.node?.textContent ?? "").slice(0, 200)),
    });
}).observe({ type: "layout-shift", buffered: true });
"""


def pytest_addoption(parser):
    parser.addoption("--site", type=Path, default=ROOT / "_build" / "html", help="the folder of the built site")


def built_pages(site: Path) -> list[str]:
    """Return what a reader can open, but for redirects: an index.html that only leads to the first page."""
    pages = [page for page in site.rglob("*.html") if not {"_static", "_sources"} & set(page.relative_to(site).parts)]
    return sorted(page.relative_to(site).as_posix() for page in pages if page != site / "index.html")


def pytest_generate_tests(metafunc):
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", built_pages(metafunc.config.getoption("site")))


@pytest.fixture(scope="session")
def site(request):
    site = request.config.getoption("site")
    if not built_pages(site):
        pytest.fail(f"There is no built book in {site}: make book")
    return site


@pytest.fixture(scope="session")
def address(site):
    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        # --no-sandbox: containers have none; all pages are our own.
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page, and all that went wrong on it since it was opened."""

    def __init__(self, page, address):
        self.page, self.address, self.faults = page, address, []
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("response", lambda response: response.status >= 400 and self.faults.append(response.url))
        page.context.route("**/*", self._own_address_only)
        page.add_init_script(WATCH_LAYOUT)

    def _own_address_only(self, route):
        if route.request.url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"asks for {route.request.url}")
            route.abort()

    def open(self, name):
        """Open a page, and wait until its math is set and its own scripts are done."""
        self.page.goto(self.address + name, wait_until="load")
        self.page.evaluate("async () => { await window.MathJax?.startup?.promise; await document.fonts.ready; }")
        return self.page


@pytest.fixture
def visit(chromium, address):
    """Return a function that opens a page of the site in a new window, and its faults so far with it."""
    contexts = []

    def visit(name, *, width=1100, scheme="light", address=address, **options):
        # Reduced motion: the theme's slow scrolling would move what a test is about to press.
        settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "reduced_motion": "reduce"}
        context = chromium.new_context(**settings, **options)
        context.set_default_timeout(120_000)  # on a busy machine a page may take long; a right one passes at once
        contexts.append(context)
        visit = Visit(context.new_page(), address)
        visit.open(name)
        return visit

    yield visit
    for context in contexts:
        context.close()

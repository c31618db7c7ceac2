"""A figure's page in a real browser: what its script draws, and says, after it was moved."""

import json
import re
import subprocess
from html import unescape

from chromium import find_chromium

# What a test's script has at hand: moving a slider or choosing an option as a reader does, and what is then said.
HANDS = """
const root = document.querySelector(".relmem-figure");
const slide = (name, value) => {
  const input = root.querySelector(`input[type=range][aria-label="${name}"]`);
  input.value = value;
  input.dispatchEvent(new Event("input"));
};
const all = (selector) => [...root.querySelectorAll(selector)];
const choose = (words) => all("label").find((label) => label.textContent.trim() === words).click();
const press = (words) => all("button").find((button) => button.textContent === words).click();
const said = () => root.querySelector("[role=status]").textContent;
const read = (selector) => all(selector).map((element) => element.textContent);
"""


def in_browser(figure, tmp_path, script: str):
    """Return what a script, the body of a function, returns on the figure's page."""
    page = tmp_path / "page.html"
    page.write_text(
        f"""<!doctype html><meta charset="utf-8"><body>{figure._repr_html_()}<pre id="found"></pre><script>
addEventListener("error", (event) => (document.getElementById("found").textContent = JSON.stringify(event.message)));
{HANDS}
document.getElementById("found").textContent = JSON.stringify((() => {{ {script} }})());
</script>""",
        encoding="utf-8",
    )
    # --no-sandbox: containers have none; the page is our own, and asks for nothing outside itself.
    headless = [find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command = [*headless, f"--user-data-dir={tmp_path}", page.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(unescape(re.search(r'<pre id="found">(.*)</pre>', dumped, re.DOTALL)[1]))

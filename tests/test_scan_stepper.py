import json
import re
from math import log2

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt
from in_browser import in_browser

from relmem_lite.figures.scan_stepper import scan_levels, scan_stepper, schedules
from relmem_lite.scans import scan

A = [0.9, 0.5, 0.8, 1.0, 0.3, 0.7, 0.6, 0.9]
B = [1.0, 2.0, -1.0, 0.5, 3.0, 0.0, 1.0, 2.0]
METHODS = ["loop", "Hillis-Steele", "Blelloch", "chunked"]


def data_of(page):
    return json.loads(re.search(r"const given = (\{.*\});", page).group(1))


def joined(a, b, levels):
    """Run levels on numbers; return (first, written) of every cell."""
    cells = [(kept, written, t) for t, (kept, written) in enumerate(zip(a, b, strict=True))]
    for level in levels:
        before, cells = cells, list(cells)
        for t, s in level:
            assert before[t][2] == s + 1, "a gap, or a step joined twice"
            cells[t] = (before[t][0] * before[s][0], before[t][0] * before[s][1] + before[t][1], before[s][2])
    return cells


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 8, 9, 64, 100])
def test_every_schedule_joins_all_steps_and_gives_the_states_of_scan(method, steps):
    a, b = torch.rand(steps, dtype=torch.float64), torch.randn(steps, dtype=torch.float64)
    cells = joined(a.tolist(), b.tolist(), schedules(steps)[method])
    assert all(first == 0 for _, _, first in cells)
    name = method.lower().replace("-", "_")
    expected = scan(a.reshape(1, -1, 1), b.reshape(1, -1, 1), method=name).flatten()
    torch.testing.assert_close(torch.tensor([written for _, written, _ in cells], dtype=torch.float64), expected)


def test_depth_and_work_are_those_of_the_papers():
    T = 1024
    counts = {name: (len(levels), sum(map(len, levels))) for name, levels in schedules(T).items()}
    assert counts["loop"] == (T - 1, T - 1)
    assert counts["Hillis-Steele"] == (log2(T), T * log2(T) - T + 1)
    assert counts["Blelloch"] == (2 * log2(T) - 1, 2 * T - 2 - log2(T))
    depth, work = counts["chunked"]
    assert depth <= 2 * T**0.5
    assert work < 2 * T


def test_the_page_holds_what_scan_computes():
    stepper = scan_stepper(A, B)
    page = stepper._repr_html_()
    data = data_of(page)
    assert (data["a"], data["b"], data["method"]) == (A, B, "loop")
    assert list(data["schedules"]) == METHODS
    a, b = (torch.tensor(x, dtype=torch.float64).reshape(1, -1, 1) for x in (data["a"], data["b"]))
    states = scan(a, b).flatten()
    torch.testing.assert_close(torch.tensor(stepper.states, dtype=torch.float64), states)
    for levels in data["schedules"].values():
        written = [written for _, written, _ in joined(data["a"], data["b"], levels)]
        torch.testing.assert_close(torch.tensor(written, dtype=torch.float64), states)
    assert ", ".join(f"{state:.2f}" for state in states.tolist()) in page


def test_a_method_of_the_readers_own_is_shown():
    levels = {"</script><b>mine": [[(1, 0)], [(2, 1)]]}
    page = scan_stepper(A[:3], B[:3], levels)._repr_html_()
    assert page.count("</script>") == 1
    assert list(data_of(page)["schedules"]) == list(levels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.5], [1.0, 2.0]), "one number for each step"),
        (([], []), "one number for each step"),
        ((A, B, {"mine": [[(8, 0)]]}), "from 0 to 7"),
        ((A, B, {"mine": [[(0, 1)]]}), "the later one first"),
        ((A, B, {"mine": [[(1, 0)], [(3, 2), (3, 1)]]}), "level 2 changes one cell twice"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        scan_stepper(*arguments)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="choose one of loop"):
        scan_stepper(A, B, method="tree")


@pytest.mark.parametrize("method", METHODS)
def test_the_picture_says_the_same(method):
    ax = scan_levels(A, B, schedules(8)[method], method)
    words = [text.get_text() for text in ax.texts]
    drawn = [float(word) for word in words if re.fullmatch(r"-?\d+\.\d\d", word)]
    assert sorted(drawn) == pytest.approx(sorted(scan_stepper(A, B).states), abs=0.006)
    assert f"level {len(schedules(8)[method])}" in words
    plt.close(ax.figure)


def test_the_page_steps_to_the_states_of_scan(tmp_path):
    found = in_browser(
        scan_stepper(A, B),
        tmp_path,
        """
        const looks = {}, last = { "Hillis-Steele": 3, Blelloch: 5, chunked: 4 };
        for (const [name, level] of Object.entries(last)) {
          choose(name); slide("Level", level); slide("a3", 0.6);
          looks[name] = { said: said(), heard: root.querySelector("svg").getAttribute("aria-label") };
        }
        return looks;
        """,
    )
    a, b = (torch.tensor(x, dtype=torch.float64).reshape(1, -1, 1) for x in ([*A[:2], 0.6, *A[3:]], B))
    states = [f"t {t}: {state:.2f}" for t, state in enumerate(scan(a, b).flatten().tolist(), 1)]
    for look in found.values():
        assert "All states are there, and equal the loop's." in look["said"]
        assert f"Cells: {', '.join(states)}." in look["heard"]

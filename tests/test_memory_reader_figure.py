from math import nan

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt
from in_browser import in_browser

from relmem_lite.figures.memory_reader import memory_reader

KEPT = [[0.98, 0.97, 0.95, 0.9], [nan, 0.97, 0.94, 0.91], [nan, nan, 0.96, 0.93]]
FADING = [[0.98, 0.6, 0.3, -0.2], [nan, 0.97, 0.5, 0.31], [nan, nan, 0.97, 0.6]]
READER = memory_reader({"Trained": KEPT, "Untrained": FADING}, ["1", "2", "3", "ask"])


def test_the_words_say_the_first_and_the_last_item_of_each_table():
    assert "Trained: R² = 0.90 for item 1, 0.93 for item 3" in READER.words()
    assert "Untrained: R² = -0.20 for item 1, 0.60 for item 3" in READER.words()


def test_the_page_says_and_draws_the_number_under_the_cursor(tmp_path):
    found = in_browser(
        READER,
        tmp_path,
        """
        const looks = {};
        const fill = (cell) => Number((/([0-9]+)%/.exec(cell.style.fill) ?? [0, -1])[1]);
        for (const name of ["Trained", "Untrained"]) {
          choose(name);
          for (let step = 0; step < 4; step++)
            for (let item = 1; item <= 3; item++) {
              slide("Step", step); slide("Item", item);
              looks[[name, step, item]] = { said: said(), fills: all("rect.cell").map(fill) };
            }
        }
        press("Back"); looks.back = said();
        all("rect.cell")[1].dispatchEvent(new MouseEvent("click")); looks.clicked = said();
        return looks;
        """,
    )
    for name, table in (("Trained", KEPT), ("Untrained", FADING)):
        for step in range(4):
            for item in range(3):
                look, value = found[f"{name},{step},{item + 1}"], table[item][step]
                if np.isnan(value):
                    assert f"item {item + 1} is not stored yet" in look["said"]
                else:
                    assert f"item {item + 1}, stored" in look["said"]
                    assert f"R² = {value:.2f}".replace("-", "−") in look["said"]
                expected = [
                    -1 if np.isnan(each) or later > step else 100 * max(each, 0)
                    for row in table
                    for later, each in enumerate(row)
                ]
                assert look["fills"] == pytest.approx(expected, abs=0.51)
    assert "stored 2 steps ago" in found["Trained,2,1"]["said"]
    assert "Of 2 stored items, 2 can be read" in found["Untrained,1,1"]["said"]
    assert "Of 3 stored items, 1 can be read" in found["Untrained,3,1"]["said"]
    assert "after “ask”" in found["Trained,3,1"]["said"]
    assert "after step 3" in found["back"]
    assert "after step 2: item 1" in found["clicked"]


@pytest.mark.parametrize(
    ("tables", "options", "words"),
    [
        ({}, {}, "one shape"),
        ({"a": KEPT, "b": KEPT[:2]}, {}, "one shape"),
        ({"a": [0.1, 0.2]}, {}, "one shape"),
        ({"a": [[1.2]]}, {}, "at most 1"),
        ({"a": [[0.5, nan]]}, {}, "to the last one"),
        ({"a": KEPT}, {"name": "b"}, "choose one of a"),
        ({"a": KEPT}, {"step_labels": ["1"]}, "1 step labels for 4 steps"),
    ],
)
def test_what_cannot_be_shown_is_refused(tables, options, words):
    with pytest.raises(ValueError, match=words):
        memory_reader(tables, **options)


def test_the_still_picture_is_the_table_that_is_shown_first():
    fig = memory_reader({"Trained": KEPT, "Untrained": FADING}, name="Untrained").still()
    drawn = np.ma.filled(np.ma.asarray(fig.axes[0].images[0].get_array(), dtype=float), nan)
    np.testing.assert_allclose(drawn, np.clip(FADING, 0, None))
    plt.close(fig)

import itertools
import json
import math
import re

import matplotlib as mpl
import pytest

mpl.use("Agg")

from in_browser import in_browser

from relmem_lite.figures import contrast
from relmem_lite.figures.recall import Recalled, bound_table, recall_figure
from relmem_lite.figures.style import DARK
from relmem_lite.tasks import accuracy_within, bits_needed

SMALL = Recalled("lstm", 48, ((4, 0.25), (8, 0.14), (64, 0.03)))
GROWING = Recalled("attention", 2240, ((4, 0.99), (64, 0.7)), at=64, grows=32)


def data_of(page):
    return json.loads(re.search(r"const given = (\{.*\});", page).group(1))


def between(table, bits):
    """What the page's script does: straight lines between the table's points."""
    for (fewer, low), (more, high) in itertools.pairwise(table):
        if bits <= more:
            return low + (high - low) * (bits - fewer) / (more - fewer)
    return 1.0


@pytest.mark.parametrize("choices", [2, 64, 1000])
def test_straight_lines_between_the_tables_points_are_the_bound(choices):
    table = data_of(recall_figure([], choices=choices)._repr_html_())["bound"]
    whole = bits_needed(1, choices)
    assert table[0][0] == 0
    assert table[0][1] == pytest.approx(1 / choices)
    assert table[-1] == pytest.approx([whole, 1])
    for number in range(201):
        bits = whole * number / 200
        # The curve leaves chance upright, where straight lines fall short of it by most.
        near = 0.006 if bits > 0.02 * whole else 0.02
        assert between(table, bits) == pytest.approx(accuracy_within(bits, 1, choices), abs=near)


def test_the_table_never_turns_back():
    bits, accuracies = zip(*bound_table(64), strict=True)
    assert list(bits) == sorted(set(bits))
    assert list(accuracies) == sorted(set(accuracies))


def test_many_answers_share_the_bits_alike():
    """The page divides the bits kept by the pairs, and reads one answer's bound."""
    for pairs in (1, 8, 64):
        for bits in (1, 32, 128, 380):
            assert accuracy_within(bits, pairs, 64) == pytest.approx(accuracy_within(bits / pairs, 1, 64))


def test_the_page_holds_what_was_recorded():
    data = data_of(recall_figure([SMALL, GROWING], pairs=8, floats=32, bits=4)._repr_html_())
    assert data["start"] == {"pairs": 8, "floats": 32, "bits": 4}
    small, growing = data["cores"]
    assert (small["name"], small["floats"], small["grows"]) == ("LSTM", 48, 0)
    assert growing["points"] == [[4, 0.99], [64, 0.7]]
    assert (growing["at"], growing["grows"]) == (64, 32)


def test_cores_are_named_in_letters_that_can_be_read():
    for core in data_of(recall_figure([SMALL, Recalled("gru", 48, ((4, 0.25),))])._repr_html_())["cores"]:
        light, dark = re.findall(r"#\w{6}", core["words"])
        assert contrast(light) >= 4.5
        assert contrast(dark, DARK) >= 4.5


def test_the_words_say_the_bound_before_anything_is_moved():
    figure = recall_figure([], pairs=64, floats=16, bits=8)
    best = accuracy_within(128, 64, 64)
    assert "Pairs shown: 64; they need 384 bits. Floats kept: 16; at 8 bits each they keep 128." in figure.words()
    percent = int(re.search(r"more than (\d+) %", figure.words()).group(1))
    assert 0 <= 100 * best - percent < 1
    assert figure._repr_html_().count(figure.words()) == 3  # in sight, for who hears the page, without scripts
    assert "forbids nothing" in recall_figure([], pairs=1, floats=8192, bits=32).words()
    assert recall_figure([], pairs=512, max_pairs=1024, max_floats=64).data()["limits"] == {"pairs": 1024, "floats": 64}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": 12}, "pairs must be a power of two up to 256"),
        ({"pairs": 512}, "pairs must be a power of two up to 256"),
        ({"floats": 100}, "floats must be a power of two up to 8192"),
        ({"bits": 5}, "bits must be one of 1, 2, 4, 8, 16, 32, got 5"),
        ({"bits": True}, "bits must be a whole number, got True"),
        ({"max_pairs": 1, "pairs": 1}, "max_pairs must be a power of two from 2 on, got 1"),
        ({"max_floats": 100}, "max_floats must be a power of two from 2 on, got 100"),
        ({"choices": 1}, "choices must be at least 2, got 1"),
    ],
)
def test_what_the_sliders_have_not_is_refused(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        recall_figure([], **options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuchcore", 8, ((4, 0.5),)), "No core called"),
        (("lstm", 0, ((4, 0.5),)), "floats"),
        (("lstm", 8, ((4, 1.5),)), "from 0 to 1"),
        (("lstm", 8, ((8, 0.5), (4, 0.5))), "fewest pairs first"),
        (("lstm", 8, ((4, 0.5), (4, 0.6))), "each number once"),
        (("lstm", 8, ()), "each number once"),
        (("attention", 8, ((4, 0.5),), 64, 32), "do not fit"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Recalled(*arguments)


def test_the_page_says_the_bound_and_every_width_of_a_core(tmp_path):
    wide = Recalled("lstm", 400, ((4, 0.8), (8, 0.6), (64, 0.1)))
    found = in_browser(
        recall_figure([SMALL, wide, GROWING], pairs=64, floats=64, bits=1),
        tmp_path,
        """
        const looks = { alike: said() };
        choose("LSTM"); slide("pairs shown", 3); looks.lstm = said();
        choose("attention"); looks.attention = said();
        slide("floats kept", 4); choose("2"); looks.small = said();
        return looks;
        """,
    )
    assert "Recorded, with half to twice as many floats: LSTM 3 % (48 floats)." in found["alike"]
    assert f"more than {math.floor(100 * accuracy_within(64, 64, 64))} % right" in found["alike"]
    assert "LSTM of every width: 14 % (48 floats), 60 % (400 floats)." in found["lstm"]
    assert "attention of every width: not tested there (448 floats)." in found["attention"]
    assert "16 floats of 2 bits keep 32." in found["small"]
    assert f"more than {math.floor(100 * accuracy_within(32, 8, 64))} % right" in found["small"]


def test_each_core_is_named_once_and_within_the_picture(tmp_path):
    wide = Recalled("lstm", 64, ((4, 0.3), (64, 0.05)))
    hybrid = Recalled("linear_attention+attention", 60, ((4, 0.9), (64, 0.6)))
    found = in_browser(
        recall_figure([SMALL, wide, hybrid], pairs=64, floats=64, bits=1),
        tmp_path,
        """
        const width = root.querySelector("svg").viewBox.baseVal.width;
        const ends = all("svg text").map((text) => text.getBBox()).map((box) => box.x + box.width);
        return { words: read("svg text"), beyond: Math.max(...ends) - width };
        """,
    )
    assert found["words"].count("LSTM") == 1
    assert [words for words in found["words"] if "attention" in words] == ["linear attention +", "attention"]
    assert found["beyond"] <= 0

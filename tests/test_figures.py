import itertools
import subprocess
import sys
from dataclasses import asdict
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.text import Text

mpl.use("Agg")
from relmem_lite import figures
from relmem_lite.figures import lines, style
from relmem_lite.training import RunRecord

PHONE = 358 / (style.WIDTH * 72)  # CSS pixels a point: a 390 px page less its margins

# Machado et al. 2009, severity 1, on linear RGB.
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.fixture(autouse=True)
def _book_style():
    with mpl.rc_context():
        figures.use_style()
        yield
        plt.close("all")


def run(core, end=1000, seed=0, **settings):
    steps = range(100, end + 1, 100)
    curve = [
        {"step": s, "seconds": s / 50, "loss": 1 - s / 4000, "accuracy": 0.4 + s / 4000 + seed / 100} for s in steps
    ]
    return {"core": core, "settings": {"seed": seed, **settings}, "curve": curve}


def boxes(texts):
    renderer = texts[0].figure.canvas.get_renderer()
    return [mpl.text.Text.get_window_extent(text, renderer) for text in texts]


def assert_apart(texts):
    texts[0].figure.draw_without_rendering()
    for (one, first), (two, second) in itertools.combinations(zip(texts, boxes(texts), strict=True), 2):
        assert not first.overlaps(second), f"{one.get_text()!r} overlaps {two.get_text()!r}"


def lab(color, matrix):
    channels = np.array(mpl.colors.to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = np.array(to_xyz) @ seen / [0.95047, 1, 1.08883]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_importing_the_library_loads_no_matplotlib():
    code = "import sys, relmem_lite; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_colours_stay_apart_for_every_kind_of_colour_vision(kind):
    colors = sorted({core.color for core in style.CORE_STYLES.values()})
    assert len(colors) == 7
    for one, two in itertools.combinations(colors, 2):
        distance = np.linalg.norm(lab(one, COLOUR_BLINDNESS[kind]) - lab(two, COLOUR_BLINDNESS[kind]))
        assert distance > 16, f"{one} and {two} under {kind}"


def test_every_core_is_told_apart_without_its_colour():
    assert len({(core.marker, str(core.line)) for core in style.CORE_STYLES.values()}) == len(style.CORE_STYLES)


@pytest.mark.parametrize("core", style.CORE_STYLES)
def test_lines_and_words_have_contrast_on_white_and_on_the_pale_box_of_dark_pages(core):
    drawn = style.style_of(core)
    assert style.contrast(drawn.color) >= 3
    assert style.contrast(drawn.color, "#F3F4F5") >= 3
    assert style.contrast(drawn.text_color) >= 4.5
    assert style.contrast(style.GREY) >= 4.5


def test_letters_are_readable_on_a_phone():
    for name in ("font.size", "axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize"):
        assert mpl.rcParams[name] * PHONE >= 9


def test_a_core_has_a_style_by_any_of_its_names_and_an_unknown_one_names_the_nearest():
    assert style.style_of("relational_memory") is style.style_of("RMC") is style.style_of("RelationalMemory")
    assert all(style.style_of(name) is core for name, core in style.CORE_STYLES.items())
    assert style.style_of("min_gru+attention").name == "minGRU + attention"
    hybrids = [style.style_of(f"{core}+attention") for core in ("min_gru", "linear_attention")]
    assert len({hybrid.marker for hybrid in hybrids}) == len({hybrid.line for hybrid in hybrids}) == 2
    assert len({hybrid.color for hybrid in hybrids}) == 1
    with pytest.raises(ValueError, match="relational_memory"):
        style.style_of("relational_memori")


def test_maps_start_from_white_and_darken_all_the_way():
    light = [lab(style.SEQUENTIAL(x)[:3], np.eye(3))[0] for x in np.linspace(0, 1, 20)]
    assert style.SEQUENTIAL(0.0)[:3] == (1, 1, 1)
    assert (np.diff(light) < 0).all()
    assert np.allclose(style.DIVERGING(0.5)[:3], 1, atol=0.01)


def test_a_band_spans_the_seeds_around_their_mean():
    ax = figures.figure()[1]
    line = figures.band(ax, [1, 2, 3], [[0, 1, np.nan], [2, 3, np.nan]], "lstm")
    assert np.array_equal(line.get_ydata(), [1, 2, np.nan], equal_nan=True)
    assert line.get_label() == "LSTM"
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 3)


def test_a_marker_without_a_face_keeps_its_colour():
    ax = figures.figure()[1]
    cross, square = (figures.band(ax, [1, 2], [0, 1], core) for core in ("reflections", "lstm"))
    assert cross.get_markeredgecolor() == style.style_of("reflections").color
    assert square.get_markeredgecolor() == "white"


def test_a_band_refuses_runs_of_another_length():
    with pytest.raises(ValueError, match=r"\(2, 4\) where \(seeds, 3\)"):
        figures.band(figures.figure()[1], [1, 2, 3], np.zeros((2, 4)), "lstm")


def test_end_labels_of_equal_curves_do_not_overlap():
    ax = figures.figure()[1]
    for core in ("lstm", "gru", "min_gru", "attention"):
        figures.band(ax, [1, 2], [0.5, 0.5], core)
    ax.set_ylim(0, 1)
    labels = figures.direct_labels(ax)
    assert [label.get_text() for label in labels] == ["LSTM", "GRU", "minGRU", "attention"]
    assert_apart(labels)


def test_hair_lines_to_labels_cross_no_label():
    ax = figures.figure()[1]
    for core in ("lstm", "gru", "min_gru", "attention"):
        figures.band(ax, [1, 2], [0.5, 0.5], core)
    ax.set_ylim(0, 1)
    labels = figures.direct_labels(ax)
    ax.figure.draw_without_rendering()
    left = min(Text.get_window_extent(label).x0 for label in labels)
    for label in labels:
        if label.arrow_patch is not None:
            assert label.arrow_patch.get_window_extent().x1 < left + 2


@pytest.mark.parametrize("wanted", [[5, 5, 5], [0, 50, 100], [98, 99, 3], [40, 45, 44]])
def test_labels_move_no_further_than_they_must_and_stay_inside(wanted):
    wanted, heights = np.array(wanted, float), np.full(3, 10.0)
    placed = lines._spread(wanted, heights, 0, 100)
    assert (np.diff(np.sort(placed)) >= 10 - 1e-9).all()
    assert placed.min() >= 5 - 1e-9
    assert placed.max() <= 95 + 1e-9
    assert (np.argsort(placed, kind="stable") == np.argsort(wanted, kind="stable")).all()


def test_more_labels_than_fit_still_stand_apart():
    placed = lines._spread(np.zeros(5), np.full(5, 10.0), 0, 30)
    assert (np.diff(np.sort(placed)) >= 10 - 1e-9).all()


def test_a_reference_line_is_labelled_where_the_curves_are_not():
    ax = figures.figure()[1]
    ax.plot([0, 0.6, 1], [0.53, 0.53, 0.58])
    ax.set(xlim=(0, 1), ylim=(0, 1))
    label = figures.reference_line(ax, 0.5, "shortcut")
    assert label.get_ha() == "right"
    assert label.get_va() == "top"
    with pytest.raises(ValueError, match="right below"):
        figures.reference_line(ax, 0.5, "shortcut", place="below")


def test_learning_curves_draw_cores_seeds_and_the_task_s_lines():
    class Task:
        chance, shortcut = 1 / 3, 2 / 3

    runs = [run(core, seed=seed) for core in ("relational_memory", "lstm") for seed in range(3)]
    ax = figures.learning_curves(runs, task=Task, live=[run("relational_memory", 500)], title="It learns")
    words = [text.get_text() for text in ax.texts]
    assert words == ["RMC", "LSTM", "RMC, live", "shortcut = 0.67", "chance = 0.33"]
    assert len(ax.collections) == 2
    assert ax.get_title(loc="left") == "It learns"
    assert_apart(ax.texts)


@pytest.mark.parametrize("height", [0.0, 0.3, 0.55])
def test_a_live_curve_is_labelled_where_the_recorded_ones_are_not(height):
    def climbing(lift, steps):
        curve = [{"step": step, "accuracy": lift + 0.4 * step / 1000} for step in range(0, steps + 1, 100)]
        return {"core": "lstm", "curve": curve}

    recorded = climbing(height + 0.02, 1000)
    ax = figures.learning_curves([recorded], "accuracy", live=[climbing(height, 500)], chance=0.05)
    label = next(text for text in ax.texts if text.get_text() == "LSTM, live")
    box = label.get_window_extent(ax.figure.canvas.get_renderer())
    steps = np.linspace(0, 1000, 500)
    for lift in (height, height + 0.02):
        curve = ax.transData.transform(np.stack([steps, lift + 0.4 * steps / 1000], axis=1))
        drawn = curve[steps <= 500] if lift == height else curve
        assert not ((drawn > [box.x0, box.y0]) & (drawn < [box.x1, box.y1])).all(axis=1).any()
    assert_apart(ax.texts)


def test_learning_curves_average_only_the_steps_that_all_seeds_have_seen():
    ax = figures.learning_curves([run("lstm", 600), run("lstm", 1000, seed=1)])
    mean = next(line for line in ax.lines if line.get_label() == "LSTM")
    assert mean.get_xdata()[-1] == 600
    assert np.allclose(mean.get_ydata()[-1], 0.4 + 600 / 4000 + 0.005)
    assert max(line.get_xdata()[-1] for line in ax.lines) == 1000


def test_learning_curves_against_seconds_and_by_a_label_of_one_s_own():
    runs = [run("lstm", hidden_size=size) for size in (32, 128)]
    ax = figures.learning_curves(
        runs, "loss", x="seconds", label=lambda r: f"LSTM {r['settings']['hidden_size']}", ax=figures.figure()[1]
    )
    assert [text.get_text() for text in ax.texts] == ["LSTM 32", "LSTM 128"]
    assert ax.get_xlabel() == "seconds of training"


def recorded_run(core, rate, seed=0):
    labels = {"core": core, "learning_rate": rate, "seed": seed}
    curve = run(core, seed=seed)["curve"]
    return RunRecord({"settings": {"learning_rate": rate}, "labels": labels}, curve, {"accuracy": 0.6}, "steps", {})


def test_learning_curves_of_a_record_draw_each_core_s_best_learning_rate():
    records = [recorded_run(core, rate, seed) for core in ("lstm", "gru") for rate in (1e-3, 1e-2) for seed in (0, 1)]
    records[0].curve.clear()  # a run that diverged
    record = {
        "task": {"score": "accuracy", "chance": 0.25, "shortcut": None},
        "best": {"lstm": {"learning_rate": 1e-2}, "gru": {"learning_rate": 1e-3}},
        "runs": [asdict(one) for one in records],
    }
    fresh = recorded_run(None, 1e-3)
    fresh.run |= {"labels": {}, "model": {"core": {"name": "RelationalMemory"}}}
    ax = figures.learning_curves(record, live=[fresh])
    assert [text.get_text() for text in ax.texts] == ["LSTM", "GRU", "RMC, live", "chance = 0.25"]
    assert [text.get_text() for text in figures.learning_curves(record, "loss").texts] == ["LSTM", "GRU"]
    with pytest.raises(ValueError, match="several learning rates"):
        figures.learning_curves(records[1:])


def test_learning_curves_say_what_is_wrong():
    with pytest.raises(ValueError, match="there are accuracy, loss"):
        figures.learning_curves([run("lstm")], "perplexity")
    with pytest.raises(ValueError, match="empty curve"):
        figures.learning_curves([{"core": "lstm", "curve": []}])
    with pytest.raises(ValueError, match="seconds"):
        figures.learning_curves([run("lstm")], x="hours")
    assert "no runs recorded" in figures.learning_curves([]).texts[0].get_text()


def test_a_missing_record_shows_its_command():
    words = "Not recorded yet, it will be drawn here: relmem sweep port_hyperparameters --preset gpu --workers 14"
    page, axes = figures.figure(2.2, 1, 2)
    for ax in axes:
        figures.missing(ax, RuntimeError(words))
    page.draw_without_rendering()
    for ax in axes:
        (text,) = ax.texts
        assert text.get_text().split() == words.split()
        box, room = text.get_window_extent(), ax.get_window_extent()
        assert room.x0 < box.x0 < box.x1 < room.x1


def test_attention_maps_are_drawn_from_0_to_1_with_their_numbers():
    weights = torch.full((3, 4), 0.25, requires_grad=True)
    ax = figures.attention_map(weights)
    assert ax.images[0].get_clim() == (0, 1)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["slot 1", "slot 2", "slot 3", "input"]
    assert [text.get_text() for text in ax.texts] == ["0.25"] * 12
    with pytest.raises(ValueError, match="choose one head"):
        figures.attention_map(torch.zeros(2, 3, 4))


@pytest.mark.parametrize("shape", [(5, 2, 4, 3, 4), (5, 4, 3, 4), (5, 3, 4)])
def test_attention_over_time_draws_one_panel_a_step(shape):
    fig = figures.attention_over_time(torch.rand(shape), list("abcde"), head=0, title="It looks back")
    assert "down: who reads; across: what is read" in fig.axes[-1].get_xlabel()
    panels = [ax for ax in fig.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in panels] == list("abcde")
    assert {ax.images[0].get_clim() for ax in panels} == {(0, 1)}


def test_attention_over_time_takes_the_last_block_and_the_mean_over_heads():
    attention = torch.rand(2, 3, 4, 3, 4)
    fig = figures.attention_over_time(attention, head="mean")
    assert np.allclose(fig.axes[1].images[0].get_array(), attention[1, -1].mean(0))
    with pytest.raises(ValueError, match="heads 0 to 3"):
        figures.attention_over_time(attention, head=4)
    with pytest.raises(ValueError, match="ONE sequence"):
        figures.attention_over_time(torch.rand(2, 2, 3, 4, 3, 4))
    with pytest.raises(ValueError, match="3 step labels for 2"):
        figures.attention_over_time(attention, ["a", "b", "c"])


def test_heat_maps_keep_their_scale_and_leave_gaps_empty():
    values = np.array([[1.0, 0.5], [np.nan, 0.2]])
    ax = figures.heat_map(values, ["A", "B"], ["1", "2"], title="B came later")
    assert ax.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in ax.texts] == ["1.00", "0.50", "0.20"]
    wide = figures.heat_map(np.zeros((4, 40)), value_label="input gate")
    assert not wide.texts
    assert wide.figure.axes[1].get_ylabel() == "input gate"
    with pytest.raises(ValueError, match="3 row labels for 2 rows"):
        figures.heat_map(values, ["A", "B", "C"])
    with pytest.raises(ValueError, match=r"\(rows, columns\)"):
        figures.heat_map(np.zeros(3))


def test_signed_maps_are_centred_at_zero():
    assert figures.signed_map([[-2.0, 1.0]]).images[0].get_clim() == (-2, 2)
    assert figures.signed_map([[0.0, 0.0]]).images[0].get_clim() == (-1, 1)
    assert figures.signed_map([[-2.0, 1.0]], limit=5).images[0].get_clim() == (-5, 5)


def test_every_figure_has_the_book_s_width():
    fig, axes = figures.figure(3, 1, 2)
    assert fig.get_figwidth() == style.WIDTH
    assert axes.shape == (2,)
    assert figures.cover().get_figwidth() == style.WIDTH


def test_a_long_title_is_wrapped():
    ax = figures.figure()[1]
    title = figures.set_title(ax, "The LSTM forgets the first item long before the fourth one arrives, at any size")
    ax.figure.draw_without_rendering()
    assert title.get_window_extent().x1 <= ax.figure.bbox.x1
    assert "\n" in title.get_text()


FINDINGS = (
    "The memory is traced again at every step: it grows while it waits",
    "A WIDE MOMENT: MMMM WWWW MMMM WWWW MMMM WWWW MMMM",
    "Where distances must be compared, LSTM and GRU flip a coin",
    "It is still so",
)


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_title_ends_before_the_page_or_the_next_panel_does(finding, columns):
    fig, axes = figures.figure(4.0, 1, columns, squeeze=False)
    axes = axes[0]
    for ax in axes:
        ax.plot([0, 1], [0, 10_000])
        ax.set_ylabel("held-out accuracy")
    titles = [figures.set_title(ax, finding) for ax in axes]
    fig.draw_without_rendering()
    ends = [*(ax.bbox.x0 for ax in axes[1:]), fig.bbox.x1]
    for title, end in zip(titles, ends, strict=True):
        assert title.get_window_extent().x1 <= end
        assert title.get_text().split() == finding.split()


def test_a_title_is_broken_only_where_the_next_word_would_not_fit():
    fig, ax = figures.figure()
    title = figures.set_title(ax, FINDINGS[0])
    first, second = title.get_text().split("\n")
    title.set_text(f"{first} {second.split()[0]}")
    assert title.get_window_extent().x1 > fig.bbox.x1 - title.get_fontsize()


def test_a_title_reaches_over_the_bar_of_colours():
    ax = figures.heat_map(np.zeros((4, 40)), value_label="gate", title="The gates forget the symbol, not the memory")
    assert "\n" not in ax.get_title(loc="left")


def test_the_cover_has_no_overlapping_words_and_is_readable_on_a_phone():
    fig = figures.cover()
    texts = fig.axes[0].texts
    assert_apart(texts)
    assert min(text.get_fontsize() for text in texts) * PHONE >= 8.8
    page = fig.bbox
    for box, text in zip(boxes(texts), texts, strict=True):
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text


def test_the_cover_asks_one_question_and_tells_right_from_wrong():
    words = [text.get_text() for text in figures.cover().axes[0].texts]
    assert [word for word in words if word in ("yes", "no")] == ["yes", "no", "yes", "no"]
    assert "A drawing. The chapters measure it." in words


def test_svg_of_the_same_figure_is_the_same_text(tmp_path):
    for name in ("one.svg", "two.svg"):
        figures.cover().savefig(tmp_path / name, metadata={"Date": None})
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_table_has_its_cells_in_their_order_and_words_for_ranges():
    rows = ElementTree.fromstring(figures.table(["", "score"], [["LSTM", 0.5], ["GRU", "<b>1</b>"]], "right").data)
    assert [["".join(cell.itertext()) for cell in row] for row in rows.iter("tr")] == [
        ["", "score"],
        ["LSTM", "0.5"],
        ["GRU", "1"],
    ]
    assert {cell.tag for cell in next(rows.iter("tr"))} == {"th"}
    assert all("text-align: right" in cell.get("style") for cell in rows.iter("td"))
    assert figures.spread([0.98, 0.961, 0.97]) == "0.96 to 0.98"
    assert figures.spread([0.981, 0.979]) == "0.98"
    assert figures.spread([320, 400], 0) == "320 to 400"
    assert figures.spread(torch.tensor([0.961, 0.98])) == "0.96 to 0.98"
    assert figures.spread([]) == "–"

"""Every figure that moves, moved as a reader does: by mouse and by keyboard, and what it then says and draws."""

import re
from dataclasses import replace

import pytest

from relmem_lite.figures.memory_cost import in_words, memory_cost

# What a figure shows: its picture, and the sentence that is read out.
SHOWN = "(root) => root.querySelector('[role=status]').textContent + root.querySelector('.stage').innerHTML"


@pytest.fixture(scope="session")
def figures(site):
    """Return the pages on which each of the figures stands, by the name in its data-figure."""
    found = {}
    for page in sorted((site / "chapters").glob("*.html")):
        for name in re.findall(r'data-figure="([\w-]+)"', page.read_text(encoding="utf-8")):
            found.setdefault(name, f"chapters/{page.name}")
    return found


def pytest_generate_tests(metafunc):
    if "moving" in metafunc.fixturenames:
        site = metafunc.config.getoption("site")
        found = sorted(
            (f"chapters/{page.name}", name)
            for page in (site / "chapters").glob("*.html")
            for name in set(re.findall(r'data-figure="([\w-]+)"', page.read_text(encoding="utf-8")))
        )
        metafunc.parametrize("moving", found, ids=[f"{page[9:-5]}-{name}" for page, name in found])


@pytest.fixture
def figure(visit, moving, request):
    page_name, name = moving
    opened = visit(page_name, **getattr(request, "param", {}))
    figure = opened.page.locator(f'[data-figure="{name}"]').first
    figure.scroll_into_view_if_needed()
    yield figure
    assert opened.faults == []


def drag(figure, slider, share):
    """Take the slider's thumb, and let it go at a share of the way from left to right."""
    low, high, value = (float(slider.evaluate(f"(input) => input.{name}")) for name in ("min", "max", "value"))
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    thumb = 16  # its middle stays half of this away from both ends
    across = lambda share: box["x"] + thumb / 2 + share * (box["width"] - thumb)  # noqa: E731
    mouse, middle = figure.page.mouse, box["y"] + box["height"] / 2
    mouse.move(across((value - low) / (high - low)), middle)
    mouse.down()
    mouse.move(across(share), middle, steps=4)
    mouse.up()


def sliders(figure):
    return [
        each for each in figure.locator("input[type=range]:visible").all() if each.evaluate("(i) => +i.max > +i.min")
    ]


def number(slider):
    return float(slider.input_value())


def test_every_slider_moves_by_mouse_and_by_keyboard(figure):
    assert figure.get_attribute("role") == "group"
    assert figure.locator("[role=status]").count() == 1
    for slider in sliders(figure):
        assert slider.get_attribute("aria-label")
        low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
        far = high if number(slider) - low < (high - low) / 2 else low
        before, was = figure.evaluate(SHOWN), number(slider)
        drag(figure, slider, 1.0 if far == high else 0.0)
        assert number(slider) == far
        assert figure.evaluate(SHOWN) != before

        slider.focus()
        slider.press("Home")
        assert number(slider) == low
        at_low = figure.evaluate(SHOWN)
        slider.press("ArrowRight")
        assert number(slider) > low
        slider.press("End")
        assert number(slider) == high
        assert figure.evaluate(SHOWN) != at_low
        assert was in (low, high) or low < was < high
        slider.press("Home")


def is_disabled(button):
    return button.get_attribute("aria-disabled") == "true"


def test_every_button_and_option_works_by_mouse_and_by_keyboard(figure):
    for option in figure.locator("input[type=radio]:visible").all():
        if not option.is_checked():
            before = figure.evaluate(SHOWN)
            option.click()
            assert option.is_checked()
            assert figure.evaluate(SHOWN) != before
    for press in (lambda button: button.click(), lambda button: button.press("Enter")):
        moves = [figure.get_by_role("button", name=words, exact=True) for words in ("Next", "Back")]
        # A figure that opens at its last step can only go back at first.
        for button in sorted((move for move in moves if move.count()), key=is_disabled):
            before = figure.evaluate(SHOWN)
            assert not is_disabled(button)
            press(button)
            assert figure.evaluate(SHOWN) != before


@pytest.mark.parametrize("figure", [{"width": 390, "scheme": "dark"}], indirect=True)
def test_a_phone_shows_all_of_it_and_a_finger_can_move_it(figure):
    assert figure.evaluate("(root) => root.getBoundingClientRect().right") <= 390
    for slider in sliders(figure):
        before = figure.evaluate(SHOWN)
        low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
        drag(figure, slider, 1.0 if number(slider) - low < (high - low) / 2 else 0.0)
        assert figure.evaluate(SHOWN) != before


@pytest.mark.parametrize("figure", [{"java_script_enabled": False}], indirect=True)
def test_without_scripts_it_says_what_there_is_to_see(figure):
    assert len(figure.inner_text()) > 60


# What each must say and draw, worked out a second time here.


@pytest.fixture
def open_figure(visit, figures):
    def open_figure(name):
        if name not in figures:
            pytest.fail(f"No page has the figure {name}.")
        figure = visit(figures[name]).page.locator(f'[data-figure="{name}"]').first
        figure.scroll_into_view_if_needed()
        return figure

    return open_figure


def slider_of(figure, name):
    return figure.get_by_role("slider", name=name, exact=True)


def said(figure):
    return figure.locator("[role=status]").inner_text()


def drawn(figure):
    return figure.locator("svg").first.get_attribute("aria-label")


def in_digits(words):
    return float(words.replace(",", ""))


def cells(figure):
    return [float(cell) for cell in re.findall(r"t \d+: (-?\d+\.\d+)", drawn(figure))]


def test_the_scan_stepper_reaches_the_states_of_the_loop(open_figure):
    figure = open_figure("scan-stepper")
    drag(figure, slider_of(figure, "a2"), 0.0)
    drag(figure, slider_of(figure, "a4"), 1.0)
    gates = {slider.get_attribute("aria-label"): number(slider) for slider in sliders(figure)}
    assert (gates["a2"], gates["a4"]) == (0.0, 1.0)
    for option in figure.locator("input[type=radio]").all():
        option.check()
        written, state, states = cells(figure), 0.0, []
        for step, b in enumerate(written, 1):
            state = gates.get(f"a{step}", 1.0) * state + b  # the first gate has nothing to keep, and may have no slider
            states.append(state)
        slider_of(figure, "Level").press("End")
        assert "equal the loop's" in said(figure)
        assert cells(figure) == pytest.approx(states, abs=0.01 * len(states))  # what is written is shown rounded
        last = figure.locator("svg text").all_text_contents()
        assert all(f"{cell:.2f}" in last for cell in cells(figure))


def test_the_recall_figure_counts_bits(open_figure):
    figure = open_figure("recall")
    sentence = re.compile(r"([\d,]+) pairs? needs? ([\d,]+) bits; ([\d,]+) floats? of (\d+) bits? keeps? ([\d,]+)\.")
    needs_of_one = set()
    for slider in sliders(figure):
        for share in (0.3, 0.8):
            drag(figure, slider, share)
            pairs, needed, floats, bits, kept = map(in_digits, sentence.match(said(figure)).groups())
            assert kept == floats * bits
            assert ("The bound forbids nothing" in said(figure)) == (kept >= needed)
            needs_of_one.add(needed / pairs)
            assert {f"{needed:,.0f} bits", f"{kept:,.0f} bits"} <= set(figure.locator("svg text").all_text_contents())
    assert len(needs_of_one) == 1


def test_the_trace_writes_word_after_word(open_figure):
    figure = open_figure("trace")
    steps = slider_of(figure, "Words written")
    steps.press("End")
    words = re.search(r"Written: (.*)\.$", drawn(figure))[1].replace(" (wrong)", "").split()
    assert number(steps) == len(words) > 2
    steps.press("Home")
    assert "nothing yet" in drawn(figure)
    for place in range(1, min(len(words), 6) + 1):
        steps.press("ArrowRight")
        assert said(figure).startswith(f"Word {place} of {len(words)}: ")
        assert re.search(r"Written: (.*)\.$", drawn(figure))[1].replace(" (wrong)", "").split() == words[:place]
        line = figure.locator(".text", has_text="written:").inner_text().split()[1:]
        assert line == [*words[:place], *"·" * (len(words) - place)]


def test_the_memory_cost_is_the_librarys(open_figure):
    figure = open_figure("memory-cost")
    for name, share in (("Context", 1.0), ("Batch", 0.5), ("Model", 0.0)):
        drag(figure, slider_of(figure, name), share)
    context, batch, size = (number(slider_of(figure, name)) for name in ("Context", "Batch", "Model"))
    expected = replace(memory_cost(), time=int(2**context), batch=int(2**batch), size=int(size))
    lines = figure.locator("li .words").all_inner_texts()
    assert len(lines) == len(expected.kept) > 3
    for line, core in zip(lines, expected.kept, strict=True):
        assert f" {in_words(expected.state_bytes(core))} " in line.replace("\n", " ") + " "
    assert f"the weights (grey) take {in_words(expected.weight_bytes())}" in said(figure)

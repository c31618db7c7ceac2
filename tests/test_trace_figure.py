import json
import math
import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
import torch
from matplotlib.colors import to_hex

mpl.use("Agg")
import matplotlib.pyplot as plt
from in_browser import in_browser

from relmem_lite.figures import contrast
from relmem_lite.figures.trace import WRONG, graph_map, judge, places, right_tour, trace_viewer
from relmem_lite.tasks import IsTree

TREE = [(3, 0), (2, 1), (2, 0)]  # 3 - 0 - 2 - 1
APART = [(1, 0), (2, 1), (2, 0)]  # a triangle, and 3 alone


def kinds(edges, words):
    return [step.kind for step in judge(edges, words)]


def data_of(page):
    return json.loads(re.search(r"const given = (\{.*\});", page).group(1))


def drawn_graphs(nodes, count):
    task = IsTree(nodes)
    for row in task.sample(count, torch.Generator().manual_seed(nodes)).inputs:
        ends = [int(word) for word in task.read(row[1 : task.prompt_length - 1]).split() if word != "-"]
        yield task, list(zip(ends[::2], ends[1::2], strict=True))


@pytest.mark.parametrize("nodes", [4, 5, 8, 16])
def test_the_rule_writes_the_tasks_tours_and_finds_no_mistake_in_them(nodes):
    for task, edges in drawn_graphs(nodes, 200):
        truth = task.read(task.write(edges)).split("[EOS]", 1)[1].strip()
        assert right_tour(edges) == truth
        steps = judge(edges, truth)
        assert {step.kind for step in steps} == {"right"}
        assert [step.expected for step in steps] == truth.split()


def test_moves_say_what_has_to_be_looked_up():
    words = "0 3 0 2 1 2 0 [EOS] TRUE"
    moves = ["start", "down", "back", "down", "down", "back", "back", "end", "answer"]
    assert right_tour(TREE) == words
    assert [step.move for step in judge(TREE, words)] == moves
    assert [step.move for step in judge(APART, "0 1 2 [EOS] FALSE")] == ["start", "down", "down", "end", "answer"]


@pytest.mark.parametrize("nodes", [4, 8])
def test_another_node_at_any_place_is_a_mistake_there(nodes):
    for _, edges in drawn_graphs(nodes, 20):
        words = right_tour(edges).split()
        joined = {frozenset(edge) for edge in edges}
        for place in range(1, len(words) - 2):
            for node in range(nodes):
                if str(node) == words[place]:
                    continue
                steps = judge(edges, " ".join([*words[:place], str(node), *words[place + 1 :]]))
                assert [step.kind for step in steps[:place]] == ["right"] * place
                edge = frozenset((node, int(words[place - 1])))
                assert steps[place].kind == ("order" if edge in joined else "invented")
                assert steps[place].expected == words[place]


def test_a_neighbour_too_early_may_be_followed_by_the_one_left_out():
    assert kinds([(1, 0), (2, 0), (3, 0)], "0 2 0 1 0 3 0 [EOS] TRUE") == ["right", "order", *["right"] * 7]


def test_back_along_an_invented_edge_is_invented_again():
    assert kinds(TREE, "0 1 0")[1:] == ["invented", "invented"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("1 2 0", ["order", "right", "right"]),
        ("0 3 [EOS] TRUE", ["right", "right", "order", "right"]),
        ("0 3 0 2 1 2 0 [EOS] FALSE", [*["right"] * 8, "answer"]),
        ("0 3 0 2 1 2 0 [EOS] 3", [*["right"] * 8, "word"]),
        ("0 - 3", ["right", "word", "right"]),
        ("0 9", ["right", "word"]),
        ("0 ² ٣ 03", ["right", "word", "word", "word"]),
        ("", []),
        ("0 3 0 2 1 2 0 3 [EOS] TRUE", [*["right"] * 7, "order", "order", "right"]),
    ],
)
def test_every_kind_of_mistake_has_its_name(words, expected):
    assert kinds(TREE, words) == expected


@pytest.mark.parametrize("edges", [[], [(1, 0), (0, 1)], [(1, 1)], [(5, 0)], [(1, 0), (2, 7)]])
def test_what_is_no_graph_is_refused(edges):
    for function in (judge, graph_map):
        with pytest.raises(ValueError, match="n - 1 different edges"):
            function(edges, "0")
    for function in (right_tour, places):
        with pytest.raises(ValueError, match="n - 1 different edges"):
            function(edges)


def test_places_keep_the_edges_of_a_tree_from_crossing():
    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    for _, edges in drawn_graphs(8, 50):
        if not right_tour(edges).endswith("TRUE"):
            continue
        at = places(edges)
        for one in edges:
            for two in edges:
                if set(one) & set(two):
                    continue
                (a, b), (c, d) = ([at[node] for node in edge] for edge in (one, two))
                assert side(a, b, c) * side(a, b, d) > 0 or side(c, d, a) * side(c, d, b) > 0


def test_the_picture_is_red_exactly_where_the_tour_is_wrong():
    words = "0 3 1 0 2 0 [EOS] TRUE"
    ax = graph_map(TREE, words, "a tour")
    arrows = [patch for patch in ax.patches if patch.get_gid()]
    steps = [step for step in judge(TREE, words) if step.word.isdigit()][1:]
    assert [arrow.get_gid() for arrow in arrows] == [step.kind for step in steps]
    for arrow in arrows:
        assert (to_hex(arrow.get_edgecolor(), keep_alpha=False) == WRONG.lower()) == (arrow.get_gid() != "right")
    assert {text.get_text() for text in ax.texts} == {"0", "1", "2", "3"}
    assert contrast(WRONG) > 4.5
    plt.close(ax.figure)


VIEWER = trace_viewer([TREE, APART], {"minGRU": ["0 1 0 [EOS] TRUE", "0 1 2 [EOS] FALSE"]})


def test_the_page_holds_every_step_and_the_rule_first():
    data = data_of(VIEWER._repr_html_())
    tours = dict(data["tours"])
    assert list(tours) == ["the rule", "minGRU"]
    assert data["start"] == {"graph": 0, "name": "minGRU"}
    assert [graph["edges"] for graph in data["graphs"]] == [[list(edge) for edge in each] for each in (TREE, APART)]
    assert [[step["word"] for step in steps] for steps in tours["the rule"]] == [
        right_tour(TREE).split(),
        right_tour(APART).split(),
    ]
    mine = tours["minGRU"][0]
    assert [step["kind"] for step in mine] == kinds(TREE, "0 1 0 [EOS] TRUE")
    assert "no such edge" in mine[1]["sentence"]
    assert "3 is next" in mine[1]["sentence"]


def test_the_words_say_who_goes_wrong_where():
    assert "Graph 1: the rule makes no mistake, minGRU goes wrong at word 2 (1 for 3)." in VIEWER.words()
    assert "Graph 2: the rule makes no mistake, minGRU makes no mistake." in repr(VIEWER)
    assert VIEWER._repr_html_().count("goes wrong at word 2") == 3  # in sight, for who hears the page, without scripts
    assert "gives no answer" in trace_viewer([TREE], {"a": ["0 3 0"]}).words()


def test_what_a_model_wrote_does_not_end_the_script():
    page = trace_viewer([TREE], {"</script><b>mine": ["0 </script> 3"]})._repr_html_()
    assert page.count("</script>") == 1
    assert "<b>" not in page


def test_what_a_model_wrote_does_not_end_the_attribute_it_stands_in():
    names = ['"Big" one', "'a' & b"]
    viewer, pictures = trace_viewer([TREE], {name: ['0 "onload="x'] for name in names}), []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "svg":
                pictures.append(dict(attributes))

    Reader().feed(viewer._repr_html_())
    (picture,) = pictures
    assert picture.keys() == {"role", "aria-label"}
    assert picture["aria-label"] == viewer.words()


def test_a_name_that_the_page_has_a_use_for_is_a_name_like_any_other():
    names = ["__ID__", "__WORDS__", "1", "0"]
    tours = data_of(trace_viewer([TREE], {name: ["0"] for name in names})._repr_html_())["tours"]
    assert [name for name, _ in tours] == ["the rule", *names]


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (([], {}), {}, "no graph to show"),
        (([TREE], {"a": []}), {}, "a must have one tour for each of 1 graphs, got 0"),
        (([TREE], {"the rule": ["0"]}), {}, "other names"),
        (([TREE], {"a": ["0"]}), {"name": "b"}, "choose one of the rule, a"),
        (([TREE], {"a": ["0"]}), {"graph": 1}, "from 0 to 0"),
        (([[(0, 0)]], {}), {}, "n - 1 different edges"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        trace_viewer(*arguments, **options)


def test_the_page_says_what_a_step_down_takes(tmp_path):
    found = in_browser(
        VIEWER,
        tmp_path,
        """
        const looks = [];
        choose("the rule");
        for (let step = 1; step <= 9; step++) { press("Next"); looks.push(said()); }
        choose("minGRU"); slide("Words written", 2); looks.push(said());
        return looks;
        """,
    )
    # The rule's tour of TREE is 0 3 0 2 1 2 0: down to 3 of three nodes, to 2 of two, to 1 of one.
    assert "3 nodes are left: who has kept nothing of the graph is right once in 3." in found[1]
    assert "2 nodes are left" in found[3]
    assert "left" not in found[0] + found[2] + found[4]
    assert f"3 of 3. To know them all takes {math.log2(6):.1f} bits" in found[8]
    assert "there is no such edge" in found[9]
    assert "right once in 3" in found[9]

import json
import re

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt
from in_browser import in_browser

from relmem_lite import recorded
from relmem_lite.cores import LSTM, RelationalMemory
from relmem_lite.experiments.nth_farthest import NthFarthestExperiment
from relmem_lite.figures.slot_attention import (
    LABELS,
    questions_of_run,
    recorded_questions,
    slot_attention,
    watch_questions,
)
from relmem_lite.models import SequenceModel
from relmem_lite.tasks import NthFarthest

TASK = NthFarthest(3, 1)


def model_of(core):
    torch.manual_seed(0)
    return SequenceModel(core, 3, (8,))


def untrained(**options):
    sizes = {"num_slots": 2, "num_heads": 3, "head_size": 4} | options
    return model_of(RelationalMemory(TASK.input_size, **sizes))


def test_a_question_is_what_the_task_asked_and_its_answer_is_right():
    for asked in recorded_questions()["questions"]:
        numbers = dict(zip(asked["labels"], asked["numbers"], strict=True))
        far_to_near = sorted(numbers, key=lambda label: -abs(numbers[label] - numbers[asked["m"]]))
        assert far_to_near[asked["n"] - 1] == asked["answer"]
        assert asked["n"] < 3  # none of those that answer themselves


def test_the_recorded_model_reasons_and_says_how_it_was_trained():
    watched = recorded_questions()
    run, record = watched["run"], recorded.load("nth_farthest", "cpu")
    assert watched["accuracy"] > 0.95
    settings = {name: record["settings"][name] for name in ("steps", "batch_size", "clip")}
    assert settings.items() <= run["settings"].items()
    assert run["labels"] == {"core": "relational_memory", "learning_rate": 0.001, "seed": 0}
    best = [r for r in record["runs"] if r["run"]["labels"] == run["labels"]]
    # The same run on another processor, which rounds differently.
    assert run["scores"]["accuracy"] == pytest.approx(best[0]["scores"]["accuracy"], abs=0.02)
    assert len(run["environment"]["commit"]) == 40, "made from an edited checkout"
    wrong = [LABELS[ask["steps"][-1]["answers"].index(max(ask["steps"][-1]["answers"]))] != ask["answer"]
             for ask in watched["questions"]]  # fmt: skip
    assert wrong == [False] * 5 + [True]
    # What the title says: asked after the first or the second number, the model is not right yet.
    right = [
        [step["answers"][LABELS.index(ask["answer"])] for step in ask["steps"]] for ask in watched["questions"][:5]
    ]
    first, second, last = torch.tensor(right).mean(0).tolist()
    assert last > 0.9 > 0.5 > max(first, second)


def test_what_is_shown_is_what_the_model_computes():
    model = untrained()
    watched = watch_questions(model, TASK, 3)
    core, asked = model.core, watched["questions"][0]
    labels = torch.tensor([LABELS.index(label) for label in asked["labels"]])
    one_hot = torch.eye(3)
    question = torch.cat([one_hot[asked["n"] - 1], one_hot[LABELS.index(asked["m"])]])
    memory, inputs = core.initial_state(1), torch.tensor(asked["numbers"])
    for t, step in enumerate(asked["steps"]):
        x = torch.cat([inputs[t : t + 1], one_hot[labels[t]], question])[None]
        e = core.embed(x)
        gates = core.input_gates(e)[:, None] + core.memory_gates(torch.tanh(memory))
        writes, keeps = torch.sigmoid(gates).chunk(2, dim=-1)
        keeps = torch.sigmoid(gates.chunk(2, dim=-1)[1] + 1)
        output, memory = core.step(x, memory)
        close = {"atol": 0.006, "rtol": 0}  # two decimals, from numbers of three
        torch.testing.assert_close(torch.tensor(step["input"]), e[0], **close)
        torch.testing.assert_close(torch.tensor(step["memory"]), memory[0], **close)
        torch.testing.assert_close(torch.tensor(step["keeps"]), keeps[0].mean(-1), **close)
        torch.testing.assert_close(torch.tensor(step["writes"]), writes[0].mean(-1), **close)
        torch.testing.assert_close(torch.tensor(step["answers"]), model.head(output)[0].softmax(-1), **close)
        attention = torch.tensor(step["attention"])
        assert attention.shape == (3, 2, 3)  # heads, slots, slots and the input
        torch.testing.assert_close(attention.sum(-1), torch.ones(3, 2), atol=0.002, rtol=0)


def test_a_run_in_its_folder_is_shown_with_its_own_weights(tmp_path):
    experiment = NthFarthestExperiment(**NthFarthestExperiment.presets["smoke"] | {"cores": ("relational_memory",)})
    (run,) = experiment.runs()
    experiment.train(run, tmp_path, progress=False)
    watched = questions_of_run(tmp_path / run.name, preset="smoke")
    assert watched["run"]["settings"]["steps"] == 20
    torch.manual_seed(run.seed)
    fresh = watch_questions(experiment.model(core="relational_memory"), TASK)
    assert watched["questions"][0]["numbers"] == fresh["questions"][0]["numbers"]
    assert watched["questions"][0]["steps"] != fresh["questions"][0]["steps"]


@pytest.mark.parametrize(
    ("model", "task", "error", "words"),
    [
        (lambda: model_of(LSTM(TASK.input_size, 4)), TASK, TypeError, "got LSTM"),
        (lambda: untrained(num_blocks=2), TASK, ValueError, "2 blocks"),
        (lambda: untrained(gate=None), TASK, ValueError, "no gates"),
        (untrained, NthFarthest(3, 2), ValueError, "2 numbers"),
        (untrained, NthFarthest(9, 1), ValueError, "9 labels"),
    ],
)
def test_what_cannot_be_watched_is_refused(model, task, error, words):
    with pytest.raises(error, match=words):
        watch_questions(model(), task)


def test_a_question_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="choose one from 0 to 5"):
        slot_attention(question=6)


def test_the_words_say_the_question_and_what_becomes_of_it():
    asked = recorded_questions()["questions"][0]
    words = slot_attention().words()
    assert f"from {asked['m']}? {asked['answer']}." in words
    assert f"after step 3 {asked['answer']}" in words


def test_the_page_draws_and_says_the_numbers_of_the_record(tmp_path):
    watched = recorded_questions()
    steps = watched["questions"][1]["steps"]
    found = in_browser(
        slot_attention(),
        tmp_path,
        """
        choose("2");
        slide("Step", 2); slide("Head", 3); slide("Slot that reads", 4);
        const shares = (row) => row.map((rect) => Number(/([0-9]+)%/.exec(rect.style.fill)[1]));
        const filled = (map) => [...map.querySelectorAll(".cells")].filter((cell) => cell.style.fill.includes("%"));
        const maps = all("g.map").map((map) => shares(filled(map)));
        const second = said();
        press("Back"); press("Back");
        return { maps, second, start: said() };
        """,
    )
    for number, map_drawn in enumerate(found["maps"]):
        step, head = divmod(number, 4)
        expected = [100 * weight for row in steps[step]["attention"][head] for weight in row] if step < 2 else []
        assert map_drawn == pytest.approx(expected, abs=0.51)
    weights = steps[1]["attention"][2][3]
    assert "In head 3, slot 4 gives" in found["second"]
    assert f"the input {100 * weights[-1]:.0f} %" in found["second"] or max(weights) == weights[-1]
    assert f"keeps {100 * steps[1]['keeps'][3]:.0f} %" in found["second"]
    best = max(steps[1]["answers"])
    assert f"answers {LABELS[steps[1]['answers'].index(best)]} ({100 * best:.0f} %)" in found["second"]
    assert "the rows are the identity" in found["start"]


def test_the_still_picture_draws_every_map_of_the_question():
    asked = recorded_questions()["questions"][0]
    fig = slot_attention().still()
    drawn = [ax.images[0].get_array().tolist() for ax in fig.axes if ax.images]
    assert sorted(drawn) == sorted(head for step in asked["steps"] for head in step["attention"])
    plt.close(fig)


def test_what_a_student_hands_in_does_not_end_the_script():
    page = slot_attention(recorded_questions(), title="</script><b>mine")._repr_html_()
    assert page.count("</script>") == 1
    assert "<b>" not in page
    assert json.loads(re.search(r"const given = (\{.*\});", page).group(1))["question"] == 0

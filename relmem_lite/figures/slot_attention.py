"""What a relational memory does with one question, step by step, head by head, row by row: a page to look through.

python -m relmem_lite.figures.slot_attention RUN_FOLDER FILE writes what the book shows, from a run of nth_farthest.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from relmem_lite.cores import RelationalMemory
from relmem_lite.experiments.nth_farthest import NthFarthestExperiment
from relmem_lite.figures.page import MovingFigure
from relmem_lite.figures.style import SEQUENTIAL, figure, style_of
from relmem_lite.models import SequenceModel
from relmem_lite.recorder import record
from relmem_lite.tasks import NthFarthest
from relmem_lite.training import RunRecord
from relmem_lite.training.checkpoint import load_weights
from relmem_lite.training.loop import describe_model

LABELS = "ABCDEFGH"
_PLACES = {1: "farthest", 2: "second farthest", 3: "third farthest"}


def watch_questions(model: SequenceModel, task: NthFarthest, count: int = 6, *, seed: int = 7) -> dict:
    """Return what a model does on some questions, as plain values for `slot_attention`.

    The questions are fresh ones that do not answer themselves, in the order in which they are drawn: the first
    `count` - 1, and the first after them that the model gets wrong, if there is one among 4,096.

    Args:
        model: a trained model whose core is a relational memory with one block.
        task: what it was trained on, with vectors of one number, and no more than 8 of them.
        count: questions, at least 1.
        seed: of the questions.

    Returns:
        "questions", each with its "numbers" (T), "labels", "n", "m", "answer"; for every step "attention" (H, S, S+1),
        "keeps" and "writes" (the gates' means over a row, S), "memory" (S, D) and "input" (D), and "answers", what
        the head says if it is asked then (K, probabilities); "accuracy" on all 4,096.

    Raises:
        TypeError: another core.
        ValueError: vectors of several numbers, more than 8 labels, or a core with several blocks or without gates.
    """
    core = model.core
    if not isinstance(core, RelationalMemory):
        raise TypeError(f"slot attention needs a RelationalMemory, got {type(core).__name__}.")
    if task.item_size != 1 or task.num_items > len(LABELS) or len(core.blocks) != 1:
        raise ValueError(
            f"The figure shows vectors of 1 number, up to {len(LABELS)} labels and 1 block; got "
            f"{task.item_size} numbers, {task.num_items} labels and {len(core.blocks)} blocks."
        )
    if core.gate is None:
        raise ValueError("The figure shows gates, and this core has no gates: gate is None.")
    device = next(model.parameters()).device
    batch = task.sample(4096, torch.Generator().manual_seed(seed))
    with torch.no_grad(), record(core) as recording:
        outputs, _ = core(batch.inputs.to(device))
        # The head is trained at the last step alone; here it is asked after every one.
        answers = model.head(outputs).softmax(-1)
        embedded = core.embed(batch.inputs.to(device))
    right = answers[:, -1].argmax(-1).cpu() == batch.targets[:, -1]
    asks = ~task.answers_itself(batch)
    chosen = asks.nonzero()[:, 0].tolist()[: count - 1]
    later = torch.arange(len(right)) > (chosen[-1] if chosen else -1)
    wrong = (asks & later & ~right).nonzero()[:, 0].tolist()
    chosen += wrong[:1] or asks.nonzero()[:, 0].tolist()[count - 1 : count]
    items = task.num_items
    questions = []
    for place in chosen:
        seen = batch.inputs[place]
        questions.append(
            {
                "numbers": _plain(seen[:, 0]),
                "labels": [LABELS[label] for label in seen[:, 1 : 1 + items].argmax(-1)],
                "n": int(seen[0, 1 + items : 1 + 2 * items].argmax()) + 1,
                "m": LABELS[int(seen[0, 1 + 2 * items :].argmax())],
                "answer": LABELS[int(batch.targets[place, -1])],
                "steps": [
                    {
                        "attention": _plain(recording["attention"][place, t, 0]),
                        "keeps": _plain(recording["forget_gate"][place, t].mean(-1)),
                        "writes": _plain(recording["input_gate"][place, t].mean(-1)),
                        "memory": _plain(recording["memory"][place, t], 2),
                        "input": _plain(embedded[place, t], 2),
                        "answers": _plain(answers[place, t]),
                    }
                    for t in range(items)
                ],
            }
        )
    return {
        "questions": questions,
        "start": _plain(core.initial_state(1)[0]),
        "accuracy": round(right.double().mean().item(), 4),
        "seed": seed,
    }


def _plain(values: Tensor, digits: int = 3) -> list:
    return np.round(values.detach().cpu().double().numpy(), digits).tolist()


def recorded_questions() -> dict:
    """Return the questions that ship with the library, and under "run" how their model was trained."""
    return json.loads(files("relmem_lite.figures").joinpath("slot_attention.json").read_text(encoding="utf-8"))


def questions_of_run(folder: Path | str, count: int = 6, *, preset: str = "cpu") -> dict:
    """Return the same from a finished run of `relmem run nth_farthest`, with how its model was trained under "run".

    Args:
        folder: of one run with a relational memory, such as runs/nth_farthest-cpu/relational_memory-lr0.001-seed0.
        count: as for `watch_questions`.
        preset: that the run was made with.

    Raises:
        FileNotFoundError, CheckpointError: there is no such run, or its checkpoints can't be used.
    """
    run = RunRecord.load(Path(folder) / "record.json")
    experiment = NthFarthestExperiment.from_preset(preset)
    model, task = experiment.model(core="relational_memory"), experiment.task()
    load_weights(Path(folder) / "checkpoints", model, describe_model(model), run.run["labels"])
    place = {name: run.environment[name] for name in ("device_name", "torch", "commit")}
    how = {name: run.run[name] for name in ("settings", "task", "model", "labels")}
    return watch_questions(model, task, count) | {"run": how | {"scores": run.scores, "environment": place}}


@dataclass(frozen=True, repr=False)
class SlotAttention(MovingFigure):
    """What `slot_attention` returns; a notebook shows it as a page with radio buttons, sliders, Back and Next."""

    page = "slot_attention.html"

    watched: dict
    question: int
    title: str

    def words(self) -> str:
        """Say what becomes of the question that is shown first."""
        asked = self.watched["questions"][self.question]
        items = ", ".join(
            f"{label} = {number:.2f}" for label, number in zip(asked["labels"], asked["numbers"], strict=True)
        )
        told = []
        for step, each in enumerate(asked["steps"], 1):
            likely = max(each["answers"])
            told.append(f"after step {step} {LABELS[each['answers'].index(likely)]} ({likely:.0%})")
        return (
            f"{items}. Which is {in_words(asked['n'])} from {asked['m']}? {asked['answer']}. "
            f"The model would answer {', '.join(told)}."
        )

    def data(self) -> dict:
        """Return the questions, and which comes first."""
        questions = [each | {"place": in_words(each["n"])} for each in self.watched["questions"]]
        return {"questions": questions, "start": self.watched["start"], "question": self.question, "labels": LABELS}

    def still(self):
        """Draw the first question: a map for each step and head, and what the model would answer after each step."""
        asked = self.watched["questions"][self.question]
        attention = np.array([step["attention"] for step in asked["steps"]])  # (T, H, S, S + 1)
        steps, heads, slots, _ = attention.shape
        fig, axes = figure(1.3 * heads + 2.4, heads + 1, steps, height_ratios=[1] * heads + [1.1], squeeze=False)
        columns = [*(str(slot + 1) for slot in range(slots)), "in"]
        for step, (label, number) in enumerate(zip(asked["labels"], asked["numbers"], strict=True)):
            for head in range(heads):
                ax = axes[head][step]
                ax.imshow(attention[step, head], cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
                ax.set_xticks(range(slots + 1), columns if head == heads - 1 else [""] * (slots + 1))
                ax.set_yticks(range(slots), columns[:-1] if step == 0 else [""] * slots)
                ax.tick_params(length=0)
                if step == 0:
                    ax.set_ylabel(f"head {head + 1}")
            axes[0][step].set_title(f"step {step + 1}: {label} = {number:.2f}", fontsize=13, fontweight="normal")
            answers = asked["steps"][step]["answers"]
            names = list(LABELS[: len(answers)])
            colors = [style_of("min_gru").color if name == asked["answer"] else "#BFC3C6" for name in names]
            axes[-1][step].bar(names, answers, color=colors)
            axes[-1][step].set(ylim=(0, 1), yticks=[0, 1])
        axes[-1][0].set_ylabel("answer")
        fig.suptitle(
            f"Which is {in_words(asked['n'])} from {asked['m']}? {asked['answer']}",
            x=0.01, ha="left", fontweight="bold", fontsize=15,
        )  # fmt: skip
        axes[-1][steps // 2].set_xlabel("what the head would answer; green is right")
        return fig


def in_words(place: int) -> str:
    """Return which farthest is meant: "farthest", "second farthest", "4th farthest"."""
    return _PLACES.get(place, f"{place}th farthest")


def slot_attention(watched: dict | None = None, *, question: int = 0, title: str | None = None) -> SlotAttention:
    """Return what a relational memory does with a question as a page to look through: plain HTML, no kernel needed.

    The reader chooses question, step, head and slot, and sees all attention maps so far, what the chosen slot reads,
    the input's row and the memory's rows with what their gates keep and write, and what the head would answer.

    Args:
        watched: what `watch_questions` returns of a model of one's own; the recorded questions if not given.
        question: the number of the question that is shown first, from 0.
        title: what the figure shows.

    Raises:
        ValueError: a question to begin with that is not there.
    """
    if watched is None:
        title = title or "Every slot hears every number; the answer is there with the last"
        watched = recorded_questions()
    if question not in range(len(watched["questions"])):
        raise ValueError(
            f"There is no question {question} to show: choose one from 0 to {len(watched['questions']) - 1}."
        )
    return SlotAttention(watched, question, title or "What each slot reads, and the answer as it forms")


if __name__ == "__main__":
    run_folder, file = sys.argv[1:]
    Path(file).write_text(json.dumps(questions_of_run(run_folder), separators=(",", ":")) + "\n", encoding="utf-8")

"""The graded assignment: a notebook for each student of a class, with numbers of their own."""

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from relmem_lite.teaching.questions import QUESTIONS, Question
from relmem_lite.training.files import write_atomically, write_json

KEY = "assignment.json"
_NAME = re.compile(r"\w[\w.-]*")

_INTRODUCTION = """\
# Assignment: what recurrent memory can hold

For **{student}**. The numbers are yours: another student's answers are not right here.

Replace each `...` by your answer, and leave the names of variables and functions as they are. Then run the notebook
from top to bottom, once more, before you hand it in under the name `{student}.ipynb`. It is graded by running it: it
may import torch, numpy and Python's own modules, but not `relmem_lite`; it reads and writes no
files, and has a minute of computing time.

There are {count} questions, of {points} points in all. Each has a point of the book behind it, whose chapter it names.
"""


@dataclass(frozen=True)
class Assignment:
    """A class's assignment: who is in it, and the seed of everybody's numbers.

    Attributes:
        seed: a whole number. Whoever knows it, and this library, knows the answers.
        students: their names, as the notebooks' files are called, in composed letters (Unicode's NFC).
        chapters: whose questions are asked; all that have any if empty.

    Raises:
        ValueError: a name is missing, occurs twice, or is not made of letters, digits, ".", "-" and "_"; or a chapter
            has no question.
    """

    seed: int
    students: tuple[str, ...]
    chapters: tuple[int, ...] = ()

    def __post_init__(self):
        have = sorted({question.chapter for question in QUESTIONS})
        if without := set(self.chapters) - set(have):
            raise ValueError(f"There are questions on chapters {', '.join(map(str, have))}, none on {min(without)}.")
        if not self.students:
            raise ValueError("There are no students: give a file with one name a line.")
        composed = tuple(unicodedata.normalize("NFC", name) for name in self.students)
        object.__setattr__(self, "students", composed)  # the class is frozen
        for name in self.students:
            if not _NAME.fullmatch(name):
                fitting = re.sub(r"[^\w.-]+", "_", name).lstrip(".-_") or "student_1"
                raise ValueError(
                    f"A student's name becomes a file's name: letters, digits, '.', '-' and '_', got {name!r}. "
                    f"Try {fitting!r}."
                )
        # On some systems ANN.ipynb and ann.ipynb are one file.
        folded = [name.casefold() for name in self.students]
        if twice := [name for name in self.students if folded.count(name.casefold()) > 1]:
            raise ValueError(f"There is more than one student of the name {twice[0]!r}.")

    @property
    def questions(self) -> list[Question]:
        """What is asked, in order."""
        return [question for question in QUESTIONS if not self.chapters or question.chapter in self.chapters]

    def notebook(self, student: str) -> dict:
        """The notebook for a student, in Jupyter's format."""
        points, count = sum(question.points for question in self.questions), len(self.questions)
        cells = [
            _cell("markdown", _INTRODUCTION.format(student=student, count=count, points=points), "introduction"),
            _cell("code", "import math\n\nimport torch", "imports"),
        ]
        for number, question in enumerate(self.questions, 1):
            numbers = question.numbers(self.seed, student)
            title = f"## {number}. {question.title} (chapter {question.chapter}, {question.points} points)"
            cells.append(_cell("markdown", f"{title}\n\n{question.text(**numbers)}", f"{question.name}-text"))
            cells.append(_cell("code", question.stub, question.name))
            if example := _example(question, numbers):
                cells.append(_cell("code", example, f"{question.name}-example"))
        return {
            "cells": cells,
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
                "relmem_assignment": {"student": student},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }


def _cell(kind: str, source: str, name: str) -> dict:
    cell = {"cell_type": kind, "id": name.replace("_", "-"), "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def _example(question: Question, numbers: dict) -> str | None:
    """A call of a question's function on small inputs, and what it should give; None where the answer is a value."""
    given = question.inputs(**numbers)
    if not given:
        return None
    small = (tensor[:3] if tensor.ndim == 2 else tensor for tensor in given[0])
    rounded = tuple(tensor.mul(10).round() / 10 + 0.0 for tensor in small)
    result = question.right(**numbers)(*rounded)
    inputs = ",\n".join(f"    torch.tensor({_rounded(tensor)})" for tensor in rounded)
    return f"# An example. It should give, rounded: {_rounded(result, 4)}\n{question.name}(\n{inputs},\n)"


def _rounded(tensor, digits: int = 1) -> list:
    return json.loads(json.dumps(tensor.double().tolist()), parse_float=lambda text: round(float(text), digits))


def hand_out(students: Path, folder: Path, seed: int, chapters: tuple[int, ...] = ()) -> Assignment:
    """Write a notebook for each student named in a file, one a line, and `assignment.json`, which grading needs.

    Where the folder holds the assignment already, the students who are new in the file join its class.

    Args:
        students: the file; blank lines and what follows a # are skipped.
        folder: where the notebooks go; what it holds of another assignment, or a notebook that was changed, stays.
            A name that the file has no longer stays, too.
        seed: of everybody's numbers.
        chapters: whose questions are asked; all that have any if empty.

    Returns:
        The assignment of the whole class.

    Raises:
        ValueError: a name cannot be a file's, or the folder holds an assignment with another seed or other questions,
            or something else under a name that would be written.
        OSError: the file cannot be read, or the folder not be written.
    """
    if not students.is_file():
        raise FileNotFoundError(f"There is no file {students}: give one that names a student a line.")
    lines = [line.split("#")[0].strip() for line in students.read_text(encoding="utf-8-sig").splitlines()]
    named = Assignment(seed, tuple(filter(None, lines)), tuple(chapters))
    assignment = named
    if (folder / KEY).exists():
        there = read(folder / KEY)
        if (there.seed, there.questions) != (seed, named.questions):
            about = f"on chapters {' and '.join(map(str, there.chapters))}" if there.chapters else "on all chapters"
            raise ValueError(
                f"{folder} holds an assignment of seed {there.seed} {about}: "
                "give these to add students to it, or choose another --out."
            )
        late = tuple(name for name in named.students if name not in there.students)
        assignment = Assignment(seed, there.students + late, there.chapters)
    files = {folder / f"{name}.ipynb": _as_bytes(assignment.notebook(name)) for name in named.students}
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            raise ValueError(f"{path} is there already, and is another notebook: choose another --out.")
    for path, content in files.items():
        write_atomically(path, content)
    write_json(folder / KEY, {"format": 1, **vars(assignment)})
    return assignment


def _as_bytes(notebook: dict) -> bytes:
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def read(path: Path) -> Assignment:
    """Read what `hand_out` wrote. Raises ValueError for anything else, and OSError where there is nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != 1 or not isinstance(content["seed"], int):
            raise KeyError("format")
        return Assignment(content["seed"], tuple(map(str, content["students"])), tuple(map(int, content["chapters"])))
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not an assignment: `relmem assignment` writes one.") from error

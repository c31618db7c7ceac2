"""What the exercises of every chapter keep to, counted in the notebooks and heard from the checks."""

import importlib
import inspect
import itertools
import re
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest
from _pytest.mark import ParameterSet

from relmem_lite import exercises

TESTS = Path(__file__).parent
CHAPTERS = {path.stem[:2]: path for path in sorted((TESTS.parent / "chapters").glob("[0-9][0-9]_*.ipynb"))}
HEADING = re.compile(r"^### Exercise (\d+)\.(\d+): .*?(\((warm-up|open)\))?$", re.MULTILINE)
CHECK = re.compile(r'^check\("(\d\d)\.(\d+)-[\w-]+", .*$', re.MULTILINE)

every_chapter = pytest.mark.parametrize("chapter", list(CHAPTERS))


def audit(chapter):
    """What a chapter has: its exercises with their kinds, and those with a check to fill in and with a solution."""
    headings, asked, solved = [], [], []
    for cell in nbformat.read(CHAPTERS[chapter], as_version=4).cells:
        if cell.cell_type == "markdown":
            headings += [(match[1], int(match[2]), match[4]) for match in HEADING.finditer(cell.source)]
            continue
        for match in CHECK.finditer(cell.source):
            assert match[1] == chapter
            if cell.source.startswith("# @title Solution"):
                assert "strict=True" in match[0], "a solution that is wrong must stop the book"
                solved.append(int(match[2]))
            else:
                assert re.search(r"\.\.\.|NotImplementedError", cell.source), "something is left to do"
                asked.append(int(match[2]))
    return headings, asked, solved


@every_chapter
def test_a_chapter_has_exercises_from_warm_up_to_open(chapter):
    headings, _, _ = audit(chapter)
    assert len(headings) >= 4
    assert all(int(number) == int(chapter) for number, _, _ in headings)
    assert [number for _, number, _ in headings] == list(range(1, len(headings) + 1))
    assert headings[0][2] == "warm-up"
    assert headings[-1][2] == "open"


@every_chapter
def test_each_exercise_that_is_not_open_has_a_check_and_a_folded_solution(chapter):
    headings, asked, solved = audit(chapter)
    closed = [number for _, number, kind in headings if kind != "open"]
    assert asked == closed
    assert solved == closed, "tests/test_chapters.py holds solutions to being folded"
    names = [name for name in exercises.names() if name.startswith(f"{chapter}.")]
    assert sorted(int(name[3:].split("-")[0]) for name in names) == closed, "no check without an exercise"


def heard(chapter, monkeypatch):
    """The sentences that wrong answers get in a chapter's tests, and how often an answer is right, by exercise."""
    wrong, right, judge = defaultdict(set), defaultdict(int), exercises._judge

    def listening(name, answer):
        verdict = judge(name, answer)
        if verdict.status == "not yet":
            wrong[name].add(verdict.message)
        right[name] += verdict.status == "right"
        return verdict

    monkeypatch.setattr(exercises, "_judge", listening)
    module = importlib.import_module(f"test_exercises_chapter_{chapter}")
    for name, test in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        choices = []
        for mark in getattr(test, "pytestmark", []):
            if mark.name == "parametrize":
                names = mark.args[0]
                names = names.replace(" ", "").split(",") if isinstance(names, str) else names
                values = [value.values if isinstance(value, ParameterSet) else value for value in mark.args[1]]
                choices.append([dict(zip(names, v if len(names) > 1 else [v], strict=True)) for v in values])
        for parts in itertools.product(*choices):
            arguments = {key: value for part in parts for key, value in part.items()}
            if set(inspect.signature(test).parameters) == set(arguments):
                test(**arguments)
    return wrong, right


@every_chapter
def test_each_check_is_tried_with_a_right_answer_and_three_wrong_ones(chapter, monkeypatch):
    """Three sentences, not three answers: what is wrong is told apart."""
    wrong, right = heard(chapter, monkeypatch)
    for name in (name for name in exercises.names() if name.startswith(f"{chapter}.")):
        assert right[name] >= 1, name
        assert len(wrong[name]) >= 3, name
        for sentence in wrong[name]:
            assert "\n" not in sentence
            assert sentence[-1] in ".:?)" or sentence.endswith("`"), sentence

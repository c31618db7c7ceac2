"""Handing out, grading, and the table: with notebooks that run in this process, since these are known to be kind."""

import csv
import json
import os
from pathlib import Path

import pytest
from assignment_answers import RIGHT, WRONG, written

import relmem_lite
from relmem_lite.cli import main
from relmem_lite.exercises import call
from relmem_lite.teaching import QUESTIONS, Assignment, SandboxError, grade, grading, hand_out, inside, questions, read
from relmem_lite.teaching.sandbox import NotebookEnded, Walls


class KindNotebook:
    """Runs its cells here, and hands over values as the sandbox's do."""

    started, walls = 0, Walls(network=True, processes=True, files=True)

    def __init__(self, cells, limits):
        type(self).started += bool(cells)
        self.cells, self.names, self.problems, self.seconds, self.cut_short = cells, {}, [], 1.5, False

    def __enter__(self):
        for cell in self.cells:
            exec(cell, self.names)
        self.problems = self.names.get("problems", [])
        return self

    def __exit__(self, *_):
        pass

    def take(self, name):
        if name == self.names.get("ends_at"):
            self.cut_short = self.names.get("cut_short", False)
            raise NotebookEnded("it crashed with SIGSEGV")
        value = self.names.get(name, ...)
        return (lambda *given: call(value, *given)) if callable(value) else inside.decode(inside.encode(value))


@pytest.fixture
def kind(monkeypatch):
    monkeypatch.setattr(KindNotebook, "started", 0)
    monkeypatch.setattr(grading, "Notebook", KindNotebook)
    return KindNotebook


@pytest.fixture
def handed_out(tmp_path):
    (tmp_path / "students.txt").write_text("ann\nbob  # repeats the year\n\ncara\ndan\n")
    folder = tmp_path / "class"
    return folder, hand_out(tmp_path / "students.txt", folder, seed=7)


def answer(folder, assignment, student, answers, of=None, before=""):
    """Write a student's notebook, with the answers that are right, or wrong, for the numbers of `of`."""
    notebook = assignment.notebook(student)
    for question in QUESTIONS:
        cell = next(cell for cell in notebook["cells"] if cell["id"] == question.name.replace("_", "-"))
        cell["source"] = before + written(answers[question.name], question.numbers(assignment.seed, of or student))
        before = ""
    (folder / f"{student}.ipynb").write_text(json.dumps(notebook))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def test_right_answers_get_all_points_and_wrong_ones_a_sentence(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    answer(folder, assignment, "ann", RIGHT)
    wrong = {name: mistakes[0] for name, mistakes in WRONG.items()}
    answer(folder, assignment, "bob", {name: source for name, (source, _) in wrong.items()})
    (folder / "cara.ipynb").unlink()
    returned = grade(folder, tmp_path / "grades.csv", assignment)
    rows = rows_of(tmp_path / "grades.csv")
    assert list(rows.values()) == returned
    assert list(rows) == ["ann", "bob", "cara", "dan"]
    assert (rows["ann"]["total"], rows["ann"]["problems"]) == ("100", "")
    assert all(rows["ann"][f"{question.name}: feedback"] == "Right." for question in QUESTIONS)
    assert rows["bob"]["total"] == "0"
    for question in QUESTIONS:
        says = wrong[question.name][1].format(**question.numbers(7, "bob"))
        assert says in rows["bob"][f"{question.name}: feedback"]
    assert rows["cara"]["problems"] == "nothing was handed in"
    assert rows["dan"]["accuracy: feedback"] == "Not answered."
    assert rows["dan"]["attend: feedback"].startswith("`attend` returns `...`")


def test_a_neighbour_s_answers_get_no_points_and_are_noticed(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    answer(folder, assignment, "ann", RIGHT)
    answer(folder, assignment, "bob", RIGHT, of="ann")
    (folder / "cara.ipynb").write_bytes((folder / "ann.ipynb").read_bytes())
    grade(folder, tmp_path / "grades.csv", assignment)
    rows = rows_of(tmp_path / "grades.csv")
    values = [question.name for question in QUESTIONS if not question.inputs(**question.numbers(7, "ann"))]
    for student in ("bob", "cara"):
        assert all(rows[student][name] == "0" for name in values)
        assert f"the answers to {', '.join(values)} are right for the numbers of ann" in rows[student]["problems"]
    assert "the notebook was made for ann" in rows["cara"]["problems"]
    assert "made for" not in rows["bob"]["problems"]
    assert rows["ann"]["problems"] == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"cells": [', "not JSON"),
        (b"[]", "no list of cells"),
        (b'{"worksheets": []}', "no list of cells"),
        (b'{"cells": {"a": 1}}', "no list of cells"),
        (b'{"cells": [{"cell_type": "code", "source": 5}]}', "source is not text"),
        (b'{"cells": [{"cell_type": "code", "source": ["x", null]}]}', "source is not text"),
        (b'{"cells": [null, 3, {"cell_type": "raw"}]}', "made for nobody"),
        (b'{"cells": [], "metadata": {"relmem_assignment": {"student": {}}}}', "made for nobody"),
    ],
)
def test_a_malformed_notebook_gets_a_row_with_the_reason(content, problem, handed_out, kind, tmp_path):
    folder, assignment = handed_out
    (folder / "ann.ipynb").write_bytes(content)
    grade(folder, tmp_path / "grades.csv", assignment)
    row = rows_of(tmp_path / "grades.csv")["ann"]
    assert row["total"] == "0"
    assert problem in row["problems"]


def test_files_that_are_no_student_s_notebook_get_a_row(handed_out, kind, tmp_path, monkeypatch):
    folder, assignment = handed_out
    answer(folder, assignment, "ann", RIGHT)
    (folder / "mallory.ipynb").write_bytes((folder / "ann.ipynb").read_bytes())
    (folder / "zoe.ipynb").write_text("{}")
    (folder / "bob.ipynb").unlink()
    (folder / "bob.ipynb").mkdir()
    (folder / "cara.ipynb").unlink()
    (folder / "cara.ipynb").symlink_to(tmp_path / "nowhere")
    (folder / "notes.txt").write_text("not mine")
    monkeypatch.setattr(grading, "LARGEST_NOTEBOOK", 30_000)
    (folder / "dan.ipynb").write_text(" " * 30_001)
    grade(folder, tmp_path / "grades.csv", assignment)
    rows = rows_of(tmp_path / "grades.csv")
    assert list(rows) == ["ann", "bob", "cara", "dan", "mallory", "zoe"]
    assert rows["mallory"]["problems"] == "no student of the assignment has this name: it was made for ann"
    assert rows["zoe"]["problems"] == "no student of the assignment has this name"
    assert rows["mallory"]["total"] == "0"
    assert "cannot be read" in rows["bob"]["problems"]
    assert "cannot be read" in rows["cara"]["problems"]
    assert "larger than" in rows["dan"]["problems"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFO")
def test_a_file_that_is_none_is_not_opened(handed_out, kind, tmp_path, monkeypatch):
    folder, assignment = handed_out
    answer(folder, assignment, "ann", RIGHT)
    for student in ("bob", "cara", "dan"):
        (folder / f"{student}.ipynb").unlink()
    os.mkfifo(folder / "bob.ipynb")
    (folder / "cara.ipynb").symlink_to("/dev/zero")
    (folder / "dan.ipynb").symlink_to("ann.ipynb")
    opened, read_bytes = [], Path.read_bytes  # to read the FIFO is to wait for ever
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read_bytes(folder / "ann.ipynb"))
    grade(folder, tmp_path / "grades.csv", assignment)
    assert {name for name in opened if name.endswith(".ipynb")} == {"ann.ipynb"}
    rows = rows_of(tmp_path / "grades.csv")
    assert rows["ann"]["total"] == "100"
    for student in ("bob", "cara", "dan"):
        assert rows[student]["problems"] == "the file cannot be read: it is a folder, a link or a device"


def test_a_name_is_the_same_in_every_way_to_write_it(kind, tmp_path):
    composed, apart = "zo\u00eb", "zoe\u0308"  # as Linux and Windows write it, and as a Mac's zip does
    (tmp_path / "students.txt").write_text(f"{apart}\nann\n", encoding="utf-8")
    folder = tmp_path / "class"
    assignment = hand_out(tmp_path / "students.txt", folder, seed=7)
    assert assignment.students == (composed, "ann")
    answer(folder, assignment, composed, RIGHT)
    (folder / f"{composed}.ipynb").rename(folder / f"{apart}.ipynb")
    grade(folder, tmp_path / "grades.csv", assignment)
    rows = rows_of(tmp_path / "grades.csv")
    assert list(rows) == [composed, "ann"]
    assert (rows[composed]["total"], rows[composed]["problems"]) == ("100", "")
    (folder / f"{composed}.ipynb").write_text("{}")
    if len(list(folder.glob("zo*"))) == 2:  # on a Mac both are one file
        grade(folder, tmp_path / "grades.csv", assignment)
        problems = rows_of(tmp_path / "grades.csv")[composed]["problems"]
        assert problems == "two files have this name, in two ways to write it"
    with pytest.raises(ValueError, match="more than one student"):
        Assignment(7, (composed, apart))


def test_what_is_said_before_the_end_counts(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    answer(folder, assignment, "ann", RIGHT, before="ends_at = 'min_gru'\n")
    grade(folder, tmp_path / "grades.csv", assignment)
    row = rows_of(tmp_path / "grades.csv")["ann"]
    assert row["total"] == "40"
    assert row["problems"] == "from `min_gru` on there are no answers: it crashed with SIGSEGV"
    assert (row["min_gru"], row["min_gru: feedback"]) == ("0", "Not graded.")


def test_a_second_run_skips_what_is_graded_and_gives_the_same_table(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    table = tmp_path / "grades.csv"
    answer(folder, assignment, "ann", RIGHT)
    grade(folder, table, assignment)
    first, started = table.read_bytes(), kind.started
    grade(folder, table, assignment)
    assert (table.read_bytes(), kind.started) == (first, started)
    answer(folder, assignment, "bob", RIGHT)
    grade(folder, table, assignment)
    assert kind.started == started + 1, "the notebook that changed is graded again, and no other"
    assert rows_of(table)["bob"]["total"] == "100"
    (tmp_path / "other.csv").unlink(missing_ok=True)
    grade(folder, tmp_path / "other.csv", assignment)
    assert (tmp_path / "other.csv").read_bytes() == table.read_bytes()


def test_a_row_that_a_busy_machine_may_have_spoilt_is_graded_again(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    answer(folder, assignment, "ann", RIGHT, before="ends_at = 'recall'; cut_short = True\n")
    answer(folder, assignment, "bob", RIGHT, before="ends_at = 'recall'\n")
    grade(folder, tmp_path / "grades.csv", assignment)
    rows = rows_of(tmp_path / "grades.csv")
    assert (rows["ann"]["fingerprint"], len(rows["bob"]["fingerprint"])) == ("", 16)
    started = kind.started
    grade(folder, tmp_path / "grades.csv", assignment)
    assert kind.started == started + 1, "ann's alone"


def test_other_questions_or_another_version_grade_anew(handed_out, kind, tmp_path, monkeypatch):
    folder, assignment = handed_out
    table = tmp_path / "grades.csv"
    grade(folder, table, assignment)
    assert kind.started == 4
    monkeypatch.setattr(relmem_lite, "__version__", "99")
    grade(folder, table, assignment)
    assert kind.started == 8
    (tmp_path / "questions.py").write_text("# a question is put right\n")
    monkeypatch.setattr(questions, "__file__", str(tmp_path / "questions.py"))
    grade(folder, table, assignment)
    assert kind.started == 12
    grade(folder, table, assignment)
    assert kind.started == 12


def test_the_walls_are_told_before_the_first_notebook_runs(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    said = []
    grade(folder, tmp_path / "grades.csv", assignment, progress=lambda line: said.append((kind.started, line)))
    assert said[0] == (0, "Sandbox: the system keeps notebooks from network, files and processes.")
    assert sum(line.startswith("Sandbox") for _, line in said) == 1
    del said[:]
    grade(folder, tmp_path / "grades.csv", assignment, progress=said.append)
    assert said == [], "where nothing runs, nothing needs walls"


def test_without_walls_nothing_is_graded_unless_that_is_asked_for(handed_out, kind, tmp_path, monkeypatch, capsys):
    folder, assignment = handed_out
    table = tmp_path / "grades.csv"
    for walls in (Walls(network=True), Walls(files=True)):
        monkeypatch.setattr(kind, "walls", walls)
        grade(folder, tmp_path / "partly.csv", assignment)
    monkeypatch.setattr(kind, "walls", Walls(unlimited=["memory"]))
    kind.started = 0
    with pytest.raises(SandboxError, match=r"from neither files nor network.*--without-walls"):
        grade(folder, table, assignment)
    assert main(["grade", str(folder), "--out", str(table)]) == 1
    assert "--without-walls" in capsys.readouterr().err
    assert not table.exists()
    assert kind.started == 0
    assert main(["grade", str(folder), "--out", str(table), "--without-walls"]) == 0
    assert "which any student who looks it up gets around" in capsys.readouterr().out
    assert kind.started == 4


def test_an_interrupted_run_goes_on_and_loses_no_row(handed_out, kind, tmp_path, monkeypatch):
    folder, assignment = handed_out
    whole, table = tmp_path / "whole.csv", tmp_path / "grades.csv"
    grade(folder, whole, assignment)
    take = kind.take

    def interrupted(self, name):
        if kind.started == 3:
            raise KeyboardInterrupt
        return take(self, name)

    kind.started = 0
    monkeypatch.setattr(kind, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grade(folder, table, assignment)
    assert list(rows_of(table)) == ["ann", "bob"]
    monkeypatch.setattr(kind, "take", take)
    grade(folder, table, assignment)
    assert kind.started == 3 + 2
    assert table.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*")), "nothing half written is left"


def test_the_table_is_safe_to_open_in_a_spreadsheet(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    trick = "problems = ['=HYPERLINK(1)', 'a\\nb\\x1b[31m', 'x' * 5000]\n"
    answer(folder, assignment, "ann", RIGHT | {"cups": "cups = '=1+1'"}, before=trick)
    grade(folder, tmp_path / "grades.csv", assignment)
    row = rows_of(tmp_path / "grades.csv")["ann"]
    assert row["problems"].startswith("'=HYPERLINK")
    assert "a b?[31m" in row["problems"]
    assert len(row["problems"]) <= 1001
    for value in row.values():
        assert not value.startswith(("=", "+", "-", "@"))


def test_a_table_of_something_else_is_left_alone(handed_out, kind, tmp_path):
    folder, assignment = handed_out
    for content in (b"name,mark\nann,3\n", b"\xff\xff", ",".join(grading._columns(assignment)).encode() + b"\nann,3\n"):
        (tmp_path / "mine.csv").write_bytes(content)
        with pytest.raises(ValueError, match="not a table of relmem grade"):
            grade(folder, tmp_path / "mine.csv", assignment)
        assert (tmp_path / "mine.csv").read_bytes() == content
    with pytest.raises(ValueError, match="is no folder"):
        grade(tmp_path / "nowhere", tmp_path / "grades.csv", assignment)


def test_handing_out_twice_gives_the_same_and_never_overwrites_a_student_s_work(tmp_path):
    (tmp_path / "students.txt").write_text("ann\nbob\n", encoding="utf-8-sig")
    folder = tmp_path / "class"
    hand_out(tmp_path / "students.txt", folder, seed=7)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["ann.ipynb", "assignment.json", "bob.ipynb"]
    (tmp_path / "students.txt").write_text("ann\nbob\nlate\n")
    hand_out(tmp_path / "students.txt", folder, seed=7)
    assert (folder / "ann.ipynb").read_bytes() == before["ann.ipynb"]
    assert (folder / "late.ipynb").exists()
    (folder / "bob.ipynb").write_text("half a night's work")
    for seed, says in ((7, "is another notebook"), (8, "holds an assignment of seed 7 on all chapters")):
        with pytest.raises(ValueError, match=rf"{says}: .*choose another --out"):
            hand_out(tmp_path / "students.txt", folder, seed)
    assert (folder / "bob.ipynb").read_text() == "half a night's work"


def test_who_comes_late_joins_the_class(tmp_path):
    folder, students = tmp_path / "class", tmp_path / "students.txt"
    students.write_text("bob\nann\n")
    hand_out(students, folder, seed=7, chapters=(1, 10))
    (folder / "ann.ipynb").write_text("half a night's work")
    students.write_text("late\nbob\n")
    joined = hand_out(students, folder, seed=7, chapters=(10, 1))
    assert joined.students == ("bob", "ann", "late")
    assert read(folder / "assignment.json") == joined
    assert (folder / "ann.ipynb").read_text() == "half a night's work"
    before = (folder / "assignment.json").read_bytes()
    students.write_text("later\n")
    for other in ({"seed": 8, "chapters": (1, 10)}, {"seed": 7, "chapters": (1,)}, {"seed": 7}):
        with pytest.raises(ValueError, match=r"holds an assignment of seed 7 on chapters 1 and 10: .* another --out"):
            hand_out(students, folder, **other)
    students.write_text("ANN\n")
    with pytest.raises(ValueError, match="more than one student"):
        hand_out(students, folder, seed=7, chapters=(1, 10))
    assert (folder / "assignment.json").read_bytes() == before
    assert not (folder / "later.ipynb").exists()


def test_a_class_that_read_some_chapters_is_asked_about_these(kind, tmp_path):
    (tmp_path / "students.txt").write_text("ann\n")
    assignment = hand_out(tmp_path / "students.txt", tmp_path / "class", seed=7, chapters=(1, 10))
    assert [question.name for question in assignment.questions] == ["parameters", "numbers_needed", "recall"]
    assert read(tmp_path / "class" / "assignment.json") == assignment
    (row,) = grade(tmp_path / "class", tmp_path / "grades.csv", assignment)
    assert "attend" not in row
    assert row["recall: feedback"] == "`recall` returns `...`: replace it by your answer and run the cell again."
    with pytest.raises(ValueError, match=r"There are questions on chapters 1, 2, .*, none on 5"):
        hand_out(tmp_path / "students.txt", tmp_path / "class", seed=7, chapters=(1, 5))
    with pytest.raises(ValueError, match="choose another --out"):
        hand_out(tmp_path / "students.txt", tmp_path / "class", seed=7)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("", "no students"),
        ("ann\nann", "more than one student of the name 'ann'"),
        ("Ann\nann", "more than one student"),
        ("../ann", "letters, digits.*Try 'ann'"),
        ("ann lee", "letters, digits.*Try 'ann_lee'"),
        ("a/b", "letters, digits"),
        (".hidden", "letters, digits"),
    ],
)
def test_names_that_are_no_file_s_are_refused(names, says, tmp_path):
    (tmp_path / "students.txt").write_text(names)
    with pytest.raises(ValueError, match=says):
        hand_out(tmp_path / "students.txt", tmp_path / "class", seed=1)
    assert not (tmp_path / "class").exists()


def test_a_list_of_students_that_is_not_there_is_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*students\.txt: give one that names a student a line"):
        hand_out(tmp_path / "students.txt", tmp_path / "class", seed=1)


def test_a_notebook_is_valid_and_runs_as_it_is_handed_out(handed_out):
    import nbformat

    folder, _ = handed_out
    notebook = nbformat.read(folder / "ann.ipynb", as_version=4)
    nbformat.validate(notebook)
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert names["parameters"] is ...


def test_its_examples_give_what_they_say(handed_out):
    _, assignment = handed_out
    for cell in assignment.notebook("ann")["cells"]:
        if cell["id"].endswith("-example"):
            source = "".join(cell["source"])
            name = cell["id"].removesuffix("-example").replace("-", "_")
            question = next(question for question in QUESTIONS if question.name == name)
            names = {}
            exec("import math, torch\n" + written(RIGHT[name], question.numbers(7, "ann")), names)
            first, expression = source.split("\n", 1)
            said = json.loads(first.split("rounded: ")[1])
            assert eval(expression, names).tolist() == [pytest.approx(row, abs=1e-4) for row in said]


def test_the_commands_say_what_to_do(tmp_path, kind, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "students.txt").write_text("ann\n")
    assert main(["assignment", "--students", "students.txt", "--out", "class", "--seed", "7"]) == 0
    assert "Keep class/assignment.json" in capsys.readouterr().out
    assert main(["grade", "class", "--out", "grades.csv"]) == 0
    assert (
        capsys.readouterr().out
        == "Sandbox: the system keeps notebooks from network, files and processes.\nann: 0 points\n1 rows: grades.csv\n"
    )
    assert main(["grade", "class", "--out", "grades.csv"]) == 0
    assert capsys.readouterr().out == "1 rows: grades.csv\n"
    for typed, says in (
        ("grade nowhere --out x.csv", "There is no nowhere/assignment.json"),
        ("grade class --out students.txt", "not a table of relmem grade"),
        ("grade class --out x.csv --cpu-seconds 0", "cpu_seconds must be at least 1, got 0"),
        ("grade class --out x.csv --assignment class/ann.ipynb", "is not an assignment"),
        ("assignment --students students.txt --out class --seed 8", "choose another --out"),
    ):
        assert main(typed.split()) == 2
        assert says in capsys.readouterr().err
    assert main(["assignment", "--students", "nowhere.txt", "--out", "class", "--seed", "8"]) == 1
    assert "nowhere.txt" in capsys.readouterr().err

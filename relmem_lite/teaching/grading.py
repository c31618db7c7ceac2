"""Grading: a folder of notebooks becomes a table, one row a student, whatever the notebooks do."""

import csv
import hashlib
import io
import json
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path

import relmem_lite
from relmem_lite.exercises import AnswerRaised, matches
from relmem_lite.teaching import questions as source_of_questions
from relmem_lite.teaching.assignment import Assignment
from relmem_lite.teaching.questions import Question
from relmem_lite.teaching.sandbox import Limits, Notebook, NotebookEnded, SandboxError, Walls
from relmem_lite.training.files import write_atomically

LARGEST_NOTEBOOK = 20_000_000


class MalformedNotebookError(ValueError):
    """A file that cannot be run as a notebook; the message says why."""


def grade(
    folder: Path,
    out: Path,
    assignment: Assignment,
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda line: None,
    without_walls: bool = False,
) -> list[dict[str, str]]:
    """Grade the notebooks of a folder and write the table; what the table holds of the same notebooks is kept.

    Graded anew are notebooks that changed, all of them after a change of the questions or of the library, and those
    that ran into the clock or were killed by the system, since a busy machine does that to any.

    A notebook belongs to the student whose name its file has. Every student has a row, in the assignment's order,
    then each notebook that belongs to nobody. The table is replaced whole after every notebook.

    Args:
        folder: with NAME.ipynb for each student who handed in, a regular file and no link.
        out: the table, a CSV file.
        assignment: that was handed out.
        limits: of what one notebook may take.
        progress: gets a line about the sandbox before anything is graded, and one for each notebook that is.
        without_walls: grade also where the system keeps notebooks from neither files nor network.

    Returns:
        The rows; all values are text.

    Raises:
        ValueError: `out` is a file that is no such table, or `folder` is no folder.
        SandboxError: the sandbox does not work on this machine, or has no walls and `without_walls` is not set.
        OSError: the table cannot be written.
    """
    limits = limits or Limits()
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give one with the notebooks that were handed in.")
    # All are read before the first is run: none can change another.
    files = {}
    for path in sorted(folder.glob("*.ipynb")):
        # A Mac writes ë as e and a mark: the assignment's names are composed.
        name = unicodedata.normalize("NFC", path.stem)
        files[name] = "two files have this name, in two ways to write it" if name in files else _content(path)
    strangers = [name for name in files if name not in assignment.students]
    columns = _columns(assignment)
    known = {row["student"]: row for row in _rows(out, columns)}
    rows, walls = [], None
    names = [*assignment.students, *strangers]
    for position, name in enumerate(names):
        content = files.get(name)
        fingerprint = _fingerprint(content, name, assignment, limits)
        row = known.get(name)
        if row is None or row["fingerprint"] != fingerprint:
            walls = walls or _walls(limits, without_walls, progress)
            row = _row(name, content, assignment, limits, fingerprint)
            progress(f"{name}: {row['total']} points" + (f" ({row['problems']})" if row["problems"] else ""))
            later = [known[each] for each in names[position + 1 :] if each in known]
            _write(out, columns, [*rows, row, *later])
        rows.append(row)
    _write(out, columns, rows)
    return rows


def _walls(limits: Limits, without: bool, progress: Callable[[str], None]) -> Walls:
    """Say, by an empty notebook, what the sandbox is made of here, and refuse to go on without walls."""
    with Notebook([], limits) as empty:
        walls = empty.walls
    progress(f"Sandbox: {walls}.")
    if not (walls.files or walls.network or without):
        raise SandboxError(
            "This system keeps notebooks from neither files nor network, so that a hostile one could do what you can. "
            "Grade under Linux, where Landlock or namespaces do it; or, on a machine that you can spare, with "
            "--without-walls."
        )
    return walls


def _columns(assignment: Assignment) -> list[str]:
    questions = [column for each in assignment.questions for column in (each.name, f"{each.name}: feedback")]
    return ["student", "total", *questions, "seconds", "problems", "fingerprint"]


def _content(path: Path) -> bytes | str:
    """The bytes of a notebook, or why it has none."""
    try:
        # Neither a FIFO nor a link to a device has an end, and a link to another's notebook is nobody's work.
        if not stat.S_ISREG((status := path.lstat()).st_mode):
            return "the file cannot be read: it is a folder, a link or a device"
        if status.st_size > LARGEST_NOTEBOOK:
            return f"the notebook is larger than {LARGEST_NOTEBOOK // 1_000_000} MB"
        return path.read_bytes()
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"


def _fingerprint(content: bytes | str | None, name: str, assignment: Assignment, limits: Limits) -> str:
    source = Path(source_of_questions.__file__).read_bytes()
    what = [name, assignment, limits, content, relmem_lite.__version__, source]
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _row(
    name: str,
    content: bytes | str | None,
    assignment: Assignment,
    limits: Limits,
    fingerprint: str,
) -> dict[str, str]:
    points, feedback, problems, seconds = {}, {}, [], 0.0
    if name not in assignment.students:
        problems.append(_stranger(content, assignment))
    elif content is None:
        problems.append("nothing was handed in")
    else:
        try:
            cells, made_for = _cells(content)
        except MalformedNotebookError as error:
            problems.append(str(error))
        else:
            if made_for != name:
                problems.append(f"the notebook was made for {made_for or 'nobody'}")
            answers, seconds = {}, 0.0
            with Notebook(cells, limits) as notebook:
                try:
                    for question in assignment.questions:
                        numbers = question.numbers(assignment.seed, name)
                        message = _verdict(question, notebook, numbers, answers)
                        points[question.name] = 0 if message else question.points
                        feedback[question.name] = message or "Right."
                except NotebookEnded as ended:
                    problems.append(f"from `{question.name}` on there are no answers: {ended}")
                seconds = notebook.seconds
                problems += notebook.problems
                if notebook.cut_short:
                    fingerprint = ""  # not the notebook's doing alone: the next run tries again
            problems += _copied(answers, name, assignment)
    row = {"student": name, "total": sum(points.values()), "seconds": f"{seconds:.1f}", "problems": "; ".join(problems)}
    row["fingerprint"] = fingerprint
    for question in assignment.questions:
        row[question.name] = points.get(question.name, 0)
        row[f"{question.name}: feedback"] = feedback.get(question.name, "Not graded.")
    return {column: _plain(str(value)) for column, value in row.items()}


def _stranger(content: bytes | str, assignment: Assignment) -> str:
    """What to say of a notebook whose name is no student's, as where a browser or a course's site added to it."""
    problem = "no student of the assignment has this name"
    try:
        _, made_for = _cells(content)
    except MalformedNotebookError:
        return problem
    return f"{problem}: it was made for {made_for}" if made_for in assignment.students else problem


def _verdict(question: Question, notebook: Notebook, numbers: dict, answers: dict) -> str | None:
    """None for a right answer, else a sentence. Notes in `answers` the values that are not right."""
    try:
        answer = notebook.take(question.name)
        if answer is None or answer is ...:
            return "Not answered."
        message = question.check(answer, numbers)
        if message is not None and not callable(answer):
            answers[question.name] = answer
        return message
    except NotebookEnded:
        raise
    except AnswerRaised as error:
        return str(error)
    except Exception as error:
        # Whatever a strange value does to a check, it is no right answer.
        return f"The answer could not be checked: {type(error).__name__}."


def _copied(answers: dict, name: str, assignment: Assignment) -> list[str]:
    """Say whose right answers were handed in under another's numbers: two of them are no accident."""
    found = {}
    for question in assignment.questions:
        if question.name not in answers:
            continue
        given = question.read(answers[question.name])
        for other in assignment.students:
            right = question.right(**question.numbers(assignment.seed, other))
            if other != name and matches(given, right, rtol=question.tolerance):
                found.setdefault(other, []).append(question.name)
    return [
        f"the answers to {', '.join(questions)} are right for the numbers of {other}"
        for other, questions in found.items()
        if len(questions) > 1
    ]


def _cells(content: bytes | str) -> tuple[list[str], str | None]:
    """The code cells of a notebook, and the student whom it was made for."""
    if isinstance(content, str):
        raise MalformedNotebookError(content)
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedNotebookError("the file is not a notebook: it is not JSON") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise MalformedNotebookError("the file is not a notebook of format 4: it has no list of cells")
    sources = []
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        lines = source if isinstance(source, list) else [source]
        if not all(isinstance(line, str) for line in lines):
            raise MalformedNotebookError("the notebook has a code cell whose source is not text")
        sources.append("".join(lines))
    try:
        made_for = notebook["metadata"]["relmem_assignment"]["student"]
    except (KeyError, TypeError):
        made_for = None
    return sources, made_for if isinstance(made_for, str) else None


def _plain(text: str) -> str:
    """A cell of the table that a spreadsheet shows as it is: in one line, without control characters or formulas."""
    text = " ".join("".join(c if unicodedata.category(c)[0] != "C" or c.isspace() else "?" for c in text).split())
    text = text[:1000]
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, table.getvalue().encode())


def _rows(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """The rows of a table from an earlier run; none if there is no table."""
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, strict=True)
            rows = list(table)
    except (UnicodeDecodeError, csv.Error, IsADirectoryError):
        table = None
    if table is None or table.fieldnames != columns or any(None in row or None in row.values() for row in rows):
        raise ValueError(f"{path} is not a table of relmem grade for this assignment: name another with --out.")
    return rows

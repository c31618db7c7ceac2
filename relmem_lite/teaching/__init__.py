"""Teaching with the book: a graded assignment, with numbers of each student's own, and a sandbox that grades it."""

from relmem_lite.teaching.assignment import Assignment, hand_out, read
from relmem_lite.teaching.grading import grade
from relmem_lite.teaching.questions import QUESTIONS, Question
from relmem_lite.teaching.sandbox import Limits, SandboxError

__all__ = ["QUESTIONS", "Assignment", "Limits", "Question", "SandboxError", "grade", "hand_out", "read"]

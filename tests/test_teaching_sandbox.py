"""The sandbox: what a hostile notebook tries, and what is left of it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from assignment_answers import RIGHT, written

import relmem_lite
from relmem_lite.exercises import AnswerRaised
from relmem_lite.teaching import QUESTIONS, Limits, SandboxError, grade, hand_out, inside, sandbox
from relmem_lite.teaching.sandbox import Notebook, NotebookEnded, Walls

ROOMY = Limits(cpu_seconds=30, wall_seconds=240, step_seconds=20, memory=500_000_000)


@pytest.fixture
def listening():
    """A server on this machine, which nobody should reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_hostile_notebook_changes_nothing_and_the_reasons_are_told(listening, tmp_path):
    mine = tmp_path / "another student's.ipynb"
    mine.write_text("mine")
    grader, port = os.getpid(), listening.getsockname()[1]
    cells = [
        "import os, sys, torch, numpy as np, math, subprocess, socket, builtins, json",
        f"socket.create_connection(('127.0.0.1', {port}))",
        "os.fork()",
        "subprocess.run(['ls'])",
        "os.system('touch here')",
        f"os.kill({grader}, 9)",
        f"open({str(mine)!r}, 'w').write('0')",
        f"os.remove({str(mine)!r})",
        f"stolen = open({str(mine)!r}).read()",
        f"names = os.listdir({str(tmp_path)!r})",
        f"from relmem_lite.teaching import QUESTIONS",  # noqa: F541
        f"source = open({sandbox.__file__!r}).read()",
        "sys.modules.pop('relmem_lite'); import relmem_lite.exercises",
        "import ctypes; ctypes.CDLL(None).fork()",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (9, 9))",
        "import gc; gc.get_objects()",
        "eaten = [bytearray(10_000_000) for _ in range(1000)]",
        "def deep(n): return deep(n + 1)\ndeep(0)",
        "sys.exit(0)",
        "raise KeyboardInterrupt",
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "print('{\"reply\": 1, \"value\": 100}'); print('score: 100')",
        "def check(*args, **kwargs): return True\nbuiltins.print = json.dumps = check\ntorch.isclose = check",
        "%pip install something\nx = 3",
        "if x:\n    !ls\n    x = 4",
        "this is no Python",
        "class Everything:\n    def __eq__(self, other): return True\n    __float__ = __eq__",
        "everything = Everything()",
        "answer = 42",
        "input()",
    ]
    with Notebook(cells, ROOMY) as notebook:
        assert notebook.take("answer") == 42
        assert notebook.take("x") == 4
        for missing in ("stolen", "names", "QUESTIONS", "source", "eaten"):
            assert notebook.take(missing) is ...
        assert type(notebook.take("everything")).__name__ == "Everything"
        assert notebook.take("everything") != 100
        with pytest.raises(AnswerRaised, match=r"`deep` raised RecursionError.*; it was given the number 1"):
            notebook.take("deep")(1)
        assert notebook.take("check")(torch.ones(2)) is True
    assert mine.read_text() == "mine"
    said = "\n".join(notebook.problems)
    for problem in (
        "code cell 2 tried to use the network",
        "code cell 3 tried to start another process",
        "code cell 6 tried to send a signal to a process",
        "code cell 7 tried to write a file",
        "code cell 8 tried to change files",
        "code cell 9 tried to read a file that is not its own",
        "code cell 10 tried to look into a folder that is not its own",
        "code cell 11: ModuleNotFoundError",
        "code cell 14 tried to reach past Python",
        "code cell 15 tried to change its own limits",
        "code cell 17: MemoryError",
        "code cell 18: RecursionError",
        "code cell 19: SystemExit",
        "code cell 20: KeyboardInterrupt",
        "code cell 21: Odd",
        "code cell 26: SyntaxError",
    ):
        assert problem in said
    assert "code cell 23" not in said


def test_code_that_looks_up_its_callers_is_not_reported_as_an_attempt():
    cells = [
        "import inspect, traceback, warnings",
        "warnings.warn('x', stacklevel=2)",
        "traceback.print_stack()",
        "names = [frame.function for frame in inspect.stack()]",
        f"source = open({inside.__file__!r}).read()",
    ]
    with Notebook(cells, ROOMY) as notebook:
        assert notebook.take("names")[:2] == ["<module>", "main"]
        assert notebook.take("source") is ...
    assert notebook.problems == ["code cell 5: PermissionError: the grader's own source is closed to the notebook"]


def test_what_takes_too_long_is_broken_off_and_the_rest_still_counts():
    cells = [
        "while True: pass",
        "try:\n    while True: pass\nexcept Exception: pass",
        "def slow(x):\n    while True: pass\ndef fast(x): return x",
    ]
    with Notebook(cells, Limits(cpu_seconds=60, wall_seconds=240, step_seconds=1)) as notebook:
        with pytest.raises(AnswerRaised, match="`slow` raised TookTooLong: it took longer than 1 s"):
            notebook.take("slow")(1)
        assert notebook.take("fast")(2) == 2
        assert [problem.split(":")[0] for problem in notebook.problems] == ["code cell 1", "code cell 2"]
        assert notebook.cut_short


@pytest.fixture
def without_torch(tmp_path, monkeypatch):
    """A sandbox without PyTorch, which takes seconds to import: for notebooks that end before they answer."""
    stub = "import types; torch = types.SimpleNamespace(set_num_threads=id, manual_seed=id, Tensor=())\n"
    source = Path(inside.__file__).read_text(encoding="utf-8")
    light = tmp_path / "inside.py"
    light.write_text(source.replace("import torch\n", stub), encoding="utf-8")
    monkeypatch.setattr(sandbox.inside, "__file__", str(light))


# Without the alarm that breaks off one cell.
STUBBORN = "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"


@pytest.mark.parametrize(
    ("cell", "limits", "reason"),
    [
        ("import os; os._exit(0)", {}, "it ended itself, with status 0, before its answers were handed over"),
        (
            "import numpy as np; np.lib.stride_tricks.as_strided(np.zeros(1), (2,), (2**40,))[1]",
            {},
            "it crashed with SIGSEGV",
        ),
        (STUBBORN + "while True: pass", {"cpu_seconds": 1}, "it used more than 1 s of CPU time and was stopped"),
        (STUBBORN + "import time; time.sleep(1e6)", {"wall_seconds": 1}, "it ran longer than 1 s and was stopped"),
        (
            "import os\nfor fd in range(3, 30):\n    try:\n        while True: os.write(fd, b'[]\\n' * 1000)\n"
            "    except OSError: pass",
            {},
            "it flooded the grader with output",
        ),
        ("import os; os.closerange(0, 100)", {}, "it ended itself"),
        ("import os, _signal; _signal.raise_signal(9)", {}, "the system killed it, most likely for its memory"),
    ],
    ids=["exits", "crashes", "computes", "sleeps", "floods", "closes", "is killed"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the reasons are Linux's")
@pytest.mark.usefixtures("without_torch")
def test_a_notebook_that_does_not_come_to_its_end_is_ended_with_a_reason(cell, limits, reason):
    limits = Limits(**(vars(ROOMY) | limits))
    with Notebook([cell], limits) as notebook:
        with pytest.raises(NotebookEnded, match=reason):
            notebook.take("answer")
        with pytest.raises(NotebookEnded, match=reason):
            notebook.take("answer")
        assert notebook._process.returncode is not None, "nothing runs on"
        assert notebook.cut_short == ("longer than" in reason or "killed it" in reason)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's pipes can be made small")
@pytest.mark.usefixtures("without_torch")
def test_a_notebook_that_reads_nothing_does_not_hold_up_the_class():
    cell = """
import fcntl, os, time
fcntl.fcntl(3, 1031, 4096)  # F_SETPIPE_SZ
os.write(4, b'{"reply": 1, "value": {"function": "answer"}}\\n')
time.sleep(1e6)
"""
    limits = Limits(**(vars(ROOMY) | {"wall_seconds": 2}))
    with Notebook([STUBBORN + cell], limits) as notebook:
        answer = notebook.take("answer")
        with pytest.raises(NotebookEnded, match="it ran longer than 2 s and was stopped"):
            answer(torch.zeros(100_000))
        assert notebook._process.returncode is not None, "nothing runs on"


def test_a_forged_line_gets_no_points_but_for_a_right_answer(tmp_path):
    (tmp_path / "students.txt").write_text("ann\n")
    assignment = hand_out(tmp_path / "students.txt", tmp_path / "class", seed=7)
    forged = b'{"reply": 1, "value": 100}\n{"total": 100}\n{"problem": "=1"}\n{"ready": true}\nnull\n\xff\n[[[\n'
    notebook = assignment.notebook("ann")
    numbers = {question.name: question.numbers(7, "ann") for question in QUESTIONS}
    sources = [f"import os\nfor fd in range(3, 30):\n    try: os.write(fd, {forged!r})\n    except OSError: pass"]
    sources += [written(RIGHT["parameters"], numbers["parameters"]), written(RIGHT["recall"], numbers["recall"])]
    for source in sources:
        notebook["cells"].append({"cell_type": "code", "source": source})
    (tmp_path / "class" / "ann.ipynb").write_text(json.dumps(notebook))
    (row,) = grade(tmp_path / "class", tmp_path / "grades.csv", assignment, ROOMY, without_walls=True)
    assert row["parameters: feedback"] == "`parameters` is the number 100, which is not right: it is too small." or (
        "too small" in row["parameters: feedback"]
    )
    assert row["recall"] == "10"
    assert row["total"] == "10"
    assert row["problems"].startswith("'=1")


def run_inside(code):
    """Run code in a fresh Python that has loaded the sandbox's inside, and nothing of the library."""
    load = f"import importlib.util as u; s = u.spec_from_file_location('inside', {inside.__file__!r}); "
    load += "inside = u.module_from_spec(s); s.loader.exec_module(inside); import os, socket, sys; "
    load += (
        f"from pathlib import Path; roots = inside.folders_to_read(Path({str(Path(relmem_lite.__file__).parent)!r}))"
    )
    ran = subprocess.run([sys.executable, "-s", "-P", "-c", f"{load}\n{code}"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_landlock_alone_keeps_files_shut(tmp_path):
    (tmp_path / "mine").write_text("mine")
    attempts = f"""
if not inside.shut_files(*roots):
    print("without"); sys.exit()
for attempt in (
    lambda: open({str(tmp_path / "mine")!r}).read(),
    lambda: open({str(tmp_path / "new")!r}, "w"),
    lambda: os.remove({str(tmp_path / "mine")!r}),
    lambda: os.listdir({str(tmp_path)!r}),
    lambda: open({sandbox.__file__!r}),
    lambda: open("/etc/passwd"),
):
    try:
        attempt(); print("done")
    except PermissionError:
        print("refused")
import json, sqlite3; print("imports", len(os.listdir("/usr")) > 0)
"""
    said = run_inside(attempts)
    if said == ["without"]:
        pytest.skip("this kernel has no Landlock")
    assert said == ["refused"] * 6 + ["imports", "True"]
    assert (tmp_path / "mine").exists()


def test_the_hook_alone_refuses_what_the_system_would_let_pass(listening, tmp_path):
    (tmp_path / "mine").write_text("mine")
    attempts = f"""
inside.watch(*roots, lambda what: None)
for attempt in (
    lambda: open({str(tmp_path / "mine")!r}).read(),
    lambda: open({str(tmp_path / "mine")!r}, "ab"),
    lambda: os.open({str(tmp_path / "mine")!r}, os.O_RDWR),
    lambda: os.remove({str(tmp_path / "mine")!r}),
    lambda: os.rename({str(tmp_path / "mine")!r}, "x"),
    lambda: os.scandir({str(tmp_path)!r}),
    lambda: os.fork(),
    lambda: os.posix_spawn("/bin/ls", ["ls"], {{}}),
    lambda: socket.create_connection(("127.0.0.1", {listening.getsockname()[1]})),
    lambda: socket.getaddrinfo("localhost", 80),
):
    try:
        attempt(); print("done")
    except inside.Refused:
        print("refused")
import decimal; print(open(os.devnull, "w").write("x"))
"""
    assert run_inside(attempts) == ["refused"] * 10 + ["1"]
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.skipif(not sandbox._namespaces(), reason="no namespaces for a user here")
def test_namespaces_alone_keep_the_network_away(listening):
    port = listening.getsockname()[1]
    code = f"import socket, os; print(os.getpid()); socket.create_connection(('127.0.0.1', {port}), 5)"
    ran = subprocess.run([*sandbox._namespaces(), sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1].startswith(("OSError", "ConnectionRefusedError"))
    assert int(ran.stdout) < 10, "it sees no other process"


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux limits it")
def test_limits_are_the_system_s():
    said = run_inside(
        "pages = open('/proc/self/statm'); print(inside.limit(5, 100_000_000, pages)); import resource\n"
        "print(resource.getrlimit(resource.RLIMIT_FSIZE), resource.getrlimit(resource.RLIMIT_NPROC))\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0] <= 7)\n"
        "try: bytearray(200_000_000)\nexcept MemoryError: print('full')"
    )
    assert said == ["[]", "(0,", "0)", "(0,", "0)", "True", "full"]


def test_the_notebook_cannot_read_the_answers_wherever_the_library_lies(tmp_path, monkeypatch):
    site = tmp_path / "lib" / "site-packages"
    for name in ("relmem_lite/teaching", "torch", "numpy"):
        (site / name).mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(site), "/somewhere/tests"])
    whole, listed = inside.folders_to_read(site / "relmem_lite")
    ours = [path for path in whole if path.is_relative_to(tmp_path)]
    assert ours == [site / "torch", site / "numpy"] or sorted(ours) == [site / "numpy", site / "torch"]
    assert set(listed) == {tmp_path, tmp_path / "lib", site}
    assert not any((site / "relmem_lite").is_relative_to(path) for path in whole)


def test_what_keeps_a_notebook_in_is_said_plainly():
    assert str(Walls(True, True, True)) == "the system keeps notebooks from network, files and processes"
    assert str(Walls(True, False, True)) == (
        "the system keeps notebooks from network and files; only a hook in Python keeps them from processes, "
        "which any student who looks it up gets around"
    )
    assert "only a hook in Python keeps them from network, files and processes" in str(Walls())
    assert str(Walls(True, True, True, ["memory"])).endswith("nothing but the wall clock limits their memory")


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.usefixtures("without_torch")
def test_root_which_no_limit_of_processes_holds_is_said_to_have_none(uid, monkeypatch):
    monkeypatch.setattr(sandbox.os, "getuid", lambda: uid, raising=False)
    with Notebook([], ROOMY) as notebook:
        assert ("processes" in notebook.walls.unlimited) == (uid == 0 or sys.platform == "win32")
        if uid == 0:
            assert not notebook.walls.processes
            assert "only a hook in Python keeps them from" in str(notebook.walls)
            assert "their processes" in str(notebook.walls)


def test_a_sandbox_that_does_not_come_up_is_nobody_s_fault(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemError('no torch here')")
    monkeypatch.setattr(sandbox.inside, "__file__", str(tmp_path / "broken.py"))
    with pytest.raises(SandboxError, match="did not come up: SystemError: no torch here"), Notebook(["x = 1"]):
        pass


@pytest.mark.parametrize("name", ["cpu_seconds", "wall_seconds", "step_seconds", "memory"])
def test_limits_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Limits(**{name: 0})

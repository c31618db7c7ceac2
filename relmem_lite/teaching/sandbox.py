"""A sandbox for notebooks that nobody has read: each runs in a process of its own, and hands over plain values.

What keeps it in, from the kernel to Python (`Walls` says which of them this machine has):

- a fresh interpreter in an empty folder, with nothing of this process's environment;
- limits of CPU time, memory, file size (none) and processes (none, but for root), by `setrlimit`; and of wall time,
  from outside;
- no network and no other process in sight, by Linux namespaces (`unshare`), where a user may make them;
- no file to write and only Python's own to read, by Linux's Landlock;
- a hook in Python that refuses the same things with a reason, where there is nothing better too.

Answers and scoring stay on this side. A process that lies can give no better answer than a right one.
"""

import contextlib
import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import relmem_lite
from relmem_lite.exercises import AnswerRaised, NotWrittenYet, describe
from relmem_lite.teaching import inside

LONGEST_LINE = 4_000_000
MOST_LINES = 5_000
MOST_PROBLEMS = 20
KILLED = "the system killed it, most likely for its memory"


class SandboxError(RuntimeError):
    """The sandbox itself does not work here; no notebook is to blame."""


class NotebookEnded(Exception):
    """The notebook's process is gone; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What one notebook may take.

    Attributes:
        cpu_seconds: of CPU time, in all.
        wall_seconds: from start to end, whatever it waits for.
        step_seconds: for one cell, or one call of a function.
        memory: bytes, beyond what Python and torch take themselves.
    """

    cpu_seconds: int = 60
    wall_seconds: int = 120
    step_seconds: int = 20
    memory: int = 2_000_000_000

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")


@functools.cache
def _namespaces() -> tuple[str, ...]:
    """The command that runs another without network, and where possible among no other processes; empty without it."""
    if unshare := shutil.which("unshare"):
        no_network = (unshare, "--user", "--map-root-user", "--net")
        # Process 1 of a namespace shrugs off signals: a shell takes its place.
        alone = ("--ipc", "--pid", "--fork", "--kill-child", "sh", "-c", '"$0" "$@"; exit $?')
        for command in ((*no_network, *alone), no_network):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                tried = subprocess.run([*command, sys.executable, "-c", "pass"], capture_output=True, timeout=60)
                if tried.returncode == 0:
                    return command
    return ()


@dataclass
class Walls:
    """What this machine's sandbox is made of, beyond Python's own hook.

    Attributes:
        network: the kernel gives the notebook no network.
        processes: the kernel shows it no other process, and lets it start none.
        files: the kernel lets it write nothing, and read only Python's own files.
        unlimited: of what the system limits no use: "memory" on macOS, "processes" for root.
    """

    network: bool = False
    processes: bool = False
    files: bool = False
    unlimited: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kept = [name for name in ("network", "files", "processes") if getattr(self, name)]
        fenced = [name for name in ("network", "files", "processes") if not getattr(self, name)]
        parts = [f"the system keeps notebooks from {_listed(kept)}"] if kept else []
        if fenced:
            parts.append(
                f"only a hook in Python keeps them from {_listed(fenced)}, "
                "which any student who looks it up gets around"
            )
        if self.unlimited:
            parts.append(f"nothing but the wall clock limits their {_listed(self.unlimited)}")
        return "; ".join(parts)


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


class Notebook:
    """A notebook at work in the sandbox; a context manager that ends its process, and all that it started.

    Attributes:
        problems: what went wrong in the cells, a sentence each.
        walls: what the sandbox is made of.
        cut_short: whether it ran into the clock, or the system killed it, as may happen to any on a busy machine.

    Raises:
        SandboxError: on entering, where the sandbox does not come up.
        NotebookEnded: wherever the process is gone: it crashed, or took more than it may.
    """

    def __init__(self, cells: list[str], limits: Limits | None = None):
        self.cells, self.limits, self.problems = cells, limits or Limits(), []
        self.cut_short = False
        self._lines, self._number, self._why = queue.Queue(maxsize=100), 0, None
        self._late, self._too_long = False, f"it ran longer than {self.limits.wall_seconds} s and was stopped"

    def __enter__(self) -> "Notebook":
        self._folder = tempfile.TemporaryDirectory(prefix="relmem-", ignore_cleanup_errors=True)
        self._complaints = tempfile.TemporaryFile()
        self._begun = time.monotonic()
        namespaces = _namespaces()
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", **threads}
        if "SYSTEMROOT" in os.environ:
            environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]  # Windows starts no Python without it
        self._process = subprocess.Popen(
            [*namespaces, sys.executable, "-s", "-P", "-B", inside.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            cwd=self._folder.name,
            env=environment,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        limits = self.limits
        self._kill_in(60 + limits.wall_seconds)
        try:
            self._say(
                cells=list(enumerate(self.cells, 1)),
                closed=str(Path(relmem_lite.__file__).resolve().parent),
                cpu_seconds=limits.cpu_seconds,
                step_seconds=limits.step_seconds,
                memory=limits.memory,
                root=hasattr(os, "getuid") and os.getuid() == 0,
            )
            ready = self._hear("ready", 60 + limits.wall_seconds)
        except NotebookEnded as ended:
            self._complaints.seek(0)
            last = self._complaints.read().decode(errors="replace").strip().splitlines()[-1:] or [str(ended)]
            self.__exit__()
            raise SandboxError(f"The sandbox did not come up: {last[0]}") from None
        except BaseException:
            self.__exit__()
            raise
        self._deadline = time.monotonic() + limits.wall_seconds
        self._clock.cancel()
        self._kill_in(limits.wall_seconds)
        unlimited = ready["unlimited"]
        alone = "--pid" in namespaces and "processes" not in unlimited
        self.walls = Walls(bool(namespaces), alone, ready["files_shut"], unlimited)
        return self

    def __exit__(self, *_) -> None:
        # With a reason, since a notebook that waits for more to do would not end by itself.
        self._end("It was left.")
        self._folder.cleanup()
        self._complaints.close()

    @property
    def seconds(self) -> float:
        """Wall time since the process began, in seconds."""
        return time.monotonic() - self._begun

    def take(self, name: str):
        """The value that the notebook gives to `name`; `...` without one. A function can be called from here.

        Its exceptions come as `AnswerRaised`, as in `relmem_lite.exercises.check`.
        """
        reply = self._ask(name=name)
        return self._value(reply, name)

    def _call(self, name: str, inputs: tuple):
        reply = self._ask(name=name, inputs=[inside.encode(value) for value in inputs])
        if "raised" in reply:
            given = ", ".join(map(describe, inputs))
            raise AnswerRaised(f"`{name}` raised {str(reply['raised'])[:300]}; it was given {given or 'nothing'}.")
        value = self._value(reply, name)
        if value is None:
            raise AnswerRaised(f"`{name}` returned None: is its `return` missing?")
        if value is ...:
            raise NotWrittenYet(f"`{name}` is not written yet.")
        return value

    def _value(self, reply: dict, name: str):
        if "raised" in reply:
            raise AnswerRaised(f"`{name}` cannot be handed over: {str(reply['raised'])[:300]}.")
        try:
            return inside.decode(reply.get("value"), lambda _: lambda *inputs: self._call(name, inputs))
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            raise AnswerRaised(f"`{name}` is not a number, text, tensor or list of these.") from None

    def _ask(self, **request) -> dict:
        if self._why:
            raise NotebookEnded(self._why)
        self._number += 1
        self._say(number=self._number, **request)
        return self._hear("reply", self._deadline - time.monotonic(), self._number)

    def _say(self, **message) -> None:
        with contextlib.suppress(OSError):  # a process that is gone is noticed on hearing nothing
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _hear(self, key: str, seconds: float, value=True) -> dict:
        """Wait for the message in which `key` has `value`, noting problems on the way."""
        deadline = time.monotonic() + seconds
        for _ in range(MOST_LINES):
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._end(self._too_long) from None
            if line is None:
                raise self._end()
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if not isinstance(message, dict):
                    continue
                if "problem" in message and len(self.problems) < MOST_PROBLEMS:
                    self.problems.append(str(message["problem"])[:300])
                self.cut_short |= inside.TookTooLong.__name__ in f"{message.get('problem')} {message.get('raised')}"
                if message.get(key) == value:
                    return message
        raise self._end("it flooded the grader with output")

    def _listen(self) -> None:
        # In a thread, since a pipe can't be waited for with a time limit everywhere. A flood waits in the queue.
        with self._process.stdout as output:
            while (line := output.readline(LONGEST_LINE)) and self._why is None:
                while self._why is None:
                    with contextlib.suppress(queue.Full):
                        self._lines.put(line, timeout=1)
                        break
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=1)

    def _end(self, why: str | None = None) -> NotebookEnded:
        """End the process and all that it started, and say why it is gone."""
        if self._why is None:
            by_itself = why is None and self._has_ended(within=5)
            self._clock.cancel()
            self._clock.join()  # it must not kill what has the number after the process has been reaped
            self._kill()
            cpu_seconds = self._wait()
            self._why = why or (self._too_long if self._late else self._reason(by_itself, cpu_seconds))
            self.cut_short |= self._why in (self._too_long, KILLED)
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return NotebookEnded(self._why)

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            # `Popen.kill` would reap it first, and its number be free for another's.
            os.killpg(self._process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self._process.kill()

    def _kill_in(self, seconds: float) -> None:
        # A process that reads nothing holds up a write to it for ever; only its end breaks that off.
        def kill():
            self._late = True
            self._kill()

        self._clock = threading.Timer(seconds, kill)
        self._clock.daemon = True
        self._clock.start()

    def _has_ended(self, within: float) -> bool:
        # Without reaping it: until its group has been killed, its number must stay taken.
        until = time.monotonic() + within
        while time.monotonic() < until:
            if not hasattr(os, "waitid"):
                if self._process.poll() is not None:
                    return True
            elif os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return True
            time.sleep(0.01)
        return False

    def _wait(self) -> float:
        """Wait for the end of the process; returns the CPU time, in seconds, that it and its children took."""
        if not hasattr(os, "wait4"):
            self._process.wait()
            return 0.0
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def _reason(self, by_itself: bool, cpu_seconds: float) -> str:
        status = self._process.returncode
        if status > 128:
            status = 128 - status  # as a shell reports a signal
        if not by_itself:
            return "it closed its channel to the grader"
        if status < 0 and cpu_seconds >= self.limits.cpu_seconds:
            return f"it used more than {self.limits.cpu_seconds} s of CPU time and was stopped"
        if status == -getattr(signal, "SIGKILL", 9):
            return KILLED
        if -status in set(signal.Signals):
            return f"it crashed with {signal.Signals(-status).name}"
        return f"it ended itself, with status {status}, before its answers were handed over"

"""The inside of the sandbox: a student's notebook in an interpreter of its own, which hands over plain values.

`sandbox.py` runs this file as a script. Its first line of input is a job; it shuts the doors, runs the notebook's
cells, and then answers the requests that follow, one line of JSON each: to hand over a value, or to call a function.
Nothing here knows an answer, and nothing here is believed: what comes out is judged outside.

It imports nothing of the library, which is closed to the notebook. `encode` and `decode` serve both sides.
"""

import contextlib
import ctypes
import json
import math
import os
import re
import signal
import struct
import sys
import types
from pathlib import Path

MOST_NUMBERS = 100_000
MOST_LETTERS = 10_000
DEEPEST = 8


class Refused(PermissionError):
    """The notebook tried what is closed to it."""


class TookTooLong(BaseException):
    """A cell or a call went on for too long; no `except Exception` swallows it."""


def encode(value, depth: int = 0):
    """A value as plain JSON. What is not plain becomes {"other": its type}; `...` becomes {"open": true}."""
    import numpy
    import torch

    if value is ...:
        return {"open": True}
    if isinstance(value, numpy.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Beyond 64 bits a tensor holds no whole number, and a comparison needs none.
        return int(value) if abs(value) < 2**63 else float(value) if abs(value) < 10**300 else {"other": "int"}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)[:MOST_LETTERS]
    if isinstance(value, numpy.ndarray):
        value = torch.as_tensor(value)
    if isinstance(value, torch.Tensor) and value.numel() <= MOST_NUMBERS and not value.is_complex():
        value = value.detach().cpu()
        numbers = value.double() if value.is_floating_point() else value.long()
        return {"tensor": numbers.flatten().tolist(), "shape": list(value.shape), "dtype": str(value.dtype)[6:]}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple) and depth < DEEPEST and len(value) <= MOST_NUMBERS:
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [encode(each, depth + 1) for each in value]}
    if callable(value) and not isinstance(value, type):
        return {"function": str(getattr(value, "__name__", type(value).__name__))[:100]}
    return {"other": type(value).__name__[:100]}


def decode(plain, function=None):
    """The value that `encode` made plain, `function(name)` for a function. Raises ValueError for anything else."""
    import torch

    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    if isinstance(plain, dict) and len(plain) in (1, 3):
        kind, content = next(iter(plain.items()))
        if kind == "open":
            return ...
        if kind in ("list", "tuple") and isinstance(content, list):
            return (tuple if kind == "tuple" else list)(decode(each, function) for each in content)
        if kind == "tensor" and isinstance(content, list) and len(content) <= MOST_NUMBERS:
            dtype = getattr(torch, str(plain.get("dtype")), None)
            if isinstance(dtype, torch.dtype) and isinstance(plain.get("shape"), list):
                return torch.tensor(content, dtype=dtype).reshape(plain["shape"])
        if kind == "function" and function is not None:
            return function(str(content))
        if kind == "other":
            # `describe` names an object by its type.
            return type(re.sub(r"\W", "", str(content)) or "unknown", (), {})()
    raise ValueError("not a plain value")


def folders_to_read(closed: Path) -> tuple[list[Path], list[Path]]:
    """What Python and its libraries need to read: (whole folders and files, folders to be listed alone).

    A folder that holds `closed` is taken apart into its members without `closed`.
    """
    roots = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom"]
    roots += ["/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system"]
    roots += ["/System", "/Library/Apple", os.environ.get("SYSTEMROOT", "/System")]  # macOS, Windows
    roots += [sys.base_prefix, sys.prefix, *(name for name in sys.path if name.endswith("-packages"))]
    whole, listed = [], []

    def add(path):
        path = path.resolve()
        if path == closed or not path.exists():
            return
        if not closed.is_relative_to(path):
            whole.append(path)
            return
        listed.append(path)
        for member in path.iterdir():
            add(member)

    for root in roots:
        add(Path(root))
    return list(dict.fromkeys(whole)), list(dict.fromkeys(listed))


def shut_files(whole: list[Path], listed: list[Path]) -> bool:
    """Let this process read what is given and write nothing, for good, by Linux's Landlock. False without it.

    https://docs.kernel.org/userspace-api/landlock.html
    """
    if sys.platform != "linux":
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(444, None, 0, 1)  # landlock_create_ruleset, asked for its version
    if version < 1:
        return False
    execute, write, read, read_folder = (1 << bit for bit in range(4))
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1  # every right of this version
    handled = struct.pack("QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = kernel.syscall(444, handled, size, 0)
    rights = [(path, execute | read | (read_folder if path.is_dir() else 0)) for path in whole]
    rights += [(path, read_folder) for path in listed] + [(Path(os.devnull), read | write)]
    for path, allowed in rights:
        with contextlib.suppress(OSError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            kernel.syscall(445, rules, 1, struct.pack("=Qi", allowed, place), 0)  # landlock_add_rule
            os.close(place)
    kernel.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which Landlock is refused
    shut = kernel.syscall(446, rules, 0) == 0  # landlock_restrict_self
    os.close(rules)
    return shut


def limit(cpu_seconds: int, memory: int, pages, root: bool = False) -> list[str]:
    """Limit what this process takes from now on; returns what the system would not limit.

    Root outside of every namespace has no limit of processes, whatever is set.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return ["CPU time", "memory", "files", "processes"]
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime) + cpu_seconds
    in_use = int(pages.read().split()[0]) * resource.getpagesize() if pages else 0
    limits = {
        "CPU time": (resource.RLIMIT_CPU, seconds, seconds + 1),
        "files": (resource.RLIMIT_FSIZE, 0, 0),
        "processes": (resource.RLIMIT_NPROC, 0, 0),
        "memory dumps": (resource.RLIMIT_CORE, 0, 0),
        "memory": (resource.RLIMIT_AS, in_use + memory, in_use + memory),
    }
    unlimited = ([] if pages else ["memory"]) + (["processes"] if root else [])
    for name, (which, soft, hard) in limits.items():
        if name == "memory" and not pages:
            continue
        try:
            resource.setrlimit(which, (soft, hard))
        except (OSError, ValueError):
            unlimited.append(name)
    return unlimited


# Python's audit events, by how they begin: https://docs.python.org/3/library/audit_events.html
FORBIDDEN = {
    "use the network": "socket. urllib. http. ftplib. smtplib. ssl.",
    "start another process": "os.fork os.posix_spawn os.spawn os.exec os.system os.startfile subprocess. pty.",
    "send a signal to a process": "os.kill signal.pthread_kill",
    "change files": "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.ch os.lch os.utime "
    "os.setxattr os.removexattr shutil. tempfile.",
    "reach past Python": "ctypes. sys.addaudithook gc.get_",
    "change its own limits": "resource.",
}


def watch(whole: list[Path], listed: list[Path], report) -> None:
    """Refuse, in Python, what the notebook must not do, and report it. A hook that is added cannot be taken back.

    Where the system shuts the same doors this gives the reason; elsewhere it is a fence, not a wall: a program that
    leaves Python, or finds this hook in memory, gets around it. So does one that calls what has no audit event: Python
    tells of `subprocess.Popen`, but not of `_posixsubprocess.fork_exec` below it.
    """
    refused, allowed, listable = set(), tuple(map(str, whole)), {str(path) for path in listed}
    prefixes = {prefix: what for what, events in FORBIDDEN.items() for prefix in events.split()}
    starts, separator, real, decoded = tuple(prefixes), os.sep, os.path.realpath, os.fsdecode
    own = real(__file__)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def readable(path):
        path = real(decoded(path))
        return (
            path == os.devnull
            or path in listable
            or any(path == root or path.startswith(root + separator) for root in allowed)
        )

    def refuse(what):
        if what not in refused:
            refused.add(what)
            report(what)
        raise Refused(f"the notebook tried to {what}, which is closed to it")

    def hook(event, details):
        if event == "open":
            path, mode, flags = details
            if path == os.devnull:
                return
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & writing):
                refuse("write a file")
            if not isinstance(path, int) and not readable(path):
                if real(decoded(path)) == own:
                    # Warnings and tracebacks look up the source of all who called: no attempt, and they can do without.
                    raise PermissionError("the grader's own source is closed to the notebook")
                refuse("read a file that is not its own")
        elif event in ("os.listdir", "os.scandir"):
            if not isinstance(details[0], int) and details[0] is not None and not readable(details[0]):
                refuse("look into a folder that is not its own")
        elif event.startswith(starts):
            refuse(next(what for prefix, what in prefixes.items() if event.startswith(prefix)))

    sys.addaudithook(hook)


def without_magics(source: str) -> str:
    """A cell's source as plain Python: lines for the notebook itself (%pip, !ls) do nothing."""
    try:
        compile(source, "<cell>", "exec")
        return source
    except (SyntaxError, ValueError):
        return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def said(error: BaseException) -> str:
    """An exception in a line, whatever its own methods do."""
    try:
        text = " ".join(str(error).split())
    except BaseException:
        text = ""
    name = type(error).__name__
    return f"{name}: {text}"[:300] if text else name


@contextlib.contextmanager
def at_most(seconds: int):
    """Break off what takes longer, where the system has an alarm."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TookTooLong(f"it took longer than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Run the job that comes by standard input."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    job = json.loads(requests.readline())
    pages = open("/proc/self/statm") if sys.platform == "linux" else None  # noqa: SIM115
    whole, listed = folders_to_read(Path(job["closed"]))
    shut = shut_files(whole, listed)
    import random

    import numpy
    import torch

    torch.set_num_threads(1)
    random.seed(0), numpy.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    unlimited = limit(job["cpu_seconds"], job["memory"], pages, job["root"])

    # The notebook may put others in their place.
    dumps, loads = json.dumps, json.loads

    def send(**message):
        answers.write(dumps(message).encode() + b"\n")

    send(ready=True, files_shut=shut, unlimited=unlimited)
    place = "the notebook"
    watch(whole, listed, lambda what: send(problem=f"{place} tried to {what}"))
    sys.modules["relmem_lite"] = None
    notebook = types.ModuleType("__main__")
    names = notebook.__dict__
    names["display"] = lambda *_, **__: None
    sys.modules["__main__"] = notebook
    for number, source in job["cells"]:
        place = f"code cell {number}"
        try:
            with at_most(job["step_seconds"]):
                exec(compile(without_magics(source), f"<{place}>", "exec"), names)
        except Refused:
            pass
        except BaseException as error:
            send(problem=f"{place}: {said(error)}")
    for line in requests:
        request = loads(line)
        place, reply = f"`{request['name']}`", {}
        try:
            with at_most(job["step_seconds"]):
                value = names.get(request["name"], ...)
                if "inputs" in request:
                    value = value(*map(decode, request["inputs"]))
                reply["value"] = encode(value)
        except NotImplementedError:
            reply["value"] = {"open": True}
        except BaseException as error:
            reply["raised"] = said(error)
        send(reply=request["number"], **reply)


if __name__ == "__main__":
    main()
    os._exit(0)

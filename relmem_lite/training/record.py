"""What is written down about a run: enough to draw it, to trust it and to run it again."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from relmem_lite.training.files import write_json


class RecordError(Exception):
    """A file that is not this run's record; the message says what to do."""


@dataclass
class RunRecord:
    """One finished run.

    Attributes:
        run: what was run: settings, task, model (with its number of parameters), and labels given to it.
        curve: points {"step", "loss", "seconds", scores...}: the mean training loss since the last point, the scores on
            held-out samples, and wall-clock seconds since the start; empty if the run diverged.
        scores: the final scores, on test samples that were used for nothing else; empty if the run diverged.
        stopped: why the run ended: "steps", "stop_at", "patience" or "diverged".
        environment: device, threads, library versions, commit.
    """

    run: dict
    curve: list[dict]
    scores: dict[str, float | None]
    stopped: str
    environment: dict

    def save(self, path: Path) -> None:
        """Write the record as JSON, atomically."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read a record that `save` wrote.

        Raises:
            RecordError: the file is not a run's record.
        """
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (ValueError, TypeError) as error:  # no JSON, no text at all, or other fields
            raise RecordError(f"{path} is not a run's record ({error}). Delete it to run again.") from error


def describe(thing: object) -> dict:
    """Return the name and the plain settings of a task or core: its public numbers, texts and flags."""
    plain = {
        name: value
        for name, value in vars(thing).items()
        if not name.startswith("_") and name != "training" and isinstance(value, int | float | str | None)
    }
    return {"name": type(thing).__name__, **plain}


def environment(device: torch.device) -> dict:
    """Return where a run took place: device, threads, versions and commit."""
    from relmem_lite import __version__

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "relmem_lite": __version__,
        "commit": _commit(),
        # "highest" is float32 throughout; with "high" a GPU's matrix units take TF32, with 10 bits of fraction.
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def _commit() -> str | None:
    """The commit of this checkout, with "+changes" if it was edited; None if this is an installed copy."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parents[1]
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None

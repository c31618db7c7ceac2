"""What a benchmark found: measured in turns, printed as one table, kept as one record."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from relmem_lite.bench.memory import peak_bytes
from relmem_lite.bench.timing import summary, take_turns
from relmem_lite.training.files import write_json
from relmem_lite.training.record import environment


class Contestant(NamedTuple):
    """What takes a turn, and what finds its error afterwards, if it has one to be found."""

    turn: Callable[[], object]
    error: Callable[[], float] | None = None


def measure(contestants: dict[str, Contestant], rounds: int, limit: float) -> dict[str, dict]:
    """Measure all contestants side by side.

    Who takes more than `limit` seconds in the first round, which warms up, is measured in one more round only.

    Returns:
        By name, "seconds" [median, lower quartile, upper quartile] of a turn, "peak_bytes" and "error".
    """
    first = {name: take_turns({name: contestant.turn}, 1)[name] for name, contestant in contestants.items()}
    quick = {name: contestants[name].turn for name in contestants if first[name][0] <= limit}
    seconds = first | take_turns(quick, rounds)
    return {
        name: {
            "seconds": list(summary(seconds[name])),
            "peak_bytes": peak_bytes(contestant.turn),
            "error": None if contestant.error is None else contestant.error(),
        }
        for name, contestant in contestants.items()
    }


def copy_rate(device: torch.device, megabytes: int = 64, rounds: int = 9) -> float:
    """Return the bytes a second, read and written together, at which a large tensor is copied here."""
    source, target = torch.zeros(2, megabytes * 2**18, device=device).unbind()
    seconds = take_turns({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 2 * source.nbytes / summary(seconds).median


class Results:
    """The rows of one benchmark: printed size by size, saved together.

    Args:
        benchmark: its name.
        device: where it runs.
        what: what its contestants are called, such as method or layer.
    """

    def __init__(self, benchmark: str, device: torch.device, what: str):
        self.benchmark, self.what = benchmark, what
        self.environment = environment(device)
        self.copy_rate = copy_rate(device)
        self.rows: list[dict] = []
        self.extra: dict = {}

    def heading(self, size: str) -> str:
        """Return what stands above the table."""
        where = f"{self.environment['device_name']}, {self.environment['threads']} threads"
        return (
            f"{where}, copies at {self.copy_rate / 1e9:.1f} GB/s\n"
            f"{size}: forward and backward in ms, median (quartiles); peak memory; largest error against float64\n"
        )

    def add(self, contestant: str, row: dict) -> None:
        """Add a contestant's row."""
        self.rows.append({self.what: contestant, **row})

    def table(self, size: dict) -> str:
        """Return the rows of one size, the fastest first."""
        rows = [row for row in self.rows if size.items() <= row.items()]
        lines = [str(tuple(size.values()))]
        for row in sorted(rows, key=lambda row: row["seconds"][0]):
            median, low, high = (1e3 * seconds for seconds in row["seconds"])
            memory = f"{row['peak_bytes'] / 1e6:9.1f} MB"
            error = "" if row["error"] is None else f"   {row['error']:.0e}"
            lines.append(f"  {row[self.what]:22}{median:10.2f} ({low:.2f} to {high:.2f}){memory:>14}{error}")
        return "\n".join(lines)

    def save(self, path: Path | None) -> None:
        """Write all rows so far, and where they were measured, if there is a file to write to."""
        if path is not None:
            record = {
                "benchmark": self.benchmark,
                "what": self.what,
                "environment": self.environment,
                "copy_bytes_per_second": self.copy_rate,
                "rows": self.rows,
                **self.extra,
            }
            write_json(path, record)

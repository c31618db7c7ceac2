"""What a benchmark found: measured in turns, printed as one table, kept as one record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    Who takes more than `limit` seconds in the first round, which warms up, is measured in one more round only. Who
    runs out of a GPU's memory is left out.

    Returns:
        By name, "seconds" [median, lower quartile, upper quartile] of a turn, "peak_bytes" and "error".
    """
    first, found = {}, {}
    for name, contestant in contestants.items():
        with _enough_memory(name):
            first[name] = take_turns({name: contestant.turn}, 1)[name]
    quick = {name: contestants[name].turn for name in first if first[name][0] <= limit}
    seconds = dict(first)
    with _enough_memory("all together"):
        seconds |= take_turns(quick, rounds)
    for name in first:
        with _enough_memory(name):
            found[name] = {
                "seconds": list(summary(seconds[name])),
                "peak_bytes": peak_bytes(contestants[name].turn),
                "error": contestants[name].error() if contestants[name].error else None,
            }
    return found


@contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    """Say who ran out of a GPU's memory, and go on without it."""
    try:
        yield
    except torch.OutOfMemoryError:
        print(f"  {name}: more than this GPU's memory")
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def copy_rate(device: torch.device, rounds: int = 9) -> float:
    """Return the bytes a second, read and written together, at which a tensor too large for a cache is copied here."""
    megabytes = 64
    if device.type == "cuda":
        megabytes = min(2048, torch.cuda.mem_get_info(device)[0] // 2**22)
    source, target = torch.rand(2, megabytes * 2**18, device=device).unbind()
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
            f"{size}: forward and backward in ms, median (quartiles); peak memory; largest error against float64;\n"
            "what no way takes less than, in ms: to move the bytes, to compute the operations\n"
        )

    def add(self, contestant: str, row: dict) -> None:
        """Add a contestant's row."""
        self.rows.append({self.what: contestant, **row})

    def floors(self, moved: float, operations: float = 0.0) -> dict:
        """Return the seconds that no way can take less than: those of moving so many bytes, and of so many operations.

        Bytes go at the rate of a large copy, operations at that of a large matrix product ("matmul_flops_per_second").
        """
        seconds = {"bytes": moved / self.copy_rate}
        if operations:
            seconds["operations"] = operations / self.extra["matmul_flops_per_second"]
        return {"floors": seconds}

    def table(self, size: dict) -> str:
        """Return the rows of one size, the fastest first."""
        rows = [row for row in self.rows if size.items() <= row.items()]
        lines = [str(tuple(size.values()))]
        for row in sorted(rows, key=lambda row: row["seconds"][0]):
            median, low, high = (1e3 * seconds for seconds in row["seconds"])
            memory = f"{row['peak_bytes'] / 1e6:9.1f} MB"
            error = "" if row["error"] is None else f"   {row['error']:.0e}"
            floors = "".join(f"   {what} {1e3 * floor:.2f}" for what, floor in row.get("floors", {}).items())
            lines.append(f"  {row[self.what]:22}{median:10.2f} ({low:.2f} to {high:.2f}){memory:>14}{error}{floors}")
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

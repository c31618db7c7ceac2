"""What a claim's verdict rests on: records, seed by seed, and what it means that one contestant is ahead of another."""

from collections.abc import Callable
from statistics import mean
from typing import NamedTuple

from relmem_lite import recorded

HELD, PARTLY, FAILED = "held", "partly", "failed"
UNTESTABLE, OPEN = "not testable here", "open: not recorded yet"
VERDICTS = (HELD, PARTLY, FAILED, UNTESTABLE, OPEN)
"""Every verdict there is; OPEN where the record that it needs has not been made."""


class Ruling(NamedTuple):
    """What a rule found: a verdict, and one sentence with the numbers that it follows from."""

    verdict: str
    reason: str


LARGEST_FIRST = ("paper", "gpu", "cpu")
"""The sizes at which a record may be there, in the order in which they are asked for."""


class Evidence:
    """Hands records to a rule, the largest that is whole, and remembers which.

    Args:
        load: returns a record by name and preset, or raises MissingRecordError, as `relmem_lite.recorded.load`.
        presets: the sizes to ask for, one after the other.
    """

    def __init__(self, load: Callable[[str, str], dict] = recorded.load, presets: tuple[str, ...] = LARGEST_FIRST):
        self._load, self._presets = load, presets
        self.used: dict[str, dict] = {}

    def record(self, name: str) -> dict:
        """Return the record called `name` at the largest size at which it lacks no runs and has three seeds.

        Raises:
            MissingRecordError: there is none; the message has the command for the last of the sizes.
        """
        for preset in self._presets:
            try:
                record = self._load(name, preset)
            except recorded.MissingRecordError:
                continue
            if not record.get("missing_runs") and len(record.get("settings", {}).get("seeds", range(3))) >= 3:
                return self.at(name, preset)
        return self.at(name, self._presets[-1])

    def at(self, name: str, preset: str) -> dict:
        """Return the record called `name` at one size.

        Raises:
            MissingRecordError: there is none; the message has the command for it.
        """
        record = self._load(name, preset)
        self.used[f"{name}_{preset}"] = record
        return record


def runs_of(record: dict, **point) -> list[dict]:
    """Return the runs, one a seed, of the contestant at this point, at its best learning rate.

    Raises:
        LookupError: the record has no such contestant, or it diverged at every learning rate, or the record lacks runs
            and has fewer than two seeds of it.
    """
    found = [best for best in record["best"].values() if point.items() <= best.items()]
    if len(found) != 1 or not found[0]["scores"]:
        raise LookupError(f"{record['experiment']} ({record['preset']}) has no scores of {point}.")
    if record.get("missing_runs") and len(found[0]["scores"]) < 2:
        raise LookupError(f"{record['experiment']} ({record['preset']}) has one seed of {point} so far.")
    return recorded.runs_at(record, found[0])


def scores_of(record: dict, score: str | None = None, **point) -> list[float]:
    """Return a contestant's test scores, one a seed, at its best learning rate: the main score, or another by name.

    Raises:
        LookupError: as `runs_of`.
    """
    return [run["scores"][score or record["task"]["score"]] for run in runs_of(record, **point)]


def ahead(scores: list[float], others: list[float], lower_is_better: bool = False) -> bool:
    """Say whether every seed of the one is better than every seed of the other.

    If two contestants are alike, three seeds against three come out so by chance once in twenty times.
    """
    return max(scores) < min(others) if lower_is_better else min(scores) > max(others)


def shown(scores: list[float], digits: int = 2) -> str:
    """Return the mean and the range of scores in words: "0.97 (0.96 to 0.98)"."""
    low, high = (f"{value:.{digits}f}" for value in (min(scores), max(scores)))
    return f"{mean(scores):.{digits}f}" + ("" if low == high else f" ({low} to {high})")


def size_of(record: dict) -> str:
    """Return in words at what size, and on what, a record was made."""
    if "benchmark" in record:
        place = record["environment"]
        return f"measured on {place['device_name']}, {place['threads']} threads, PyTorch {place['torch']}"
    if "sweep" in record:
        return f"{len(record['rows'])} points, {record['settings']['steps']:,} steps"
    lacks = f", {len(record['missing_runs'])} runs still missing" if record.get("missing_runs") else ""
    settings, sizes = record["settings"], {run["run"]["model"]["parameters"] for run in record["runs"]}
    parameters = f"{min(sizes):,}" + (f" to {max(sizes):,}" if len(sizes) > 1 else "")
    steps = settings.get("format_steps") or [settings["steps"]]
    batches = settings.get("format_batch_sizes") or [settings["batch_size"]]
    rates, counts = settings["learning_rates"], {len(best["scores"]) for best in record["best"].values()}
    seeds = f"{min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else "")
    places = sorted({run["environment"]["device_name"] for run in record["runs"]})
    return (
        f"{parameters} parameters, {max(steps):,} steps of {max(batches)} samples at most, {seeds} seeds, "
        f"{len(rates)} learning rate{'s' if len(rates) > 1 else ''} for each, "
        f"on {' and '.join(places)}{lacks}"
    )

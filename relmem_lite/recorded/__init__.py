"""Results of finished experiments and benchmarks, shipped with the package: what the book draws, and never types in."""

import json
from importlib.resources import files


class MissingRecordError(LookupError):
    """Something has not been recorded at this size, or on this kind of device; the message gives the command for it."""


def load(experiment: str, preset: str) -> dict:
    """Return the record that `relmem run EXPERIMENT --preset PRESET` wrote, or `relmem bench NAME` for "bench_NAME".

    Raises:
        MissingRecordError: there is none; the message gives the command to make it.
    """
    file = files(__name__) / f"{experiment}_{preset}.json"
    if not file.is_file():
        if experiment.startswith("bench_"):
            name = experiment.removeprefix("bench_")
            raise MissingRecordError(f"Not recorded yet: relmem bench {name} --record FILE on a {preset.upper()}")
        raise MissingRecordError(f"Not recorded yet: relmem run {experiment} --preset {preset}")
    return json.loads(file.read_text())


def names() -> list[str]:
    """Return the names of all records, EXPERIMENT_PRESET or bench_NAME_DEVICE."""
    return sorted(file.name.removesuffix(".json") for file in files(__name__).iterdir() if file.name.endswith(".json"))

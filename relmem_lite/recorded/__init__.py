"""Results of finished experiments, shipped with the package: what the book draws, and never types in."""

import json
from importlib.resources import files


class MissingRecordError(LookupError):
    """An experiment has not been recorded at this size; the message gives the command that records it."""


def load(experiment: str, preset: str) -> dict:
    """Return the record that `relmem run EXPERIMENT --preset PRESET` wrote.

    Raises:
        MissingRecordError: there is none; the message gives the command to make it.
    """
    file = files(__name__) / f"{experiment}_{preset}.json"
    if not file.is_file():
        raise MissingRecordError(f"Not recorded yet: relmem run {experiment} --preset {preset}")
    return json.loads(file.read_text())


def names() -> list[str]:
    """Return the names of all records, EXPERIMENT_PRESET."""
    return sorted(file.name.removesuffix(".json") for file in files(__name__).iterdir() if file.name.endswith(".json"))

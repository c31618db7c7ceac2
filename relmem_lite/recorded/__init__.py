"""Results of finished experiments and benchmarks, shipped with the package: what the book draws, and never types in."""

import json
from importlib.resources import files


class MissingRecordError(LookupError):
    """Something has not been recorded at this size, or on this kind of device; the message gives the command for it."""


def load(experiment: str, preset: str) -> dict:
    """Return the record that `relmem run EXPERIMENT --preset PRESET` wrote.

    "bench_NAME" stands for what `relmem bench NAME` wrote, "sweep_NAME" for the table of `relmem sweep NAME`.

    Raises:
        MissingRecordError: there is none; the message gives the command to make it.
    """
    file = files(__name__) / f"{experiment}_{preset}.json"
    if not file.is_file():
        if experiment.startswith("bench_"):
            name = experiment.removeprefix("bench_")
            raise MissingRecordError(f"Not recorded yet: relmem bench {name} --record FILE on a {preset.upper()}")
        command = (
            f"sweep {experiment.removeprefix('sweep_')}" if experiment.startswith("sweep_") else f"run {experiment}"
        )
        raise MissingRecordError(f"Not recorded yet: relmem {command} --preset {preset}")
    return json.loads(file.read_text())


def try_load(experiment: str, preset: str, *, with_all: bool = False) -> tuple[dict | None, MissingRecordError | None]:
    """Return the record that `load` does, and None; or None, and why there is no record: for who goes on without.

    Args:
        experiment: its name.
        preset: the size that it was run at.
        with_all: a record that still lacks all runs of a contestant counts as none.
    """
    try:
        record = load(experiment, preset)
    except MissingRecordError as error:
        return None, error
    if with_all and record.get("missing_runs") and not all(point["scores"] for point in record["best"].values()):
        return None, MissingRecordError(so_far(record))
    return record, None


def runs_at(record: dict, point: dict) -> list[dict]:
    """Return the runs, one a seed, of a contestant at the learning rate that was best for it.

    Args:
        record: an experiment's.
        point: one of `record["best"]`'s values: who it is, and the learning rate.
    """

    def labels(run: dict) -> dict:
        return {name: value for name, value in run["run"]["labels"].items() if name != "seed"}

    return [run for run in record["runs"] if labels(run).items() <= point.items()]


def scores_at(record: dict, point: dict, score: str | None = None) -> list[float]:
    """Return a score of each of the runs at a point, the task's main one or another by name; who diverged has none."""
    score = score or record["task"]["score"]
    return [run["scores"][score] for run in runs_at(record, point) if run["scores"]]


def missing_runs(name: str) -> int | None:
    """Return how many runs a record lacks, by its name as in `names`; None if there is no such record."""
    file = files(__name__) / f"{name}.json"
    return len(json.loads(file.read_text()).get("missing_runs", ())) if file.is_file() else None


def so_far(record: dict) -> str:
    """Say in a sentence how far a record has come that lacks runs, for the words under a figure; "" if it is whole."""
    left = len(record.get("missing_runs", ()))
    if not left:
        return ""
    done, places = len(record["runs"]), sorted({run["environment"]["device_name"] for run in record["runs"]})
    return (
        f"This record is not complete, it has {done} of {done + left} runs, made on {' and '.join(places)}: some "
        "seeds are missing, or a core. "
        f"`relmem run --missing {record['experiment']} --preset {record['preset']}` goes on with it."
    )


def names() -> list[str]:
    """Return the names of all records, EXPERIMENT_PRESET, sweep_NAME_PRESET or bench_NAME_DEVICE."""
    return sorted(file.name.removesuffix(".json") for file in files(__name__).iterdir() if file.name.endswith(".json"))

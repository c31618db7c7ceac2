import json
from dataclasses import asdict, fields

import pytest

from relmem_lite import recorded
from relmem_lite.experiments import EXPERIMENTS, SWEEPS
from relmem_lite.training import RunRecord

EXPERIMENTS_RECORDED = [name for name in recorded.names() if not name.startswith(("bench_", "sweep_"))]
SWEEPS_RECORDED = [name for name in recorded.names() if name.startswith("sweep_")]
BENCHMARKS_RECORDED = [name for name in recorded.names() if name.startswith("bench_")]


@pytest.mark.parametrize("name", EXPERIMENTS_RECORDED)
def test_a_record_is_of_the_experiment_as_it_stands(name):
    experiment, preset = name.rsplit("_", 1)
    record = recorded.load(experiment, preset)
    settings = json.loads(json.dumps(asdict(EXPERIMENTS[experiment].from_preset(preset))))
    del settings["workers"]  # how many at a time changes nothing that is recorded
    assert record["experiment"] == experiment
    # What a record has no word of came later, with a default that leaves all as it was.
    defaults = {field.name: field.default for field in fields(EXPERIMENTS[experiment])}
    later = {name: defaults[name] for name in settings.keys() - record["settings"].keys()}
    assert (record["settings"] | later).items() >= settings.items()
    as_it_stands = EXPERIMENTS[experiment].from_preset(preset)
    there = [run for run in as_it_stands.runs() if run.name not in record.get("missing_runs", ())]
    assert [run["run"]["labels"] for run in record["runs"]] == [as_it_stands.labels(run) for run in there]
    runs = [RunRecord(**run) for run in record["runs"]]
    rebuilt = as_it_stands.record(runs)
    assert json.loads(json.dumps(rebuilt["best"])) == record["best"]
    assert rebuilt["task"].items() >= record["task"].items()


@pytest.mark.parametrize("name", EXPERIMENTS_RECORDED)
def test_the_scores_at_a_point_are_those_that_it_was_chosen_by(name):
    record = recorded.load(*name.rsplit("_", 1))
    for point in record["best"].values():
        assert recorded.scores_at(record, point) == point["scores"]


def test_the_scores_at_a_point_are_at_its_learning_rate_and_leave_out_who_diverged():
    runs = [
        {"run": {"labels": {"core": core, "learning_rate": rate, "seed": seed}}, "scores": scores}
        for core, rate, seed, scores in [
            ("lstm", 0.1, 0, {"accuracy": 0.5, "loss": 1.0}),
            ("lstm", 0.1, 1, None),
            ("lstm", 0.2, 0, {"accuracy": 0.6, "loss": 2.0}),
            ("gru", 0.1, 0, {"accuracy": 0.7, "loss": 3.0}),
        ]
    ]
    record = {"runs": runs, "task": {"score": "accuracy"}}
    point = {"core": "lstm", "learning_rate": 0.1, "scores": [0.5], "floats": 8}
    assert recorded.runs_at(record, point) == runs[:2]
    assert recorded.scores_at(record, point) == [0.5]
    assert recorded.scores_at(record, point, "loss") == [1.0]


def test_who_goes_on_without_a_record_is_told_why_there_is_none():
    assert recorded.try_load("nth_farthest", "cpu") == (recorded.load("nth_farthest", "cpu"), None)
    record, why = recorded.try_load("nth_farthest", "paper")
    assert record is None
    assert str(why) == "Not recorded yet: relmem run nth_farthest --preset paper"


@pytest.mark.parametrize(("lacks", "refused"), [(["gru-seed0"], True), ([], False)])
def test_a_contestant_without_scores_is_missing_only_where_its_runs_are(lacks, refused, monkeypatch):
    record = recorded.load("nth_farthest", "cpu")
    record["missing_runs"] = lacks
    next(iter(record["best"].values()))["scores"] = []
    monkeypatch.setattr(recorded, "load", lambda experiment, preset: record)
    assert recorded.try_load("nth_farthest", "cpu") == (record, None)
    found, why = recorded.try_load("nth_farthest", "cpu", with_all=True)
    assert (found is None) == refused
    assert ("relmem run --missing nth_farthest" in str(why)) == refused


@pytest.mark.parametrize("name", EXPERIMENTS_RECORDED)
def test_a_record_comes_from_a_commit_and_says_where_it_ran(name):
    for run in recorded.load(*name.rsplit("_", 1))["runs"]:
        assert len(run["environment"]["commit"]) == 40, "made from an edited checkout"
        assert run["environment"]["device_name"]


@pytest.mark.parametrize("name", SWEEPS_RECORDED)
def test_a_table_is_of_the_sweep_as_it_stands(name):
    sweep, preset = name.removeprefix("sweep_").rsplit("_", 1)
    table = recorded.load(f"sweep_{sweep}", preset)
    assert [row["point"] for row in table["rows"]] == json.loads(json.dumps(SWEEPS[sweep].points[preset]))
    assert all(row["finished"] == row["runs"] for row in table["rows"])
    for place in table["environments"]:
        assert len(place["commit"]) == 40, "made from an edited checkout"


@pytest.mark.parametrize("name", BENCHMARKS_RECORDED)
def test_a_benchmark_says_what_was_measured_where(name):
    record = recorded.load(*name.rsplit("_", 1))
    assert len(record["environment"]["commit"]) == 40, "made from an edited checkout"
    assert record["environment"]["device"] == {"cpu": "cpu", "gpu": "cuda"}[name.rsplit("_", 1)[1]]
    lengths = {"relational_memory": {8, 16, 35, 70, 100}, "memory_cost": {128, 512, 2048, 8192, 16_384, 65_536}}
    lengths = lengths.get(record["benchmark"], {64, 512, 4096, 16_384})
    assert {row["time"] for row in record["rows"]} >= lengths
    for row in record["rows"]:
        assert 0 < row["seconds"][1] <= row["seconds"][0] <= row["seconds"][2]


def test_nth_farthest_as_recorded():
    record = recorded.load("nth_farthest", "cpu")
    shortcut = record["task"]["shortcut"]
    assert min(record["best"]["relational_memory"]["scores"]) > 0.95
    for core in ("lstm", "gru"):
        # The standard error of 4,096 answers is 0.007.
        assert max(abs(score - shortcut) for score in record["best"][core]["scores"]) < 0.03
    sizes = {run["run"]["labels"]["core"]: run["run"]["model"]["parameters"] for run in record["runs"]}
    assert max(sizes.values()) < 1.01 * min(sizes.values())


def test_a_missing_record_says_how_to_make_it():
    with pytest.raises(recorded.MissingRecordError, match="relmem run nth_farthest --preset huge"):
        recorded.load("nth_farthest", "huge")
    with pytest.raises(recorded.MissingRecordError, match="relmem sweep port_hyperparameters --preset huge"):
        recorded.load("sweep_port_hyperparameters", "huge")
    with pytest.raises(recorded.MissingRecordError, match="relmem bench scan --record FILE on a TPU"):
        recorded.load("bench_scan", "tpu")


def test_a_record_that_lacks_runs_says_how_far_it_has_come():
    record = {"experiment": "sorting", "preset": "cpu", "runs": 3 * [{"environment": {"device_name": "H100"}}]}
    assert recorded.so_far(record) == ""
    says = recorded.so_far(record | {"missing_runs": ["gru-lr0.001-seed1"]})
    assert "3 of 4 runs" in says
    assert "relmem run --missing sorting --preset cpu" in says

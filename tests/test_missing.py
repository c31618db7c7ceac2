"""What is missing, and recording it until time is up."""

import json
from dataclasses import asdict, replace

import pytest

from relmem_lite import missing as module
from relmem_lite import recorded
from relmem_lite.experiments import EXPERIMENTS, run_experiment
from relmem_lite.missing import ORDER, NotMissingError, command, missing, record_missing
from relmem_lite.training import RecordError, RunRecord

NAMES = ("comparison", "sorting")


@pytest.fixture
def small(monkeypatch):
    """Two experiments that are missing at cpu size, which is that of smoke; workers get settings, not presets."""
    for name in NAMES:
        monkeypatch.setitem(EXPERIMENTS[name].presets, "cpu", EXPERIMENTS[name].presets["smoke"] | {"seeds": (0, 1)})
    found, hidden = recorded.missing_runs, [f"{name}_cpu" for name in NAMES]
    monkeypatch.setattr(recorded, "missing_runs", lambda name: None if name in hidden else found(name))


def test_missing_is_what_no_record_is_of_and_what_is_needed_most_comes_first(small):
    for preset in ("cpu", "gpu"):
        names = missing(preset)
        assert all(recorded.missing_runs(f"{name}_{preset}") != 0 for name in names)
        known = [name for name in names if name in ORDER]
        assert known == [name for name in ORDER if name in names]
        assert names[: len(known)] == known
    assert set(NAMES) <= set(missing("cpu"))
    assert command("bench_scan", "gpu") == "relmem bench scan --record FILE on a GPU"
    assert command("sweep_port_hyperparameters", "cpu") == "relmem sweep port_hyperparameters --preset cpu"
    assert command("istree", "gpu") == "relmem run istree --preset gpu"


def test_everything_in_the_order_is_there():
    known = {
        *EXPERIMENTS,
        *(f"bench_{name}" for name in module.BENCHMARKS),
        *(f"sweep_{name}" for name in module.SWEEPS),
    }
    assert set(ORDER) <= known


def test_time_that_is_up_leaves_the_rest_for_the_next_call_which_records_the_same(small, tmp_path):
    said = []
    assert record_missing("cpu", tmp_path / "all", NAMES, budget=1e-6, workers=2, report=said.append) == []
    assert said[-1] == "Time is up. The same command goes on."
    assert record_missing("cpu", tmp_path / "all", NAMES, workers=2, report=said.append) == list(NAMES)
    # A third call finds all of it done.
    assert record_missing("cpu", tmp_path / "all", NAMES, budget=1e-6) == list(NAMES)
    for name in NAMES:
        found = json.loads((tmp_path / "all" / f"{name}_cpu.json").read_text())
        by_itself = replace(EXPERIMENTS[name].from_preset("cpu"), workers=1)
        alone = run_experiment(by_itself, tmp_path / name, report=said.append)
        assert [run["scores"] for run in found["runs"]] == [run["scores"] for run in alone["runs"]]
        assert json.loads(json.dumps(found["best"])) == json.loads(json.dumps(alone["best"]))


def test_a_run_that_fails_is_reported_and_the_others_go_on_without_it(small, tmp_path):
    experiment = EXPERIMENTS["comparison"].from_preset("cpu")
    folder = tmp_path / "comparison-cpu" / experiment.runs()[0].name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    said = []
    assert record_missing("cpu", tmp_path, NAMES, workers=1, report=said.append) == ["sorting"]
    assert any("failed: RecordError" in line for line in said)
    partial = json.loads((tmp_path / "comparison_cpu.json").read_text())
    assert partial["missing_runs"] == [experiment.runs()[0].name]
    assert [run["run"]["labels"] for run in partial["runs"]] == [
        experiment.labels(run) for run in experiment.runs()[1:]
    ]


def test_a_record_that_lacks_runs_is_missing_and_gone_on_with(small, tmp_path, monkeypatch):
    experiment = replace(EXPERIMENTS["comparison"].from_preset("cpu"), workers=1)
    whole = run_experiment(experiment, tmp_path / "alone", report=lambda line: None)
    partial = experiment.record(RunRecord(**run) for run in whole["runs"][1:])
    monkeypatch.setattr(recorded, "missing_runs", lambda name: len(partial["missing_runs"]))
    monkeypatch.setattr(recorded, "load", lambda *_: json.loads(json.dumps(partial)))
    assert "comparison" in missing("cpu")
    assert record_missing("cpu", tmp_path / "on", ["comparison"], report=lambda line: None) == ["comparison"]
    found = json.loads((tmp_path / "on" / "comparison_cpu.json").read_text())
    assert "missing_runs" not in found
    # Those that were there are as they were, to the second.
    assert found["runs"][1:] == json.loads(json.dumps(whole["runs"][1:]))
    assert found["runs"][0]["scores"] == whole["runs"][0]["scores"]


def test_a_benchmark_is_recorded_once_and_whole(monkeypatch, tmp_path):
    calls = []

    def benchmark(record):
        calls.append(record)
        record.write_text("{}")
        if len(calls) == 1:
            raise RuntimeError("stopped half-way")

    monkeypatch.setitem(module.BENCHMARKS, "of_nothing", benchmark)
    with pytest.raises(RuntimeError):
        record_missing("cpu", tmp_path, ["bench_of_nothing"])
    for _ in range(2):
        assert record_missing("cpu", tmp_path, ["bench_of_nothing"]) == ["bench_of_nothing"]
    assert len(calls) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["bench_of_nothing_cpu.json"]


def test_a_benchmark_of_another_device_is_refused_and_left_out_of_all_that_is_missing(small, tmp_path, monkeypatch):
    monkeypatch.setitem(module.BENCHMARKS, "of_nothing", lambda record: record.write_text("{}"))
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: True)
    with pytest.raises(NotMissingError, match="here a GPU"):
        record_missing("cpu", tmp_path, ["bench_of_nothing"])
    assert record_missing("cpu", tmp_path, budget=1e-6, report=lambda line: None) == []
    assert not (tmp_path / "bench_of_nothing_cpu.json").exists()


@pytest.mark.parametrize("content", [b'{"settings": {"steps": 1}}', b'{"settings": {', b"\xff\xfe"])
def test_a_file_of_other_settings_or_a_torn_one_is_no_record(content, small, tmp_path):
    (tmp_path / "sorting_cpu.json").write_bytes(content)
    assert record_missing("cpu", tmp_path, ["sorting"], budget=1e-6, report=lambda line: None) == []


def test_a_sweeps_table_of_other_settings_or_points_is_no_record(tmp_path):
    name = "sweep_port_hyperparameters"
    runs = module._Runs(name, "cpu", tmp_path)
    rows = [{"point": point, "finished": 3, "runs": 3} for point in runs.what.points]
    table = {"settings": asdict(runs.what.base) | {"workers": 2}, "rows": rows}
    others = [
        table | {"settings": table["settings"] | {"steps": 1}},
        table | {"rows": rows[1:]},
        table | {"rows": [*rows[1:], rows[0] | {"finished": 2}]},
    ]
    for other in others:
        runs.record_file.write_text(json.dumps(other))
        assert not runs.is_done
    runs.record_file.write_text(json.dumps(table))
    assert runs.is_done


def test_a_name_given_twice_is_recorded_once(small, tmp_path):
    said = []
    assert record_missing("cpu", tmp_path, ["sorting", "sorting"], workers=2, report=said.append) == ["sorting"]
    runs = len(EXPERIMENTS["sorting"].from_preset("cpu").runs())
    assert sum(f"/{runs}]" in line for line in said) == runs


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_is_no_runs_record_is_named(content, tmp_path):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(RecordError, match="is not a run's record"):
        RunRecord.load(tmp_path / "record.json")


def test_the_command_for_a_record_that_lacks_runs_goes_on_with_it(monkeypatch):
    monkeypatch.setattr(recorded, "missing_runs", lambda name: 3)
    assert command("istree", "cpu") == "relmem run --missing istree --preset cpu"


def test_what_is_recorded_already_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="no missing cpu record 'bench_scan'"):
        record_missing("cpu", tmp_path, ["bench_scan"])


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_number_of_workers_that_is_none_is_refused_by_name(workers, error, tmp_path):
    with pytest.raises(error, match=r"workers must be (at least 1|a whole number)"):
        record_missing("cpu", tmp_path, budget=1e-6, workers=workers)
    assert list(tmp_path.iterdir()) == []

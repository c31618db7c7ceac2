import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from statistics import mean

import pytest
import torch
from filelock import FileLock
from swept import InThisProcess, SweptExperiment

from relmem_lite.cli import main
from relmem_lite.experiments import SWEEPS, Sweep, SweepError, WorkerKilledError, run_experiment, run_sweep
from relmem_lite.experiments.sweep import Range, folder_name, grid, sample, summary, title
from relmem_lite.experiments.sweep_axes import points
from relmem_lite.experiments.workers import LocalWorkers, visible_gpus
from relmem_lite.models import num_parameters
from relmem_lite.training import RecordError, RunRecord

SMOKE = SweptExperiment.from_preset("smoke")


def small_sweep(sizes=(3, 4), items=(2, 3), **changes):
    return Sweep("small", replace(SMOKE, **changes), tuple(grid({"size": sizes, "items": items})))


def swept(sweep, directory, workers=InThisProcess, report=lambda line: None):
    return run_sweep(sweep, directory, workers, report)


def results(table):
    """What a table says, but for times and places."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table["rows"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return swept(small_sweep(), tmp_path_factory.mktemp("whole"))


def test_a_grid_holds_every_combination_once():
    assert grid({"a": (1, 2), "b": ("x", "y")}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_random_points_are_of_the_grid_differ_and_stay_when_more_are_drawn():
    axes = {"a": range(5), "b": range(5)}
    few, many = sample(axes, 5, seed=3), sample(axes, 25, seed=3)
    assert many[:5] == few
    assert sorted(map(tuple, map(dict.values, many))) == [(a, b) for a in range(5) for b in range(5)]
    assert sample(axes, 5, seed=4) != few
    with pytest.raises(ValueError, match="at most the number of points, which is 25, got 26"):
        sample(axes, 26)


def test_a_range_is_drawn_evenly_in_its_logarithm():
    drawn = [point["a"] for point in sample({"a": Range(1e-4, 1e-2)}, 400)]
    assert all(1e-4 <= value <= 1e-2 for value in drawn)
    assert mean(value < 1e-3 for value in drawn) == pytest.approx(0.5, abs=0.08)
    assert drawn == [float(f"{value:.3g}") for value in drawn]
    assert {point["a"] for point in sample({"a": Range(1, 4)}, 4)} == {1, 2, 3, 4}
    with pytest.raises(ValueError, match="samples is 5, but only 2 different points were found"):
        sample({"a": Range(1.0, 1.01)}, 5)


def test_a_range_of_whole_numbers_gives_no_more_points_than_it_has():
    assert {point["a"] for point in sample({"a": Range(1, 3)}, 3)} == {1, 2, 3}
    with pytest.raises(ValueError, match="at most the number of points, which is 6, got 7"):
        sample({"a": Range(1, 3), "b": [1, 2]}, 7)


def test_what_is_typed_becomes_points_of_the_settings_own_kinds():
    assert points(SMOKE, ["size=3,4", "clip=1,None"]) == (
        {"size": 3, "clip": 1.0},
        {"size": 3, "clip": None},
        {"size": 4, "clip": 1.0},
        {"size": 4, "clip": None},
    )
    assert points(SMOKE, ["seeds=0 1,2"]) == ({"seeds": (0, 1)}, {"seeds": (2,)})
    assert points(SMOKE, ["learning_rate=0.1,0.2"]) == ({"learning_rates": (0.1,)}, {"learning_rates": (0.2,)})
    drawn = points(SMOKE, ["learning-rate=1e-4..1e-2", "size=3..9"], samples=3)
    assert all(type(point["learning_rates"][0]) is float and type(point["size"]) is int for point in drawn)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "sweep nth_fartest --over num_items=2,3",
            "no experiment or sweep 'nth_fartest'. Did you mean 'nth_farthest'?",
        ),
        ("sweep port_hyperparameter", "Did you mean 'port_hyperparameters'?"),
        ("sweep nth_farthest", "name at least one setting and its values: --over num_heads=4,8"),
        (
            "sweep nth_farthest --over num_haeds=4,8",
            "no setting of nth_farthest to sweep over 'num_haeds'. Did you mean",
        ),
        ("sweep nth_farthest --over workers=4,8", "no setting of nth_farthest to sweep over 'workers'"),
        ("sweep nth_farthest --over num_heads", "over must be a setting and its values, as in num_heads=4,8"),
        ("sweep nth_farthest --over num_heads=four", "'four' is no value of num_heads, which is int"),
        ("sweep nth_farthest --over head_sizes=8,8.5", "'8.5' is no value of head_sizes, which is tuple[int, ...]"),
        ("sweep nth_farthest --over clip=1,much", "'much' is no value of clip, which is float | None"),
        ("sweep nth_farthest --over num_heads=4,4", "over num_heads holds a value twice: 4, 4."),
        (
            "sweep nth_farthest --over seeds=0,0",
            "over seeds holds a value twice: 0, 0. Each is a point of its own: give it once, and put blanks between "
            'values that belong to one point, as in "seeds=A B".',
        ),
        ("sweep nth_farthest --over", "over must be a setting and its values, as in --over num_heads=4,8, got nothing"),
        ("sweep nth_farthest --over --samples 3", "as in --over num_heads=4,8, got nothing"),
        ("sweep nth_farthest --over num_heads=4, 8", "over must be one setting and its values, without blanks"),
        ("sweep --over num_heads=4,8", "name an experiment or a sweep before --over"),
        ("sweep nth_farthest --over num_heads=4 --over num_heads=8", "over names num_heads twice"),
        ("sweep nth_farthest --over num_heads=0,4", "At num_heads=0: num_heads must be at least 1, got 0"),
        ("sweep nth_farthest --over cores=gru,lsmt", "Did you mean 'lstm'?"),
        ("sweep nth_farthest --over precision=bf16-mixd", "no precision 'bf16-mixd'. Did you mean 'bf16-mixed'?"),
        ("sweep nth_farthest --over learning_rate=1e-4-1e-2", "two dots: learning_rates=1e-4..1e-2."),
        ("sweep nth_farthest --over steps=10:20", "two dots: steps=10..20."),
        ("sweep nth_farthest --over learning_rate=1e-4..1e-2", "say how many points with --samples"),
        ("sweep nth_farthest --over learning_rate=1e-2..1e-4 --samples 2", "from a number above 0 to a larger one"),
        ("sweep nth_farthest --over num_heads=4,8 --samples 3", "at most the number of points, which is 2, got 3"),
        ("sweep nth_farthest --over num_heads=4 --address auto", "address and gpus are for --engine ray"),
        ("sweep nth_farthest --over num_heads=4 --devices 2", "leave devices=2 out"),
        ("sweep nth_farthest --preset cpuu --over num_heads=4", "no preset 'cpuu'. Did you mean 'cpu'?"),
        ("sweep port_hyperparameters --over num_heads=4", "leave over and samples out"),
        ("sweep", "name an experiment or a sweep"),
    ],
)
def test_a_slip_of_the_pen_gets_the_nearest_right_answer(typed, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(typed.split()) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1, "one sentence, no box"
    assert not list(tmp_path.iterdir()), "nothing was run"


def test_each_row_is_what_the_experiment_finds_at_that_point(whole, tmp_path):
    assert [row["point"] for row in whole["rows"]] == grid({"size": (3, 4), "items": (2, 3)})
    for row in whole["rows"]:
        experiment = replace(SMOKE, **row["point"], workers=1)
        record = run_experiment(experiment, tmp_path / title(row["point"]), report=lambda line: None)
        scores = record["best"]["lstm"]["scores"]
        assert row["scores"] == scores
        assert (row["mean"], row["min"], row["max"]) == (mean(scores), min(scores), max(scores))
        assert row["parameters"] == record["runs"][0]["run"]["model"]["parameters"]
        assert row["seconds"] >= 0
        assert (row["finished"], row["runs"]) == (2, 2)


def test_the_csv_holds_the_same_rows_with_a_column_for_each_setting(tmp_path):
    table = swept(small_sweep(), tmp_path)
    assert json.loads((tmp_path / "table.json").read_text()) == json.loads(json.dumps(table))
    with open(tmp_path / "table.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["size", "items", "score", "contestant"]
    for written, row in zip(rows, table["rows"], strict=True):
        assert (int(written["size"]), int(written["items"])) == tuple(row["point"].values())
        assert list(map(float, written["scores"].split())) == row["scores"]
        assert float(written["mean"]) == row["mean"]


def test_the_table_is_there_while_the_sweep_goes_on(tmp_path):
    finished = []

    def look(line):
        table = json.loads((tmp_path / "table.json").read_text())
        finished.append(sum(row["finished"] for row in table["rows"]))

    swept(small_sweep(), tmp_path, report=look)
    assert finished == [*range(1, 9)]


def test_what_is_recorded_is_not_trained_again(tmp_path, whole):
    def nobody():
        raise AssertionError("there is nothing to train")

    swept(small_sweep(items=(2,)), tmp_path)
    lines = []
    table = swept(small_sweep(), tmp_path, report=lines.append)
    assert lines[0] == "4 of 8 runs are recorded already."
    assert len(lines) == 5
    assert results(table) == results(whole)
    assert swept(small_sweep(), tmp_path, workers=nobody) == table


def test_runs_of_another_sweep_are_refused_in_words(tmp_path):
    swept(small_sweep(), tmp_path)
    with pytest.raises(RecordError, match=r"settings\.steps is 4 there, 5 here"):
        swept(small_sweep(steps=5), tmp_path)


def test_a_second_sweep_in_the_same_folder_waits_its_turn(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(RecordError, match="Another sweep is going on in"):
        swept(small_sweep(), tmp_path)


class OftenKilled(InThisProcess):
    """A worker that is killed by every job of one size, a number of times each."""

    def __init__(self, size, times):
        self.size, self.times = size, times
        self.begun = []

    def submit(self, job):
        self.begun.append((job.experiment.size, job.run.seed))
        if job.experiment.size == self.size and self.begun.count(self.begun[-1]) <= self.times:
            future = Future()
            future.set_exception(WorkerKilledError("A worker was killed."))
            return future
        return super().submit(job)


def test_a_job_whose_worker_is_killed_is_tried_again_twice(tmp_path, whole):
    workers = OftenKilled(size=3, times=2)
    table = swept(small_sweep(items=(2,)), tmp_path, lambda: workers)
    assert sorted(workers.begun) == [(3, 0)] * 3 + [(3, 1)] * 3 + [(4, 0), (4, 1)]
    assert results(table) == [row for row in results(whole) if row["point"]["items"] == 2]


def test_a_job_that_kills_every_worker_is_named_and_the_others_go_on(tmp_path, whole):
    lines = []
    with pytest.raises(
        SweepError, match=r"2 of 4 runs failed: size=3,items=2/lstm-lr0.001-seed0, .*seed1\. The others"
    ):
        swept(small_sweep(items=(2,)), tmp_path, lambda: OftenKilled(size=3, times=3), lines.append)
    assert lines[-1].endswith("failed: its worker was killed 3 times.")
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(row["point"]["size"], row["finished"], row["mean"] is None) for row in rows] == [
        (3, 0, True),
        (4, 2, False),
    ]
    table = swept(small_sweep(items=(2,)), tmp_path)
    assert results(table) == [row for row in results(whole) if row["point"]["items"] == 2]


def test_a_run_that_raises_an_error_leaves_its_traceback_and_the_others_go_on(tmp_path, monkeypatch):
    original = SweptExperiment.train

    def train(self, run, directory=None, progress=True):
        if self.size == 3:
            raise RuntimeError("out of memory")
        return original(self, run, directory, progress)

    monkeypatch.setattr(SweptExperiment, "train", train)
    lines = []
    with pytest.raises(SweepError, match="2 of 4 runs failed"):
        swept(small_sweep(items=(2,)), tmp_path, report=lines.append)
    path = tmp_path / "size=3,items=2" / "lstm-lr0.001-seed0" / "error.txt"
    assert lines[0] == f"size=3,items=2/lstm-lr0.001-seed0 failed: RuntimeError: out of memory (more in {path})"
    assert "in train" in path.read_text()
    monkeypatch.undo()
    swept(small_sweep(items=(2,)), tmp_path)
    assert not path.exists(), "an earlier failure beside a success"


def test_a_point_that_cannot_be_built_shows_before_anything_is_trained():
    with pytest.raises(ValueError, match="At size=13, items=2: 13 is an unlucky size"):
        small_sweep(sizes=(3, 13)).rehearse()


def test_a_diverged_point_has_a_row_without_a_score(tmp_path):
    sweep = Sweep("rates", SMOKE, ({"learning_rates": (1e-3,)}, {"learning_rates": (1e30,), }))  # fmt: skip
    table = swept(sweep, tmp_path)
    assert [row["diverged"] for row in table["rows"]] == [0, 2]
    assert [row["finished"] for row in table["rows"]] == [2, 2]
    assert summary(table).endswith("learning_rates=1e+30; lstm: diverged at every learning rate")


def test_a_run_that_diverged_is_recorded_and_not_trained_again(tmp_path):
    def nobody():
        raise AssertionError("there is nothing to train")

    sweep = Sweep("rates", SMOKE, tuple(grid({"learning_rates": ((1e30,),), "items": (2, 3)})))
    first = swept(sweep, tmp_path)
    lines = []
    assert swept(sweep, tmp_path, nobody, lines.append) == first
    assert lines == ["4 of 4 runs are recorded already."]
    record = RunRecord.load(tmp_path / "learning_rates=1e+30,items=2" / "lstm-lr1e+30-seed1" / "record.json")
    assert (record.stopped, record.curve, record.scores) == ("diverged", [], {})
    assert record.run["labels"] == {"core": "lstm", "learning_rate": 1e30, "seed": 1}
    assert record.run["model"]["parameters"] == first["rows"][0]["parameters"]
    assert record.environment["device"] == "cpu"


def test_an_experiments_diverged_runs_are_read_the_second_time(tmp_path, monkeypatch, capsys):
    experiment = replace(SMOKE, learning_rates=(1e-3, 1e30), workers=1)
    first = run_experiment(experiment, tmp_path, lambda line: None)
    assert [run["stopped"] for run in first["runs"]].count("diverged") == 2
    assert capsys.readouterr().err.count("with learning rate 1e+30") == 2
    assert first["best"]["lstm"]["learning_rate"] == 1e-3
    monkeypatch.setattr("relmem_lite.models.cross_entropy", None)
    lines = []
    assert run_experiment(experiment, tmp_path, lines.append) == first
    assert lines[1] == "[2/4] lstm-lr1e+30-seed0: diverged"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ({"size": 4, "rate": 1e-4, "sizes": (1, 2)}, "size=4,rate=0.0001,sizes=1+2"),
        ({"corpus": "/data/wiki text"}, r"corpus=_data_wiki_text-\w{8}"),
        ({"corpus": "x" * 300}, r"corpus=x{93}-\w{8}"),
    ],
)
def test_folders_are_named_after_points_as_far_as_names_go(point, name):
    import re

    assert re.fullmatch(name.replace("+", r"\+"), folder_name(title(point)))


def test_names_of_numbers_that_agree_in_six_digits_differ():
    rates = (1e-3, 1.0000001e-3, 1e-4)
    experiment = replace(SMOKE, learning_rates=rates, seeds=(0,), cores=("lstm",))
    names = [run.name for run in experiment.runs()]
    assert names == ["lstm-lr0.001-seed0", "lstm-lr0.0010000001-seed0", "lstm-lr0.0001-seed0"]
    assert [title({"rate": rate}) for rate in rates] == ["rate=0.001", "rate=0.0010000001", "rate=0.0001"]


def test_a_killed_worker_costs_one_run_a_second_start_and_the_others_nothing(tmp_path, whole):
    graves = tmp_path / "graves"
    graves.mkdir()
    sweep = small_sweep(items=(2,), fatal_size=3, deaths=1, graves=str(graves))
    table = swept(sweep, tmp_path / "sweep", partial(LocalWorkers, 2))
    assert len(list(graves.iterdir())) == 1
    assert results(table) == [row for row in results(whole) if row["point"]["items"] == 2]


def test_an_experiment_whose_worker_is_killed_stops_and_says_what_to_try(tmp_path):
    (tmp_path / "graves").mkdir()
    experiment = replace(SMOKE, workers=2, size=3, fatal_size=3, deaths=1, graves=str(tmp_path / "graves"))
    lines = []
    with pytest.raises(WorkerKilledError, match=r"want of memory: try fewer --workers\. Run the same command again"):
        run_experiment(experiment, tmp_path / "runs", lines.append)
    assert lines[-1] == "Stopping: the runs at hand are being saved."
    record = run_experiment(replace(experiment, workers=1), tmp_path / "runs", lines.append)
    assert len(record["runs"]) == 2


def test_a_killed_driver_leaves_whole_files_and_the_same_command_goes_on(tmp_path, capsys):
    typed = "sweep nth_farthest --over num_items=2,3 --cores gru --seeds 0 1 2 3 --steps 20 --eval-every 20"
    typed += f" --directory {tmp_path}"
    command = [sys.executable, "-m", "relmem_lite", *typed.split()]
    driver = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE, text=True)
    driver.stdout.readline()
    os.kill(driver.pid, signal.SIGKILL)
    with contextlib.suppress(ValueError):
        driver.communicate()  # until its workers, too, let go of its pipe
    finished = sum(row["finished"] for row in json.loads((tmp_path / "table.json").read_text())["rows"])
    assert 1 <= finished < 8
    assert main([*typed.split(), "--workers", "1"]) == 0
    assert "of 8 runs are recorded already" in capsys.readouterr().out
    assert all(row["finished"] == 4 for row in json.loads((tmp_path / "table.json").read_text())["rows"])


def test_workers_share_the_gpus_that_they_are_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_gpus() == ["3", "5"]


PORTS_TABLE = """
    128 4 3 128 no 1
    128 8 3 128 no 1
    128 4 3 32 no 1
    128 4 3 32 yes 1
    128 4 3 64 no 1
    128 4 3 64 yes 1
    128 4 2 64 yes 1
    64 4 3 64 yes 1
    64 4 3 32 yes 1
    64 4 3 64 yes 4
    192 4 3 64 yes 1
    192 4 3 64 yes 4
    256 4 3 256 no 1
    256 4 3 64 yes 1
"""


def test_the_ports_table_is_swept_row_by_row():
    sweep = SWEEPS["port_hyperparameters"]
    names = ("embedding_size", "widths", "num_heads", "mlp_layers", "key_size", "output_dropout", "num_slots")
    rows = []
    for line in PORTS_TABLE.split("\n")[1:-1]:
        size, heads, layers, key, dropout, slots = line.split()
        dropout = {"no": 0.0, "yes": 0.5}[dropout]
        values = int(size), (int(size),), int(heads), int(layers), int(key), dropout, int(slots)
        rows.append(dict(zip(names, values, strict=True)))
    assert list(sweep.points["gpu"][:14]) == rows
    assert sweep.base("gpu").seeds == (0, 1, 2)
    assert sweep.base("gpu").cores == ("relational_memory",)


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_more_heads_are_tried_without_more_width_and_more_width_without_more_heads(preset):
    sweep = SWEEPS["port_hyperparameters"]
    shapes = {}
    for point in sweep.points[preset]:
        width = point["widths"][0] * point["num_heads"]
        if point["embedding_size"] == sweep.points[preset][0]["embedding_size"] and point["mlp_layers"] == 3:
            keys = point["key_size"] * point["num_heads"]
            shapes.setdefault((point["output_dropout"], width, keys), {})[point["num_heads"]] = point
    compared = [group for group in shapes.values() if len(group) > 1]
    assert sorted(sorted(group) for group in compared) == [[2, 4, 8], [2, 4, 8], [4, 8], [4, 8]]
    base = sweep.base(preset)
    for group in compared:
        sizes = set()
        for point in group.values():
            with torch.device("meta"):
                sizes.add(num_parameters(replace(base, **point).model_for(20_000, "relational_memory")))
        assert len(sizes) == 1, "more heads of the same width cost no parameter"


def test_the_ports_sweep_runs_at_smoke_size(tmp_path):
    sweep = SWEEPS["port_hyperparameters"].sweep(SWEEPS["port_hyperparameters"].base("smoke"))
    sweep.rehearse()
    table = swept(sweep, tmp_path)
    assert len(table["rows"]) == 21
    assert (table["score"], table["lower_is_better"]) == ("perplexity", True)
    assert all(row["mean"] > 1 for row in table["rows"])


def test_list_names_the_sweeps(capsys):
    assert main(["list"]) == 0
    assert "\n  port_hyperparameters The usual PyTorch port's" in capsys.readouterr().out


def test_help_explains_the_sweeps_options(capsys):
    with contextlib.suppress(SystemExit):
        main(["sweep", "nth_farthest", "--help"])
    out = capsys.readouterr().out
    for option in ("--over", "--samples", "--seed", "--engine", "--workers", "--directory", "--num-heads"):
        assert f"{option} " in out


def test_a_record_on_another_machine_is_kept_here(tmp_path):
    class Elsewhere(InThisProcess):
        def submit(self, job):
            return super().submit(job._replace(directory=tmp_path / "elsewhere" / job.directory.name))

    table = swept(small_sweep(sizes=(3,), items=(2,)), tmp_path / "here", Elsewhere)
    record = RunRecord.load(tmp_path / "here" / "size=3,items=2" / "lstm-lr0.001-seed0" / "record.json")
    assert record.scores["accuracy"] == table["rows"][0]["scores"][0]

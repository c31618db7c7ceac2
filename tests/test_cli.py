import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from relmem_lite.cli import main
from relmem_lite.cores import CORES
from relmem_lite.experiments import EXPERIMENTS


def printed(capsys, *arguments):
    """Run the command in this process; return its exit status and what it printed, out and err."""
    try:
        status = main(list(arguments))
    except SystemExit as exit:
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_list_names_every_core_experiment_and_record(capsys):
    status, out, _ = printed(capsys, "list")
    assert status == 0
    for name in [*CORES, *EXPERIMENTS, "relational_memory"]:
        assert f"\n  {name} " in out
    assert "recorded" in out


def test_claims_prints_all_or_one_in_full(capsys):
    status, out, _ = printed(capsys, "claims")
    assert status == 0
    assert all(f"\n{number:>3} " in out for number in range(1, 31))
    status, out, _ = printed(capsys, "claims", "14")
    assert status == 0
    assert out.startswith("Claim 14\n")
    assert "verdict   partly" in out
    status, out, _ = printed(capsys, "claims", "--json", "14")
    assert [row["number"] for row in json.loads(out)] == ["14"]


@pytest.mark.parametrize(
    ("typed", "status", "answer"),
    [
        ("lst", 2, "no command 'lst'. Did you mean 'list'?"),
        ("rum", 2, "no command 'rum'. Did you mean 'run'?"),
        ("version", 2, "no command 'version'. Did you mean '--version'?"),
        ("run --preset cpu", 2, "name an experiment before --preset"),
        ("data wikitxt", 2, "no corpus 'wikitxt'. Did you mean 'wikitext-2'?"),
        ("claims 31", 2, "no claim '31': they are numbered 1 to 30, and claim 8 has parts 8a to 8f"),
        ("claims 8g", 2, "no claim '8g'"),
        ("claims 1 2", 2, "takes one number and one format at most, got '1 2'"),
        ("claims --jsn", 2, "Did you mean '--json'?"),
        ("bench scna", 2, "no benchmark 'scna'. Did you mean 'scan'?"),
        ("run nth_fartest", 2, "no experiment 'nth_fartest'. Did you mean 'nth_farthest'?"),
        ("run", 2, "name an experiment"),
        ("run nth_farthest --preset cpuu", 2, "no preset 'cpuu'. Did you mean 'cpu'?"),
        ("run nth_farthest --preset=gpuu", 2, "no preset 'gpuu'. Did you mean 'gpu'?"),
        ("run nth_farthest --stepz 3", 2, "--steps"),
        ("run nth_farthest --steps many", 2, "--steps"),
        ("run nth_farthest --steps -3", 2, "steps must be at least 1, got -3"),
        ("run nth_farthest --cores lsmt", 2, "Did you mean 'lstm'?"),
        ("run nth_farthest --cores", 2, "cores is empty"),
        ("run nth_farthest --learning-rates 0", 2, "learning_rates must be a finite number above 0, got 0"),
        ("run nth_farthest --num-items 1", 2, "num_items must be at least 2, got 1"),
        ("run nth_farthest --seeds 0 0", 2, "seeds holds a value twice: 0, 0"),
        ("run nth_farthest --seeds -1", 2, "seed must be a whole number of at least 0"),
        ("run gating --test-distractors -3", 2, "num_distractors must be"),
        ("bench relational_memory --rounds 0", 2, "rounds must be at least 1, got 0"),
        ("run nth_farthest --num-slots 0", 2, "num_slots must be at least 1, got 0"),
        ("run nth_farthest --accelerator tpu", 2, "cuda"),
        ("bench relational_memry", 2, "Did you mean 'relational_memory'?"),
        ("bench", 2, "name a benchmark"),
        ("list cores", 2, "takes no arguments but --missing"),
    ],
)
def test_a_slip_of_the_pen_gets_the_nearest_right_answer(typed, status, answer, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, out, err = printed(capsys, *typed.split())
    assert got == status
    # The boxes break lines where the terminal ends.
    said = " ".join((out + err).replace("│", " ").split())
    assert answer in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir()), "nothing was run"


def test_help_explains_every_setting_of_an_experiment(capsys):
    for name, experiment in EXPERIMENTS.items():
        status, out, _ = printed(capsys, "run", name, "--help")
        assert status == 0
        for field in dataclasses.fields(experiment):
            assert re.search(rf"--{field.name.replace('_', '-')}[ ,]", out), field.name
    status, out, _ = printed(capsys, "--help")
    assert status == 0
    assert "relmem run NAME" in out


def test_help_tells_a_newcomer_what_names_and_presets_are_and_where_runs_go(capsys):
    status, out, _ = printed(capsys, "--help")
    assert status == 0
    for said in ("`relmem list` prints", "smoke takes seconds", "folder runs/", "relmem --version"):
        assert said in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("command", ["list", "run", "sweep", "bench", "data", "generate", "assignment", "grade"])
def test_every_command_has_help(command, capsys):
    status, out, err = printed(capsys, command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: relmem {command}")


def test_list_says_what_recorded_means_and_where_corpora_are(capsys):
    _, out, _ = printed(capsys, "list")
    assert out.startswith("recorded: the results are in this package")
    assert out.endswith("corpora: relmem data\n")


def test_help_shows_the_defaults_of_the_preset(capsys):
    _, smoke, _ = printed(capsys, "run", "nth_farthest", "--help")
    _, gpu, _ = printed(capsys, "run", "nth_farthest", "--preset", "gpu", "--help")
    assert "processes together. (default: 32)" in " ".join(smoke.replace("│", " ").split())
    assert "processes together. (default: 1600)" in " ".join(gpu.replace("│", " ").split())


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_runs_at_smoke_size_and_writes_its_record(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = printed(capsys, "run", name, "--workers", "1")
    assert status == 0, err
    record = json.loads(Path(f"runs/{name}-smoke/record.json").read_text())
    assert record["experiment"] == name
    assert record["preset"] == "smoke"
    assert len(record["runs"]) == len(EXPERIMENTS[name].from_preset("smoke").runs())
    assert all(run["curve"] and run["scores"] for run in record["runs"])
    assert f"runs/{name}-smoke/record.json" in out


def test_every_setting_can_be_overridden_and_a_second_run_reads_the_first(capsys, tmp_path, monkeypatch):
    typed = "run nth_farthest --workers 1 --cores gru --steps 3 --eval-every 2 --clip None"
    typed += f" --directory {tmp_path / 'x'}"
    status, first, _ = printed(capsys, *typed.split())
    assert status == 0
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    assert record["settings"]["steps"] == 3
    assert record["settings"]["clip"] is None
    assert [run["labels"]["core"] for run in (run["run"] for run in record["runs"])] == ["gru"]
    monkeypatch.setattr("relmem_lite.models.cross_entropy", None)
    status, again, _ = printed(capsys, *typed.split())
    assert (status, again) == (0, first)


def test_other_settings_in_the_same_directory_are_refused_in_words(capsys, tmp_path):
    typed = f"run nth_farthest --workers 1 --cores gru --steps 2 --directory {tmp_path}"
    assert printed(capsys, *typed.split())[0] == 0
    status, _, err = printed(capsys, *typed.replace("--steps 2", "--steps 3").split())
    assert status == 1
    assert "holds another run's record" in err
    assert "Traceback" not in err


def test_ctrl_c_says_how_to_go_on_when_nobody_else_does(capsys, monkeypatch):
    def interrupted(experiment, directory):
        raise KeyboardInterrupt

    monkeypatch.setattr("relmem_lite.experiments.run_experiment", interrupted)
    status, _, err = printed(capsys, "run", "nth_farthest")
    assert status == 130
    assert "Run the same command again to go on" in err


def test_ctrl_c_stops_every_worker_after_saving_and_starts_no_other_run(tmp_path):
    typed = "run nth_farthest --cores gru --seeds 0 1 2 3 --steps 1000000 --eval-every 20 --workers 2"
    running = subprocess.Popen(
        [sys.executable, "-m", "relmem_lite", *typed.split(), "--directory", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(600):
            if len({path.parent for path in tmp_path.glob("*/checkpoints/step-*")}) == 2:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(timeout=0.2)
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert "Stopping: the runs at hand are being saved" in out
    assert "Run the same command again to go on" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gru-lr0.001-seed0", "gru-lr0.001-seed1"]
    with FileLock(tmp_path / "gru-lr0.001-seed0" / ".lock", timeout=0):
        pass  # nobody trains there any more


def test_workers_give_the_same_numbers_as_one_process(capsys, tmp_path):
    typed = "run nth_farthest --cores gru lstm --steps 3 --eval-every 3"
    assert printed(capsys, *typed.split(), "--workers", "1", "--directory", str(tmp_path / "one"))[0] == 0
    assert printed(capsys, *typed.split(), "--workers", "2", "--directory", str(tmp_path / "two"))[0] == 0
    one, two = (json.loads((tmp_path / name / "record.json").read_text()) for name in ("one", "two"))
    assert [run["scores"] for run in one["runs"]] == [run["scores"] for run in two["runs"]]
    assert [run["curve"][0]["loss"] for run in one["runs"]] == [run["curve"][0]["loss"] for run in two["runs"]]


def test_the_module_is_the_command():
    ran = subprocess.run([sys.executable, "-m", "relmem_lite", "--version"], capture_output=True, text=True)
    assert ran.returncode == 0
    assert ran.stdout.startswith("relmem 0.")


def test_importing_the_library_loads_torch_and_numpy_alone():
    heavy = ["matplotlib", "seaborn", "lightning_fabric", "safetensors", "tyro", "pandas", "IPython"]
    code = f"import sys, relmem_lite; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_two_processes_learn_what_one_does(tmp_path):
    typed = "run nth_farthest --cores gru --steps 4 --eval-every 2 --accelerator cpu --workers 1"
    curves = []
    for devices in ("1", "2"):
        folder = tmp_path / devices
        ran = subprocess.run(
            [sys.executable, "-m", "relmem_lite", *typed.split(), "--devices", devices, "--directory", folder],
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("Record: ") == 1, "one process speaks for all"
        curves.append([point["loss"] for point in json.loads((folder / "record.json").read_text())["runs"][0]["curve"]])
    # The gradient is a mean of two means: equal but for float32's rounding.
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)

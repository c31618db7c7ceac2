import json

import pytest
import torch

import relmem_lite
from relmem_lite import LSTM, Core, RelationalMemory
from relmem_lite.bench import layers, memory, memory_cost, relational_memory, scan
from relmem_lite.bench.memory import peak_bytes
from relmem_lite.bench.relational_memory import SIZES, direct_forward
from relmem_lite.bench.timing import ratio, summary, take_turns
from relmem_lite.models import Stack
from relmem_lite.scans import available_methods


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_two_contestants_compute_the_same_numbers_and_gradients(size):
    torch.manual_seed(0)
    core = RelationalMemory(
        6,
        num_slots=size.slots,
        num_heads=size.heads,
        head_size=4,
        key_size=size.key_size and 3,
        mlp_layers=size.mlp_layers,
    ).double()
    inputs = torch.randn(3, 5, 6, dtype=torch.float64)
    results = []
    for forward in (core, lambda inputs: direct_forward(core, inputs)):
        core.zero_grad()
        outputs, state = forward(inputs)
        outputs.square().sum().backward()
        results.append([outputs, state, *(parameter.grad.clone() for parameter in core.parameters())])
    for ours, direct in zip(*results, strict=True):
        torch.testing.assert_close(ours, direct, rtol=1e-10, atol=1e-10)


def test_contestants_take_turns_and_the_first_round_is_not_timed():
    calls = []
    seconds = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_taken_round_by_round():
    assert ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]).median == 3.0
    assert summary([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0, 4.0)


def test_peak_memory_counts_what_is_held_at_once():
    def run():
        first = torch.zeros(1000, 1000)
        second = first + 1
        del first
        return second + 1

    assert peak_bytes(run) == pytest.approx(8e6, rel=0.01)


def test_memory_of_a_training_step_grows_with_its_length_and_no_faster():
    core = relmem_lite.MinGRU(8, 8)

    def peak(time):
        inputs = torch.randn(4, time, 8)
        return peak_bytes(lambda: core(inputs)[0].sum().backward())

    peak(100)  # a first profile may miss that a tensor was freed
    # Twice for linear memory, four times for quadratic.
    assert peak(4000) < 3 * peak(2000)


def test_a_run_that_the_profiler_saw_in_part_is_measured_again(monkeypatch):
    whole, losing = memory._changes_of_memory, iter([slice(0), slice(4, None), slice(None, -3), slice(None)])

    def lossy(run):
        return whole(run)[next(losing)]

    monkeypatch.setattr(memory, "_changes_of_memory", lossy)
    assert peak_bytes(lambda: torch.empty(1000, dtype=torch.uint8)) == 1000
    assert next(losing, "none left") == "none left"


def test_a_profiler_that_never_sees_the_whole_run_is_an_error(monkeypatch):
    monkeypatch.setattr(memory, "_changes_of_memory", lambda run: [])
    with pytest.raises(RuntimeError, match="lost a part of each of 10 runs"):
        peak_bytes(lambda: None)


@pytest.mark.parametrize("module", [scan, layers])
def test_benchmarks_fill_one_table_and_one_record(module, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "SIZES", [module.Size(2, 3, 8), module.Size(2, 6, 8)])
    if module is scan:
        monkeypatch.setattr(module, "_promised", lambda device: [module.Size(2, 6, 8)])
        module.benchmark_scan(rounds=1, record=tmp_path / "record.json")
        expected, exact = {*available_methods("cpu"), "naive loop"}, 1e-3
    else:
        module.benchmark_layers(rounds=1, record=tmp_path / "record.json")
        expected, exact = set(layers.layers()), 1e-4
    record = json.loads((tmp_path / "record.json").read_text())
    for time in (3, 6):
        rows = {row[record["what"]]: row for row in record["rows"] if row["time"] == time}
        assert set(rows) >= expected
        for row in rows.values():
            assert 0 < row["seconds"][1] <= row["seconds"][0] <= row["seconds"][2]
            assert row["peak_bytes"] > 0
            assert row["error"] < exact
    printed = capsys.readouterr().out
    assert "(2, 6, 8)" in printed
    assert all(name in printed for name in expected)


def test_the_relational_memory_stands_beside_its_equations_and_lstms_of_its_size(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(relational_memory, "SIZES", [relational_memory.Size(2, 3, 1, 2, 8, 3, 2)])
    monkeypatch.setattr(relational_memory, "TIMES", (1, 3))
    relational_memory.benchmark_relational_memory(rounds=1, sweep_rounds=1, record=tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    rows = {}
    for row in record["rows"]:
        assert 0 < row["seconds"][1] <= row["seconds"][0] <= row["seconds"][2]
        assert row["peak_bytes"] > 0
        assert row["error"] < 1e-4
        size = row["time"], row["slots"], row["heads"], row["head_size"]
        rows.setdefault(size, set()).add(row[record["what"]])
    memories, lstms = {"direct", "relmem_lite"}, {"torch.nn.LSTM", "LSTM, loop in Python"}
    assert rows == {
        (1, 1, 2, 8): memories | lstms,
        (3, 1, 2, 8): memories | lstms,
        **{(3, slots, 2, 8): memories for slots in (2, 4, 8)},
        (3, 1, 1, 16): memories | lstms,
        (3, 4, 2, 2): memories,
    }
    (beside,) = record["beside_direct"]
    assert all(0 < beside[name]["share"] < 1 for name in memories)
    printed = capsys.readouterr().out
    assert all(name in printed for name in memories | lstms)
    assert f"{beside['times_as_fast'][0]:.2f} (" in printed


def test_the_looped_lstm_computes_the_fused_one():
    torch.manual_seed(0)
    lstm = LSTM(5, 6).double()
    inputs = torch.randn(2, 7, 5, dtype=torch.float64)
    assert torch.allclose(Core.forward(lstm, inputs)[0], lstm.lstm(inputs)[0])


def test_a_contestant_that_is_too_slow_is_not_tried_at_more_steps(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(scan, "SIZES", [scan.Size(1, 2, 1), scan.Size(1, 4, 1)])
    monkeypatch.setattr(scan, "_promised", lambda device: [])
    scan.benchmark_scan(rounds=1, limit=1e-9, record=tmp_path / "record.json")
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert {row["time"] for row in rows} == {2}


def test_the_naive_loop_computes_the_scan():
    a, b = torch.rand(2, 2, 9, 3, dtype=torch.float64).unbind()
    assert torch.allclose(scan.naive_loop(a, b), relmem_lite.scan(a, b))


def test_the_looped_gru_computes_the_fused_one():
    torch.manual_seed(0)
    looped = layers.LoopedGRU(5).double()
    inputs = torch.randn(2, 7, 5, dtype=torch.float64)
    assert torch.allclose(looped(inputs)[0], looped.gru(inputs)[0])


def test_memory_cost_fills_tables_and_a_record(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(memory_cost, "TIMES", (times := (16, 24, 32)))
    monkeypatch.setattr(memory_cost, "BATCHES", (1, 2))
    path = tmp_path / "record.json"
    memory_cost.benchmark_memory_cost(rounds=1, generation_rounds=1, tokens=4, every=2, record=path)
    record = json.loads(path.read_text())
    rows = {(row["core"], row["batch"], row["time"]): row for row in record["rows"]}
    assert rows.keys() == {(name, batch, time) for name in memory_cost.CORES for batch in (1, 2) for time in times}
    for (name, _, time), row in rows.items():
        assert 0 < row["seconds"][1] <= row["seconds"][0] <= row["seconds"][2]
        # A sequence's keys and values, 64 numbers each, for every layer of attention; and what does not grow.
        layers = {"attention": 2, "min_gru+attention": 1}.get(name, 0)
        assert row["state_bytes"] - rows[name, 1, 16]["state_bytes"] == 4 * 128 * layers * (time - 16)
    recurrent = memory_cost.CORES.keys() - {"attention", "min_gru+attention"}
    flat = [(row["core"], row["batch"], row["time"]) for row in record["flatness"]]
    assert sorted(flat) == sorted((name, batch, time) for name in recurrent for batch in (1, 2) for time in times[1:])
    assert [row["core"] for row in record["generation"]] == list(memory_cost.CORES)
    for row in record["generation"]:
        assert row["tokens_per_second"][0] == pytest.approx(2 * 4 / row["seconds"][0])
        assert row["times_as_fast"][0] == pytest.approx(row["reread_seconds"][0] / row["seconds"][0])
    printed = capsys.readouterr().out
    assert all(name in printed for name in memory_cost.CORES)
    assert f"Record: {path}" in printed


def test_the_length_of_a_row_is_the_middle_of_the_steps_that_were_timed(monkeypatch):
    model = memory_cost._model("attention", torch.device("cpu"))
    lengths = []
    step = type(model).step

    def watched(self, tokens, state):
        lengths.append(state[1].shape[1])
        return step(self, tokens, state)

    monkeypatch.setattr(type(model), "step", watched)
    take_turns({"128": memory_cost._turn(model, 1, 128, rounds=5)}, 5)
    timed = lengths[-5 * memory_cost.STEPS :]
    assert len(lengths) == 6 * memory_cost.STEPS, "one turn to warm up"
    assert sum(timed) / len(timed) == pytest.approx(128, abs=1)


def test_states_that_do_not_fit_into_memory_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_cost, "TIMES", (16, 20_000))
    monkeypatch.setattr(memory_cost, "BATCHES", (1,))
    path = tmp_path / "record.json"
    # 20,000 steps in two layers of attention take 20.5 MB, and for a moment more than twice that.
    memory_cost.benchmark_memory_cost(rounds=1, generation_rounds=0, memory=0.03, record=path)
    longest = {}
    for row in json.loads(path.read_text())["rows"]:
        longest[row["core"]] = max(longest.get(row["core"], 0), row["time"])
    assert longest == {name: 16 if name == "attention" else 20_000 for name in memory_cost.CORES}


def test_a_state_that_was_not_read_in_is_like_one_that_was():
    core = Stack(["min_gru", "attention"], 8)
    _, read = core(torch.randn(3, 9, 8))
    drawn = memory_cost.state_after(core, 3, 9)
    assert [part.shape for part in drawn] == [part.shape for part in read]
    assert core.step(torch.randn(3, 8), drawn)[0].isfinite().all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rounds": 0}, "rounds must be at least 1"),
        # 30 turns and one to warm up take 248 steps, whose middle cannot be at 128 if the first is after 1.
        ({"rounds": 30}, "rounds must be at most 29"),
        ({"generation_rounds": -1}, "generation_rounds must be at least 1"),
        ({"tokens": 4, "every": 8}, "every must be at most the number of tokens, 4, got 8"),
        ({"memory": 0.0}, "memory must be a finite number above 0"),
    ],
)
def test_a_benchmark_of_nothing_is_refused(options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        memory_cost.benchmark_memory_cost(**options)

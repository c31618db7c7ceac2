"""What holds on a CPU holds on a GPU: cores, scans and training against float64 on the CPU, in float32 and bfloat16."""

import pytest
import torch
from every_core import CORES, make_core, make_inputs, make_state, map_state
from small_run import small_model, small_settings, small_train
from test_core_contract import ROUNDINGS, results, run_in_chunks, run_step_by_step, run_whole
from test_scan import draw, everything, plainly, roundings

from relmem_lite.models import stacked_model
from relmem_lite.scans import METHODS, available_methods, scan
from relmem_lite.tasks import IsTree, NthFarthest, Recall, StateTracking
from relmem_lite.training import graphed, loop, train

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# Outputs and gradients in bfloat16, whose numbers have 8 bits, by norm: what rounds at each of 12 steps ends within
# this of float64. It tells a wrong kernel, whose error is of the size of the numbers themselves, from rounding.
BFLOAT16 = 0.35


@pytest.fixture(autouse=True)
def whole_float32(monkeypatch):
    """Switch off TF32, with its 10 bits, which cuDNN takes by itself for convolutions and recurrent layers."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("run", [run_whole, run_in_chunks, run_step_by_step], ids=lambda run: run.__name__)
@pytest.mark.parametrize("name", CORES)
def test_cores_equal_float64_on_the_cpu(name, run):
    found, expected = _both(name, torch.float32, run, time=33)
    for key, value in expected.items():
        allowed = ROUNDINGS * torch.finfo(torch.float32).eps * max(1.0, value.abs().max().item())
        assert (found[key] - value).abs().max().item() <= allowed, key


@pytest.mark.parametrize("name", CORES)
def test_cores_in_bfloat16_stay_near_float64(name):
    found, expected = _both(name, torch.bfloat16, run_whole, time=12)
    assert all(tensor.isfinite().all() for tensor in found.values())
    assert (found["outputs"] - expected["outputs"]).norm() <= BFLOAT16 * expected["outputs"].norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("time", [1, 2, 63, 64, 100, 1000])
@pytest.mark.parametrize("method", METHODS)
def test_scans_equal_the_loop_in_float64(method, time, dtype):
    if method not in available_methods(DEVICE):
        pytest.skip(f"{method} runs on CPU tensors")
    a, b, h0 = (x.to(DEVICE) for x in draw(3, time, 5, dtype=dtype))
    found = everything(lambda *given: scan(*given, method=method), a, b, h0)
    for name, value in everything(plainly, *(x.cpu() for x in (a, b, h0))).items():
        allowed = roundings(method, time) * torch.finfo(dtype).eps * max(1.0, value.abs().max().item())
        assert (found[name].cpu().double() - value).abs().max().item() <= allowed, name


def test_training_goes_as_on_the_cpu():
    """Batches that a worker draws on the CPU are the same ones; dropout's noise is the device's own and is left out."""
    curves = [
        small_train(model=_quiet_model(), accelerator=accelerator, data_workers=1, steps=40).curve
        for accelerator in ("cpu", DEVICE)
    ]
    assert [point["loss"] for point in curves[1]] == pytest.approx([point["loss"] for point in curves[0]], rel=1e-3)


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path, monkeypatch):
    whole = small_train(accelerator=DEVICE)
    with monkeypatch.context() as patch:
        patch.setattr("relmem_lite.training.loop._stopped", lambda done, *_: "half" if done.step >= 8 else None)
        small_train(tmp_path, accelerator=DEVICE)
    (tmp_path / "record.json").unlink()
    resumed = small_train(tmp_path, accelerator=DEVICE)
    losses = [[point["loss"] for point in record.curve] for record in (resumed, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_training_learns(precision):
    record = small_train(
        model=_quiet_model(), accelerator=DEVICE, precision=precision, steps=300, batch_size=64, eval_every=100,
        eval_samples=512, learning_rate=1e-2,
    )  # fmt: skip
    assert record.curve[-1]["loss"] < 0.8 * record.curve[0]["loss"]
    assert record.environment["device"] == DEVICE


GRAPHED = {
    "lstm": (Recall(4, 16, 8), ["lstm"]),
    "relational memory": (NthFarthest(4, 2), ["relational_memory"]),
    "hybrid, growing": (Recall(8, 16, 8, curriculum="growing"), ["min_gru", "attention"]),
    "mamba, padded": (IsTree(5, "chain_of_thought"), ["mamba"]),
    "gru, state tracking": (StateTracking("s3", 9), ["gru", "linear_attention"]),
}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", GRAPHED)
def test_steps_replayed_as_graphs_learn_what_steps_learn(name, precision, monkeypatch):
    task, cores = GRAPHED[name]
    settings = small_settings(steps=30, eval_every=5, accelerator=DEVICE, precision=precision, learning_rate=3e-3)
    losses, captured = [], []
    capture = graphed._capture
    monkeypatch.setattr(graphed, "_capture", lambda function: captured.append(1) or capture(function))
    for replayed in (False, True):
        if not replayed:
            monkeypatch.setattr(loop, "_can_capture", lambda *_: False)
        torch.manual_seed(0)
        record = train(stacked_model(cores, task, 3000), task, settings, progress=False)
        losses.append([point["loss"] for point in record.curve])
        monkeypatch.setattr(loop, "_can_capture", lambda *_: True)
    assert captured
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if precision == "32-true" else 3e-2)


def _quiet_model():
    model = small_model()
    model.head = model.head.head
    return model


def _both(name, dtype, run, time):
    """Outputs, state and gradients on the GPU and of float64 on the CPU, from the same rounded weights and numbers."""
    core = make_core(name).to(dtype)
    inputs, state = make_inputs(3, time, dtype=dtype), make_state(make_core(name), 3)
    state = map_state(lambda part: part.to(dtype), state)
    exact = make_core(name).to(dtype).double()
    expected = results(run_whole, exact, inputs.double(), map_state(lambda part: part.double(), state))
    found = results(run, core.to(DEVICE), inputs.to(DEVICE), map_state(lambda part: part.to(DEVICE), state))
    return {key: tensor.cpu().double() for key, tensor in found.items()}, expected

"""Every way to compute h_t = a_t h_{t-1} + b_t is held to the loop in float64."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relmem_lite import scans
from relmem_lite.scans import METHODS, available_methods, scan

HERE = [name for name in METHODS if name in available_methods("cpu")]
PLAIN = ["loop", "hillis_steele", "blelloch", "chunked", "log_space"]
every_method = pytest.mark.parametrize("method", HERE)


# Roundings, as a multiple of the largest state. A tree rounds log T times, a loop as often as a state lives; a sum of
# logs loses digits in proportion to T, and a gate's gradient through its logarithm as many times more as it is small.
def roundings(method, time):
    return 2000 * max(10, time) if method == "log_space" else 400


def draw(batch, time, *state, dtype=torch.float64, seed=0, positive=True):
    """A recurrence in float64, rounded to `dtype`: gates in (0, 1), values positive unless told otherwise."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(batch, time, *state, generator=generator, dtype=torch.float64).sigmoid()
    b = torch.randn(batch, time, *state, generator=generator, dtype=torch.float64)
    h0 = torch.randn(batch, *state, generator=generator, dtype=torch.float64)
    if positive:
        b, h0 = b.abs() + 0.01, h0.abs() + 0.01
    return a.to(dtype), b.to(dtype), h0.to(dtype)


def plainly(a, b, h0):
    """The definition, in float64, one product and one sum a step."""
    a, b = a.double(), b.double()
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0.double()
    states = []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


def everything(function, a, b, h0):
    """States, last state, and all gradients of a loss that weighs each state differently."""
    inputs = [x.detach().clone().requires_grad_() for x in (a, b) + (() if h0 is None else (h0,))]
    h = function(*inputs[:2], None if h0 is None else inputs[2])
    weights = torch.linspace(-1, 1, h.numel(), dtype=torch.float64).reshape(h.shape)
    (h * weights.to(h)).sum().backward()
    names = ["gradient of a", "gradient of b", "gradient of h0"]
    return {"states": h.detach(), "last state": h[:, -1].detach()} | {
        name: x.grad for name, x in zip(names, inputs, strict=False)
    }


def assert_equal_to_loop(method, a, b, h0):
    found = everything(lambda *args: scan(*args, method=method), a, b, h0)
    expected = everything(plainly, *(None if x is None else x.double() for x in (a, b, h0)))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == b.dtype
        allowed = roundings(method, b.shape[1]) * torch.finfo(b.dtype).eps * max(1.0, value.abs().max().item())
        assert (found[name].double() - value).abs().max().item() <= allowed, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("start", ["zeros", "given state"])
@pytest.mark.parametrize("time", [1, 2, 3, 63, 64, 65, 100, 1000])
@every_method
def test_every_method_equals_the_loop_in_float64(method, time, start, dtype):
    a, b, h0 = draw(2, time, 3, dtype=dtype)
    assert_equal_to_loop(method, a, b, h0 if start == "given state" else None)


@pytest.mark.parametrize("gate", [0.0, 1.0, 1e-310, 1e-45, -0.5], ids=["0", "1", "denormal", "denormal32", "negative"])
@pytest.mark.parametrize("time", [1, 3, 65])
@every_method
def test_gates_at_their_limits(method, time, gate):
    if method == "log_space" and gate <= 0:
        pytest.skip("log-space takes positive values only")
    dtype = torch.float32 if gate == 1e-45 else torch.float64
    a, b, h0 = draw(2, time, 3, dtype=dtype)
    a[:, time // 2] = gate
    a[:, :, 1] = gate
    if method != "log_space":
        return assert_equal_to_loop(method, a, b, h0)
    # Through logs, the gradient of so small a number is 1/a times what is lost in the sums: only states can be right.
    h = scan(a, b, h0, method)
    assert torch.allclose(h.double(), plainly(a, b, h0), rtol=0, atol=1e-9 if dtype == torch.float64 else 1e-3)


@every_method
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 4),
    time=st.integers(1, 70),
    state=st.lists(st.integers(1, 70), min_size=0, max_size=2).filter(lambda s: len(s) < 2 or s[0] * s[1] < 200),
    layout=st.sampled_from(["plain", "time first", "strided", "expanded"]),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout(method, batch, time, state, layout, seed):
    a, b, h0 = draw(batch, time, *state, seed=seed, positive=method == "log_space")
    if layout == "time first":
        a, b = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in (a, b))
    if layout == "strided":
        a, b, h0 = (torch.stack([x, x + 7], dim=-1)[..., 0] for x in (a, b, h0))
    if layout == "expanded":
        a = a[:1, :1].expand_as(b)
    expected = plainly(a, b, h0)
    tolerance = 1e-8 if method == "log_space" else 1e-12
    assert torch.allclose(scan(a, b, h0, method), expected, rtol=tolerance, atol=tolerance)


@every_method
def test_coefficients_broadcast_against_each_other(method):
    """A decay for each head stands for its whole matrix, and its gradient is the sum over it."""
    _, b, h0 = draw(2, 9, 3, 4, 5)
    decay = draw(2, 9, 3, 1, 1, seed=1)[0]
    found = everything(lambda *args: scan(*args, method=method), decay, b, h0)
    expected = everything(plainly, decay, b, h0)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-8), name


@every_method
def test_long_sequences_stay_exact_in_float32(method):
    """What facts the book prints: float32 errors at T = 4,096, and log-space the worst of them."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, 4096, 8, generator=generator).sigmoid()
    b = torch.randn(2, 4096, 8, generator=generator).abs()
    error = (scan(a, b, method=method).double() - plainly(a, b, None)).abs().max().item()
    assert error < (3e-2 if method == "log_space" else 1e-5)
    if method == "log_space":
        assert error > 1e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@every_method
def test_nan_and_infinity_stay_in_their_channel_and_move_on_in_time(method, bad):
    a, b, h0 = draw(2, 70, 3)
    clean = scan(a, b, h0, method)
    b[1, 40, 2] = bad
    h = scan(a, b, h0, method)
    touched = torch.zeros_like(b, dtype=torch.bool)
    touched[1, 40:, 2] = True
    assert torch.equal(~h.isfinite(), touched)
    assert torch.allclose(h[~touched], clean[~touched], rtol=1e-8)


@pytest.mark.parametrize("where", ["a", "h0"])
@every_method
def test_nan_anywhere_is_seen(method, where):
    a, b, h0 = draw(1, 5, 2)
    {"a": a[:, 2], "h0": h0}[where][:, 1] = float("nan")
    assert scan(a, b, h0, method).isnan()[0, -1].tolist() == [False, True]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 200, 70), (1, 900, 130), (5, 100, 200), (3, 40_000, 1)], ids=str)
def test_threads_share_the_work_without_a_seam(shape, threads):
    a, b, h0 = draw(*shape, dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = everything(lambda *args: scan(*args, method="numba"), a, b, h0)
    finally:
        torch.set_num_threads(before)
    expected = everything(lambda *args: scan(*args, method="in_place"), a, b, h0)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-4 * value.abs().max().item()), name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_can_scan_too():
    code = """
import os, torch
from relmem_lite.scans import scan
torch.set_num_threads(2)
a = torch.rand(4, 300, 64)
scan(a, a)
child = os.fork()
if child == 0:
    scan(a, a)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "7"


def test_auto_is_the_compiled_kernel_here_and_the_loop_in_place_without_numba(monkeypatch):
    a, b, h0 = draw(2, 30, 4)
    assert available_methods("cpu")[0] == "numba"
    monkeypatch.setitem(scans._INSTALLED, "numba", False)
    assert available_methods("cpu")[0] == "in_place"
    assert torch.allclose(scan(a, b, h0), plainly(a, b, h0))
    with pytest.raises(RuntimeError, match=r"'numba' needs Numba.*pip install numba.*in_place"):
        scan(a, b, h0, "numba")


def test_auto_does_without_a_numba_that_cannot_be_imported(monkeypatch):
    def broken(package):
        raise ImportError("Numba needs NumPy 2.4 or less")

    a, b, h0 = draw(2, 30, 4)
    scans._import_error.cache_clear()
    monkeypatch.setattr(scans, "import_module", broken)
    try:
        assert available_methods("cpu")[0] == "in_place"
        assert torch.allclose(scan(a, b, h0), plainly(a, b, h0))
        with pytest.raises(RuntimeError, match=r"cannot be imported \(Numba needs NumPy 2.4 or less\)"):
            scan(a, b, h0, "numba")
    finally:
        scans._import_error.cache_clear()


def test_the_loop_in_place_keeps_memory_linear():
    """Tensors kept for the backward pass: those given and the result, whatever T."""
    for method in ("in_place", "numba"):
        a, b, h0 = (x.requires_grad_() for x in draw(2, 50, 4))
        kept = 0

        def keep(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            scan(a, b, h0, method)
        assert kept <= 2 * b.numel() + h0.numel()


@every_method
def test_works_inside_torch_func(method):
    a, b, h0 = draw(3, 7, 4)
    function = lambda *args: scan(*args, method=method).square().sum()  # noqa: E731
    gradients = torch.func.grad(function, (0, 1, 2))(a, b, h0)
    for found, name in zip(gradients, ["gradient of a", "gradient of b", "gradient of h0"], strict=True):
        inputs = [x.clone().requires_grad_() for x in (a, b, h0)]
        function(*inputs).backward()
        assert torch.allclose(found, inputs[("a", "b", "h0").index(name.split()[-1])].grad)
    alone = lambda a, b, h0: scan(a[None], b[None], h0[None], method)[0]  # noqa: E731
    assert torch.allclose(torch.vmap(alone)(a, b, h0), scan(a, b, h0, method))
    one_a = torch.vmap(alone, in_dims=(None, 0, 0))(a[0], b, h0)
    assert torch.allclose(one_a, scan(a[:1].expand_as(a), b, h0, method))
    each = torch.vmap(torch.func.grad(lambda *args: alone(*args).square().sum(), (0, 1, 2)))(a, b, h0)
    for found, expected in zip(each, gradients, strict=True):
        assert torch.allclose(found, expected)


@every_method
def test_works_inside_torch_compile(method):
    a, b, h0 = draw(2, 5, 3)
    compiled = torch.compile(lambda *args: 2 * scan(*args, method=method), fullgraph=True, backend="aot_eager")
    found = everything(compiled, a, b, h0)
    for name, expected in everything(lambda *args: 2 * scan(*args, method=method), a, b, h0).items():
        assert torch.allclose(found[name], expected), name


@every_method
def test_second_derivatives_are_right_or_refused(method):
    a, b, h0 = (x.requires_grad_() for x in draw(1, 4, 2))
    if method in PLAIN:
        assert torch.autograd.gradgradcheck(lambda *args: scan(*args, method=method), (a, b, h0))
        return
    (gradient,) = torch.autograd.grad(scan(a, b, h0, method).square().sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative.*method='loop'"):
        gradient.sum().backward()


@every_method
def test_gradcheck(method):
    inputs = tuple(x.requires_grad_() for x in draw(2, 6, 2))
    assert torch.autograd.gradcheck(lambda *args: scan(*args, method=method), inputs)


@every_method
def test_inputs_are_left_as_they_were(method):
    a, b, h0 = draw(2, 8, 3)
    kept = [x.clone() for x in (a, b, h0)]
    scan(a, b, h0, method)
    assert all(map(torch.equal, (a, b, h0), kept))


BAD = {
    "a and b of different lengths": (lambda a, b, h0: (a[:, :3], b, h0), ValueError, r"\(2, 3, 3\) and \(2, 5, 3\)"),
    "a dimension missing": (lambda a, b, h0: (a[0], b, h0), ValueError, r"a\[None\]"),
    "one dimension": (lambda a, b, h0: (a[0, :, 0], b[0, :, 0], None), ValueError, r"\(B, T, \.\.\.\)"),
    "no step": (lambda a, b, h0: (a[:, :0], b[:, :0], h0), ValueError, r"at least one step \(T\)"),
    "no sequence": (lambda a, b, h0: (a[:0], b[:0], None), ValueError, "one sequence"),
    "another h0": (lambda a, b, h0: (a, b, h0[:1]), ValueError, r"h0 of shape \(2, 3\), got \(1, 3\)"),
    "mixed dtypes": (lambda a, b, h0: (a, b.float(), h0), TypeError, r"a torch.float64, b torch.float32.*\.to"),
    "mixed devices": (lambda a, b, h0: (a, b, h0.to("meta")), TypeError, "h0 meta"),
    "complex numbers": (lambda a, b, h0: (a + 0j, b + 0j, None), TypeError, "real and imaginary"),
    "whole numbers": (lambda a, b, h0: (a.long(), b.long(), None), TypeError, r"\.float\(\)"),
    "a list": (lambda a, b, h0: ([1.0], b, None), TypeError, "as_tensor"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_message(case):
    change, error, message = BAD[case]
    with pytest.raises(error, match=message):
        scan(*change(*draw(2, 5, 3)))


def test_methods_that_are_not_here_say_what_is():
    a, b, h0 = draw(1, 3, 2)
    with pytest.raises(ValueError, match="Did you mean 'blelloch'"):
        scan(a, b, h0, "bleloch")
    if not torch.cuda.is_available():
        with pytest.raises(
            RuntimeError, match="'triton' runs on tensors on a GPU, these are on cpu; here you can use numba"
        ):
            scan(a, b, h0, "triton")
    assert available_methods("cuda")[0] in ("triton", "chunked")


@pytest.mark.parametrize("name", ["a", "b"])
def test_log_space_refuses_what_has_no_logarithm(name):
    inputs = dict(zip(["a", "b", "h0"], draw(1, 3, 2), strict=True))
    inputs[name].view(-1)[1] = -0.5
    with pytest.raises(ValueError, match=rf"positive values only, {name} has -0.5.*method='auto'"):
        scan(**inputs, method="log_space")


def test_numba_kernels_load_where_nothing_can_be_cached(monkeypatch):
    pytest.importorskip("numba")

    def read_only(*args, **options):
        raise OSError("Read-only file system")

    # Numba tries each folder it might cache in with a file that leaves no trace.
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    spec = importlib.util.find_spec("relmem_lite.scans.numba_kernels")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))

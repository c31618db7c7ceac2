"""The Triton kernels against a plain loop: under Triton's interpreter anywhere, on the GPU where there is one."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton", reason="the kernels need Triton, which is not installed")

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def _tolerance(dtype, device):
    """Rounding of what is stored, and of sums in float32 or float64 whose terms are of order 1 to 10."""
    if dtype == torch.float64:
        return dict(rtol=1e-13, atol=1e-13)
    if dtype == torch.float32:
        return dict(rtol=1e-5, atol=1e-5)
    # grad_a is a product of the stored h, rounded by eps / 2, and is rounded once more. The interpreter cuts off the
    # digits that bfloat16 lacks where a GPU rounds, and so errs by up to eps each time.
    cut_off = dtype == torch.bfloat16 and device == "cpu"
    return dict(rtol=torch.finfo(dtype).eps * (2 if cut_off else 1), atol=1e-5)


def _prepare_child() -> None:
    torch.set_num_threads(1)
    if os.environ["TRITON_INTERPRET"] == "1":
        from triton.runtime.interpreter import ScanOps

        def scan_rows(self, inputs):
            """Scan whole rows at a time: the interpreter's own way, element by element, takes 100 times as long."""
            dtypes = [x.dtype for x in inputs]
            rows = list(zip(*(np.moveaxis(x.handle.data, self.axis, 0) for x in inputs), strict=True))
            done = [rows[0]]
            for row in rows[1:]:
                pair = [self.to_tensor(x, dtype) for x, dtype in zip((*done[-1], *row), dtypes * 2, strict=True)]
                done.append([x.handle.data for x in self.combine_fn.fn(*pair)])
            columns = [np.stack(column, self.axis) for column in zip(*done, strict=True)]
            return [self.to_tensor(x, dtype) for x, dtype in zip(columns, dtypes, strict=True)]

        ScanOps.generic_scan = scan_rows


def _child_process(interpret: bool, cache: str):
    """Start a process for Triton, which reads its settings when it is imported and keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", str(int(interpret)))
        patch.setenv("TRITON_CACHE_DIR", cache)
        executor = ProcessPoolExecutor(1, get_context("spawn"), _prepare_child)
        executor.submit(os.getpid).result()
    return executor


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    with _child_process(True, str(tmp_path_factory.mktemp("triton"))) as executor:
        yield executor


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    with _child_process(False, str(tmp_path_factory.mktemp("triton"))) as executor:
        yield executor


@pytest.fixture(params=["interpreter", "cuda"] if torch.cuda.is_available() else ["interpreter"])
def run(request):
    """Call check(device, ...) where the kernels run: in a process of the interpreter, or here on the GPU."""
    if request.param == "cuda":
        return lambda check, *arguments: check("cuda", *arguments)
    interpreter = request.getfixturevalue("interpreter")
    return lambda check, *arguments: interpreter.submit(check, "cpu", *arguments).result()


def _inputs(shape, with_h0, dtype, device):
    """Gates in (0, 1), as sigmoid gives them, and normal b, h0 and gradient of h."""
    B, T, D = shape
    generator = torch.Generator().manual_seed(T * D)
    a, b, grad, h0 = (torch.randn(size, generator=generator) for size in ([B, T, D], [B, T, D], [B, T, D], [B, D]))
    a, b, grad, h0 = (x.to(device, dtype) for x in ((2 * a).sigmoid(), b, grad, h0))
    return a, b, h0 if with_h0 else None, grad


def _plain_loop(a, b, h0, grad):
    a, b, h0 = (None if x is None else x.double().cpu().requires_grad_() for x in (a, b, h0))
    state, states = torch.zeros_like(b[:, 0]) if h0 is None else h0, []
    for t in range(a.shape[1]):
        state = a[:, t] * state + b[:, t]
        states.append(state)
    h = torch.stack(states, 1)
    h.backward(grad.double().cpu())
    return h.detach(), a.grad, b.grad, None if h0 is None else h0.grad


MARGIN = 256
UNTOUCHED = 12288.0  # in every dtype exact


def _guarded(x, guard=torch.nan):
    """Lay x in a longer stretch: of NaNs, where reading from beyond its ends shows, or of a number, where writing does.

    A kernel that read NaNs from beyond its inputs' ends would write them beyond those of its outputs.
    """
    stretch = torch.full((x.numel() + 2 * MARGIN,), guard, dtype=x.dtype, device=x.device)
    stretch[MARGIN:-MARGIN] = x.flatten()
    return stretch, stretch[MARGIN:-MARGIN].view(x.shape)


def _kernels(a, b, h0, grad, tiles):
    """h, grad_a, grad_b, grad_h0 as the kernels give them, in float64."""
    from relmem_lite.scans import triton_kernels

    enough = {"wide": 0, "tall": float("inf"), "chosen": 8}[tiles]
    a, b, h0, grad = (None if x is None else _guarded(x)[1] for x in (a, b, h0, grad))
    outputs = [None if x is None else _guarded(torch.full_like(x, torch.nan), UNTOUCHED) for x in (b, a, b, h0)]
    h, grad_a, grad_b, grad_h0 = (None if x is None else x[1] for x in outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_kernels, "ENOUGH_PROGRAMS", enough)
        triton_kernels.forward(a, b, h0, h)
        triton_kernels.backward(a, h, h0, grad, grad_a, grad_b, grad_h0)
    for stretch, _ in (pair for pair in outputs if pair is not None):
        assert (torch.cat([stretch[:MARGIN], stretch[-MARGIN:]]) == UNTOUCHED).all(), "written beyond the ends"
    return [None if x is None else x.double().cpu() for x in (h, grad_a, grad_b, grad_h0)]


def _check_against_loop(device, shape, with_h0, dtype, tiles, gate=None):
    a, b, h0, grad = _inputs(shape, with_h0, dtype, device)
    if gate is not None:
        a[:, ::2] = gate
    got, expected = _kernels(a, b, h0, grad, tiles), _plain_loop(a, b, h0, grad)
    for name, x, y in zip(("h", "grad_a", "grad_b", "grad_h0"), got, expected, strict=True):
        if y is not None:
            torch.testing.assert_close(x, y, **_tolerance(dtype, device), msg=lambda text, name=name: f"{name}: {text}")


LENGTHS = [1, 2, 3, 63, 64, 65, 100]
CHANNELS = [1, 3, 128, 130]


# Every length with every number of channels, and either of them with and without h0.
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("time", LENGTHS)
def test_kernels_equal_loop(run, time, channels):
    batch = 1 if channels == 130 else 2  # 130 channels take five programs as it is
    with_h0 = (LENGTHS.index(time) + CHANNELS.index(channels)) % 2 == 0
    run(_check_against_loop, (batch, time, channels), with_h0, torch.float32, "wide")


# Every length in every dtype, and either of them with few channels and with whole tiles.
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("time", LENGTHS)
def test_kernels_equal_loop_in_other_dtypes(run, time, dtype):
    channels = [3, 128][(LENGTHS.index(time) + DTYPES.index(dtype)) % 2]
    run(_check_against_loop, (1, time, channels), time % 2 == 0, dtype, "wide")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("time", "channels"), [(1, 1), (3, 9), (256, 16), (257, 3), (600, 4)])
def test_kernels_equal_loop_with_tall_tiles(run, time, channels, dtype):
    run(_check_against_loop, (1, time, channels), time % 2 == 1, dtype, "tall")


@pytest.mark.parametrize("shape", [(8, 2, 2), (5, 300, 3)], ids=["many", "few"])
def test_kernels_equal_loop_with_chosen_tiles(run, shape):
    run(_check_against_loop, shape, True, torch.float32, "chosen")


@pytest.mark.parametrize("tiles", ["wide", "tall"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gate", ["0", "1", "denormal"])
def test_kernels_equal_loop_at_extreme_gates(run, gate, dtype, tiles):
    value = torch.finfo(dtype).tiny / 4 if gate == "denormal" else float(gate)
    run(_check_against_loop, (1, 20, 3), True, dtype, tiles, value)


@cache
def _clean_run(device, tiles):
    inputs = _inputs((2, 20, 3), True, torch.float32, device)
    return inputs, _kernels(*inputs, tiles)


def _check_confined(device, name, value, time, tiles):
    clean, without = _clean_run(device, tiles)
    spoilt = [x.clone() for x in clean]
    index = dict(a=0, b=1, h0=2, grad=3)[name]
    spoilt[index][(0, 1) if name == "h0" else (0, time, 1)] = value
    with_it, expected = _kernels(*spoilt, tiles), _plain_loop(*spoilt)
    for x, y, z in zip(with_it, without, expected, strict=True):
        assert torch.equal(x.isfinite(), z.isfinite())
        elsewhere = torch.ones_like(x, dtype=torch.bool)
        elsewhere[0, ..., 1] = False
        assert torch.equal(x[elsewhere], y[elsewhere])
    # In its own channel, too, nothing reaches back: not to the states before, not to the gradients after.
    if name in ("a", "b"):
        assert torch.equal(with_it[0][0, :time], without[0][0, :time])
    if name == "grad":
        assert torch.equal(with_it[0], without[0])
        for x, y in zip(with_it[1:3], without[1:3], strict=True):
            assert torch.equal(x[0, time + 1 :], y[0, time + 1 :])


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize(("time", "tiles"), [(0, "wide"), (7, "wide"), (8, "wide"), (9, "tall")])
@pytest.mark.parametrize("name", ["a", "b", "h0", "grad"])
def test_not_a_number_stays_in_its_channel_and_its_direction_of_time(run, name, time, value, tiles):
    run(_check_confined, name, value, time, tiles)


def _compile(kernel_name, dtype_name, element_size, channels, capability):
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from relmem_lite.scans import triton_kernels

    kernel = getattr(triton_kernels, kernel_name)
    settings = triton_kernels.tile_shape(64, channels, element_size)
    options = dict(num_warps=settings.pop("num_warps"), enable_fp_fusion=True)
    constants = {**settings, "ACC": tl.float32, "WHOLE": True}
    types = {"T": "i32", "D": "i32", **dict.fromkeys(constants, "constexpr")}
    signature = {name: types.get(name, f"*{dtype_name}") for name in kernel.arg_names}
    # What a launch finds out by itself: the tensors start at, and D is, a multiple of 16.
    aligned = [i for i, name in enumerate(kernel.arg_names) if name == "D" or name.endswith("_ptr")]
    source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm
    return code["ptx"], code["cubin"]


# Every pair of kernel, dtype, and channels with capability.
@pytest.mark.parametrize(
    ("kernel_name", "dtype_name", "element_size", "channels", "capability"),
    [
        ("_forward", "fp32", 4, 1024, 80),
        ("_backward", "bf16", 2, 1024, 80),
        ("_forward", "bf16", 2, 1024, 90),
        ("_backward", "fp32", 4, 1024, 90),
        ("_forward", "fp32", 4, 16, 90),
        ("_backward", "bf16", 2, 16, 90),
    ],
)
def test_kernels_compile_without_a_gpu(compiler, kernel_name, dtype_name, element_size, channels, capability):
    ptx, cubin = compiler.submit(_compile, kernel_name, dtype_name, element_size, channels, capability).result()
    assert f".target sm_{capability}" in ptx
    assert f".entry {kernel_name}" in ptx
    assert cubin.startswith(b"\x7fELF")
    # What the speed rests on: 16 bytes a load, ahead of time, and with wide tiles no talk between threads.
    assert "cp.async.cg.shared.global" in ptx
    assert ("shfl.sync" in ptx) == (channels == 16)
    assert ("cvt.rn.bf16" in ptx) == (dtype_name == "bf16")

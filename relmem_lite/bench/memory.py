"""How much memory a computation takes at its peak."""

import gc
from collections.abc import Callable
from pathlib import Path

import torch


def peak_bytes(run: Callable[[], object]) -> int | None:
    """Return by how many bytes `run` raises what this process holds, at its highest; None where nobody can tell.

    On a CUDA GPU these are the allocator's bytes; on Linux, pages of memory in use.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest value so far
        before = _status("VmHWM")
    except OSError:
        return None
    run()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")

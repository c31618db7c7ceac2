"""How much memory a computation takes at its peak."""

import json
import os
import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

# The profiler drops what lies outside the time that it believes to have watched; on a busy machine that can be all of a
# run of milliseconds. A tensor of a size of its own, made before and after the run, tells whether it watched it whole.
_MARK, _ATTEMPTS = 12_345, 10


def peak_bytes(run: Callable[[], object]) -> int:
    """Return how many bytes of tensors `run` holds at its highest, beyond those that were there before.

    Raises:
        RuntimeError: On a CPU, torch's profiler did not watch the whole run, ten times over.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its start and stop are no news
    for _ in range(_ATTEMPTS):
        changes = _changes_of_memory(run)
        start, end = changes[:2], changes[-2:]
        if start == end == [_MARK, -_MARK] and len(changes) >= 4:
            return max(accumulate(changes[2:-2], initial=0))
    raise RuntimeError(
        f"The profiler lost a part of each of {_ATTEMPTS} runs: try again when the machine is less busy."
    )


def _changes_of_memory(run: Callable[[], object]) -> list[int]:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        torch.empty(_MARK, dtype=torch.uint8)
        run()
        torch.empty(_MARK, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    events = [event for event in events if event["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    return [event["args"]["Bytes"] for event in events]

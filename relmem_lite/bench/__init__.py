"""Speed on this machine: `relmem bench NAME`. Measured here, never in a timed test."""

from collections.abc import Callable

from relmem_lite.bench.layers import benchmark_layers
from relmem_lite.bench.memory_cost import benchmark_memory_cost
from relmem_lite.bench.relational_memory import benchmark_relational_memory
from relmem_lite.bench.scan import benchmark_scan

BENCHMARKS: dict[str, Callable[..., None]] = {
    "relational_memory": benchmark_relational_memory,
    "scan": benchmark_scan,
    "layers": benchmark_layers,
    "memory_cost": benchmark_memory_cost,
}
"""Every benchmark by the name that `relmem bench` takes."""

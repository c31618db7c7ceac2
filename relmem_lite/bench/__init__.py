"""Speed on this machine: `relmem bench NAME`. Measured here, never in a timed test."""

from collections.abc import Callable

from relmem_lite.bench.relational_memory import benchmark_relational_memory

BENCHMARKS: dict[str, Callable[..., None]] = {"relational_memory": benchmark_relational_memory}
"""Every benchmark by the name that `relmem bench` takes."""

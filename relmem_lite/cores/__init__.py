"""Sequence models under one contract, by name."""

from relmem_lite.core import Core, nearest
from relmem_lite.cores.linear import LinearRecurrence, Recurrence
from relmem_lite.cores.lstm import GRU, LSTM, LSTMState
from relmem_lite.cores.min_gru import MinGRU, MinLSTM
from relmem_lite.cores.relational_memory import RelationalMemory

CORES: dict[str, type[Core]] = {
    "lstm": LSTM,
    "gru": GRU,
    "relational_memory": RelationalMemory,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
}
"""Every core by the name that selects it on the command line and in model lists."""

__all__ = [
    "CORES",
    "GRU",
    "LSTM",
    "LSTMState",
    "LinearRecurrence",
    "MinGRU",
    "MinLSTM",
    "Recurrence",
    "RelationalMemory",
    "find_core",
]


def find_core(name: str) -> type[Core]:
    """Return the class of the core called `name`.

    Raises:
        ValueError: no core has this name; the message gives the nearest.
    """
    if name not in CORES:
        raise ValueError(nearest(name, list(CORES), "core"))
    return CORES[name]

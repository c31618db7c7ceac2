"""Sequence models with an explicit memory, and what it takes to find out what they can hold."""

from relmem_lite.core import Core
from relmem_lite.cores import GRU, LSTM, LinearRecurrence, LSTMState, MinGRU, MinLSTM, Recurrence, RelationalMemory
from relmem_lite.recorder import record

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "Core",
    "LSTMState",
    "LinearRecurrence",
    "MinGRU",
    "MinLSTM",
    "Recurrence",
    "RelationalMemory",
    "record",
]

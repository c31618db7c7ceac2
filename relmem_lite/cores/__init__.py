"""Sequence models under one contract, by name."""

from relmem_lite.core import Core, nearest
from relmem_lite.cores.attention import AttentionState, CausalAttention
from relmem_lite.cores.linear import LinearRecurrence, Recurrence
from relmem_lite.cores.linear_attention import LinearAttention
from relmem_lite.cores.lstm import GRU, LSTM, LSTMState
from relmem_lite.cores.min_gru import MinGRU, MinLSTM
from relmem_lite.cores.qrnn import QRNN, QRNNState
from relmem_lite.cores.relational_memory import RelationalMemory
from relmem_lite.cores.rwkv import RWKV, RWKVState
from relmem_lite.cores.slstm import SLSTM, SLSTMState
from relmem_lite.cores.sru import SRU, SRUPlusPlus, SRUPlusPlusState
from relmem_lite.cores.state_space import S4D, Mamba

CORES: dict[str, type[Core]] = {
    "lstm": LSTM,
    "gru": GRU,
    "relational_memory": RelationalMemory,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "qrnn": QRNN,
    "sru": SRU,
    "sru_plus_plus": SRUPlusPlus,
    "s4d": S4D,
    "mamba": Mamba,
    "rwkv": RWKV,
    "linear_attention": LinearAttention,
    "slstm": SLSTM,
    "attention": CausalAttention,
}
"""Every core by the name that selects it on the command line and in model lists."""

__all__ = [
    "CORES",
    "GRU",
    "LSTM",
    "QRNN",
    "RWKV",
    "S4D",
    "SLSTM",
    "SRU",
    "AttentionState",
    "CausalAttention",
    "LSTMState",
    "LinearAttention",
    "LinearRecurrence",
    "Mamba",
    "MinGRU",
    "MinLSTM",
    "QRNNState",
    "RWKVState",
    "Recurrence",
    "RelationalMemory",
    "SLSTMState",
    "SRUPlusPlus",
    "SRUPlusPlusState",
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
